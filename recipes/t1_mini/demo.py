"""Writes the demo: the corpus that ``t1 demo`` indexes and the queries it asks.

    python -m recipes.t1_mini.demo --data countries.jsonl.gz --out t1_vectorstore/demo

The queries are chosen by rule: the first of each of the evaluation's unseen-start splits, whatever the model answers.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from recipes.t1_mini.chains import build_corpus, build_split
from recipes.t1_mini.countries import World, read_world

CORPUS_FILE, QUERIES_FILE = "demo_corpus.jsonl.gz", "demo_queries.jsonl"
QUERIES_PER_LENGTH = 4


def main(data: Path, out: Path) -> str:
    """Write both files to the folder ``out``, the same bytes on every machine, and return a summary."""
    world = read_world(data)
    out.mkdir(parents=True, exist_ok=True)
    documents = corpus_lines(world)
    # Without a name and a time in its header the archive depends on the content alone.
    with (out / CORPUS_FILE).open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write("".join(documents).encode("utf-8"))
    queries = query_lines(world)
    (out / QUERIES_FILE).write_text("".join(queries), encoding="utf-8")
    return f"{len(documents)} documents and {len(queries)} queries in {out}"


def corpus_lines(world: World) -> list[str]:
    """Return one JSON line per document: id, text, metadata."""
    return [
        _line({"id": d.id, "text": d.text, "metadata": {"country": d.country, "facet": d.facet}})
        for d in build_corpus(world)
    ]


def query_lines(world: World) -> list[str]:
    """Return one JSON line per query: query, hops, id of the right document."""
    return [
        _line({"query": example.query, "hops": hops, "gold": example.positive})
        for hops in (2, 3, 4)
        for example in build_split(world, "ood", hops, QUERIES_PER_LENGTH)
    ]


def _line(record: object) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"
