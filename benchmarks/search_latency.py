"""The speed of a collection's searches without the model, and the cost of verifying its writes.

    python benchmarks/search_latency.py [--points 20000] [--dimension 384] [--url http://localhost:6333]

The embedded engine is compared with qdrant-client's local mode in the same run. Absolute times depend on the machine;
compare the ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from t1_vectorstore.collection import Collection
from t1_vectorstore.types import Chunk, ModelIdentity, Point

TOPICS = ("exports", "climate", "terrain", "government", "economy", "population", "languages", "coastline")


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument(
        "--url", help="also measure the Qdrant server at this URL; a collection is created there and deleted"
    )
    options = parser.parse_args(argv)
    warnings.filterwarnings("ignore", "Local mode is not recommended")

    vectors = clustered(options.points + options.queries, options.dimension)
    stored, queries = vectors[: options.points], vectors[options.points :]
    identity = ModelIdentity("benchmark", "0" * 64, options.dimension)
    print(f"{options.points:,} x {options.dimension}, p50 of {options.queries} searches, limit 10, in ms\n")
    print("| engine | search | filtered | load, points/s | verification / write |\n|---|---|---|---|---|")
    medians = {}
    with tempfile.TemporaryDirectory() as folder:
        places = {"embedded": f"{folder}/index", "local mode": ":memory:"}
        if options.url:
            places["server"] = options.url
        for name, location in places.items():
            collection_name = f"t1-benchmark-{uuid.uuid4().hex}"
            with Collection.open(location, name=collection_name, identity=identity) as collection:
                rate, verification = load(collection, stored)
                search = p50(lambda query, c=collection: c.search(query), queries)  # type: ignore[misc]
                few = p50(lambda query, c=collection: c.search(query, filter={"topic": TOPICS[3]}), queries[:20])  # type: ignore[misc]
                medians[name] = search, few
                print(f"| {name} | {search:.2f} | {few:.2f} | {rate:,.0f} | {verification:.2f} |")
            if options.url == location:
                remove(location, collection_name)
    ratio, filtered = (slow / fast for slow, fast in zip(medians["local mode"], medians["embedded"], strict=True))
    print(f"\nlocal mode / embedded: {ratio:.0f} x, filtered {filtered:.0f} x")


def clustered(count: int, dimension: int) -> npt.NDArray[np.float32]:
    """Return random vectors around a hundred centres, like those of texts about a hundred topics."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((100, dimension), dtype=np.float32)
    noise = random.standard_normal((count, dimension), dtype=np.float32)
    drawn: npt.NDArray[np.float32] = centres[random.integers(0, 100, count)] + 0.7 * noise
    return drawn


def points(vectors: npt.NDArray[np.float32]) -> Iterator[Point]:
    """Yield points with texts of about 500 characters and a little metadata."""
    for number, vector in enumerate(vectors):
        topic = TOPICS[number % len(TOPICS)]
        text = f"Document {number} on {topic}. " + " ".join(TOPICS[(number + k) % len(TOPICS)] for k in range(50))
        metadata = {"topic": topic, "number": number}
        yield Point(Chunk(f"document {number}", f"document {number}", text, 0, len(text), metadata=metadata), vector)


def load(collection: Collection, vectors: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return the points per second, and the engine's seconds of reading per second of writing."""
    engine = collection._engine
    seconds = {"read": 0.0, "write": 0.0}

    def measure(name: str) -> None:
        method = getattr(engine, name)

        def measured(*arguments: object, **named: object) -> object:
            started = time.perf_counter()
            try:
                return method(*arguments, **named)
            finally:
                seconds[name] += time.perf_counter() - started

        setattr(engine, name, measured)

    measure("read")
    measure("write")
    started = time.perf_counter()
    stored = collection.upsert(points(vectors))
    return stored / (time.perf_counter() - started), seconds["read"] / seconds["write"]


def p50(call: Callable[[npt.NDArray[np.float32]], object], queries: npt.NDArray[np.float32]) -> float:
    """Return the median time of a call in milliseconds, after five calls to warm up."""
    times = []
    for query in (*queries[:5], *queries):
        started = time.perf_counter()
        call(query)
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times[5:])


def remove(url: str, name: str) -> None:
    """Delete the benchmark's collection."""
    from qdrant_client import QdrantClient

    client = QdrantClient(url=url, check_compatibility=False)
    client.delete_collection(name)
    client.close()


if __name__ == "__main__":
    main()
