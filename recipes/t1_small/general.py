"""General English: paragraphs of reference works and what they are about, without thoughts.

A query is a heading, such as "legal system of Algeria" or the name of a disease; its document is the text below it. The
texts are up to 900 characters long, so that a model that is trained on short facts also sees paragraphs. From the World
Factbook (public domain) and the Human Disease Ontology (CC0).
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.training.examples import Example, write_data

MIN_CHARS, MAX_CHARS = 90, 900


def build(countries: Path, diseases: Path, out: Path, *, paragraphs: int = 6000, seed: int = 0) -> dict[str, int]:
    """Write ``train``, and ``dev`` with one in fifty of the paragraphs as queries' documents.

    Args:
        countries: Path of ``countries.jsonl.gz``, the records of the World Factbook.
        diseases: Path of ``facets.tsv.gz``, a table of the Human Disease Ontology.
        out: Folder to write.
        paragraphs: Maximum number of paragraphs from each of the two sources.
        seed: Seed of the choice.

    Returns:
        Number of documents and examples written, as from ``write_data``.

    Raises:
        CorpusError: A file is missing or malformed.
    """
    rng = random.Random(f"general/{seed}")
    documents: dict[str, str] = {}
    examples: list[Example] = []
    for source, pairs in (("country", country_paragraphs(countries)), ("disease", disease_definitions(diseases))):
        distinct = list({text: heading for heading, text in pairs}.items())
        for text, heading in rng.sample(distinct, min(paragraphs, len(distinct))):
            name = f"{source}-{len(documents)}"
            documents[name] = text
            examples.append(Example(heading, None, (name,), (), source))
    held_out = set(rng.sample(range(len(examples)), max(1, len(examples) // 50)))
    dev = [example for row, example in enumerate(examples) if row in held_out]
    train = [example for row, example in enumerate(examples) if row not in held_out]
    return write_data(out, documents, {"train": train, "dev": dev})


def country_paragraphs(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the headings and texts of the Factbook's longer entries.

    Raises:
        CorpusError: The file is missing or malformed; the message names the line.
    """
    if not path.is_file():
        raise CorpusError(f"{path} is missing: pass countries.jsonl.gz, the records of the World Factbook")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                data = json.loads(line)["data"]
                name = data.get("Government", {}).get("Country name", {}).get("conventional short form", {}).get("text")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise CorpusError(f"{path}:{number}: not a country: {type(error).__name__} {error}") from None
            if not name or name == "none":
                continue
            for heading, text in _entries(data, ""):
                plain = " ".join(re.sub(r"<[^>]+>", " ", text).split())
                if len(plain) >= MIN_CHARS:
                    yield f"{heading.lower()} of {name}", _cut(plain)


def disease_definitions(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the names and definitions of diseases.

    Raises:
        CorpusError: The file is missing, or lacks a column.
    """
    if not path.is_file():
        raise CorpusError(f"{path} is missing: pass facets.tsv.gz of the Human Disease Ontology")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            try:
                name, definition = (re.sub(r'^"|"(@en)?$|@en$', "", row[key] or "") for key in ("?name", "?definition"))
            except KeyError as error:
                raise CorpusError(f"{path} has no column {error}") from None
            if name and len(definition) >= MIN_CHARS // 2:
                yield name, _cut(" ".join(definition.split()))


def _entries(value: Any, heading: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - nested JSON
    if isinstance(value, str):
        yield heading, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _entries(part, heading if key == "text" else key)


def _cut(text: str) -> str:
    """Return the text, cut after the last whole word within the limit."""
    return text if len(text) <= MAX_CHARS else text[:MAX_CHARS].rpartition(" ")[0]
