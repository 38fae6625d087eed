"""What LlamaIndex's ``VectorStoreQuery`` asks for, in terms of a collection's search."""

from __future__ import annotations

from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from t1_vectorstore.filters import AllOf, FilterLike, IdIn
from t1_vectorstore.llama_index.filters import to_filter
from t1_vectorstore.store.options import Searching

_MODES = (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.HYBRID, VectorStoreQueryMode.MMR)
_MMR_THRESHOLD = 0.5  # LlamaIndex's


def to_searching(
    query: VectorStoreQuery, *, filter: FilterLike | None = None, mmr_threshold: float | None = None
) -> Searching:
    """Translate a query; ``filter`` and ``mmr_threshold`` are those that did not come with it.

    Raises:
        ValueError: a mode that does not exist here, or an option that it cannot take.
    """
    if query.mode not in _MODES:
        known = ", ".join(repr(mode.value) for mode in _MODES)
        raise ValueError(f"this store has no query mode {VectorStoreQueryMode(query.mode).value!r}; it has {known}")
    restrictions: list[FilterLike | None] = [
        to_filter(query.filters),
        {"doc_id": query.doc_ids} if query.doc_ids else None,
        IdIn(query.node_ids) if query.node_ids else None,
        filter,
    ]
    searching: Searching = {"limit": query.similarity_top_k, "filter": AllOf(restrictions)}
    if query.mode == VectorStoreQueryMode.HYBRID:
        _add_words(searching, query)
    given = query.mmr_threshold if mmr_threshold is None else mmr_threshold
    if query.mode == VectorStoreQueryMode.MMR:
        searching["diversity"] = 1 - _unit(_MMR_THRESHOLD if given is None else given)
    elif given is not None:
        raise ValueError(f"mmr_threshold={given!r} is for the query mode 'mmr', and this one is {query.mode.value!r}")
    return searching


def _add_words(searching: Searching, query: VectorStoreQuery) -> None:
    if query.alpha is not None:
        raise ValueError(f"alpha={query.alpha!r}, but ranks are fused without weights; leave it out")
    if query.query_str is None:
        raise ValueError("a hybrid query needs its words: set query_str")
    searching["text"] = query.query_str
    searching["candidates"] = query.sparse_top_k
    if query.hybrid_top_k is not None:
        searching["limit"] = query.hybrid_top_k


def _unit(mmr_threshold: float) -> float:
    if not 0 <= mmr_threshold <= 1:
        raise ValueError(f"mmr_threshold is in [0, 1]: 1 is relevance only, 0 difference only; got {mmr_threshold!r}")
    return mmr_threshold
