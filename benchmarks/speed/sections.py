"""The sections of the benchmark. In each one contenders take turns, and their results are checked."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.speed.plan import DOCUMENTS, PLAN, THOUGHTS
from benchmarks.speed.process import Process, Unavailable
from benchmarks.speed.workload import THOUGHT_TOKENS, Workload, prepare

INSTRUCTION_TOKENS = 448
Row = dict[str, Any]
Jobs = list[tuple[Process, Row]]


def documents(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Measure documents of mixed lengths."""
    rows: list[Row] = []
    for work, file in _workloads(folder, options):
        kinds = [(kind, dtype) for dtype in PLAN[work.model].dtypes for kind in DOCUMENTS]
        with _running(file, kinds, options, rows, model=work.model) as jobs:
            _documents(jobs, work, file, options)
    return rows


def _documents(jobs: Jobs, work: Workload, file: Path, options: argparse.Namespace) -> None:
    for round_ in range(options.rounds + 1):  # the first round is a warm-up
        for process, row in jobs:
            _record(row, lambda p=process: p.ask("documents"), count=round_ > 0)
    truth = _read(file, options, work.documents[:16])
    for process, row in jobs:
        if "skipped" not in row and "vectors" in (arrays := process.arrays()):
            row["cosine"] = float((arrays["vectors"][:16] * truth).sum(1).min())
        row["tokens"] = sum(map(len, work.documents))


