"""Compare ``t1 eval`` for BM25 and MiniLM with the same figures computed without its code and libraries.

    python -m benchmarks.eval_by_hand FOLDER SPLIT MINILM

FOLDER is a benchmark in BEIR's format, MINILM a folder with all-MiniLM-L6-v2. Computed here: Lucene's BM25 in numpy,
mean pooling over the model of transformers, and nDCG@10 by its definition. Only definitions are shared
with ``t1 eval``: words have two letters or more and are lower-cased, and the list of stop words.
"""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from bm25s.stopwords import STOPWORDS_EN
from transformers import AutoModel, AutoTokenizer

Array = npt.NDArray[np.float64]
K1, B, DEPTH = 1.5, 0.75, 10


def main(folder: Path, split: str, minilm: Path) -> None:
    """Print nDCG@10 of both systems, computed here and by ``t1 eval``."""
    documents = {row["_id"]: row["text"] for row in _read_lines(folder / "corpus.jsonl")}
    relevant: dict[str, dict[str, float]] = {}
    with (folder / f"qrels.{split}.tsv").open(encoding="utf-8") as file:
        for query, document, gain in list(csv.reader(file, delimiter="\t"))[1:]:
            relevant.setdefault(query, {})[document] = float(gain)
    rows = _read_lines(folder / f"queries.{split}.jsonl")
    queries = {row["_id"]: row["text"] for row in rows if row["_id"] in relevant}
    texts, query_texts = list(documents.values()), list(queries.values())
    print("| system | by hand | t1 eval |\n|---|---|---|")
    reported = _run_eval(folder, split, minilm)
    for name, scores in (
        ("bm25", bm25(texts, query_texts)),
        (f"st:{minilm.name}", cosines(texts, query_texts, minilm)),
    ):
        mean = np.mean([ndcg(row, list(documents), relevant[q]) for q, row in zip(queries, scores, strict=True)])
        print(f"| {name} | {mean:.4f} | {reported[name]:.4f} |")


def bm25(texts: list[str], queries: list[str]) -> Array:
    """Return BM25 scores, shape (queries, texts)."""
    bags = [Counter(words(text)) for text in texts]
    lengths = np.array([bag.total() for bag in bags])
    document_counts = Counter(word for bag in bags for word in bag)
    scores = np.zeros((len(queries), len(texts)))
    for row, query in enumerate(queries):
        for word in words(query):
            idf = math.log(1 + (len(texts) - document_counts[word] + 0.5) / (document_counts[word] + 0.5))
            counts = np.array([bag[word] for bag in bags])
            scores[row] += idf * counts / (counts + K1 * (1 - B + B * lengths / lengths.mean()))
    return scores


def words(text: str) -> list[str]:
    """Return the words that BM25 counts."""
    return [word for word in re.findall(r"\b\w\w+\b", text.lower()) if word not in STOPWORDS_EN]


def cosines(texts: list[str], queries: list[str], folder: Path) -> Array:
    """Return cosines, shape (queries, texts), of mean-pooled hidden states of at most 256 tokens."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    @torch.no_grad()
    def embed(text: str) -> torch.Tensor:
        inputs = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        return torch.nn.functional.normalize(model(**inputs).last_hidden_state[0].mean(0), dim=0)

    query_vectors, text_vectors = (torch.stack([embed(text) for text in each]) for each in (queries, texts))
    scores: Array = (query_vectors @ text_vectors.T).double().numpy()
    return scores


def ndcg(scores: Array, names: list[str], relevant: dict[str, float]) -> float:
    """Return nDCG of the best ten documents with a score above 0; equal scores are ordered by id, descending."""
    single = scores.astype(np.float32)
    best = sorted(np.flatnonzero(single > 0), key=lambda column: (single[column], names[column]), reverse=True)[:DEPTH]
    gained = sum(relevant.get(names[column], 0.0) / math.log2(rank + 2) for rank, column in enumerate(best))
    ideal = sorted(relevant.values(), reverse=True)[:DEPTH]
    return gained / sum(gain / math.log2(rank + 2) for rank, gain in enumerate(ideal))


def _run_eval(folder: Path, split: str, minilm: Path) -> dict[str, float]:
    """Return nDCG@10 by system, as ``t1 eval`` reports it."""
    arguments = ["eval", str(folder), "--split", split, "--systems", f"bm25,st:{minilm}", "--json"]
    command = [sys.executable, "-c", "from t1_vectorstore.cli import main; main()", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    [benchmark] = json.loads(done.stdout)["benchmarks"]
    return {system["system"]: system["nDCG@10"] for system in benchmark["systems"]}


def _read_lines(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
