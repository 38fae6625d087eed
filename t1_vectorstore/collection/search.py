"""One search, expressed as the engine queries that it needs.

``find_hits`` is a generator: it yields a query and is sent the engine's answer. The same steps therefore serve
synchronous and asynchronous callers. A search narrows its hits in a fixed order:

1. Candidates: nearest by vector, or a fusion of the nearest by several vectors; in a hybrid search, a fusion of these
   and the nearest by words. The engine fuses them, unless vector or words have more weight.
2. Hits whose cosine similarity reaches ``score_threshold``.
3. With ``group``: the best hit of each document.
4. With ``diversity``: a choice by maximal marginal relevance.
5. ``limit`` hits, after the first ``offset``.

The number of candidates does not depend on ``offset``: all pages of a query with the same ``limit`` are parts of one
ranking. Where a page lies beyond the candidates, the ranking goes on with a further block: the same steps among the
points that no earlier block has used, with twice as many candidates.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from t1_vectorstore.collection.fusion import fuse
from t1_vectorstore.collection.payload import to_hit
from t1_vectorstore.engines import DOCUMENT_PATH, FilterJSON, Nearest, Schema, Scored, Sparse
from t1_vectorstore.engines.ids import point_id
from t1_vectorstore.options import MAX_CANDIDATES, VectorSearchOptions
from t1_vectorstore.types import Hit, Vector

SearchSteps: TypeAlias = Generator[Nearest, list[Scored], list[Hit]]
_EXTRA_FOR_TIES = 10


@dataclass(frozen=True, slots=True)
class Search:
    """A search whose options were checked and translated for the engine.

    Attributes:
        options: The caller's options.
        vector: Query vector of unit length.
        filter: The compiled ``options.filter``.
        sparse: The terms of ``options.text``.
        fused: The vectors to rank by instead, of unit length; empty for a ranking by ``vector``.
    """

    options: VectorSearchOptions
    vector: Vector
    filter: FilterJSON | None
    sparse: Sparse | None
    fused: Sequence[Vector] = ()

    def nearest(self, limit: int, **more: Any) -> Nearest:  # noqa: ANN401 - further fields of a query
        """Return a query for the nearest points."""
        options = self.options
        return Nearest(self.vector, limit, params=options.search_params, consistency=options.consistency, **more)

    @property
    def is_fusion(self) -> bool:
        """Whether candidates come from several rankings."""
        return self.sparse is not None or bool(self.fused)

    @property
    def wanted(self) -> int:
        """Number of hits to find, including those that ``offset`` skips."""
        return self.options.limit + self.options.offset


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
    by_words_only = not schema.has_dense or (options.text is not None and options.vector_weight == 0)
    if by_words_only and search.sparse is None:  # a text without words
        return []
    if not (search.is_fusion or options.group or options.diversity is not None):
        # By vector alone, the engine does everything, and skips the first hits without reading them.
        query = search.nearest(options.limit, filter=search.filter, offset=options.offset)
        return _above_threshold(search, _sorted_hits((yield query), query, schema))
    hits: list[Hit] = []
    block, more = _Block(search, schema, search.filter, search.options.pool), True
    while more and len(hits) < search.wanted:
        found, more = yield from block.find(search.wanted - len(hits))
        hits += found
        block = block.following()
    return hits[options.offset : search.wanted]


class _Block:
    """One block of a ranking: steps 1 to 4 among the points that the filter leaves."""

    def __init__(self, search: Search, schema: Schema, filter: FilterJSON | None, pool: int) -> None:
        self._search, self._schema, self._filter, self._pool = search, schema, filter, pool
        self._used: list[Hit] = []

    def following(self) -> _Block:
        """Return the next block: without the points, or with ``group`` the documents, that this one has used."""
        if self._search.options.group:
            filter = _without_documents({hit.document_id: hit for hit in self._used}, self._filter)
        else:
            filter = _without_points(self._used, self._filter)
        return _Block(self._search, self._schema, filter, min(2 * self._pool, MAX_CANDIDATES))

    def find(self, wanted: int) -> Generator[Nearest, list[Scored], tuple[list[Hit], bool]]:
        """Return the block's hits, or at least the first ``wanted``, and whether there may be more after them."""
        options, pool = self._search.options, self._pool
        diverse = options.diversity is not None
        if diverse and not (options.group or self._search.is_fusion) and options.score_threshold is None:
            # The engine chooses among the nearest by itself. A last block need not be complete.
            limit = min(wanted, pool)
            self._used = yield from self._choose_diverse(self._filter, limit, pool)
            return self._used, len(self._used) == limit

        # Steps 1 to 3: candidates, threshold, groups. A diverse choice needs a fixed number of them.
        enough = pool if diverse else wanted
        if options.group:
            found, more = yield from self._best_of_each_document(enough)
        else:
            query = self._query(self._rows_for(enough))
            found = yield from self._candidates(query)
            more = len(found) >= min(pool, query.limit)
        hits = _above_threshold(self._search, found)
        if options.score_threshold is not None and not options.group:
            if self._has_nearest:  # if one of them is below the threshold, so is all that is left
                more = len(hits) >= pool
            elif more:
                more = yield from self._some_reach_threshold(_without_points(found, self._filter))
        left = hits[pool:] if diverse else []
        self._used = [hit for hit in found if hit not in left] if left else found

        # Step 4: a diverse choice among exactly these hits.
        if diverse and hits:
            chosen = hits[:pool]
            among_hits = {"must": [{"has_id": [point_id(hit.id) for hit in chosen]}]}
            hits = yield from self._choose_diverse(among_hits, len(chosen), len(chosen))
        return hits, more or bool(left)

    def _query(self, limit: int) -> Nearest:
        """Return the query for candidates; ``limit`` is for a fusion, and the pool for the nearest by vector."""
        search, pool = self._search, self._pool
        query = search.nearest(pool, filter=self._filter)
        if not search.is_fusion:
            return query
        fusion = search.options.fusion if self._schema.has_dense else None
        shared: dict[str, Any] = {"limit": limit, "candidates": pool, "vectors": search.fused}
        return replace(query, sparse=search.sparse, fusion=fusion, **shared)

    def _rows_for(self, enough: int) -> int:
        """Return how many rows of a fusion the later steps need.

        Fused ranks tie often, but few at a time: first in one ranking scores as much as third in both. With some extra
        rows the cut between equal hits is always the same. All rows are needed if fused scores tie, as any number of
        texts can have the same words; for a threshold, a cosine, by which a fusion is not sorted; and for a block.
        """
        options, rankings = self._search.options, len(self._search.fused) or 1
        all_rows = (rankings + (self._search.sparse is not None)) * self._pool
        by_words_alone = not self._schema.has_dense
        if by_words_alone or options.fusion == "dbsf" or options.score_threshold is not None or enough > self._pool:
            return all_rows
        return min(enough + _EXTRA_FOR_TIES * rankings, all_rows)

    @property
    def _has_nearest(self) -> bool:
        """Whether the points with the best scores, to which the threshold applies, are among the candidates."""
        search = self._search
        return not self._schema.has_dense or not (search.fused or search.options.vector_weight == 0)

    def _some_reach_threshold(self, filter: FilterJSON | None) -> Generator[Nearest, list[Scored], bool]:
        """Return whether the best point that a filter leaves reaches the threshold."""
        query = self._search.nearest(1, filter=filter)
        return bool(_above_threshold(self._search, _sorted_hits((yield query), query, self._schema)))

    def _candidates(self, query: Nearest) -> SearchSteps:
        """Return the hits of a query, best first; a weighted fusion needs one query for each ranking."""
        weight = self._search.options.vector_weight
        if query.sparse is None or weight is None:
            return _sorted_hits((yield query), query, self._schema)
        by_vector = replace(query, sparse=None, limit=self._pool)
        by_terms = replace(query, fusion=None, vectors=(), limit=self._pool)
        rankings = []
        for share, ranking in ((weight, by_vector), (1 - weight, by_terms)):
            if share > 0:
                rankings.append((share, _sorted_hits((yield ranking), ranking, self._schema)))
        return fuse(rankings)

    def _best_of_each_document(self, enough: int) -> Generator[Nearest, list[Scored], tuple[list[Hit], bool]]:
        """Return the best hit of each document, until there are enough, and whether there may be more.

        Each further query excludes the documents already found, so a document of many chunks costs one query and hides
        no other document.
        """
        best: dict[str, Hit] = {}
        passed: list[Hit] = []  # below the threshold, where those above may come later
        query = self._query(2 * self._pool)
        while True:
            filter = _without_points(passed, _without_documents(best, self._filter))
            found = yield from self._candidates(replace(query, filter=filter))
            known = len(best)
            for hit in _above_threshold(self._search, found):
                best.setdefault(hit.document_id, hit)
            more = len(found) >= self._pool  # otherwise nothing is left
            if more and len(best) == known:  # all are below the threshold, so with the nearest all others are, too
                passed += found
                left = _without_points(passed, _without_documents(best, self._filter))
                more = not self._has_nearest and (yield from self._some_reach_threshold(left))
            if len(best) >= enough or not more:
                return list(best.values()), more

    def _choose_diverse(self, filter: FilterJSON | None, limit: int, candidates: int) -> SearchSteps:
        """Return hits near the query and unlike each other, chosen among the nearest, in the order of choice."""
        diversity = self._search.options.diversity
        query = self._search.nearest(limit, filter=filter, diversity=diversity, candidates=candidates)
        return [to_hit(score, row, self._schema) for score, row in (yield query)]


