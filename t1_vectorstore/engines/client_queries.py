"""A query in the terms of a ``QdrantClient``, for ``:memory:`` and for a server."""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from t1_vectorstore.engines.base import RRF_K, SPARSE, FilterJSON, Nearest, Sparse


def query_arguments(query: Nearest, params: models.SearchParams | None) -> dict[str, Any]:
    """The arguments of ``query_points``; ``params`` say how to search by vectors."""
    vector, filter = query.vector.tolist(), client_filter(query.filter)
    shared: dict[str, Any] = {"limit": query.limit, "offset": query.offset, "with_payload": True}
    if query.sparse is not None and query.fusion is None:
        by_terms = {"query": sparse_vector(query.sparse), "using": SPARSE}
        return {**shared, **by_terms, "query_filter": filter, "with_vectors": [""]}
    if query.sparse is not None:
        depth: dict[str, Any] = {"limit": query.candidates, "filter": filter}
        by_rank = models.RrfQuery(rrf=models.Rrf(k=RRF_K))
        fusion = by_rank if query.fusion == "rrf" else models.FusionQuery(fusion=models.Fusion.DBSF)
        prefetch = [
            models.Prefetch(query=vector, params=params, **depth),
            models.Prefetch(query=sparse_vector(query.sparse), using=SPARSE, **depth),
        ]
        return {**shared, "prefetch": prefetch, "query": fusion, "with_vectors": [""]}
    if query.diversity is not None:
        mmr = models.Mmr(diversity=query.diversity, candidates_limit=query.candidates)
        nearest = models.NearestQuery(nearest=vector, mmr=mmr)
        return {**shared, "query": nearest, "query_filter": filter, "search_params": params}
    return {**shared, "query": vector, "query_filter": filter, "search_params": params}


def client_filter(filter: FilterJSON | None) -> models.Filter | None:
    """A filter as the client library has it."""
    return models.Filter.model_validate(filter) if filter else None


def sparse_vector(sparse: Sparse) -> models.SparseVector:
    """A sparse vector as the client library has it."""
    return models.SparseVector(indices=list(sparse.indices), values=list(sparse.values))
