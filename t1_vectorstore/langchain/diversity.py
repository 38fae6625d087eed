"""Maximal marginal relevance: hits that are near the query and unlike each other, in the order of their choice."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from langchain_core.vectorstores.utils import maximal_marginal_relevance
from typing_extensions import Unpack

from t1_vectorstore.filters import FilterLike, IdIn
from t1_vectorstore.langchain.options import Thinking
from t1_vectorstore.store import Collection
from t1_vectorstore.types import Hit, SearchResult, Timings, Vector
from t1_vectorstore.vectorstore import T1VectorStore

_CANDIDATES = 20


def search(
    store: T1VectorStore,
    query: str,
    *,
    limit: int,
    offset: int = 0,
    filter: FilterLike | None = None,
    score_threshold: float | None = None,
    diversity: float | None = None,
    candidates: int | None = None,
    **thinking: Unpack[Thinking],
) -> SearchResult:
    """``T1VectorStore.search``, with a choice among the nearest where ``diversity`` is given; see ``nearest``."""
    if diversity is None:
        return store.search(
            query, limit=limit, offset=offset, filter=filter, score_threshold=score_threshold, **thinking
        )
    _check(diversity)
    store.collection.check_search(limit=limit, offset=offset, filter=filter, score_threshold=score_threshold)
    embedding = store.embedder.embed_query(query, **thinking)
    started = time.perf_counter()
    hits = nearest(
        store.collection,
        embedding.vector,
        limit=limit,
        offset=offset,
        filter=filter,
        score_threshold=score_threshold,
        diversity=diversity,
        candidates=candidates,
    )
    timings = Timings(embed=embedding.seconds, search=time.perf_counter() - started)
    return SearchResult(query, tuple(hits), tuple(embedding.thoughts), timings, embedding.truncated)


def nearest(
    collection: Collection,
    vector: Vector | Sequence[float],
    *,
    limit: int,
    offset: int = 0,
    filter: FilterLike | None = None,
    score_threshold: float | None = None,
    diversity: float | None = None,
    candidates: int | None = None,
) -> list[Hit]:
    """``Collection.search``, with a choice among the nearest where ``diversity`` is given.

    Args:
        collection: where to search.
        vector: the query's.
        limit: how many at most.
        offset: how many of the best, or of the chosen, to skip.
        filter: what the metadata must satisfy.
        score_threshold: the lowest cosine similarity.
        diversity: 0 is relevance only, 1 is difference only.
        candidates: the choice is among so many nearest points, and never less than are asked for.

    Raises:
        ValueError: a value that cannot be used.
    """
    if diversity is None:
        return collection.search(vector, limit=limit, offset=offset, filter=filter, score_threshold=score_threshold)
    _check(diversity)
    collection.check_search(limit=limit, offset=offset, filter=filter, score_threshold=score_threshold)
    pool = max(candidates or _CANDIDATES, limit + offset)
    hits = collection.search(vector, limit=pool, filter=filter, score_threshold=score_threshold)
    near = IdIn([hit.id for hit in hits])
    vectors = {point.chunk.id: point.vector for point in collection.scroll(near, with_vectors=True)} if hits else {}
    hits = [hit for hit in hits if hit.id in vectors]  # someone may have deleted one meanwhile
    rows = [vectors[hit.id].tolist() for hit in hits]
    chosen = maximal_marginal_relevance(np.asarray(vector), rows, 1 - diversity, limit + offset)
    return [hits[index] for index in chosen[offset:]]


def _check(diversity: float) -> None:
    if not 0 <= diversity <= 1:
        raise ValueError(f"diversity is in [0, 1], and so is lambda_mult = 1 - diversity; got diversity={diversity!r}")
