"""A small benchmark in BEIR's format, on which the bundled model finds the answers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from t1_vectorstore.cli.demo import CORPUS, QUERIES


def write(folder: Path, documents: int = 60) -> Path:
    """Write the twelve queries of the demo, their answers and some other documents, and return the folder."""
    queries = [json.loads(line) for line in QUERIES.read_text(encoding="utf-8").splitlines()]
    corpus = [json.loads(line) for line in gzip.decompress(CORPUS.read_bytes()).decode().splitlines()]
    gold = {query["gold"] for query in queries}
    others = [document for document in corpus if document["id"] not in gold][: documents - len(gold)]
    kept = [document for document in corpus if document["id"] in gold] + others
    (folder / "qrels").mkdir(parents=True)
    records = [{"_id": document["id"], "text": document["text"]} for document in kept]
    lines = [{"_id": f"q{row}", "text": query["query"]} for row, query in enumerate(queries)]
    lines.append({"_id": "of-another-split", "text": "a query that this split does not judge"})
    for name, objects in (("corpus.jsonl", records), ("queries.jsonl", lines)):
        (folder / name).write_text("".join(json.dumps(each) + "\n" for each in objects), encoding="utf-8")
    qrels = ["query-id\tcorpus-id\tscore", *(f"q{row}\t{query['gold']}\t1" for row, query in enumerate(queries))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(qrels) + "\n", encoding="utf-8")
    return folder
