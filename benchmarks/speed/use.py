"""Measure two things that users notice: the memory for a large corpus, and the first search of a new process."""

from __future__ import annotations

import argparse
import gzip
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.process import Process
from benchmarks.speed.workload import FACTS, prepare

INDEXED = 2000
SEARCH = """
import sys
from t1_vectorstore.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
IMPORT = """
import contextlib, importlib, sys, time
for name in sys.argv[1:]:
    with contextlib.suppress(ImportError):  # some modules are created at run time
        importlib.import_module(name)
print(time.process_time())  # without the time to end the process
"""


def memory(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the peak memory for embedding a large corpus, beyond the loaded model, on all cores."""
    file = folder / "corpus.json"
    prepare("46M", folder, documents=96).write(file)
    process = Process("t1", file, dtype="bfloat16", threads=len(os.sched_getaffinity(0)))
    about = process.ready()
    answer = process.ask("memory", tokens=options.memory_tokens)
    process.close()
    return [{"model": "46M", "contender": "t1", "dtype": "bfloat16", "version": about["version"]} | answer]


def search(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure ``t1 search`` with t1-mini from the start of the process to its end, and the time of its imports."""
    facts, index = folder / "facts.jsonl", folder / "index"
    lines = gzip.decompress(FACTS.read_bytes()).decode().splitlines()
    lines += [line.replace('{"id": "', '{"id": "again/', 1) for line in lines[: INDEXED - len(lines)]]
    facts.write_text("\n".join(lines) + "\n", encoding="utf-8")
    _run_python(["-c", SEARCH, "index", str(facts), "--to", str(index)])
    query = [
        "-c",
        SEARCH,
        "search",
        str(index),
        "what do the farms of the neighbour of Chad grow",
        "--json",
        "--no-cache",
    ]
    found, loaded = _run_python(query)[2:]
    if "score" not in found:
        raise RuntimeError(f"t1 search found nothing: {found[:300]!r}")
    modules = [name for name in loaded.splitlines()[-1].split() if name != "__main__"]
    rounds = []
    for _ in range(3 * options.rounds):  # more rounds, since they are short
        bare, full = (float(_run_python(["-c", IMPORT, *names])[2]) for names in ([], modules))
        rounds.append((*_run_python(query)[:2], full - bare))
    cpu, wall, imports = (list(column) for column in zip(*rounds, strict=True))
    return [{"contender": "t1", "cpu": cpu, "wall": wall, "imports": imports, "documents": len(lines)}]


def _run_python(arguments: Sequence[str]) -> tuple[float, float, str, str]:
    """Run Python, with cached bytecode as for an installed package; return CPU and wall seconds, and both streams."""
    before, started = os.times(), time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - started, os.times()
    if done.returncode:
        raise RuntimeError(f"{arguments[:4]} failed: {done.stderr[-300:]}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, wall, done.stdout, done.stderr