def _without_documents(found: dict[str, Hit], filter: FilterJSON | None) -> FilterJSON | None:
    """Return the filter without some documents; a point of another package is a document by its own id."""
    if not found:
        return filter
    by_document = {"key": DOCUMENT_PATH, "match": {"any": list(found)}}
    own_points = [hit for document_id, hit in found.items() if hit.id == document_id]
    return _and_not(filter, [by_document, {"has_id": [point_id(hit.id) for hit in own_points]}])


def _without_points(found: list[Hit], filter: FilterJSON | None) -> FilterJSON | None:
    """Return the filter without some points."""
    return _and_not(filter, [{"has_id": [point_id(hit.id) for hit in found]}]) if found else filter


def _and_not(filter: FilterJSON | None, excluded: list[FilterJSON]) -> FilterJSON:
    return {"must_not": excluded} if filter is None else {"must": [filter], "must_not": excluded}


def _sorted_hits(found: list[Scored], query: Nearest, schema: Schema) -> list[Hit]:
    """Return hits sorted by score, equal ones by id. A fused score decides the order; the hit shows its cosine."""
    if query.scored_by_cosine:
        hits = [to_hit(score, row, schema) for score, row in found]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))
    if not schema.has_dense:  # there is no cosine to show
        hits = [replace(to_hit(0.0, row, schema), score=round(score, 6)) for score, row in found]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))
    fused = [(round(score, 6), to_hit(_cosine(row.vector, query.vector), row, schema)) for score, row in found]
    return [hit for _, hit in sorted(fused, key=lambda pair: (-pair[0], pair[1].id))]


def _above_threshold(search: Search, hits: list[Hit]) -> list[Hit]:
    threshold = search.options.score_threshold
    return hits if threshold is None else [hit for hit in hits if hit.score >= threshold]


def _cosine(stored: Vector | None, query: Vector) -> float:
    """Both vectors have unit length; a point of another package may have none."""
    return 0.0 if stored is None else float(np.dot(stored.astype(np.float64), query.astype(np.float64)))