def thoughts(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Measure thoughts of 64 tokens in several batch sizes, without and with a long instruction in common."""
    rows: list[Row] = []
    for work, file in _workloads(folder, options):
        part = PLAN[work.model]
        for dtype in part.dtypes if part.batches else ():
            cases = [(f"{batch}", work.queries[:batch]) for batch in part.batches]
            if part.shared and dtype == part.dtypes[0]:
                instruction = (work.queries[0] * INSTRUCTION_TOKENS)[:INSTRUCTION_TOKENS]
                shared = [instruction + query for query in work.queries[:32]]
                cases.append((f"32, same {INSTRUCTION_TOKENS} tokens before", shared))
            started: list[Row] = []
            with _running(file, [(kind, dtype) for kind in THOUGHTS], options, started, model=work.model) as jobs:
                rows += [row for row in started if "skipped" in row]
                for case, prompts in cases:
                    rows += _thoughts(jobs, prompts, case, options)
                rows += [row | {"case": "vector"} for row in _vector_cost(jobs, work, options)]
                _check_thoughts(file, options, jobs, work, rows)
    return rows


def _thoughts(jobs: Jobs, prompts: list[list[int]], case: str, options: argparse.Namespace) -> list[Row]:
    rows = [(process, dict(row) | {"case": case, "cpu": [], "wall": []}) for process, row in jobs]
    rows = [(process, row) for process, row in rows if row["contender"] != "bandwidth" or len(prompts) == 1]
    for round_ in range(options.rounds + 1):
        for process, row in rows:
            ask = {"prompts": prompts, "budget": THOUGHT_TOKENS}
            _record(row, lambda p=process, a=ask: p.ask("thoughts", **a), count=round_ > 0)
            row["tokens"] = len(prompts) * THOUGHT_TOKENS
    return [row for _, row in rows]


def _vector_cost(jobs: Jobs, work: Workload, options: argparse.Namespace) -> Iterator[Row]:
    """Measure what a vector costs, in each round, after a warm-up."""
    for process, row in jobs:
        if row["contender"] != "t1":
            continue
        found: dict[str, list[float]] = {"closed": [], "cut": []}
        for _, (end, steps) in itertools.product(range(options.rounds + 1), found.items()):
            asked = {"prompts": work.queries[:8], "tokens": THOUGHT_TOKENS, "closed": end == "closed"}
            steps.append(process.ask("vector", **asked)["steps"])
        yield dict(row) | {end: steps[1:] for end, steps in found.items()} | {"cpu": [], "wall": []}


def _check_thoughts(file: Path, options: argparse.Namespace, jobs: Jobs, work: Workload, rows: list[Row]) -> None:
    """Compare the vectors with reference vectors of the same thoughts, and the tokens with the likeliest ones."""
    slow = Process("transformers", file, dtype="float32", threads=options.threads)
    slow.ready()
    for process, row in jobs:
        if row["contender"] == "bandwidth" or "skipped" in row:
            continue
        process.ask("thoughts", prompts=work.queries[:8], budget=THOUGHT_TOKENS)
        made = process.arrays()
        ids = made["ids"].tolist()
        found: dict[str, Any] = {"regret": slow.ask("regret", prompts=work.queries[:8], thoughts=ids)["regret"]}
        found["full"] = bool((made["ids"] >= 0).all())
        if "vectors" in made:
            slow.ask("read", prompts=[[*q, *t, work.emb_id] for q, t in zip(work.queries, ids, strict=False)])
            found["cosine"] = float((made["vectors"] * slow.arrays()["vectors"]).sum(1).min())
        same = {key: row[key] for key in ("model", "contender", "dtype")}
        for other in rows:
            if same.items() <= other.items():
                other.update(found)
    slow.close()


def accelerator(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Measure the size of the real model on a GPU: documents, and thoughts of 64 queries."""
    import torch

    if not torch.cuda.is_available():
        return [{"skipped": "this machine has no GPU"}]
    rows: list[Row] = []
    options = argparse.Namespace(**vars(options) | {"models": ["4B"], "device": "cuda", "share": 1})
    for work, file in _workloads(folder, options):
        with _running(file, [("t1", "bfloat16"), ("gemm", "bfloat16")], options, rows, model="4B") as jobs:
            _documents(jobs, work, file, options)
            rows += _thoughts(
                [job for job in jobs if job[1]["contender"] == "t1"], work.queries, "64 thoughts", options
            )
    return [{"case": "documents", "about": torch.cuda.get_device_name()} | row for row in rows]


def _workloads(folder: Path, options: argparse.Namespace) -> Iterator[tuple[Workload, Path]]:
    for model in options.models:
        file = folder / f"{model}.json"
        if not file.is_file():
            prepare(model, folder, documents=PLAN[model].documents // options.share).write(file)
        yield Workload.read(file), file


@contextmanager
def _running(
    file: Path, kinds: Sequence[tuple[str, str]], options: argparse.Namespace, rows: list[Row], *, model: str
) -> Iterator[Jobs]:
    """Start a process and a row for each contender. One that cannot run here has only the row."""
    jobs: Jobs = []
    started: Jobs = []
    device = getattr(options, "device", "cpu")
    for kind, dtype in ((kind, dtype) for kind, dtype in kinds if kind not in options.without):
        row: Row = {"model": model, "contender": kind, "dtype": dtype, "cpu": [], "wall": []}
        rows.append(row)
        started.append((Process(kind, file, dtype=dtype, threads=options.threads, device=device), row))
    for process, row in started:
        try:
            row["version"] = process.ready()["version"]
        except Unavailable as reason:
            row["skipped"] = str(reason)
            continue
        jobs.append((process, row))
    try:
        yield jobs
    finally:
        for process, _ in jobs:
            process.close()


def _read(file: Path, options: argparse.Namespace, prompts: Sequence[Sequence[int]]) -> Any:  # noqa: ANN401
    device = getattr(options, "device", "cpu")
    process = Process("transformers", file, dtype="float32", threads=options.threads, device=device)
    process.ready()
    process.ask("read", prompts=prompts)
    process.close()
    return process.arrays()["vectors"]


def _record(row: Row, ask: Callable[[], Row], *, count: bool) -> None:
    """Run one round. A contender that fails is skipped from then on, and its row says why."""
    if "skipped" in row:
        return
    try:
        answer = ask()
    except Unavailable as reason:
        row["skipped"] = str(reason)
        return
    for key in ("cpu", "wall") if count else ():
        row[key].append(answer.pop(key))
    row |= {key: value for key, value in answer.items() if key not in ("cpu", "wall")}
