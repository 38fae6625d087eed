"""Translates LlamaIndex's ``VectorStoreQuery`` into the options of ``Collection.search``."""

from __future__ import annotations

from typing import Any

from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from t1_vectorstore.llama_index.filters import to_filter
from t1_vectorstore.options import Flag, Number, Options
from t1_vectorstore.types import AllOf, FilterLike, IdIn

_MODES = (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.HYBRID, VectorStoreQueryMode.MMR)
_MMR_THRESHOLD = 0.5  # LlamaIndex's default


class QueryKwargs(Options):
    """Options beside a query; an index passes them on as ``vector_store_kwargs``."""

    filter: FilterLike | None = None
    """A further filter: this package's, or Qdrant's own."""
    score_threshold: Number | None = None
    """Minimum cosine similarity of a node."""
    mmr_threshold: Number | None = None
    """For the mode ``mmr``: 1 is relevance only, 0 is difference only. It replaces the query's."""
    group: Flag = False
    """Return only the best node of each document."""


def to_search_options(query: VectorStoreQuery, **kwargs: Any) -> tuple[list[float], dict[str, Any]]:  # noqa: ANN401
    """Return the vector to search with, and the options of the search.

    Args:
        query: The query.
        kwargs: The fields of :class:`QueryKwargs`.

    Raises:
        TypeError: An unknown option.
        ValueError: No vector, an unsupported mode, or a value that an option does not accept.
    """
    extra = QueryKwargs.check(**kwargs)
    if query.query_embedding is None:
        raise ValueError("the query has no embedding; query through an index or a retriever, or embed it first")
    if query.mode not in _MODES:
        known = ", ".join(repr(mode.value) for mode in _MODES)
        raise ValueError(f"this store has no query mode {VectorStoreQueryMode(query.mode).value!r}; it has {known}")
    filters: list[FilterLike | None] = [
        to_filter(query.filters),
        None if query.doc_ids is None else {"doc_id": query.doc_ids},
        IdIn(query.node_ids) if query.node_ids else None,  # an index without a restriction sends an empty list
        extra.filter,
    ]
    options: dict[str, Any] = {
        "limit": query.similarity_top_k,
        "filter": AllOf(filters),
        "score_threshold": extra.score_threshold,
        "group": extra.group,
    }
    if query.mode == VectorStoreQueryMode.HYBRID:
        options |= _hybrid_options(query)
    threshold = query.mmr_threshold if extra.mmr_threshold is None else extra.mmr_threshold
    if query.mode == VectorStoreQueryMode.MMR:
        options["diversity"] = 1 - _in_unit_interval(_MMR_THRESHOLD if threshold is None else threshold)
    elif threshold is not None:
        raise ValueError(
            f"mmr_threshold={threshold!r} is for the query mode 'mmr', and this one is {query.mode.value!r}"
        )
    return query.query_embedding, options


def _hybrid_options(query: VectorStoreQuery) -> dict[str, Any]:
    if query.alpha is not None and not 0 <= query.alpha <= 1:
        raise ValueError(f"alpha is in [0, 1]: 1 is the vector only, 0 the words only; got {query.alpha!r}")
    if query.query_str is None:
        raise ValueError("a hybrid query needs its words: set query_str")
    options = {"text": query.query_str, "vector_weight": query.alpha, "candidates": query.sparse_top_k}
    if query.hybrid_top_k is not None:
        options["limit"] = query.hybrid_top_k
    return options


def _in_unit_interval(mmr_threshold: float) -> float:
    if not 0 <= mmr_threshold <= 1:
        raise ValueError(f"mmr_threshold is in [0, 1]: 1 is relevance only, 0 difference only; got {mmr_threshold!r}")
    return mmr_threshold
