"""How the memory of a load grows with the corpus: ten times the documents should not take more of it.

Each load runs in a child process with the fake model, from a generator, so that the load itself is what is measured.
Where it goes: ``nowhere`` is a collection that keeps only ids and hashes, in a temporary file, so that nothing of an
engine is counted; ``server`` is the pinned server that the tests use, whose memory is its own; ``folder`` is the
embedded engine, whose own index lies in this process and grows with it.

    python -m benchmarks.load_memory [--small 20000 --large 200000] [--into nowhere server folder]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

TARGET = 1.2
PLACES = ("nowhere", "server", "folder")


def main() -> None:
    """Measure, and print a table and JSON; or be one of the children."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=20_000)
    parser.add_argument("--large", type=int, default=200_000)
    parser.add_argument("--into", nargs="+", choices=PLACES, default=["nowhere"])
    parser.add_argument("--child", nargs=2, metavar=("WHERE", "DOCUMENTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], int(options.child[1]))
        return
    results = [_measure(place, [options.small, options.large]) for place in options.into]
    sys.stdout.write(f"{table(results)}\n\n{json.dumps(results)}\n")


def child(where: str, documents: int) -> None:
    """One load; prints the peak of this process's memory in bytes, before the load and after it."""
    from t1_vectorstore import T1Embedder
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.indexing import load

    embedder = T1Embedder.fake(384)
    with Forgetful(embedder.identity) as warm:  # all is imported, and what the fake model caches is cached
        load(_documents(2_000), embedder, warm)  # type: ignore[arg-type]
    if where == "nowhere":
        collection: Any = Forgetful(embedder.identity)
    else:
        collection = Collection.open(where, name=f"memory-{documents}", identity=embedder.identity)
    before = _peak()
    with collection:
        report = load(_documents(documents), embedder, collection)
        if not (report.complete and report.verified == documents):
            raise SystemExit(f"not the load that was to be measured: {report}")
    sys.stdout.write(json.dumps({"before": before, "peak": _peak(), "seconds": report.seconds}))


def table(results: list[dict[str, Any]]) -> str:
    """The results in Markdown."""
    lines = ["| into | documents | peak, MiB | ratio | target |", "|---|---|---|---|---|"]
    for result in results:
        first = result["loads"][0]["peak"]
        for one in result["loads"]:
            ratio = one["peak"] / first
            target = f"{TARGET:.2f}" if one is not result["loads"][0] else ""
            lines.append(
                f"| {result['into']} | {one['documents']:,} | {one['peak'] / 2**20:.1f} | {ratio:.3f} | {target} |"
            )
    return "\n".join(lines)


class Forgetful:
    """What a load needs of a collection, in constant memory: ids are looked up in a file of hashes."""

    location, name = "nowhere", "nowhere"

    def __init__(self, identity: object) -> None:
        import sqlite3

        self.identity = identity
        self._hashes = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._hashes.execute("PRAGMA journal_mode = OFF")
        self._hashes.execute("CREATE TABLE hashes (id TEXT PRIMARY KEY, hash TEXT) WITHOUT ROWID")
        self._hashes.execute("BEGIN")

    def check(self, chunk: object) -> None:
        """Everything can be stored."""

    def point_states(self, ids: Iterable[str]) -> dict[str, Any]:
        """As of a collection."""
        from t1_vectorstore.collection.collection import PointState

        return {name: PointState(name, content_hash) for name, content_hash in self.content_hashes(ids).items()}

    def chunks_of_documents(self, document_ids: Iterable[str], **_: object) -> None:
        """No index by document."""

    def content_hashes(self, ids: Iterable[str]) -> dict[str, str]:
        """As of a collection."""
        asked = list(ids)
        marks = ",".join("?" * len(asked))
        return dict(self._hashes.execute(f"SELECT id, hash FROM hashes WHERE id IN ({marks})", asked))  # noqa: S608

    def write(self, points: Iterable[Any]) -> int:
        """As of a collection."""
        rows = [(point.chunk.id, point.chunk.content_hash) for point in points]
        self._hashes.executemany("REPLACE INTO hashes VALUES (?, ?)", rows)
        return len(rows)

    def __enter__(self) -> Forgetful:
        return self

    def __exit__(self, *_: object) -> None:
        self._hashes.close()


def _measure(place: str, sizes: list[int]) -> dict[str, Any]:
    with ExitStack() as stack:
        loads = []
        for documents in sizes:
            where = "nowhere"
            if place == "server":
                from tests.collection.qdrant_binary import fetch
                from tests.collection.qdrant_server import running_server

                where = stack.enter_context(running_server(fetch())).url
            elif place == "folder":
                where = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "index")
            command = [sys.executable, "-m", "benchmarks.load_memory", "--child", where, str(documents)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            loads.append({"documents": documents, **json.loads(done.stdout)})
    return {"into": place, "loads": loads}


def _documents(count: int) -> Iterator[Any]:
    """A thousand different texts: the fake model remembers what it has seen."""
    from t1_vectorstore import Document

    return (Document(f"{n % 1000} words of a text", id=f"document-{n}", metadata={"n": n}) for n in range(count))


def _peak() -> int:
    """The most memory this process has had resident, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
