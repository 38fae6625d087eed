"""What is measured. Every section runs its contenders by turns, and checks what they computed."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.process import Process, Unavailable
from benchmarks.speed.workload import FACTS, THOUGHT_TOKENS, Workload, prepare

DTYPES = ("bfloat16", "float32")
BATCHES = (32, 8, 1)
INSTRUCTION_TOKENS = 448
Row = dict[str, Any]
Jobs = list[tuple[Process, Row]]


def documents(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Documents of mixed lengths."""
    rows: list[Row] = []
    for work, file in _workloads(folder, options):
        kinds = ("t1", "sentence-transformers", "vllm-pooling", "gemm")
        with _running(file, [(k, d) for d in DTYPES for k in kinds], options, rows, model=work.model) as jobs:
            _documents(jobs, work, file, options)
    return rows


def _documents(jobs: Jobs, work: Workload, file: Path, options: argparse.Namespace) -> None:
    for round_ in range(options.rounds + 1):  # the first is for warming up
        for process, row in jobs:
            _note(row, lambda p=process: p.ask("documents"), count=round_ > 0)
    truth = _read(file, options, work.documents[:16])
    for process, row in jobs:
        if "skipped" not in row and "vectors" in (arrays := process.arrays()):
            row["cosine"] = float((arrays["vectors"][:16] * truth).sum(1).min())
        row["tokens"] = sum(map(len, work.documents))


def thoughts(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Thoughts of 64 tokens at several batch sizes, alone and behind a long instruction that all prompts share."""
    rows: list[Row] = []
    for work, file in _workloads(folder, options):
        if work.model == "t1-mini":
            continue  # it closes its thoughts itself, so that no two contenders would do the same work
        instruction = (work.queries[0] * INSTRUCTION_TOKENS)[:INSTRUCTION_TOKENS]
        cases = [(f"{batch}", work.queries[:batch]) for batch in BATCHES]
        cases.append(
            (f"32, same {INSTRUCTION_TOKENS} tokens before", [instruction + query for query in work.queries[:32]])
        )
        for dtype in DTYPES:
            kinds = [(kind, dtype) for kind in ("t1", "transformers", "vllm-generate", "bandwidth")]
            started: list[Row] = []
            with _running(file, kinds, options, started, model=work.model) as jobs:
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
            _note(row, lambda p=process, a=ask: p.ask("thoughts", **a), count=round_ > 0)
            row["tokens"] = len(prompts) * THOUGHT_TOKENS
    return [row for _, row in rows]


def _vector_cost(jobs: Jobs, work: Workload, options: argparse.Namespace) -> Iterator[Row]:
    """A thought of no tokens is the prompt and the vector; less the prompt alone, in steps of 64."""
    for process, row in jobs:
        if row["contender"] != "t1":
            continue
        steps = []
        for _ in range(options.rounds + 1):
            whole, none = (process.ask("thoughts", prompts=work.queries[:8], budget=n)["cpu"] for n in (64, 0))
            prompt = process.ask("encode", prompts=work.queries[:8])["cpu"]
            steps.append((none - prompt) / ((whole - none) / 64))
        yield dict(row) | {"steps": steps[1:], "cpu": [], "wall": []}


def _check_thoughts(file: Path, options: argparse.Namespace, jobs: Jobs, work: Workload, rows: list[Row]) -> None:
    """The vectors against the slow path's for the same thoughts, and the tokens against the likeliest ones."""
    slow = Process("transformers", file, dtype="float32", threads=options.threads)
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


def memory(folder: Path, options: argparse.Namespace) -> list[Row]:
    """The most that embedding a large corpus takes beyond the loaded model."""
    rows: list[Row] = []
    options = argparse.Namespace(**vars(options) | {"models": [m for m in options.models if m == "46M"]})
    for work, file in _workloads(folder, options):
        with _running(file, [("t1", "bfloat16")], options, rows, model=work.model) as jobs:
            for process, row in jobs:
                row |= process.ask("memory", tokens=options.memory_tokens)
    return rows


def search(folder: Path, options: argparse.Namespace) -> list[Row]:
    """``t1 search`` with t1-mini on 2,000 documents, from the start of its process to its end."""
    facts = folder / "facts.jsonl"
    lines = subprocess.run(["gzip", "-dc", FACTS], capture_output=True, check=True, text=True).stdout.splitlines()
    lines += [line.replace('{"id": "', '{"id": "again/', 1) for line in lines[: 2000 - len(lines)]]
    facts.write_text("\n".join(lines) + "\n", encoding="utf-8")
    t1 = [sys.executable, "-c", "from t1_vectorstore.cli import main; main()"]
    subprocess.run([*t1, "index", str(facts), "--to", str(folder / "index")], check=True, capture_output=True)
    query = [*t1[1:], "search", str(folder / "index"), "what do the farms of the neighbour of Chad grow", "--json"]
    cpu, wall, imports = [], [], []
    for _ in range(options.rounds):
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, *query], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        found = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or b"score" not in found:
            raise RuntimeError(f"t1 search failed: {found[:300]!r}")
        wall.append(time.perf_counter() - started)
        cpu.append(used.ru_utime + used.ru_stime)
        timed = subprocess.run([sys.executable, "-X", "importtime", *query], capture_output=True, text=True, check=True)
        own = [line.split("|")[0] for line in timed.stderr.splitlines() if line.startswith("import time:")]
        imports.append(sum(int(part.split(":")[1]) for part in own[1:]) / 1e6)
    return [{"contender": "t1", "cpu": cpu, "wall": wall, "imports": imports, "documents": len(lines)}]


