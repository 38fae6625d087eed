"""The speed of uploads to a Qdrant server, and the cost of reading each point back.

    python benchmarks/upload.py [--points 100000] [--dimension 384] [--rounds 3] [--url http://localhost:6333]

``Collection.upsert``, with and without ``bulk``, is compared with ``QdrantClient.upload_points(wait=True)`` over REST
and over gRPC. They take turns in one run, each with a new collection on the same server: the tests' pinned binary,
unless a URL is given. The client's uploader gets finished points. The time of ``Collection.upsert`` includes checking,
hashing, writing and reading back. Every count is checked. Absolute figures depend on the machine; compare the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
from qdrant_client import QdrantClient, models

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.search_latency import clustered, points
from t1_vectorstore.collection import Collection
from t1_vectorstore.types import ModelIdentity
from tests.collection.qdrant_binary import fetch
from tests.collection.qdrant_server import running_server

Vectors = npt.NDArray[np.float32]
REST, GRPC = "upload_points, REST", "upload_points, gRPC"
UPSERT, BULK = "Collection.upsert", "Collection.upsert in bulk()"


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--url", help="URL of a server, with gRPC on the next port; collections are created there and deleted"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(argv)
    vectors = clustered(options.points, options.dimension)
    methods: dict[str, Callable[[str, str, Vectors], None]] = {
        REST: lambda url, name, rows: upload_with_client(url, name, rows, grpc=False),
        GRPC: lambda url, name, rows: upload_with_client(url, name, rows, grpc=True),
        UPSERT: lambda url, name, rows: upload_with_collection(url, name, rows, bulk=False),
        BULK: lambda url, name, rows: upload_with_collection(url, name, rows, bulk=True),
    }
    seconds: dict[str, list[float]] = {method: [] for method in methods}
    with ExitStack() as stack:
        url = options.url or stack.enter_context(running_server(fetch())).url
        admin = QdrantClient(url=url, check_compatibility=False)
        stack.callback(admin.close)
        for _ in range(options.rounds):
            for method, upload in methods.items():
                seconds[method].append(time_of(admin, url, upload, vectors))
    rates = {method: options.points / statistics.median(times) for method, times in seconds.items()}
    print(f"{options.points:,} x {options.dimension}, median of {options.rounds} interleaved rounds\n")
    print("| | points/s | over REST | over gRPC |\n|---|---|---|---|")
    for method, rate in rates.items():
        print(f"| {method} | {rate:,.0f} | {rate / rates[REST]:.2f} | {rate / rates[GRPC]:.2f} |")
    if options.json:
        figures = {"points": options.points, "dimension": options.dimension, "seconds": seconds, "rates": rates}
        options.json.write_text(json.dumps(figures, indent=2))


def time_of(admin: QdrantClient, url: str, upload: Callable[[str, str, Vectors], None], vectors: Vectors) -> float:
    """Return the seconds of an upload into a new collection, which is deleted after all points were counted."""
    name = f"t1-benchmark-{uuid.uuid4().hex}"
    try:
        started = time.perf_counter()
        upload(url, name, vectors)
        seconds = time.perf_counter() - started
        if (stored := admin.count(name, exact=True).count) != len(vectors):
            raise SystemExit(f"{stored} of {len(vectors)} points are stored")
        return seconds
    finally:
        admin.delete_collection(name)


def upload_with_client(url: str, name: str, vectors: Vectors, *, grpc: bool) -> None:
    """Use the client's uploader with its defaults, but wait for the points."""
    port = int(url.rsplit(":", 1)[1])
    client = QdrantClient(url=url, grpc_port=port + 1, prefer_grpc=grpc, check_compatibility=False, timeout=60)
    params = models.VectorParams(size=vectors.shape[1], distance=models.Distance.COSINE)
    client.create_collection(name, vectors_config=params)
    client.upload_points(name, client_points(vectors), wait=True)
    client.close()


def client_points(vectors: Vectors) -> Iterator[models.PointStruct]:
    """Yield the same points in the client's form."""
    for number, point in enumerate(points(vectors)):
        payload = {"page_content": point.chunk.text, "metadata": point.chunk.metadata}
        yield models.PointStruct(id=number, vector=point.vector.tolist(), payload=payload)


def upload_with_collection(url: str, name: str, vectors: Vectors, *, bulk: bool) -> None:
    """Use a collection, which checks, writes and reads back each batch."""
    identity = ModelIdentity("benchmark", "0" * 64, vectors.shape[1])
    with Collection.open(url, name=name, identity=identity) as collection, ExitStack() as stack:
        if bulk:
            stack.enter_context(collection.bulk())
        if (stored := collection.upsert(points(vectors))) != len(vectors):
            raise SystemExit(f"{stored} of {len(vectors)} points were reported as stored")


if __name__ == "__main__":
    main()
