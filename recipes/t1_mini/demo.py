"""The files of ``t1 demo``: the corpus that it indexes, and its queries.

The queries follow a rule and not what the model can answer: the first ones of each unseen-start split.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from recipes.t1_mini.chains import build_corpus, build_split
from recipes.t1_mini.countries import read_world

CORPUS_FILE, QUERIES_FILE = "demo_corpus.jsonl.gz", "demo_queries.jsonl"
QUERIES_PER_LENGTH = 4


def build(source: Path, out: Path) -> dict[str, int]:
    """Write both files to the folder ``out``, with the same bytes on every machine.

    Args:
        source: Path of ``countries.jsonl.gz``.
        out: Folder to write.

    Returns:
        Number of documents and queries written.
    """
    world = read_world(source)
    out.mkdir(parents=True, exist_ok=True)
    documents = [
        _json_line({"id": d.id, "text": d.text, "metadata": {"country": d.country, "facet": d.facet}})
        for d in build_corpus(world)
    ]
    # Without a file name and a time in its header, the archive depends only on its content.
    with (out / CORPUS_FILE).open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write("".join(documents).encode("utf-8"))
    queries = [
        _json_line({"query": chain.query, "hops": hops, "gold": chain.positive})
        for hops in (2, 3, 4)
        for chain in build_split(world, "ood", hops, QUERIES_PER_LENGTH)
    ]
    (out / QUERIES_FILE).write_text("".join(queries), encoding="utf-8")
    return {"documents": len(documents), "queries": len(queries)}


def _json_line(record: object) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"
