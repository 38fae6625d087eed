"""A benchmark in BEIR's format, of what the bundled model knows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from recipes.t1_mini import demo as build

DEMO = Path(build.__file__).parent


def write(folder: Path, documents: int = 60) -> Path:
    """The demo's twelve questions, their answers and some other documents."""
    queries = [json.loads(line) for line in (DEMO / build.QUERIES_FILE).read_text(encoding="utf-8").splitlines()]
    corpus = [
        json.loads(line) for line in gzip.decompress((DEMO / build.CORPUS_FILE).read_bytes()).decode().splitlines()
    ]
    gold = {query["gold"] for query in queries}
    others = [document for document in corpus if document["id"] not in gold][: documents - len(gold)]
    kept = [document for document in corpus if document["id"] in gold] + others
    (folder / "qrels").mkdir(parents=True)
    records = [{"_id": document["id"], "text": document["text"]} for document in kept]
    asked = [{"_id": f"q{row}", "text": query["query"]} for row, query in enumerate(queries)]
    asked.append({"_id": "of-another-split", "text": "a query that this split does not judge"})
    for name, lines in (("corpus.jsonl", records), ("queries.jsonl", asked)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    judged = [f"q{row}\t{query['gold']}\t1" for row, query in enumerate(queries)]
    (folder / "qrels" / "test.tsv").write_text(
        "\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n", encoding="utf-8"
    )
    return folder
