"""Several data folders as one, so that one model learns them all.

Ids get the name of their source before them, ``factbook/...``, and so do parts and splits, ``factbook-hop2`` and
``factbook-dev``: a recipe can mix the sources part by part, and each can be probed alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from t1_vectorstore.training.examples import TRAIN, Example, read_corpus, read_split, splits, write_data

DEV = "dev"
_NAME = re.compile(r"[a-z0-9_]+")


def build(sources: Mapping[str, Path], out: Path) -> dict[str, int]:
    """Write the folder ``out``: all documents and training examples, and the sources' splits for development.

    Args:
        sources: Data folders by name, possibly joined ones: splits for development are ``dev`` and ``...-dev``.
        out: Folder to write; the sources' other splits stay where they are, for evaluation over their own documents.

    Returns:
        What was written, as :func:`write_data` says it.

    Raises:
        CorpusError: As :func:`t1_vectorstore.training.examples.read_data`, for any of the folders.
        ValueError: Fewer than two folders, a name that cannot be part of an id, or ``out`` is one of the sources.
    """
    if len(sources) < 2:
        raise ValueError(f"joining takes two folders or more, got {len(sources)}: {', '.join(sources) or 'none'}")
    documents: dict[str, str] = {}
    joined: dict[str, list[Example]] = {TRAIN: []}
    for name, folder in sources.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"a source's name is made of a-z, 0-9 and _, got {name!r}: write NAME=FOLDER")
        if folder.resolve() == out.resolve():
            raise ValueError(f"{out} is one of the sources: write to another folder")
        own = read_corpus(folder)
        documents |= {f"{name}/{key}": text for key, text in own.items()}
        joined[TRAIN] += [_renamed(name, example) for example in read_split(folder, TRAIN, own)]
        for split in splits(folder):
            if split.endswith(DEV):
                joined[f"{name}-{split}"] = [_renamed(name, example) for example in read_split(folder, split, own)]
    return write_data(out, documents, joined)


def _renamed(name: str, example: Example) -> Example:
    def ids(old: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{name}/{each}" for each in old)

    part = f"{name}-{example.part}" if example.part else name
    return Example(example.query, example.thought, ids(example.positives), ids(example.negatives), part)
