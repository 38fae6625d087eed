"""What LlamaIndex's ``VectorStoreQuery`` asks for, in terms of a collection's search."""

from __future__ import annotations

from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from typing_extensions import TypedDict, Unpack

from t1_vectorstore.filters import AllOf, FilterLike, IdIn
from t1_vectorstore.llama_index.filters import to_filter
from t1_vectorstore.store import Searching

_MODES = (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.HYBRID, VectorStoreQueryMode.MMR)
_MMR_THRESHOLD = 0.5  # LlamaIndex's


class Asked(TypedDict, total=False):
    """What may come beside a query; an index hands it over as ``vector_store_kwargs``."""

    filter: FilterLike | None
    """A filter of this package, or Qdrant's own, to be passed as well."""
    score_threshold: float | None
    """The lowest cosine similarity to return."""
    mmr_threshold: float | None
    """For the mode ``mmr``: 1 is relevance only, 0 is difference only; instead of the query's."""
    group: bool
    """Of each document only its best node."""


def to_searching(query: VectorStoreQuery, **asked: Unpack[Asked]) -> tuple[list[float], Searching]:
    """The vector to search with, and how.

    Raises:
        TypeError: an option that does not exist.
        ValueError: no vector, a mode that does not exist here, or an option that it cannot take.
    """
    if unknown := asked.keys() - Asked.__annotations__.keys():
        raise TypeError(f"this store does not know the option {min(unknown)!r}")
    if query.query_embedding is None:
        raise ValueError("the query has no embedding; ask through an index or a retriever, or embed it first")
    if query.mode not in _MODES:
        known = ", ".join(repr(mode.value) for mode in _MODES)
        raise ValueError(f"this store has no query mode {VectorStoreQueryMode(query.mode).value!r}; it has {known}")
    restrictions: list[FilterLike | None] = [
        to_filter(query.filters),
        None if query.doc_ids is None else {"doc_id": query.doc_ids},
        IdIn(query.node_ids) if query.node_ids else None,  # an index that restricts nothing sends an empty list,
        asked.get("filter"),
    ]
    searching: Searching = {
        "limit": query.similarity_top_k,
        "filter": AllOf(restrictions),
        "score_threshold": asked.get("score_threshold"),
        "group": asked.get("group", False),
    }
    if query.mode == VectorStoreQueryMode.HYBRID:
        _add_words(searching, query)
    given = asked.get("mmr_threshold", query.mmr_threshold)
    if query.mode == VectorStoreQueryMode.MMR:
        searching["diversity"] = 1 - _unit(_MMR_THRESHOLD if given is None else given)
    elif given is not None:
        raise ValueError(f"mmr_threshold={given!r} is for the query mode 'mmr', and this one is {query.mode.value!r}")
    return query.query_embedding, searching


def _add_words(searching: Searching, query: VectorStoreQuery) -> None:
    if query.alpha is not None and not 0 <= query.alpha <= 1:
        raise ValueError(f"alpha is in [0, 1]: 1 is the vector only, 0 the words only; got {query.alpha!r}")
    if query.query_str is None:
        raise ValueError("a hybrid query needs its words: set query_str")
    searching["text"] = query.query_str
    searching["vector_weight"] = query.alpha
    searching["candidates"] = query.sparse_top_k
    if query.hybrid_top_k is not None:
        searching["limit"] = query.hybrid_top_k


def _unit(mmr_threshold: float) -> float:
    if not 0 <= mmr_threshold <= 1:
        raise ValueError(f"mmr_threshold is in [0, 1]: 1 is relevance only, 0 difference only; got {mmr_threshold!r}")
    return mmr_threshold
