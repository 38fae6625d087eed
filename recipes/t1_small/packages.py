"""Documentation of installed Python packages: passages, and the headings above them, without thoughts.

Passages come from the packages' descriptions and from docstrings. They are longer than the facts of the other sources,
so that a model also learns to read paragraphs. What is installed decides the data, and its licences are those of the
packages. This project's own documentation is left out, because it is evaluated on.
"""

from __future__ import annotations

import ast
import random
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.training.examples import Example, write_data

MIN_CHARS, MAX_CHARS = 120, 1600
MIN_LETTERS = 0.9
"""Share of letters, spaces and punctuation below which a paragraph is taken for code or a table."""
OWN = "t1_"
"""Beginning of the names of this project's packages."""
_NOT_PROSE = re.compile(
    r"^\s*(```|>>>|\.\.|\||\[!|<|\*|-|::|    |:param|@)|https?:|::|^(Args|Returns|Parameters|Raises)\b", re.M
)
_HEADING = re.compile(r"#+ (.{3,60})|(.{3,60})\n[=\-~]{3,}")


def build(folder: Path, out: Path, *, passages: int = 12000, seed: int = 0) -> dict[str, int]:
    """Write ``train``: passages, and those below a heading as documents of the query "PACKAGE: HEADING".

    Args:
        folder: Folder of installed packages, ``site-packages``.
        out: Folder to write.
        passages: Maximum number of passages.
        seed: Seed of the choice.

    Returns:
        Number of documents and examples written, as from ``write_data``.

    Raises:
        CorpusError: There is no package with prose in ``folder``.
    """
    rng = random.Random(f"packages/{seed}")
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.dist-info/METADATA")):
        if not path.parent.name.startswith(OWN):
            body = path.read_text(encoding="utf-8", errors="replace").partition("\n\n")[2]
            found |= {text: title for title, text in _passages(path.parent.name.split("-")[0], body, rng)}
    files = [path for path in sorted(folder.glob("*/**/*.py")) if not path.relative_to(folder).parts[0].startswith(OWN)]
    rng.shuffle(files)
    for path in files:
        if len(found) >= passages:
            break
        for text in _docstrings(path):
            for _, passage in _passages("", text, rng):
                found.setdefault(passage, "")
    if not found:
        raise CorpusError(f"{folder} has no packages with descriptions: pass a folder site-packages")
    documents = {f"passage-{number}": text for number, text in enumerate(list(found)[:passages])}
    titles = ((name, found[text]) for name, text in documents.items())
    examples = [Example(title, None, (name,), (), "heading") for name, title in titles if title]
    return write_data(out, documents, {"train": examples})


def _passages(package: str, text: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield passages of up to a random length with their titles: an empty one where there is no heading."""
    heading, parts, limit = "", list[str](), rng.randint(MIN_CHARS, MAX_CHARS)
    for paragraph in (*re.split(r"\n\s*\n", text), "# the end of the text"):
        title = _HEADING.fullmatch(paragraph.strip())
        plain = " ".join(re.sub(r"[`*]", "", paragraph).split())
        if title is None and _is_prose(paragraph, plain):
            parts.append(plain)
        passage = " ".join(parts)
        if len(passage) >= limit or (title is not None and parts):
            if len(passage) >= MIN_CHARS:
                yield (f"{package}: {heading}" if package and heading else ""), passage[: 2 * MAX_CHARS]
            parts, limit = [], rng.randint(MIN_CHARS, MAX_CHARS)
        if title is not None:
            heading = " ".join((title[1] or title[2]).split())


def _is_prose(paragraph: str, plain: str) -> bool:
    letters = sum(character.isalpha() or character in " .,;:'()-" for character in plain)
    return len(plain) > 40 and letters >= MIN_LETTERS * len(plain) and not _NOT_PROSE.search(paragraph)


def _docstrings(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes in other people's strings
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
