"""Points with words, and the expected results of searches, computed by the formulas."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from t1_vectorstore.collection.bm25 import document_terms, query_terms
from t1_vectorstore.types import Hit, Point
from tests.collection.points import point, vector

POINTS = 120
QUERY = vector(9_000)
WORDS = ("river", "export", "climate")
K = 2


def corpus() -> Iterator[Point]:
    """Five chunks per document; all texts have different lengths, so that no two have the same BM25 score."""
    for n in range(POINTS):
        said = [word for bit, word in enumerate(WORDS) if n * 7 % 8 & 1 << bit]
        text = " ".join([*said, *(f"filler{n}x{m}" for m in range(4 * (n % 7 * 20 + n // 7)))])
        metadata = {"n": n, "even": n % 2 == 0}
        yield point(f"chunk {n}", text, metadata, vector(n), document_id=f"document {n % 24}", index=n // 24)


def unit(given: Any) -> Any:
    exact = np.asarray(given, dtype=np.float64)
    return exact / np.linalg.norm(exact)


def cosine(chunk_id: str, query: Any = QUERY) -> float:
    return float(unit(vector(int(chunk_id.split()[1]))) @ unit(query))


def ids(hits: list[Hit]) -> list[str]:
    return [hit.id for hit in hits]


def nearest() -> list[str]:
    return sorted((f"chunk {n}" for n in range(POINTS)), key=lambda chunk: -cosine(chunk))


def bm25(text: str) -> list[str]:
    """Return the chunks that match a text, best first, by the formula of BM25."""
    terms = query_terms(text)
    assert terms is not None
    stored = {p.chunk.id: document_terms(p.chunk.text) for p in corpus()}
    weights = {
        chunk: dict(zip(found.indices, found.values, strict=True)) if found else {} for chunk, found in stored.items()
    }
    scores: dict[str, float] = defaultdict(float)
    for term in terms.indices:
        having = [chunk for chunk, weight in weights.items() if term in weight]
        rarity = math.log(1 + (POINTS - len(having) + 0.5) / (len(having) + 0.5))
        for chunk in having:
            scores[chunk] += rarity * weights[chunk][term]
    return sorted(scores, key=lambda chunk: -scores[chunk])


def fused(text: str, depth: int, share: float = 0.5) -> list[str]:
    """Return the chunks by the formula of weighted reciprocal rank fusion."""
    scores: dict[str, float] = defaultdict(float)
    for weight, ranking in ((2 * share, nearest()[:depth]), (2 - 2 * share, bm25(text)[:depth])):
        for place, chunk in enumerate(ranking, 1):
            scores[chunk] += 1 / (K - 1 + place / weight)
    return sorted(scores, key=lambda chunk: (-round(scores[chunk], 6), chunk))
