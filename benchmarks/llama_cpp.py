"""GGUF files on llama.cpp against the local backend on torch: documents, thoughts, memory, and a cold search.

    python -m benchmarks.llama_cpp FOLDER FILE.gguf... [--rounds 3] [--threads 1] [--cold]

``FOLDER`` is a checkpoint, and each file was exported from it. Every contender has its own process and the same number
of threads, and they take turns. Ratios are of processor time, since the machine is shared: the median of
the rounds' own ratios. The folder runs in ``--dtype``, by default the fastest one on this machine. Results go to
``benchmarks/results/llama_cpp_NAME.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results"
COLD = "import sys; from t1_vectorstore.cli import main; sys.argv = ['t1', *{arguments!r}]; main()"


def work(model: str, dtype: str, threads: int) -> None:
    """Be a contender: read tasks from standard input, one a line, and answer with measurements."""
    from t1_vectorstore import T1Embedder
    from t1_vectorstore.checkpoints.checkpoint import Checkpoint
    from t1_vectorstore.embedding.prompts import Prompter
    from t1_vectorstore.options import ModelOptions

    given: dict[str, Any] = {} if model.endswith(".gguf") else {"dtype": dtype}
    options = ModelOptions(model=model, threads=threads, truncation="allow", **given)
    checkpoint = Checkpoint.from_options(options)
    tokenizer = Prompter.load(checkpoint)
    base = _resident()  # Python, its libraries and the tokenizer; the rest are weights, caches and buffers
    embedder = T1Embedder.from_options(options, checkpoint)
    del tokenizer
    for line in sys.stdin:
        task = json.loads(line)
        cpu, wall = time.process_time(), time.perf_counter()
        answer: dict[str, Any] = {}
        if task["kind"] == "documents":
            answer["vectors"] = embedder.embed_documents(task["texts"]).vectors.tolist()
        else:
            found = embedder.embed_queries(task["texts"], budget=task["budget"])
            answer["tokens"] = sum(one.thoughts[0].tokens for one in found)
            answer["vectors"] = [one.vector.tolist() for one in found]
        answer["cpu"], answer["wall"] = time.process_time() - cpu, time.perf_counter() - wall
        answer["resident"] = _resident() - base
        print(json.dumps(answer), flush=True)


def _resident() -> int:
    """Return the bytes of this process in memory, mapped files included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Contender:
    """A model in a process of its own."""

    def __init__(self, name: str, model: str, dtype: str, threads: int) -> None:
        self.name, self.model = name, model
        command = [sys.executable, "-m", "benchmarks.llama_cpp", "--work", model, "--dtype", dtype]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [*command, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, **task: Any) -> dict[str, Any]:  # noqa: ANN401 - what work() reads
        """Send a task, and return the measurements."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(task), file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


def compare(folder: str, files: list[str], *, dtype: str, rounds: int, threads: int, quick: bool) -> dict[str, Any]:
    """Measure all contenders on the same work."""
    documents, queries = _texts()
    budget = 32 if quick else 64
    tasks: dict[str, dict[str, Any]] = {
        "documents": {"kind": "documents", "texts": documents[: 8 if quick else 64]},
        "thoughts, batch 1": {"kind": "thoughts", "texts": queries[:1], "budget": budget},
        "thoughts, batch 8": {"kind": "thoughts", "texts": queries[:8], "budget": budget},
    }
    contenders = [Contender("torch", folder, dtype, threads)]
    contenders += [Contender(Path(file).name, file, dtype, threads) for file in files]
    measured: dict[str, Any] = {one.name: {} for one in contenders}
    for one in contenders:  # loading, and whatever is allocated at first use
        one.ask(kind="documents", texts=documents[:4])
    for name, task in tasks.items():
        answers: dict[str, list[dict[str, Any]]] = {one.name: [] for one in contenders}
        for _ in range(rounds):
            for one in contenders:
                answers[one.name].append(one.ask(**task))
        for one in contenders:
            own, torch = answers[one.name], answers["torch"]
            measured[one.name][name] = {
                "cpu_seconds": round(median(answer["cpu"] for answer in own), 3),
                "wall_seconds": round(min(answer["wall"] for answer in own), 3),
                "ratio": round(median(t["cpu"] / o["cpu"] for o, t in zip(own, torch, strict=True)), 2),
                "cosine_to_torch": round(_least_cosine(own[0]["vectors"], torch[0]["vectors"]), 5),
                "tokens": own[0].get("tokens"),
            }
            measured[one.name]["resident_mb"] = round(own[-1]["resident"] / 1e6)
            if one.model.endswith(".gguf"):
                size = Path(one.model).stat().st_size
                measured[one.name]["file_mb"] = round(size / 1e6)
                measured[one.name]["resident_over_file"] = round(own[-1]["resident"] / size, 2)
    for one in contenders:
        assert one.process.stdin is not None
        one.process.stdin.close()
        one.process.wait()
    return measured


def cold_search(models: list[str], rounds: int) -> dict[str, float]:
    """Return the least processor seconds of ``t1 search`` in a new process, with each model."""
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl"
        corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in _texts()[0][:20]))
        for number, model in enumerate(models):
            index = str(Path(folder) / f"index{number}")
            _cpu_seconds(["index", str(corpus), "--to", index, "--model", model])
            queries = [f"which animal carries {at + 2} loads" for at in range(rounds)]
            found = [_cpu_seconds(["search", index, query, "--no-cache"]) for query in queries]
            seconds[Path(model).name] = round(min(found), 2)
    return seconds


def _cpu_seconds(arguments: list[str]) -> float:
    child = subprocess.Popen([sys.executable, "-c", COLD.format(arguments=arguments)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, arguments
    child.returncode = 0
    return usage.ru_utime + usage.ru_stime


def _texts() -> tuple[list[str], list[str]]:
    """Return the documents and the queries of ``t1 demo``."""
    import gzip

    folder = Path(__file__).parents[1] / "t1_vectorstore" / "cli"
    with gzip.open(folder / "demo_corpus.jsonl.gz", "rt", encoding="utf-8") as stream:
        facts = [json.loads(line)["text"] for line in stream]
    documents = [" ".join(facts[at : at + 6]) for at in range(0, len(facts), 6)]  # about 120 tokens each
    lines = (folder / "demo_queries.jsonl").read_text(encoding="utf-8").splitlines()
    return documents, [json.loads(line)["query"] for line in lines]


def _least_cosine(vectors: list[list[float]], others: list[list[float]]) -> float:
    return min(sum(a * b for a, b in zip(one, other, strict=True)) for one, other in zip(vectors, others, strict=True))


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cold", action="store_true", help="measure cold searches instead")
    parser.add_argument("--work", metavar="MODEL", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, given.dtype, given.threads)
        return
    results: dict[str, Any] = {"machine": platform.processor() or platform.machine(), "threads": given.threads}
    if given.cold:
        results["cold_search_cpu_seconds"] = cold_search([given.folder, *given.files], given.rounds)
    else:
        how = {"dtype": given.dtype, "rounds": given.rounds, "threads": given.threads, "quick": given.quick}
        results["contenders"] = compare(given.folder, given.files, **how)
    text = json.dumps(results, indent=1)
    print(text)
    name = f"llama_cpp_{'cold' if given.cold else Path(given.folder).name}.json"
    (RESULTS / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
