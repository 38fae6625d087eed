"""What quantisation costs: a checkpoint's GGUF exports against the checkpoint, on the demo's corpus and questions.

Run it where llama.cpp is installed: ``.venv-llama/bin/python -m benchmarks.gguf_quality t1-mini``. It exports each
number type into a temporary folder, embeds the corpus and the questions, and prints a table:

- size of the file
- cosines with the checkpoint's vectors of the corpus, least and mean
- nDCG@10 of the questions, each of which has one relevant document, and the share of the checkpoint's that is kept
- how many thoughts are the same, token by token
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import t1_vectorstore.cli
from t1_vectorstore import T1Embedder
from t1_vectorstore.embedding.cosines import Cosines
from t1_vectorstore.export.export import export_gguf
from t1_vectorstore.options import ModelOptions
from t1_vectorstore.types import Vectors

DEMO = Path(t1_vectorstore.cli.__file__).parent


def read_demo(count: int | None) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return documents and questions, as pairs of id and text; with a count, the relevant documents are among them."""
    with gzip.open(DEMO / "demo_corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = [(entry["id"], entry["text"]) for entry in map(json.loads, lines)]
    lines = (DEMO / "demo_queries.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [(entry["gold"], entry["query"]) for entry in map(json.loads, lines)]
    gold = {name for name, _ in questions}
    return sorted(documents, key=lambda pair: pair[0] not in gold)[:count], questions


def ndcg(documents: Vectors, queries: Vectors, gold: list[int]) -> float:
    """Return the mean nDCG@10, with one relevant document for each query."""
    scores = queries @ documents.T
    ranks = (scores > scores[np.arange(len(gold)), gold][:, None]).sum(1)
    return float(np.mean([1 / math.log2(rank + 2) if rank < 10 else 0.0 for rank in ranks]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--quants", default="f16,q8_0,q6_k,q5_k_m,q4_k_m")
    parser.add_argument("--documents", type=int)
    parser.add_argument("--budget", type=int)
    options = parser.parse_args()
    documents, questions = read_demo(options.documents)
    texts, queries = [text for _, text in documents], [text for _, text in questions]
    names = [name for name, _ in documents]
    gold = [names.index(name) for name, _ in questions]

    def measure(embedder: T1Embedder) -> tuple[Vectors, float, list[str]]:
        vectors = embedder.embed_documents(texts).vectors
        embedded = embedder.embed_queries(queries, budget=options.budget)
        score = ndcg(vectors, np.stack([query.vector for query in embedded]), gold)
        return vectors, score, [query.thoughts[0].text for query in embedded]

    with T1Embedder.load(options.model, dtype="float32", device="cpu") as original:
        vectors, best, thoughts = measure(original)
    print(f"{options.model}: {len(texts)} documents, {len(queries)} questions, nDCG@10 {best:.3f}", flush=True)
    print("| number type | MB | cosine, least | cosine, mean | nDCG@10 | kept | same thoughts |\n" + "|---" * 7 + "|")
    with TemporaryDirectory() as folder:
        for quant in options.quants.split(","):
            file = Path(folder) / f"{quant}.gguf"
            report = export_gguf(ModelOptions(model=options.model), file, quant=quant, budget=8, min_cosine=-1.0)
            with T1Embedder.load(file) as embedder:
                found, score, own = measure(embedder)
            cosines = Cosines.of(vectors, found)
            same = sum(a == b for a, b in zip(thoughts, own, strict=True))
            print(
                f"| {quant} | {report.size / 1e6:.1f} | {cosines.least:.5f} | {cosines.mean:.5f} | {score:.3f} | "
                f"{score / best if best else math.nan:.1%} | {same} of {len(own)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
