"""Compare the time of a load with its most expensive part: reading, splitting and looking up should add little.

Each round measures, one after the other in this process: the model alone (chunks in memory), the upload alone (vectors
in memory), a load of the same documents from a JSON Lines file, and a rerun of that load on the unchanged corpus.

    python -m benchmarks.load_overlap                            t1-mini, into a folder
    python -m benchmarks.load_overlap --server                   into the pinned server of the tests
    python -m benchmarks.load_overlap --model 46M --to http://127.0.0.1:6333
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from t1_vectorstore import T1Embedder
from t1_vectorstore.cli.demo import CORPUS
from t1_vectorstore.collection import Collection
from t1_vectorstore.indexing import BATCH_CHUNKS, LoadReport, chunker_for, load
from t1_vectorstore.readers import read, read_jsonl
from t1_vectorstore.types import Point

TARGET_LOAD, TARGET_RERUN = 1.10, 0.05


def main() -> None:
    """Measure, and print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="t1-mini", help="model for T1Embedder.load, or 46M for random weights")
    parser.add_argument("--to", help="URL of a server; default: a new folder each time")
    parser.add_argument("--server", action="store_true", help="start the pinned server of the tests")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        where = stack.enter_context(_test_server()) if options.server else options.to
        corpus = write_corpus(folder / "corpus.jsonl", options.documents)
        bench = Bench(_embedder(options.model, folder), corpus, where or str(folder))
        rounds = [bench.round() for _ in range(options.rounds)]
        result = {
            "model": options.model,
            "engine": bench.engine,
            "documents": options.documents,
            "chunks": len(bench.chunks),
            "rounds": rounds,
            "ratios": _ratios(rounds),
        }
    sys.stdout.write(f"{table(result)}\n\n{json.dumps(result)}\n")


class Bench:
    """The measurements with one model, one corpus and one location."""

    def __init__(self, embedder: T1Embedder, corpus: Path, where: str) -> None:
        """Split the corpus and encode it once, which also warms up the model."""
        self._embedder = embedder
        self._corpus = corpus
        self._where = where
        self._made = 0
        chunker = chunker_for(embedder)
        self.chunks = [chunk for document in read_jsonl(corpus) for chunk in chunker.split(document)]
        self._points = [Point(*pair) for pair in zip(self.chunks, self._encode(), strict=True)]
        self.engine = ""

    def round(self) -> dict[str, float]:
        """Run one round, and return the seconds of each measurement."""
        encode = _seconds(self._encode)
        with self._collection() as collection:
            upload = _seconds(lambda: self._upload(collection))
        with self._collection() as collection:
            whole = _seconds(lambda: self._load(collection, encoded=len(self.chunks)))
            rerun = _seconds(lambda: self._load(collection, encoded=0))
        return {"encode": encode, "upload": upload, "load": whole, "rerun": rerun}

    def _encode(self) -> list[Any]:
        vectors: list[Any] = []
        for batch in _batches(self.chunks):
            vectors.extend(self._embedder.embed_documents([chunk.text for chunk in batch]).vectors)
        return vectors

    def _upload(self, collection: Collection) -> None:
        with collection.bulk():
            for batch in _batches(self._points):
                collection.upsert(batch)
        _require(collection.count() == len(self._points), "points are missing")

    def _load(self, collection: Collection, *, encoded: int) -> None:
        with collection.bulk():
            report: LoadReport = load(partial(read, self._corpus), self._embedder, collection)
        _require(report.complete and report.encoded == encoded, f"not the load to be measured: {report}")
        _require(collection.count() == len(self.chunks), "points are missing")

    @contextmanager
    def _collection(self) -> Iterator[Collection]:
        """Create a new collection each time."""
        self._made += 1
        place = self._where if self._where.startswith("http") else f"{self._where}/{self._made}"
        name = f"bench-{random.SystemRandom().getrandbits(48):x}"
        with Collection.open(place, name=name, identity=self._embedder.identity) as collection:
            self.engine = collection.engine
            yield collection


def write_corpus(file: Path, documents: int) -> Path:
    """Write documents of one to ten sentences from the demo corpus, the same each time."""
    sentences = [document.text for document in read_jsonl(CORPUS)]
    draw = random.Random(0)
    with file.open("w", encoding="utf-8") as lines:
        for number in range(documents):
            text = " ".join(draw.choices(sentences, k=draw.randint(1, 10)))
            lines.write(json.dumps({"id": f"document-{number}", "text": text, "metadata": {"number": number}}) + "\n")
    return file


def table(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    names = ("encode", "upload", "load", "rerun")
    medians = {name: statistics.median(one[name] for one in result["rounds"]) for name in names}
    title = f"{result['documents']:,} documents ({result['chunks']:,} chunks), {result['model']}, {result['engine']}"
    lines = [
        f"{title}; medians of {len(result['rounds'])} rounds.",
        "",
        "| | seconds |",
        "|---|---|",
        f"| the model alone | {medians['encode']:.2f} |",
        f"| the upload alone | {medians['upload']:.2f} |",
        f"| the load | {medians['load']:.2f} |",
        f"| the rerun on the unchanged corpus | {medians['rerun']:.2f} |",
        "",
        "| | ratio | target |",
        "|---|---|---|",
        f"| load over the larger of model and upload | {result['ratios']['load']:.3f} | {TARGET_LOAD:.2f} |",
        f"| rerun over load | {result['ratios']['rerun']:.3f} | {TARGET_RERUN:.2f} |",
    ]
    return "\n".join(lines)


def _ratios(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the medians of the ratios within each round."""
    return {
        "load": statistics.median(one["load"] / max(one["encode"], one["upload"]) for one in rounds),
        "rerun": statistics.median(one["rerun"] / one["load"] for one in rounds),
    }


def _embedder(model: str, folder: Path) -> T1Embedder:
    if model == "46M":
        from benchmarks.speed.workload import SHAPES, random_qwen3

        return T1Embedder.load(random_qwen3(folder / "46M", SHAPES["46M"]), truncation="allow")
    return T1Embedder.load(model, truncation="allow")


@contextmanager
def _test_server() -> Iterator[str]:
    from tests.collection.qdrant_binary import fetch
    from tests.collection.qdrant_server import running_server

    with running_server(fetch()) as server:
        yield server.url


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + BATCH_CHUNKS] for start in range(0, len(items), BATCH_CHUNKS))


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SystemExit(message)


if __name__ == "__main__":
    main()
