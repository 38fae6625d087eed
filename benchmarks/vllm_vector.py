"""Measure the cost of a thought's vector on vLLM: by a second request, or by one more step of the thought's request.

The backend uses a second request: prompt, thought and emb token are sent again, and the prefix cache has all but their
end. The alternative, which is not implemented, would keep the state of the step that reads the emb token. A thought
that is one token longer stands for it, which is the least that it could cost. It would work only for thoughts that the
model closes itself. Both take turns. The figures are processor time of vLLM's processes, and wall time.

    python benchmarks/vllm_vector.py [--model 46M] [--rounds 5] [--thoughts 64 256] [--eager]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.speed.workload import SHAPES, prepare
from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.vllm.generation import ThoughtRequest
from t1_vectorstore.checkpoints.spec import Decoding

BATCHES = (1, 8, 32)
THOUGHTS = (64, 256)


def main() -> None:
    """Measure, and print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(SHAPES), default="46M")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--thoughts", type=int, nargs="+", default=THOUGHTS, help="lengths of the thoughts in tokens")
    parser.add_argument("--eager", action="store_true", help="do not compile the model; starts faster, runs slower")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = prepare(options.model, Path(folder), documents=1)
        engine_options = {"max_num_seqs": max(BATCHES), "max_model_len": 1024, "enforce_eager": options.eager}
        with T1Embedder.load(work.folder, dtype="bfloat16", backend="vllm", engine_options=engine_options) as embedder:
            rows = [
                _measure(embedder, work.queries[:batch], tokens, options.rounds)
                for tokens in options.thoughts
                for batch in BATCHES
            ]
    print("| thoughts at a time | tokens of each | two requests, CPU s | one longer, CPU s | ratio | in wall time |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['batch']} | {row['tokens']} | {row['request']:.2f} | {row['step']:.2f} | "
            f"{row['ratio']:.3f} | {row['wall_ratio']:.3f} |"
        )
    print(json.dumps({"model": options.model, "rounds": options.rounds, "rows": rows}))


def _measure(embedder: T1Embedder, prompts: list[list[int]], tokens: int, rounds: int) -> dict[str, float]:
    backend: Any = embedder._backend

    async def longer() -> None:
        async def generate(number: int) -> None:
            # The engine adds a token that closes the thought; one more stands for the step that reads it.
            decoding = Decoding(max_tokens=tokens + 1)
            request = ThoughtRequest(prompts[number], decoding, number, samples=1, streamed=False)
            async for _ in backend._engine.generate(request):
                pass

        await asyncio.gather(*map(generate, range(len(prompts))))

    methods: dict[str, Callable[[], object]] = {
        "request": lambda: backend.think(prompts, Decoding(max_tokens=tokens)),
        "step": lambda: backend._loop.run(longer()),
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for number in range(rounds + 1):
        for name, method in methods.items():
            cpu, wall = _processor_seconds(), time.perf_counter()
            method()
            if number:  # the first round is a warm-up
                spent[name].append((_processor_seconds() - cpu, time.perf_counter() - wall))
    pairs = list(zip(spent["request"], spent["step"], strict=True))
    return {
        "batch": len(prompts),
        "tokens": tokens,
        **{name: statistics.median(cpu for cpu, _ in taken) for name, taken in spent.items()},
        "ratio": statistics.median(request[0] / step[0] for request, step in pairs),
        "wall_ratio": statistics.median(request[1] / step[1] for request, step in pairs),
    }


def _processor_seconds() -> float:
    """Return the processor time of this process and all its living descendants."""
    parents, used = {}, {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pid = int(entry.parent.name)
        parents[pid], used[pid] = int(fields[1]), int(fields[11]) + int(fields[12])
    ours, found = {os.getpid()}, True
    while found:
        found = {pid for pid, parent in parents.items() if parent in ours} - ours
        ours |= found
    return sum(used.get(pid, 0) for pid in ours) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
