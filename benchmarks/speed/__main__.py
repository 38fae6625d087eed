"""Measure the speed of the model, and write the tables of ``benchmarks/README.md``.

    python -m benchmarks.speed                 measure everything; make bench also installs the other libraries
    python -m benchmarks.speed --quick         measure a part in a few minutes, and only print the results
    python -m benchmarks.speed --plan          print what would be measured, and how long it took last time
    python -m benchmarks.speed --render        only write the tables, from the stored results

A library that is not installed is skipped, and the tables say so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.speed import plan, sections, tables, use

SECTIONS: dict[str, Callable[[Path, argparse.Namespace], list[dict[str, Any]]]] = {
    "documents": sections.documents,
    "thoughts": sections.thoughts,
    "memory": use.memory,
    "search": use.search,
    "accelerator": sections.accelerator,
}

RESULTS = Path(__file__).parents[1] / "results" / "speed.json"
README = Path(__file__).parents[1] / "README.md"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["t1-mini", "46M", "300M"], choices=list(plan.PLAN))
    parser.add_argument("--sections", nargs="+", default=list(SECTIONS), choices=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-tokens", type=int, default=1_000_000)
    parser.add_argument("--without", nargs="+", default=[], help="contenders to skip, such as vllm-pooling")
    parser.add_argument("--quick", action="store_true", help="a quarter of the documents, one round; print only")
    parser.add_argument("--plan", action="store_true", help="print what would be measured")
    parser.add_argument("--render", action="store_true", help="write the README's tables from the results")
    options = parser.parse_args()
    options.share = 4 if options.quick else 1
    if options.quick:
        options.rounds, options.memory_tokens = 1, 20_000
    last = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    if options.plan:
        sys.stdout.write(plan.describe(options.models, options.sections, options.rounds, last) + "\n")
        return
    if not options.render:
        results = measure(options)
        if options.quick:
            sys.stdout.write(json.dumps(results, indent=1) + "\n" + "\n\n".join(tables.render(results).values()) + "\n")
            return
        # Sections that were not measured keep their results.
        last |= results | {"seconds": last.get("seconds", {}) | results["seconds"]}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(last, indent=1) + "\n", encoding="utf-8")
    README.write_text(tables.insert(README.read_text(encoding="utf-8"), tables.render(last)), encoding="utf-8")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the rows of each selected section, and the seconds that it took."""
    results: dict[str, Any] = {"machine": machine(options.threads), "rounds": options.rounds, "seconds": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.sections:
            started = time.perf_counter()
            results[name] = SECTIONS[name](Path(folder), options)
            results["seconds"][name] = round(time.perf_counter() - started, 1)
            sys.stderr.write(f"{name}: {results['seconds'][name]:.0f} s\n")
    return results


def machine(threads: int) -> dict[str, Any]:
    """Describe the machine."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    cores = len(os.sched_getaffinity(0))
    return {"cpu": names[0] if names else platform.processor(), "cores": cores, "threads": threads}


if __name__ == "__main__":
    main()
