"""Translates LlamaIndex's ``VectorStoreQuery`` into the options of ``Collection.search``."""

from __future__ import annotations

from typing import Any

from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from pydantic import Field

from t1_vectorstore.llama_index.filters import to_filter
from t1_vectorstore.options import MAX_COUNT, Flag, Integer, Number, Options
from t1_vectorstore.types import AllOf, FilterLike, IdIn

_MODES = (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.HYBRID, VectorStoreQueryMode.MMR)
_MMR_THRESHOLD = 0.5  # LlamaIndex's default


class QueryKwargs(Options):
    """Options that are passed beside a query; an index passes its ``vector_store_kwargs``."""

    filter: FilterLike | None = None
    """A further filter: this package's, or Qdrant's own."""
    score_threshold: Number | None = Field(default=None, ge=-1, le=1)
    """Minimum cosine similarity of a node."""
    mmr_threshold: Number | None = Field(default=None, ge=0, le=1)
    """For the mode ``mmr``: 1 is relevance only, 0 is difference only. It replaces the query's."""
    group: Flag = False
    """Return only the best node of each document."""


class _QueryNumbers(Options):
    """The numbers in a ``VectorStoreQuery``."""

    similarity_top_k: Integer = Field(default=1, ge=1, le=MAX_COUNT)
    hybrid_top_k: Integer | None = Field(default=None, ge=1, le=MAX_COUNT)
    sparse_top_k: Integer | None = Field(default=None, ge=1, le=MAX_COUNT)
    alpha: Number | None = Field(default=None, ge=0, le=1)
    mmr_threshold: Number | None = Field(default=None, ge=0, le=1)


def to_search_options(query: VectorStoreQuery, **kwargs: Any) -> tuple[list[float], dict[str, Any]]:  # noqa: ANN401
    """Return the vector to search with, and the options of the search.

    Args:
        query: The query.
        kwargs: The fields of ``QueryKwargs``.

    Raises:
        TypeError: An unknown option, or a value of the wrong type.
        ValueError: No vector, an unsupported mode, or a value that an option does not accept.
    """
    extra = QueryKwargs(**kwargs)
    numbers = _QueryNumbers(**{name: getattr(query, name) for name in _QueryNumbers.model_fields})
    if query.query_embedding is None:
        raise ValueError("the query has no embedding; query through an index or a retriever, or embed it first")
    if query.mode not in _MODES:
        known = ", ".join(repr(mode.value) for mode in _MODES)
        raise ValueError(f"this store has no query mode {VectorStoreQueryMode(query.mode).value!r}; it has {known}")
    filters: list[FilterLike | None] = [
        to_filter(query.filters),
        None if query.doc_ids is None else {"doc_id": query.doc_ids},
        IdIn(query.node_ids) if query.node_ids else None,  # an index passes an empty list for no restriction
        extra.filter,
    ]
    options: dict[str, Any] = {
        "limit": numbers.similarity_top_k,
        "filter": AllOf(filters),
        "score_threshold": extra.score_threshold,
        "group": extra.group,
    }
    if query.mode == VectorStoreQueryMode.HYBRID:
        if query.query_str is None:
            raise ValueError("a hybrid query needs its words: set query_str")
        options |= {"text": query.query_str, "vector_weight": numbers.alpha, "candidates": numbers.sparse_top_k}
        options["limit"] = numbers.hybrid_top_k or numbers.similarity_top_k
    threshold = numbers.mmr_threshold if extra.mmr_threshold is None else extra.mmr_threshold
    if query.mode == VectorStoreQueryMode.MMR:
        options["diversity"] = 1 - (_MMR_THRESHOLD if threshold is None else threshold)
    elif threshold is not None:
        raise ValueError(
            f"mmr_threshold={threshold!r} is for the query mode 'mmr', and this one is {query.mode.value!r}"
        )
    return query.query_embedding, options
