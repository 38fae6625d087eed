"""The map of a search: query, steps of its thought and hits in two dimensions, by principal components."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from t1_vectorstore.options import EmbedQueryOptions
from t1_vectorstore.server.answers import MapPoint
from t1_vectorstore.types import SearchResult, Vector, Vectors
from t1_vectorstore.vectorstore import T1VectorStore

MAX_STEPS = 12
"""Maximum number of steps of the thought on a map. Each costs a forward pass."""
MAX_HITS = 100
"""Maximum number of hits on a map."""
_LABEL = 80
_SENTENCE_END = re.compile(r"(?<=[.!?;\n])\s+")


@dataclass(frozen=True, slots=True)
class _Place:
    kind: Literal["query", "thought", "hit", "query_without_thinking"]
    label: str
    vector: Vector
    hit: str | None = None


async def draw_map(store: T1VectorStore, result: SearchResult, options: Mapping[str, Any]) -> list[MapPoint]:
    """Return the points of a map.

    The vectors are projected to their first two principal components, a standard view of cosine neighbourhoods. The
    steps of the thought are the query's vectors with the first sentence of its thought, with the first two, and so on.

    Args:
        store: What was searched.
        result: What was found.
        options: The options of the search.
    """
    return await asyncio.to_thread(_draw, store, result, options)


def _draw(store: T1VectorStore, result: SearchResult, options: Mapping[str, Any]) -> list[MapPoint]:
    places = [*_query_places(store, result, options)]
    ids = [hit.id for hit in result.hits[:MAX_HITS]]
    vectors = {point.chunk.id: point.vector for point in store.collection.read_points(ids)}
    places += [_Place("hit", _label(hit.text), vectors[hit.id], hit.id) for hit in result.hits if hit.id in vectors]
    plane = project(np.stack([place.vector for place in places]))
    return [
        MapPoint(kind=place.kind, label=place.label, hit=place.hit, x=round(float(x), 6), y=round(float(y), 6))
        for place, (x, y) in zip(places, plane, strict=True)
    ]


def _query_places(store: T1VectorStore, result: SearchResult, options: Mapping[str, Any]) -> list[_Place]:
    """Return the query with its whole thought, after each step of it, and without it."""
    embedder, query = store.embedder, result.query
    kept = {name: options[name] for name in ("task", "instruction", "refine_steps", "refine") if name in options}
    kept = {name: value for name, value in kept.items() if name in EmbedQueryOptions.model_fields}
    plain = embedder.embed_query(query, think=False, truncation="allow", **kept).vector
    steps = thought_steps(result.thoughts[0].text) if result.thoughts and result.thoughts[0].text else []
    if not steps:
        return [_Place("query", _label(query), plain)]
    given = embedder.embed_queries(
        [query] * len(steps), thoughts=[so_far for _, so_far in steps], think=True, truncation="allow", **kept
    )
    places = [
        _Place("thought", _label(sentence), embedding.vector)
        for (sentence, _), embedding in zip(steps, given, strict=True)
    ]
    return [
        _Place("query", _label(query), places[-1].vector),
        _Place("query_without_thinking", _label(query), plain),
        *places,
    ]


def thought_steps(thought: str) -> list[tuple[str, str]]:
    """Return the steps of a thought, each with the thought up to its end; the last one is the whole thought."""
    sentences = [sentence for sentence in _SENTENCE_END.split(thought) if sentence.strip()]
    per_step = -(-len(sentences) // MAX_STEPS)
    starts = range(0, len(sentences), max(1, per_step))
    return [
        (" ".join(sentences[start : start + per_step]), " ".join(sentences[: start + per_step])) for start in starts
    ]


def project(vectors: Vectors) -> Vectors:
    """Project vectors ``(n, dimension)`` to their first two principal components, ``(n, 2)``, within [-1, 1].

    The sign of each axis is chosen so that its coordinate of largest absolute value is positive, since components have
    none of their own.
    """
    centred = vectors - vectors.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(vectors), 2), np.float32)
    found = centred @ axes[:2].T
    plane[:, : found.shape[1]] = found
    largest = plane[np.abs(plane).argmax(0), [0, 1]]
    plane *= np.where(largest < 0, -1, 1)
    return plane / (np.abs(plane).max() or 1)


def _label(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LABEL else f"{line[: _LABEL - 1].rstrip()}…"
