"""One search by text, expressed as the steps that it needs of a model and a collection.

``search_steps`` is a generator: it yields a step and is sent its answer, and at last yields the result. The same steps
therefore serve callers that wait, that await, and that read the thought while it is generated.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeAlias

from t1_vectorstore.keyword_options import set_options
from t1_vectorstore.options import EmbedQueryOptions, SearchOptions, VectorSearchOptions
from t1_vectorstore.searching.deciding import DEFAULT_THRESHOLD, PROBED, decide
from t1_vectorstore.searching.explaining import explain
from t1_vectorstore.searching.requests import Embed, Find, Request
from t1_vectorstore.types import Hit, QueryEmbedding, SearchResult, Timings, Vector

Steps: TypeAlias = Generator[Request | SearchResult, Any, None]
_OF_THOUGHTS = ("budget", "deadline", "samples", "think_threshold")


def search_steps(
    query: str, options: SearchOptions, checked: VectorSearchOptions, calibrated: float | None = None
) -> Steps:
    """Yield the steps of a search, then its result.

    Args:
        query: The query.
        options: The caller's options.
        checked: Those of them that are for the collection, which has accepted them.
        calibrated: The collection's threshold of ``think="auto"``, if it has one.
    """
    embedding_options = set_options(options, EmbedQueryOptions)
    decision, embed_seconds, search_seconds, cached = None, 0.0, 0.0, True
    # 1. With think="auto": rank without a thought, and decide by that ranking whether to think.
    if options.think == "auto":
        embedding = yield from _embed(without_thought(options))
        nearest, search_seconds = yield from _find(embedding.vector, _probe(checked))
        thresholds = (options.think_threshold, calibrated, DEFAULT_THRESHOLD)
        decision = decide(nearest, next(each for each in thresholds if each is not None))
        embed_seconds, cached, embedding_options = embedding.seconds, embedding.cached, with_thought(options)
    # 2. Embed the query as it is to be searched.
    if decision is None or decision.thought:
        embedding = yield from _embed(embedding_options)
        embed_seconds += embedding.seconds
        cached = cached and embedding.cached
    # 3. Search.
    hits, seconds = yield from _find(embedding.vector, _with_thoughts(query, checked, embedding, options))
    # 4. Explain the hits.
    if options.explain:
        started = time.perf_counter()
        hits = yield from explain(embedding, hits, embedding_options, checked)
        seconds += time.perf_counter() - started
    timings = Timings(embed_seconds, search_seconds + seconds)
    thoughts = tuple(embedding.thoughts)
    yield SearchResult(query, tuple(hits), thoughts, timings, embedding.truncated, cached, decision)


def without_thought(options: EmbedQueryOptions) -> dict[str, Any]:
    """Return the options with which ``think="auto"`` embeds a query first."""
    given = set_options(options, EmbedQueryOptions)
    return {**{name: value for name, value in given.items() if name not in _OF_THOUGHTS}, "think": False}


def with_thought(options: EmbedQueryOptions) -> dict[str, Any]:
    """Return the options with which it embeds an unsure query again, after any complaint about its length."""
    return {**set_options(options, EmbedQueryOptions), "think": True, "think_threshold": None, "truncation": "allow"}


def _embed(options: Mapping[str, Any]) -> Generator[Request, Any, QueryEmbedding]:
    embedding = yield Embed(options)
    assert isinstance(embedding, QueryEmbedding)
    return embedding


def _find(vector: Vector, options: Mapping[str, Any]) -> Generator[Request, Any, tuple[Sequence[Hit], float]]:
    """Search, and return the hits and the seconds that it took."""
    started = time.perf_counter()
    hits = yield Find(vector, options)
    assert isinstance(hits, Sequence)
    return hits, time.perf_counter() - started


def _probe(checked: VectorSearchOptions) -> dict[str, Any]:
    """Return the options of the ranking that decides: the same for each page of a query, however it is ranked."""
    names = ("filter", "search_params", "consistency")
    return {"limit": PROBED, **{name: getattr(checked, name) for name in names}}


def _with_thoughts(
    query: str, checked: VectorSearchOptions, embedding: QueryEmbedding, options: SearchOptions
) -> dict[str, Any]:
    """Return the collection's search options: with the words of the thoughts in a hybrid search, and their vectors."""
    given = set_options(checked, VectorSearchOptions)
    if checked.text is not None and options.thought_terms:
        given["text"] = "\n".join([query, *(thought.text for thought in embedding.thoughts)])
    vectors = embedding.thought_vectors
    if options.combine == "rrf" and vectors is not None and len(vectors) > 1:
        given["fused_vectors"] = list(vectors)
    return given
