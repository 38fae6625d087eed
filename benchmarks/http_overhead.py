"""What HTTP adds to a search: ``/v1/search`` of ``t1 serve`` against ``store.search`` in this process.

    python -m benchmarks.http_overhead [--searches 300] [--think]

Both have the bundled model and an index folder with the same documents. The service runs in a process of its own, with
one client on a connection that is kept open. The two take turns, search by search, so that other work on the machine
meets both. Wall time has all the waiting for a processor that is busy with other work: a request over HTTP waits
several times, since two processes and two threads hand it on. Processor time depends less on other work.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from t1_vectorstore import Document, T1Embedder, T1VectorStore

CITIES = ("Berlin", "Oslo", "Lima", "Paris", "Rome", "Madrid", "Vienna", "Warsaw", "Cairo", "Tokyo")
SERVE = "import sys; from t1_vectorstore.cli import main; sys.argv[0] = 't1'; main()"


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--think", action="store_true", help="with a thought of 20 tokens at most")
    options = parser.parse_args(argv)
    thinking = {"think": True, "budget": 20} if options.think else {"think": False}
    documents = [Document(f"Fact {n} about {CITIES[n % len(CITIES)]}.", str(n)) for n in range(500)]
    queries = [f"fact {n} about {CITIES[n % 7]}" for n in range(options.searches)]
    with tempfile.TemporaryDirectory() as folder, T1Embedder.load() as embedder:
        for name in ("here", "served"):
            with T1VectorStore.open(Path(folder) / name, embedder) as store:
                store.add(documents)
        command = [sys.executable, "-c", SERVE, "serve", f"{folder}/served", "--port", "0"]
        log = Path(folder) / "log"
        with (
            T1VectorStore.open(Path(folder) / "here", embedder) as store,
            log.open("w") as stderr,
            subprocess.Popen(command, stderr=stderr) as process,
        ):
            while not (found := re.search(r"http://\S+", log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            with httpx.Client(base_url=found[0], timeout=60) as client:
                for query in queries[:20]:  # warm up both
                    store.search(query, **thinking)
                    client.post("/v1/search", json={"query": query, **thinking}).raise_for_status()
                here: list[float] = []
                served: list[float] = []
                inside: list[float] = []
                before, cpu_here = _cpu_seconds(process.pid), 0.0
                began_cpu = time.process_time()
                for query in queries:
                    cpu = time.process_time()
                    here.append(_seconds(lambda query=query: store.search(query, **thinking)))  # type: ignore[misc]
                    cpu_here += time.process_time() - cpu
                    began = time.perf_counter()
                    answer = client.post("/v1/search", json={"query": query, **thinking})
                    served.append(time.perf_counter() - began)
                    inside.append(answer.json()["timings"]["total"])
                cpu_client = time.process_time() - began_cpu - cpu_here
                cpu_service = _cpu_seconds(process.pid) - before
                process.terminate()
    count = len(queries)
    outside = [whole - search for whole, search in zip(served, inside, strict=True)]
    print("| a search, ms | p50 of wall time | mean processor time |\n|---|---|---|")
    print(f"| `store.search` in this process | {_p50(here)} | {cpu_here / count * 1000:.2f} |")
    by_both = f"{cpu_service / count * 1000:.2f} + {cpu_client / count * 1000:.2f} (client)"
    print(f"| `/v1/search` | {_p50(served)} | {by_both} |")
    print(f"| `/v1/search` outside of its own search | {_p50(outside)} | |")
    added = (cpu_service + cpu_client - cpu_here) / count
    print(
        f"| added by HTTP | {(statistics.median(served) - statistics.median(here)) * 1000:.2f} | {added * 1000:.2f} |"
    )


def _p50(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.2f}"


def _cpu_seconds(process: int) -> float:
    """Return the processor time of a process (Linux)."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