def accelerator(folder: Path, options: argparse.Namespace) -> list[Row]:
    """The real model's shape on a GPU: documents, and thoughts of 64 queries."""
    import torch

    if not torch.cuda.is_available():
        return [{"skipped": "this machine has no GPU"}]
    rows: list[Row] = []
    options = argparse.Namespace(**vars(options) | {"models": ["4B"], "documents": 2048, "device": "cuda"})
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
            prepare(model, folder, documents=options.documents).write(file)
        yield Workload.read(file), file


@contextmanager
def _running(
    file: Path, kinds: Sequence[tuple[str, str]], options: argparse.Namespace, rows: list[Row], *, model: str
) -> Iterator[Jobs]:
    """A process and a row of results for each contender; one that cannot run here gets only the row."""
    jobs: Jobs = []
    for kind, dtype in ((kind, dtype) for kind, dtype in kinds if kind not in options.without):
        row: Row = {"model": model, "contender": kind, "dtype": dtype, "cpu": [], "wall": []}
        rows.append(row)
        try:
            device = getattr(options, "device", "cpu")
            process = Process(kind, file, dtype=dtype, threads=options.threads, device=device)
        except Unavailable as reason:
            row["skipped"] = str(reason)
            continue
        row["version"] = process.about["version"]
        jobs.append((process, row))
    try:
        yield jobs
    finally:
        for process, _ in jobs:
            process.close()


def _read(file: Path, options: argparse.Namespace, prompts: Sequence[Sequence[int]]) -> Any:  # noqa: ANN401
    device = getattr(options, "device", "cpu")
    process = Process("transformers", file, dtype="float32", threads=options.threads, device=device)
    process.ask("read", prompts=prompts)
    process.close()
    return process.arrays()["vectors"]


def _note(row: Row, ask: Callable[[], Row], *, count: bool) -> None:
    """Do one round; a contender that fails is out of the race, and its row says why."""
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


SECTIONS: dict[str, Callable[[Path, argparse.Namespace], list[Row]]] = {
    "documents": documents,
    "thoughts": thoughts,
    "memory": memory,
    "search": search,
    "accelerator": accelerator,
}


def median(values: Sequence[float]) -> float:
    """The middle of what the rounds gave."""
    return float(np.median(values))
