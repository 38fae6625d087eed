"""Join several data folders into one, to train one model on all of them.

Document ids get the name of their source as a prefix (``factbook/...``), and so do parts and splits
(``factbook-hop2``, ``factbook-dev``): a recipe can mix the sources part by part, and probe each of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from t1_vectorstore.training.examples import TRAIN, Example, list_splits, read_corpus, read_split, write_data

DEV = "dev"
_NAME = re.compile(r"[a-z0-9_]+")


def build(sources: Mapping[str, Path], out: Path) -> dict[str, int]:
    """Write all documents and training examples, and the development splits of the sources.

    Args:
        sources: Data folders by name; they may be joined folders. Development splits are ``dev`` and ``*-dev``.
        out: Folder to write. The other splits of the sources are not copied: evaluate them on their own documents.

    Returns:
        Number of documents and examples written, as from ``write_data``.

    Raises:
        CorpusError: A folder cannot be read, see ``read_data``.
        ValueError: Fewer than two folders, a name that cannot be part of an id, or ``out`` is one of the sources.
    """
    if len(sources) < 2:
        raise ValueError(f"joining needs at least two folders, got {len(sources)}: {', '.join(sources) or 'none'}")
    documents: dict[str, str] = {}
    joined: dict[str, list[Example]] = {TRAIN: []}
    for name, folder in sources.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"the name of a source may contain a-z, 0-9 and _, got {name!r}: write NAME=FOLDER")
        if folder.resolve() == out.resolve():
            raise ValueError(f"{out} is one of the sources: choose another folder to write")
        own = read_corpus(folder)
        documents |= {f"{name}/{key}": text for key, text in own.items()}
        joined[TRAIN] += [_prefixed(name, example) for example in read_split(folder, TRAIN, own)]
        for split in list_splits(folder):
            if split.endswith(DEV):
                joined[f"{name}-{split}"] = [_prefixed(name, example) for example in read_split(folder, split, own)]
    return write_data(out, documents, joined)


def _prefixed(name: str, example: Example) -> Example:
    positives, negatives = (tuple(f"{name}/{i}" for i in ids) for ids in (example.positives, example.negatives))
    part = f"{name}-{example.part}" if example.part else name
    return replace(example, positives=positives, negatives=negatives, part=part)
