"""Check explanations by deleting sentences: does the named sentence lower a hit's score more than any other?

    python -m benchmarks.explain [--queries FILE] [--hits 200] [--dtype auto|float32] [--json FILE]

The bundled model searches the corpus of ``t1 demo`` with ``explain=True``. A second code path checks each hit: it
splits the thought with its own rule, writes the prompts as strings, and runs transformers in float32, one sequence at a
time.
Queries are those of ``t1 demo``, or the lines ``{"query": ...}`` of a file. Hits whose thought has a single sentence
are left out, since nothing competes with it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import t1_vectorstore.cli
from t1_vectorstore import Document, Hit, T1Embedder, T1VectorStore
from t1_vectorstore.checkpoints.checkpoint import BUNDLED

DEMO = Path(t1_vectorstore.cli.__file__).parent


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print the figures, and return them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=Path, default=DEMO / "demo_queries.jsonl")
    parser.add_argument("--hits", type=int, default=200, help="number of hits to check")
    parser.add_argument("--dtype", default="auto", help="number type of the model that explains")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args(argv)
    queries = [json.loads(line)["query"] for line in options.queries.read_text(encoding="utf-8").splitlines()]
    figures = measure(queries, options.hits, options.dtype)
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def measure(queries: Sequence[str], hits: int, dtype: str) -> dict[str, Any]:
    """Return how many of the named sentences lower a score the most, and what explaining costs."""
    check = Deletions()
    checked = named_first = 0
    errors: list[float] = []
    costs: list[float] = []
    limit = -(-hits // len(queries))
    with gzip.open(DEMO / "demo_corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = [Document(**json.loads(line)) for line in lines]
    with T1VectorStore.open(":memory:", T1Embedder.load(dtype=dtype)) as store:
        store.add(documents)
        for query in queries:
            started = time.process_time()
            store.search(query, limit=limit)
            plain = time.process_time() - started
            result = store.search(query, limit=limit, explain=True)
            costs.append((time.process_time() - started - plain) / plain)
            for hit in result.hits:
                effects = check.effects(query, result.thoughts[0].text, hit)
                if len(effects) < 2 or checked == hits or hit.explanation is None:
                    continue
                named = max(hit.explanation.sentences, key=lambda sentence: sentence.effect)
                checked += 1
                named_first += max(effects, key=lambda text: effects[text]) == named.text
                errors += [abs(each.effect - effects[each.text]) for each in hit.explanation.sentences]
    return {
        "queries": len(queries),
        "hits": checked,
        "dtype": dtype,
        "named sentence lowers the score most": round(named_first / max(checked, 1), 4),
        "median error of an effect": round(statistics.median(errors), 5),
        "largest error of an effect": round(max(errors), 5),
        "processor time of an explained search / a plain one": round(statistics.median(costs), 2),
    }


class Deletions:
    """Scores of hits without each sentence of a thought, by transformers alone."""

    def __init__(self) -> None:
        """Load the bundled model."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(BUNDLED / "t1-mini")
        model: Any = AutoModelForCausalLM.from_pretrained(BUNDLED / "t1-mini", dtype=torch.float32)
        self._model = model.eval().model
        self._known: dict[str, Any] = {}

    def effects(self, query: str, thought: str, hit: Hit) -> dict[str, float]:
        """Return the effect of each sentence of a thought on a hit."""
        sentences = re.findall(r"\S.*?[.!?](?=\s|$)|\S.*$", thought)
        passage = self._vector(f"<document>{hit.text}<emb_token>")
        scores = [
            float(self._vector(f"<query>{query}<think>{' '.join(kept)}<emb_token>") @ passage)
            for kept in [sentences, *(sentences[:at] + sentences[at + 1 :] for at in range(len(sentences)))]
        ]
        return {text: scores[0] - score for text, score in zip(sentences, scores[1:], strict=True)}

    @torch.no_grad()
    def _vector(self, prompt: str) -> Any:  # noqa: ANN401 - a tensor
        if prompt not in self._known:
            ids = self._tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
            state = self._model(ids).last_hidden_state[0, -1]
            self._known[prompt] = state / state.norm()
        return self._known[prompt]


if __name__ == "__main__":
    main()
