"""Measure a step of Refine Thought against a token of a thought, and against reading the whole query again.

    python -m benchmarks.refine_steps [--models t1-mini 46M] [--batches 1 8 32] [--rounds 5] [--json FILE]

All variants take turns in one process. Ratios are medians over the rounds, of processor time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.workload import SHAPES, prepare
from t1_vectorstore import T1Embedder
from t1_vectorstore.checkpoints.spec import Decoding, Refining

STEPS = 16
Prompts = Sequence[Sequence[int]]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["t1-mini", "46M"], choices=["t1-mini", *SHAPES])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args(argv)
    rows = []
    print("| model | queries | step, ms per query | step / thought token | step without a cache / step |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            work = prepare(model, Path(folder), documents=1)
            for batch in options.batches:
                row = measure(work.folder, work.queries[:batch], work.emb_id, options.dtype, options.rounds)
                rows.append({"model": model, "dtype": options.dtype, "queries": batch, **row})
                cells = f"{1e3 * row['seconds'] / batch:.2f} | {row['tokens']:.2f} | {row['uncached']:.1f}"
                print(f"| {model} | {batch} | {cells} |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measure(folder: str, queries: Prompts, emb_id: int, dtype: str, rounds: int) -> dict[str, float]:
    """Return the seconds of a step, its ratio to a token of a thought, and that of a step without a cache to it."""
    backend: Any = T1Embedder.load(folder, dtype=dtype, threads=torch.get_num_threads())._backend
    backend.loop.sampler = replace(
        backend.loop.sampler, stop_ids=frozenset()
    )  # so that every thought has as many tokens as its budget
    uncached = Uncached(folder, dtype)
    closed = [[*query, emb_id] for query in queries]
    work: list[Callable[[], object]] = [
        lambda: backend.think(queries, Decoding(max_tokens=STEPS)),
        lambda: backend.think(queries, Decoding(max_tokens=2 * STEPS)),
        lambda: backend.think(queries, Decoding(max_tokens=STEPS), refining=Refining(steps=STEPS)),
        lambda: uncached.refine(closed, 0),
        lambda: uncached.refine(closed, STEPS),
    ]
    taken = [[_seconds(each) for each in work] for _ in range(rounds + 1)][1:]  # the first round is a warm-up
    steps = [(refined - plain) / STEPS for plain, _, refined, _, _ in taken]
    tokens = [(refined - plain) / (longer - plain) for plain, longer, refined, _, _ in taken]
    slow = [(whole - once) / (refined - plain) for plain, _, refined, once, whole in taken]
    values = {"seconds": steps, "tokens": tokens, "uncached": slow}
    return {name: statistics.median(of_rounds) for name, of_rounds in values.items()}


class Uncached:
    """transformers without a cache: each step reads the query and all states that were fed back."""

    def __init__(self, folder: str, dtype: str) -> None:
        """Load the model."""
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        loader: Any = AutoModelForCausalLM
        self._model = loader.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()

    @torch.inference_mode()
    def refine(self, prompts: Prompts, steps: int) -> torch.Tensor:
        """Return the states after ``steps`` steps, ``(prompts, hidden)``."""
        inputs = self._model.get_input_embeddings()(torch.tensor(prompts))
        for _ in range(steps):
            state = self._model.model(inputs_embeds=inputs, use_cache=False).last_hidden_state[:, -1:]
            inputs = torch.cat([inputs, state], dim=1)
        states: torch.Tensor = self._model.model(inputs_embeds=inputs, use_cache=False).last_hidden_state[:, -1]
        return states


def _seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


if __name__ == "__main__":
    main()
