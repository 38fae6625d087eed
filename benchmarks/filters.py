"""The cost of a filter with a long list of numbers, against one with as many strings.

Each engine stores points with a number and a string, and searches with ``in`` and ``not_in`` of 1,000 values, of which
half are stored. Strings and numbers take turns in rounds; the ratio is the median of the rounds' own ratios.

    python -m benchmarks.filters                            embedded, memory
    python -m benchmarks.filters --server                   also the pinned server of the tests
    python -m benchmarks.filters --url http://localhost:6333
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import QdrantClient

from t1_vectorstore.collection import Collection
from t1_vectorstore.types import Chunk, IndexKind, ModelIdentity, Point, Vectors

RESULTS = Path(__file__).with_name("results") / "filters.json"
TARGET = 2.0
DIMENSION = 32


def main() -> None:
    """Measure, print a table, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=5_000)
    parser.add_argument("--values", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--url", help="URL of a server; a collection is created there and deleted")
    parser.add_argument("--server", action="store_true", help="start the pinned server of the tests")
    options = parser.parse_args()
    rows = []
    with ExitStack() as stack:
        places = {"embedded": stack.enter_context(tempfile.TemporaryDirectory()), "memory": ":memory:"}
        url = stack.enter_context(_test_server()) if options.server else options.url
        if url:
            places["server"] = url
        for engine, location in places.items():
            for indexed in (False, True):
                if indexed and engine == "memory":  # it has no indexes
                    continue
                rows += _measure(engine, location, options.points, options.values, options.rounds, indexed=indexed)
    sys.stdout.write(f"{table(rows)}\n")
    result = {"points": options.points, "values": options.values, "rounds": options.rounds, "rows": rows}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def table(rows: list[dict[str, Any]]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| engine | index | filter | strings, ms | integers, ms | integers / strings | floats / strings |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ms = {kind: 1000 * statistics.median(row["seconds"][kind]) for kind in row["seconds"]}
        lines.append(
            f"| {row['engine']} | {'yes' if row['indexed'] else 'no'} | `{row['operator']}` | {ms['strings']:.1f} | "
            f"{ms['integers']:.1f} | {ratio(row, 'integers'):.2f} | {ratio(row, 'floats'):.2f} |"
        )
    worst = max(ratio(row, "integers") for row in rows)
    return "\n".join([*lines, "", f"Worst ratio of integers: {worst:.2f}; target: at most {TARGET}."])


def ratio(row: dict[str, Any], kind: str) -> float:
    """Return the median of the rounds' ratios to strings."""
    pairs = zip(row["seconds"][kind], row["seconds"]["strings"], strict=True)
    return statistics.median(seconds / strings for seconds, strings in pairs)


def _measure(
    engine: str, location: str, points: int, values: int, rounds: int, *, indexed: bool
) -> Iterator[dict[str, Any]]:
    draw = random.Random(0)
    ids = draw.sample(range(20 * points), points)
    wanted = draw.sample(ids, values // 2) + draw.sample(range(20 * points), values - values // 2)
    indexes: dict[str, IndexKind] = {"integers": "integer", "floats": "float", "strings": "keyword"} if indexed else {}
    name = f"t1-benchmark-{uuid.uuid4().hex}"
    place = f"{location}/{name}" if engine == "embedded" else location
    lists = {
        "strings": [f"id {number}" for number in wanted],
        "integers": wanted,
        "floats": [float(number) for number in wanted],
    }
    vectors = np.random.default_rng(0).standard_normal((points + 1, DIMENSION)).astype(np.float32)
    with Collection.open(
        place, name=name, identity=ModelIdentity("benchmark", "0" * 64, DIMENSION), indexes=indexes
    ) as collection:
        collection.upsert(_points(ids, vectors))
        for operator in ("in", "not_in"):
            seconds: dict[str, list[float]] = {kind: [] for kind in lists}
            expected = len(set(ids) & set(wanted))
            for kind, given in lists.items():
                found = collection.count({kind: {operator: given}})
                assert found == (expected if operator == "in" else points - expected)
            for _ in range(rounds):
                for kind, given in lists.items():
                    start = time.perf_counter()
                    collection.search(vectors[points], limit=10, filter={kind: {operator: given}})
                    seconds[kind].append(round(time.perf_counter() - start, 6))
            yield {"engine": engine, "indexed": indexed, "operator": operator, "seconds": seconds}
    if engine == "server":
        client = QdrantClient(location, check_compatibility=False)
        client.delete_collection(name)
        client.close()


def _points(ids: list[int], vectors: Vectors) -> Iterator[Point]:
    for n, number in enumerate(ids):
        metadata = {"integers": number, "floats": float(number), "strings": f"id {number}"}
        yield Point(Chunk(f"chunk {n}", f"chunk {n}", "text", 0, 4, 0, metadata), vectors[n])


@contextmanager
def _test_server() -> Iterator[str]:
    from tests.collection.qdrant_binary import fetch
    from tests.collection.qdrant_server import running_server

    with running_server(fetch()) as server:
        yield server.url


if __name__ == "__main__":
    main()
