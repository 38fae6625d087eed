"""Small sources in the formats that the data generators read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

PROSE = "Arvia reads the tables of a river station, and writes what the levels of the water were."


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write_lines(path: Path, *records: Any) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two hundred questions, each with two facts, in the format of StrategyQA and e-CARE."""
    folder = tmp_path / "source"
    folder.mkdir()
    write(folder / "corpus.jsonl.gz", [{"_id": f"f{n}", "text": f"Fact  number {n}."} for n in range(400)])
    steps = ["How many children did Caesar have?", "Is #1 greater than #2?", "Could #1 fit in a very large tent?"]
    rows = [
        {
            "_id": f"q{n}",
            "text": f"Is {n} odd?",
            "positives": [f"f{2 * n}", f"f{2 * n + 1}"],
            "decomposition": steps,
            "facts": [f"Fact number {2 * n}."],
        }
        for n in range(200)
    ]
    write(folder / "train.jsonl.gz", rows)
    write(folder / "dev.jsonl.gz", [{"_id": "d", "text": "Which fact is first?", "positives": ["f0"]}])
    return folder


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    folder = tmp_path / "bank"
    folder.mkdir()
    facts = {f"f{n}": f"fact number {n} is about thing {n} and its place" for n in range(20)}
    write_lines(folder / "corpus.jsonl", *({"_id": name, "text": text} for name, text in facts.items()))
    train = [
        {"_id": f"t{n}", "text": f"what of {n}?", "hypothesis": f"the thing {n} causes the light",
         "facts": [{"id": f"f{n}", "text": facts[f"f{n}"]}, {"id": None, "text": "an unknown fact"}]}
        for n in range(20)
    ]  # fmt: skip
    write_lines(folder / "train.jsonl", *train)
    write_lines(folder / "queries.dev.jsonl", {"_id": "d0", "text": "what of all?", "hypothesis": "light is a thing"})
    (folder / "qrels.dev.tsv").write_text("query-id\tcorpus-id\tscore\nd0\tf1\t1\nd0\tf2\t1\n")
    return folder


@pytest.fixture
def synsets(tmp_path: Path) -> Path:
    names = ["thing", "animal", "dog", "hound", *(f"word{n}" for n in range(60))]
    records = [
        {"id": str(n), "lemmas": [name], "definition": [f"what {name} means"],
         "examples": [f"a {name} here", f"my {name}"],
         "relations": {"hypernym": [str(min(n, 4) - 1)]} if n else {}}
        for n, name in enumerate(names)
    ]  # fmt: skip
    source = tmp_path / "synsets.jsonl.gz"
    source.write_bytes(gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode()))
    return source


@pytest.fixture
def headings(tmp_path: Path) -> Path:
    """A Factbook with one long entry, and a table of diseases."""
    folder = tmp_path / "headings"
    (folder / "diseases").mkdir(parents=True)
    (folder / "factbook").mkdir()
    name = {"Country name": {"conventional short form": {"text": "Arvia"}}, "Legal system": {"text": "a law " * 300}}
    countries = [{"code": "aa", "region": "r", "data": {"Government": name}}, {"code": "b", "data": {}}]
    write(folder / "factbook" / "countries.jsonl.gz", countries)
    text = "A disease of the heart that is here to be a long enough definition for a model."
    rows = ["?id\t?name\t?definition", *(f'"{n}"\t"carditis {n}"\t"{text} {n}."@en' for n in range(3))]
    with gzip.open(folder / "diseases" / "facets.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(rows))
    return folder


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    """A package with a description and docstrings, and the description of one of this project."""
    folder = tmp_path / "site-packages"
    for name in ("arvia-1.0.dist-info", "t1_vectorstore-1.0.dist-info", "arvia"):
        (folder / name).mkdir(parents=True)
    code, more = "```python\nimport arvia\n```", PROSE.replace("tables", "maps")
    text = "\n\n".join(("Name: arvia", "# Usage", PROSE, code, more, "Licence\n=======", "short"))
    for name in ("arvia", "t1_vectorstore"):
        (folder / f"{name}-1.0.dist-info" / "METADATA").write_text(text.replace("Arvia", name))
    (folder / "arvia" / "a.py").write_text(
        f'def level():\n    """{PROSE} {PROSE}\n\n    Args:\n        x: y\n    """\n'
    )
    (folder / "arvia" / "b.py").write_text("this is not Python")
    return folder
