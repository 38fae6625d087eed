"""What ``t1 eval`` says of BM25 and of a MiniLM, beside the same figures worked out without its code or its libraries.

    python -m benchmarks.eval_by_hand FOLDER SPLIT MINILM

FOLDER is in BEIR's format, MINILM holds all-MiniLM-L6-v2. By hand: Lucene's BM25 in numpy, mean pooling over
transformers' own model, and nDCG@10 by its definition. Shared are only the definitions: words of two letters or more,
lower-cased, and the list of stop words.
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
    """Print both."""
    documents = {row["_id"]: row["text"] for row in _lines(folder / "corpus.jsonl")}
    with (folder / f"qrels.{split}.tsv").open(encoding="utf-8") as file:
        relevant: dict[str, dict[str, float]] = {}
        for query, document, grade in list(csv.reader(file, delimiter="\t"))[1:]:
            relevant.setdefault(query, {})[document] = float(grade)
    queries = {row["_id"]: row["text"] for row in _lines(folder / f"queries.{split}.jsonl") if row["_id"] in relevant}
    texts, asked = list(documents.values()), list(queries.values())
    print("| system | by hand | t1 eval |\n|---|---|---|")
    told = _told(folder, split, minilm)
    for name, scores in (("bm25", bm25(texts, asked)), (f"st:{minilm.name}", cosines(texts, asked, minilm))):
        found = np.mean([ndcg(row, list(documents), relevant[q]) for q, row in zip(queries, scores, strict=True)])
        print(f"| {name} | {found:.4f} | {told[name]:.4f} |")


def bm25(texts: list[str], queries: list[str]) -> Array:
    """Scores (queries, texts)."""
    bags = [Counter(words(text)) for text in texts]
    lengths = np.array([bag.total() for bag in bags])
    counts = Counter(word for bag in bags for word in bag)
    scores = np.zeros((len(queries), len(texts)))
    for at, query in enumerate(queries):
        for word in words(query):
            weight = math.log(1 + (len(texts) - counts[word] + 0.5) / (counts[word] + 0.5))
            often = np.array([bag[word] for bag in bags])
            scores[at] += weight * often / (often + K1 * (1 - B + B * lengths / lengths.mean()))
    return scores


def words(text: str) -> list[str]:
    """Those that count."""
    return [word for word in re.findall(r"\b\w\w+\b", text.lower()) if word not in STOPWORDS_EN]


def cosines(texts: list[str], queries: list[str], folder: Path) -> Array:
    """Scores (queries, texts) of mean-pooled states, at most 256 tokens each."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    @torch.no_grad()
    def vector(text: str) -> torch.Tensor:
        inputs = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        return torch.nn.functional.normalize(model(**inputs).last_hidden_state[0].mean(0), dim=0)

    made = [torch.stack([vector(text) for text in each]) for each in (queries, texts)]
    scores: Array = (made[0] @ made[1].T).double().numpy()
    return scores


def ndcg(scores: Array, names: list[str], relevant: dict[str, float]) -> float:
    """Of the best ten with a score above 0; of equal scores the later id comes first, as trec_eval has it."""
    singles = scores.astype(np.float32)
    best = sorted(np.flatnonzero(singles > 0), key=lambda at: (singles[at], names[at]), reverse=True)[:DEPTH]
    gained = sum(relevant.get(names[at], 0.0) / math.log2(rank + 2) for rank, at in enumerate(best))
    ideal = sorted(relevant.values(), reverse=True)[:DEPTH]
    return gained / sum(grade / math.log2(rank + 2) for rank, grade in enumerate(ideal))


def _told(folder: Path, split: str, minilm: Path) -> dict[str, float]:
    command = ["eval", str(folder), "--split", split, "--systems", f"bm25,st:{minilm}", "--json"]
    start = "from t1_vectorstore.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", start, *command], check=True, capture_output=True, text=True)
    [benchmark] = json.loads(done.stdout)["benchmarks"]
    return {system["system"]: system["nDCG@10"] for system in benchmark["systems"]}


def _lines(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
