"""How fast points get into a Qdrant server, and what it costs to prove each one by reading it back.

    python benchmarks/upload.py [--points 100000] [--dimension 384] [--rounds 3] [--url http://localhost:6333]

``Collection.upsert``, with and without ``bulk``, against ``QdrantClient.upload_points(wait=True)`` over REST and over
gRPC, by turns in one run, each into a new collection of the same server: the tests' pinned binary, unless a URL is
given. The client's own uploader is given finished points; ours checks, hashes, writes and proves each one, and that is
in its time. Every count is verified. Absolute figures are the machine's, ratios are the package's.
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
OURS, BULK = "Collection.upsert", "Collection.upsert in bulk()"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", help="a server, gRPC on the next port; collections are made there and removed")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(argv)
    vectors = clustered(options.points, options.dimension)
    ways: dict[str, Callable[[str, str, Vectors], None]] = {
        REST: lambda url, name, rows: uploader(url, name, rows, grpc=False),
        GRPC: lambda url, name, rows: uploader(url, name, rows, grpc=True),
        OURS: lambda url, name, rows: ours(url, name, rows, bulk=False),
        BULK: lambda url, name, rows: ours(url, name, rows, bulk=True),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with ExitStack() as stack:
        url = options.url or stack.enter_context(running_server(fetch())).url
        admin = QdrantClient(url=url, check_compatibility=False)
        stack.callback(admin.close)
        for _ in range(options.rounds):
            for way, upload in ways.items():
                seconds[way].append(timed(admin, url, upload, vectors))
    rates = {way: options.points / statistics.median(spent) for way, spent in seconds.items()}
    print(f"{options.points:,} x {options.dimension}, median of {options.rounds} rounds by turns\n")
    print("| | points/s | over REST | over gRPC |\n|---|---|---|---|")
    for way, rate in rates.items():
        print(f"| {way} | {rate:,.0f} | {rate / rates[REST]:.2f} | {rate / rates[GRPC]:.2f} |")
    if options.json:
        figures = {"points": options.points, "dimension": options.dimension, "seconds": seconds, "rates": rates}
        options.json.write_text(json.dumps(figures, indent=2))


def timed(admin: QdrantClient, url: str, upload: Callable[[str, str, Vectors], None], vectors: Vectors) -> float:
    """Seconds of an upload into a new collection, which holds every point afterwards and is then removed."""
    name = f"t1-benchmark-{uuid.uuid4().hex}"
    try:
        started = time.perf_counter()
        upload(url, name, vectors)
        spent = time.perf_counter() - started
        if (stored := admin.count(name, exact=True).count) != len(vectors):
            raise SystemExit(f"{stored} of {len(vectors)} points are stored")
        return spent
    finally:
        admin.delete_collection(name)


def uploader(url: str, name: str, vectors: Vectors, *, grpc: bool) -> None:
    """The client's own way, with its own defaults but for waiting."""
    port = int(url.rsplit(":", 1)[1])
    client = QdrantClient(url=url, grpc_port=port + 1, prefer_grpc=grpc, check_compatibility=False, timeout=60)
    params = models.VectorParams(size=vectors.shape[1], distance=models.Distance.COSINE)
    client.create_collection(name, vectors_config=params)
    client.upload_points(name, finished(vectors), wait=True)
    client.close()


def finished(vectors: Vectors) -> Iterator[models.PointStruct]:
    """Points as the client takes them, with the text and the metadata of ours."""
    for number, point in enumerate(points(vectors)):
        payload = {"page_content": point.chunk.text, "metadata": point.chunk.metadata}
        yield models.PointStruct(id=number, vector=point.vector.tolist(), payload=payload)


def ours(url: str, name: str, vectors: Vectors, *, bulk: bool) -> None:
    """Each batch checked, written and read back."""
    identity = ModelIdentity("benchmark", "0" * 64, vectors.shape[1])
    with Collection.open(url, name=name, identity=identity) as collection, ExitStack() as stack:
        if bulk:
            stack.enter_context(collection.bulk())
        if (stored := collection.upsert(points(vectors))) != len(vectors):
            raise SystemExit(f"{stored} of {len(vectors)} points were reported as stored")


if __name__ == "__main__":
    main()
