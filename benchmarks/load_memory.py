"""How the memory of a load grows with the corpus: ten times the documents should not need more.

Each load runs in a child process with the fake model and generated documents, so that only the load itself is measured.
``nowhere`` is a collection that keeps only ids and hashes, in a temporary file, so that no engine's memory is included;
``server`` is the pinned server of the tests, whose memory is not in this process; ``folder`` is the embedded engine,
whose index is in this process and grows with the corpus.

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
    """Measure, and print a table and JSON; with ``--child``, run one load."""
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
    """Run one load, and print the peak memory of this process in bytes, before and after it."""
    from t1_vectorstore import T1Embedder
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.indexing import load

    embedder = T1Embedder.fake(384)
    with HashesOnly(embedder.identity) as warm_up:  # imports the modules, and fills the caches of the fake model
        load(_documents(2_000), embedder, warm_up)  # type: ignore[arg-type]
    if where == "nowhere":
        collection: Any = HashesOnly(embedder.identity)
    else:
        collection = Collection.open(where, name=f"memory-{documents}", identity=embedder.identity)
    before = _peak()
    with collection:
        report = load(_documents(documents), embedder, collection)
        if not (report.complete and report.verified == documents):
            raise SystemExit(f"not the load to be measured: {report}")
    sys.stdout.write(json.dumps({"before": before, "peak": _peak(), "seconds": report.seconds}))


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
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


class HashesOnly:
    """The methods of a collection that a load calls, in constant memory: only ids and hashes are kept."""

    location, name = "nowhere", "nowhere"

    def __init__(self, identity: object) -> None:
        from t1_vectorstore.indexing.id_table import IdTable

        self.identity = identity
        self._hashes = IdTable()

    def check_model(self, identity: object) -> None:
        """Accept every model."""

    def check(self, chunk: object) -> None:
        """Accept every chunk."""

    def point_states(self, ids: Iterable[str]) -> dict[str, Any]:
        """Return ids and hashes, like a collection."""
        from t1_vectorstore.collection import PointState

        return {name: PointState(name, content_hash) for name, content_hash in self.content_hashes(ids).items()}

    def chunks_of_documents(self, document_ids: Iterable[str], **_: object) -> None:
        """Return None, like a collection without an index on document ids."""

    def content_hashes(self, ids: Iterable[str]) -> dict[str, str]:
        """Return the hashes of the ids that exist, like a collection."""
        found = {name: self._hashes.get(name) for name in ids}
        return {name: content_hash.hex() for name, content_hash in found.items() if content_hash is not None}

    def write(self, points: Iterable[Any]) -> int:
        """Keep ids and hashes, and return the number of points, like a collection."""
        chunks = [point.chunk for point in points]
        for chunk in chunks:
            self._hashes[chunk.id] = bytes.fromhex(chunk.content_hash)
        return len(chunks)

    def __enter__(self) -> HashesOnly:
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
    """Yield documents with a thousand different texts, since the fake model caches what it has seen."""
    from t1_vectorstore import Document

    return (Document(f"{n % 1000} words of a text", id=f"document-{n}", metadata={"n": n}) for n in range(count))


def _peak() -> int:
    """Return the peak resident memory of this process in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
