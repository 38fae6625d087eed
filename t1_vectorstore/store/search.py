"""One search as the queries it takes: by vector, with terms, one hit for each document, diverse, in any combination.

``find`` is a generator: it gives a query and is sent its answer, so the same steps serve every way of waiting for one.
What a search finds is narrowed in a fixed order:

1. the candidates: nearest by the vector, or the fusion of those nearest by the vector and those nearest by the terms,
   which the engine fuses, unless one of them is to count for more;
2. those whose cosine similarity reaches the threshold;
3. of each document only its best, where groups are asked for;
4. a choice of these by maximal marginal relevance, where diversity is asked for;
5. ``limit`` of them, after ``offset``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from t1_vectorstore.engines import DOCUMENT_PATH, FilterJSON, Nearest, Schema, Scored, Sparse
from t1_vectorstore.ids import point_id
from t1_vectorstore.store.fusing import fuse
from t1_vectorstore.store.options import MOST_CANDIDATES
from t1_vectorstore.store.payload import to_hit
from t1_vectorstore.types import Fusion, Hit, Vector

Steps: TypeAlias = Generator[Nearest, list[Scored], list[Hit]]
_LEAST_CANDIDATES = 50
_TIES = 10


@dataclass(frozen=True, slots=True)
class Search:
    """What is asked of a collection, checked and translated; see ``Collection.search``."""

    vector: Vector
    limit: int
    offset: int
    score_threshold: float | None
    filter: FilterJSON | None
    sparse: Sparse | None
    fusion: Fusion
    vector_weight: float | None
    diversity: float | None
    candidates: int | None
    group: bool

    @property
    def wanted(self) -> int:
        """How many hits have to be found, those to be skipped among them."""
        return self.limit + self.offset

    @property
    def pool(self) -> int:
        """How many candidates there are to fuse or to choose from; never fewer than are wanted."""
        usual = min(max(4 * self.wanted, _LEAST_CANDIDATES), MOST_CANDIDATES)
        return max(self.wanted, self.candidates or usual)

    @property
    def enough(self) -> int:
        """How many hits the last steps need."""
        return self.wanted if self.diversity is None else self.pool


def run(steps: Steps, nearest: Callable[[Nearest], list[Scored]]) -> list[Hit]:
    """Take the steps, one query after the other."""
    try:
        query = next(steps)
        while True:
            query = steps.send(nearest(query))
    except StopIteration as end:
        hits: list[Hit] = end.value
        return hits


async def arun(steps: Steps, nearest: Callable[[Nearest], Awaitable[list[Scored]]]) -> list[Hit]:
    """``run`` for queries to be awaited."""
    try:
        query = next(steps)
        while True:
            query = steps.send(await nearest(query))
    except StopIteration as end:
        hits: list[Hit] = end.value
        return hits


def find(search: Search, schema: Schema) -> Steps:
    """The steps of a search."""
    query = Nearest(search.vector, search.pool, filter=search.filter)
    if search.sparse is not None:
        query = replace(query, sparse=search.sparse, fusion=search.fusion, candidates=search.pool)
    elif not search.group and search.diversity is None:  # the engine can do it all, and skips without reading
        query = replace(query, limit=search.limit, offset=search.offset)
        return _above(search, _hits((yield query), query, schema))
    elif not search.group and search.score_threshold is None:
        hits = yield from _diverse(search, search.filter, search.pool, schema)
        return hits[search.offset :]
    if search.group:
        hits = yield from _grouped(search, query, schema)
    else:
        found = yield from _ranked(search, _deep_enough(search, query), schema)
        hits = _above(search, found)[: search.enough]
    if search.diversity is not None and hits:
        chosen = {"must": [{"has_id": [point_id(hit.id) for hit in hits]}]}
        hits = yield from _diverse(search, chosen, len(hits), schema)
    return hits[search.offset : search.wanted]


def _ranked(search: Search, query: Nearest, schema: Schema) -> Steps:
    """What a query finds, best first. Weighed rankings are asked for one by one; one without weight is not."""
    if query.sparse is None or search.vector_weight is None:
        return _hits((yield query), query, schema)
    by_vector = replace(query, sparse=None, limit=search.pool)
    by_terms = replace(query, fusion=None, limit=search.pool)
    rankings = []
    for share, ranking in ((search.vector_weight, by_vector), (1 - search.vector_weight, by_terms)):
        if share > 0:
            rankings.append((share, _hits((yield ranking), ranking, schema)))
    return fuse(rankings)


def _deep_enough(search: Search, query: Nearest) -> Nearest:
    """The query for as many rows as the later steps need.

    Ranks tie: first by one ranking is as good as second and fifth, or third by both. Some rows more than are wanted
    make the cut between equals the same on every engine.
    """
    if query.sparse is None:
        return query
    if search.score_threshold is not None:  # it is not by the cosine that they are in order
        return replace(query, limit=2 * search.pool)
    return replace(query, limit=search.enough + _TIES)


def _grouped(search: Search, query: Nearest, schema: Schema) -> Steps:
    """The best hit of each document, until there are enough.

    Each further query leaves out the documents that were found, so one of many chunks costs a query and hides nobody.
    """
    best: dict[str, Hit] = {}
    if query.sparse is not None:
        query = replace(query, limit=2 * search.pool)
    while True:
        found = yield from _ranked(search, replace(query, filter=_without(best, search.filter)), schema)
        known = len(best)
        for hit in _above(search, found):
            best.setdefault(hit.document_id, hit)
        if len(best) >= search.enough or len(best) == known or len(found) < search.pool:
            return list(best.values())[: search.enough]


def _without(found: dict[str, Hit], filter: FilterJSON | None) -> FilterJSON | None:
    """The filter, without documents; a point of another package is a document by its own id."""
    if not found:
        return filter
    by_name = {"key": DOCUMENT_PATH, "match": {"any": list(found)}}
    by_id = {"has_id": [point_id(hit.id) for name, hit in found.items() if hit.id == name]}
    left_out = {"must_not": [by_name, by_id]}
    return left_out if filter is None else {"must": [filter], **left_out}


def _diverse(search: Search, filter: FilterJSON | None, candidates: int, schema: Schema) -> Steps:
    """Hits that are near the query and unlike each other, in the order of their choice among the nearest."""
    limit = min(search.wanted, candidates)
    query = Nearest(search.vector, limit, filter=filter, diversity=search.diversity, candidates=candidates)
    return [to_hit(score, row, schema) for score, row in (yield query)]


def _hits(found: list[Scored], query: Nearest, schema: Schema) -> list[Hit]:
    """Best first, and equals in the order of their ids."""
    if query.sparse is None:
        hits = [to_hit(score, row, schema) for score, row in found]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))
    fused = [(round(score, 6), to_hit(_cosine(row.vector, query.vector), row, schema)) for score, row in found]
    return [hit for _, hit in sorted(fused, key=lambda pair: (-pair[0], pair[1].id))]


def _above(search: Search, hits: list[Hit]) -> list[Hit]:
    least = search.score_threshold
    return hits if least is None else [hit for hit in hits if hit.score >= least]


def _cosine(found: Vector | None, query: Vector) -> float:
    """Stored vectors and queries have unit length; a point may have been written without its vector."""
    return 0.0 if found is None else float(np.dot(found.astype(np.float64), query.astype(np.float64)))
