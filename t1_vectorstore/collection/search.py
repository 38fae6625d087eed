"""One search, expressed as the engine queries that it needs.

``find_hits`` is a generator: it yields a query and is sent the engine's answer. The same steps therefore serve
synchronous and asynchronous callers. A search narrows its hits in a fixed order:

1. Candidates: nearest by vector, or a fusion of the nearest by vector and the nearest by words. The engine fuses them,
   unless one of the two has more weight.
2. Hits whose cosine similarity reaches ``score_threshold``.
3. With ``group``: the best hit of each document.
4. With ``diversity``: a choice by maximal marginal relevance.
5. ``limit`` hits, after the first ``offset``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from t1_vectorstore.collection.fusion import fuse
from t1_vectorstore.collection.payload import to_hit
from t1_vectorstore.engines import DOCUMENT_PATH, FilterJSON, Nearest, Schema, Scored, Sparse
from t1_vectorstore.engines.ids import point_id
from t1_vectorstore.options import MAX_CANDIDATES, VectorSearchOptions
from t1_vectorstore.types import Hit, Vector

SearchSteps: TypeAlias = Generator[Nearest, list[Scored], list[Hit]]
_MIN_CANDIDATES = 50
_EXTRA_FOR_TIES = 10


@dataclass(frozen=True, slots=True)
class Search:
    """A search whose options were checked and translated for the engine.

    Attributes:
        options: The caller's options.
        vector: Query vector of unit length.
        filter: The compiled ``options.filter``.
        sparse: The terms of ``options.text``.
    """

    options: VectorSearchOptions
    vector: Vector
    filter: FilterJSON | None
    sparse: Sparse | None

    @property
    def wanted(self) -> int:
        """Number of hits to find, including those that ``offset`` skips."""
        return self.options.limit + self.options.offset

    @property
    def pool(self) -> int:
        """Number of candidates for a fusion or a diverse choice; at least ``wanted``."""
        default = min(max(4 * self.wanted, _MIN_CANDIDATES), MAX_CANDIDATES)
        return max(self.wanted, self.options.candidates or default)

    @property
    def enough(self) -> int:
        """Number of hits that the last step needs: all candidates if it chooses among them."""
        return self.wanted if self.options.diversity is None else self.pool


def run(steps: SearchSteps, nearest: Callable[[Nearest], list[Scored]]) -> list[Hit]:
    """Answer the queries of a search one after the other, and return its hits."""
    try:
        query = next(steps)
        while True:
            query = steps.send(nearest(query))
    except StopIteration as end:
        hits: list[Hit] = end.value
        return hits


async def arun(steps: SearchSteps, nearest: Callable[[Nearest], Awaitable[list[Scored]]]) -> list[Hit]:
    """``run`` for an engine whose answers are awaited."""
    try:
        query = next(steps)
        while True:
            query = steps.send(await nearest(query))
    except StopIteration as end:
        hits: list[Hit] = end.value
        return hits


def find_hits(search: Search, schema: Schema) -> SearchSteps:
    """Yield the queries of a search, and return its hits, best first."""
    options = search.options
    query = Nearest(search.vector, search.pool, filter=search.filter)
    if search.sparse is not None:
        query = replace(query, sparse=search.sparse, fusion=options.fusion, candidates=search.pool)
    elif not options.group and options.diversity is None:
        # By vector alone, the engine does everything, and skips the first hits without reading them.
        query = replace(query, limit=options.limit, offset=options.offset)
        return _above_threshold(search, _sorted_hits((yield query), query, schema))
    elif not options.group and options.score_threshold is None:
        hits = yield from _choose_diverse(search, search.filter, search.pool, schema)
        return hits[options.offset :]

    # Steps 1 to 3: candidates, threshold, groups.
    if options.group:
        hits = yield from _best_of_each_document(search, query, schema)
    else:
        found = yield from _candidates(search, _with_enough_rows(search, query), schema)
        hits = _above_threshold(search, found)[: search.enough]

    # Step 4: a diverse choice among exactly these hits.
    if options.diversity is not None and hits:
        among_hits = {"must": [{"has_id": [point_id(hit.id) for hit in hits]}]}
        hits = yield from _choose_diverse(search, among_hits, len(hits), schema)

    # Step 5: the requested page.
    return hits[options.offset : search.wanted]


def _candidates(search: Search, query: Nearest, schema: Schema) -> SearchSteps:
    """Return the hits of a query, best first; a weighted fusion needs one query for each ranking."""
    weight = search.options.vector_weight
    if query.sparse is None or weight is None:
        return _sorted_hits((yield query), query, schema)
    by_vector = replace(query, sparse=None, limit=search.pool)
    by_terms = replace(query, fusion=None, limit=search.pool)
    rankings = []
    for share, ranking in ((weight, by_vector), (1 - weight, by_terms)):
        if share > 0:
            rankings.append((share, _sorted_hits((yield ranking), ranking, schema)))
    return fuse(rankings)


def _with_enough_rows(search: Search, query: Nearest) -> Nearest:
    """Return the query with a limit that leaves the later steps enough rows.

    Fused ranks tie often: first in one ranking scores as much as third in both. With some extra rows the cut between
    equal hits is the same on every engine.
    """
    if query.sparse is None:
        return query
    if search.options.score_threshold is not None:  # the threshold is a cosine, and a fusion is not sorted by it
        return replace(query, limit=2 * search.pool)
    return replace(query, limit=search.enough + _EXTRA_FOR_TIES)


def _best_of_each_document(search: Search, query: Nearest, schema: Schema) -> SearchSteps:
    """Return the best hit of each document, until there are enough.

    Each further query excludes the documents already found, so a document of many chunks costs one query and hides no
    other document.
    """
    best: dict[str, Hit] = {}
    if query.sparse is not None:
        query = replace(query, limit=2 * search.pool)
    while True:
        found = yield from _candidates(search, replace(query, filter=_excluding(best, search.filter)), schema)
        known = len(best)
        for hit in _above_threshold(search, found):
            best.setdefault(hit.document_id, hit)
        if len(best) >= search.enough or len(best) == known or len(found) < search.pool:
            return list(best.values())[: search.enough]


def _excluding(found: dict[str, Hit], filter: FilterJSON | None) -> FilterJSON | None:
    """Return the filter without some documents; a point of another package is a document by its own id."""
    if not found:
        return filter
    by_document = {"key": DOCUMENT_PATH, "match": {"any": list(found)}}
    by_id = {"has_id": [point_id(hit.id) for document_id, hit in found.items() if hit.id == document_id]}
    excluded = {"must_not": [by_document, by_id]}
    return excluded if filter is None else {"must": [filter], **excluded}


def _choose_diverse(search: Search, filter: FilterJSON | None, candidates: int, schema: Schema) -> SearchSteps:
    """Return hits near the query and unlike each other, chosen among the nearest, in the order of choice."""
    limit = min(search.wanted, candidates)
    diversity = search.options.diversity
    query = Nearest(search.vector, limit, filter=filter, diversity=diversity, candidates=candidates)
    return [to_hit(score, row, schema) for score, row in (yield query)]


def _sorted_hits(found: list[Scored], query: Nearest, schema: Schema) -> list[Hit]:
    """Return hits sorted by score, equal ones by id. A fused score decides the order; the hit shows its cosine."""
    if query.sparse is None:
        hits = [to_hit(score, row, schema) for score, row in found]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))
    fused = [(round(score, 6), to_hit(_cosine(row.vector, query.vector), row, schema)) for score, row in found]
    return [hit for _, hit in sorted(fused, key=lambda pair: (-pair[0], pair[1].id))]


def _above_threshold(search: Search, hits: list[Hit]) -> list[Hit]:
    threshold = search.options.score_threshold
    return hits if threshold is None else [hit for hit in hits if hit.score >= threshold]


def _cosine(stored: Vector | None, query: Vector) -> float:
    """Both vectors have unit length; a point of another package may have none."""
    return 0.0 if stored is None else float(np.dot(stored.astype(np.float64), query.astype(np.float64)))
