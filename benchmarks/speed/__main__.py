"""Measure the model's speed, and write the tables of ``benchmarks/README.md``.

    python -m benchmarks.speed                 all of it, in an environment that has the rivals: make bench
    python -m benchmarks.speed --quick         the same path in a few minutes, printed and not written
    python -m benchmarks.speed --render        only the tables again, from the results that lie there

A contender that is not installed is left out, and the tables say so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.speed import sections, tables

RESULTS = Path(__file__).parents[1] / "results" / "speed.json"
README = Path(__file__).parents[1] / "README.md"


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["t1-mini", "46M", "300M"])
    parser.add_argument("--sections", nargs="+", default=list(sections.SECTIONS), choices=list(sections.SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=96)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-tokens", type=int, default=1_000_000)
    parser.add_argument("--without", nargs="+", default=[], help="contenders to leave out, such as vllm-pooling")
    parser.add_argument("--quick", action="store_true", help="t1-mini and 46M, one round, print only")
    parser.add_argument("--render", action="store_true", help="write the README's tables from the results")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.documents, options.memory_tokens = 1, 32, 20_000
        options.models = [model for model in options.models if model != "300M"]
    if not options.render:
        results = {"machine": machine(options.threads), "rounds": options.rounds}
        with tempfile.TemporaryDirectory() as folder:
            for name in options.sections:
                results[name] = sections.SECTIONS[name](Path(folder), options)
        if options.quick:
            sys.stdout.write(json.dumps(results, indent=1) + "\n" + "\n\n".join(tables.render(results).values()) + "\n")
            return
        if RESULTS.is_file():  # a run of some sections keeps the others
            results = json.loads(RESULTS.read_text(encoding="utf-8")) | results
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    README.write_text(tables.insert(README.read_text(encoding="utf-8"), tables.render(results)), encoding="utf-8")


def machine(threads: int) -> dict[str, Any]:
    """Where this runs."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    cores = len(os.sched_getaffinity(0))
    return {"cpu": names[0] if names else platform.processor(), "cores": cores, "threads": threads}


if __name__ == "__main__":
    main()
