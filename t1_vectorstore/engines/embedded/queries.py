"""Queries as the types of qdrant-edge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qdrant_edge as edge

from t1_vectorstore.engines.base import OVERSAMPLING, RRF_K, Nearest, Sparse, vector_selector
from t1_vectorstore.engines.embedded.filters import edge_filter
from t1_vectorstore.engines.schema import Schema
from t1_vectorstore.types import Vector


def edge_query(query: Nearest, schema: Schema) -> edge.QueryRequest:
    """Translate a query; see ``edge_filter``."""
    using = schema.vector_name or None  # what has no name is used by default
    vector = edge.Query.Nearest(edge_array(query.vector), using=using)
    filter = edge_filter(query.filter) if query.filter else None
    given = dict(query.params or {})
    if isinstance(given.get("quantization"), Mapping):
        given["quantization"] = edge.QuantizationSearchParams(**given["quantization"])
    if (quantization := schema.storage.quantization) is not None:
        rescored = edge.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING[quantization])
        given = {"quantization": rescored, **given}
    try:
        params = edge.SearchParams(**given) if given else None
    except OverflowError as error:
        raise ValueError(f"search_params={query.params!r}: {' '.join(str(error).split())}") from None
    shared: dict[str, Any] = {"limit": query.limit, "offset": query.offset, "with_payload": True}
    if not query.scored_by_cosine:
        shared["with_vector"] = vector_selector(True, schema)
        terms: Any = None
        if query.sparse is not None:
            terms = edge.Query.Nearest(edge_sparse(query.sparse), using=schema.sparse_vector_name)
        if terms and query.fusion is None:
            return edge.QueryRequest(query=terms, filter=filter, **shared)
        depth: dict[str, Any] = {"limit": query.candidates, "filter": filter}
        by_vectors = [
            edge.Prefetch(query=edge.Query.Nearest(edge_array(each), using=using), params=params, **depth)
            for each in query.vectors or [query.vector]
        ]
        by_rank: Any = edge.Fusion.Rrf(RRF_K)
        if not terms:
            return edge.QueryRequest(prefetches=by_vectors, query=by_rank, **shared)
        # The terms once for each vector, so that they have as much weight as all vectors together.
        by_terms = [edge.Prefetch(query=terms, **depth)] * len(by_vectors)
        fusion: Any = by_rank if query.fusion == "rrf" else edge.Fusion.Dbsf()
        return edge.QueryRequest(prefetches=[*by_vectors, *by_terms], query=fusion, **shared)
    nearest: Any = vector
    if query.diversity is not None:  # Edge's parameter is the share of relevance, and the server's is its complement
        nearest = edge.Mmr(edge_array(query.vector), 1 - query.diversity, query.candidates, using)
    return edge.QueryRequest(query=nearest, filter=filter, params=params, **shared)


def edge_array(vector: Vector | None) -> Any:  # noqa: ANN401
    """Return the array itself: the library's stubs declare lists, but it accepts arrays, and reads them faster."""
    return vector


def edge_sparse(sparse: Sparse) -> edge.SparseVector:
    """Translate a sparse vector."""
    return edge.SparseVector(list(sparse.indices), list(sparse.values))
