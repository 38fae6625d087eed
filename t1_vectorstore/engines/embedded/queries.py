"""A query as the types of qdrant-edge."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from t1_vectorstore.engines.base import OVERSAMPLING, RRF_K, SPARSE, Nearest, Sparse
from t1_vectorstore.engines.embedded.filters import edge_filter
from t1_vectorstore.options import Storage
from t1_vectorstore.types import Vector


def edge_query(query: Nearest, params: edge.SearchParams | None) -> edge.QueryRequest:
    """Translate a query; ``params`` say how to search by vectors.

    Raises:
        ValueError: its filter has a condition that the embedded engine does not know.
    """
    filter = edge_filter(query.filter) if query.filter else None
    shared: dict[str, Any] = {"limit": query.limit, "offset": query.offset, "with_payload": True}
    if query.sparse is not None and query.fusion is None:
        by_terms = edge.Query.Nearest(sparse_vector(query.sparse), using=SPARSE)
        return edge.QueryRequest(query=by_terms, filter=filter, with_vector=[""], **shared)
    if query.sparse is not None:
        depth: dict[str, Any] = {"limit": query.candidates, "filter": filter}
        prefetches = [
            edge.Prefetch(query=edge.Query.Nearest(array(query.vector)), params=params, **depth),
            edge.Prefetch(query=edge.Query.Nearest(sparse_vector(query.sparse), using=SPARSE), **depth),
        ]
        fusion: Any = edge.Fusion.Rrf(RRF_K) if query.fusion == "rrf" else edge.Fusion.Dbsf()
        return edge.QueryRequest(prefetches=prefetches, query=fusion, with_vector=[""], **shared)
    if query.diversity is not None:  # Edge's lambda is the share of relevance, the server's diversity its opposite
        mmr = edge.Mmr(array(query.vector), 1 - query.diversity, query.candidates)
        return edge.QueryRequest(query=mmr, filter=filter, params=params, **shared)
    nearest = edge.Query.Nearest(array(query.vector))
    return edge.QueryRequest(query=nearest, filter=filter, params=params, **shared)


def search_params(storage: Storage) -> edge.SearchParams | None:
    """Return how to search by compressed vectors, if there are any."""
    if storage.quantization is None:
        return None
    rescored = edge.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING[storage.quantization])
    return edge.SearchParams(quantization=rescored)


def array(vector: Vector | None) -> Any:  # noqa: ANN401
    """The library's stubs want lists, but it takes arrays, and takes them faster."""
    return vector


def sparse_vector(sparse: Sparse) -> edge.SparseVector:
    """A sparse vector as the library has it."""
    return edge.SparseVector(list(sparse.indices), list(sparse.values))
