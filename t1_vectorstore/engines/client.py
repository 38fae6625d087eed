"""The part that ``:memory:`` and a server share: an engine's methods as calls of a ``QdrantClient``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qdrant_client import models

from t1_vectorstore.engines.base import (
    OVERSAMPLING,
    RRF_K,
    SPARSE,
    Engine,
    FilterJSON,
    Nearest,
    Row,
    Scored,
    Sparse,
    payload_selector,
    row_of,
    to_point_id,
    vector_selector,
)
from t1_vectorstore.engines.ids import PointId
from t1_vectorstore.engines.schema import Schema
from t1_vectorstore.errors import WriteNotVerified
from t1_vectorstore.options import Storage


class ClientEngine(Engine):
    """The methods over one client; a subclass makes the calls."""

    def _call(self, method: str, **arguments: Any) -> Any:  # noqa: ANN401 - what the client's method returns
        raise NotImplementedError

    def write(self, rows: Sequence[Row]) -> None:
        """Insert or replace rows, and wait until they can be read."""
        points = [models.PointStruct(id=row.id, vector=_vectors(row), payload=row.payload) for row in rows]
        check_completed(self._call("upsert", points=points, wait=True))

    def read(self, ids: Sequence[PointId], *, fields: Sequence[str] | None = None, vectors: bool = False) -> list[Row]:
        """Return the rows that exist among ``ids``."""
        selected = {"with_payload": payload_selector(fields), "with_vectors": vector_selector(vectors)}
        return [row_of(record) for record in self._call("retrieve", ids=list(ids), **selected)]

    def erase(self, ids: Sequence[PointId]) -> None:
        """Delete points, and wait until they are gone."""
        check_completed(self._call("delete", points_selector=models.PointIdsList(points=list(ids)), wait=True))

    def nearest(self, query: Nearest) -> list[Scored]:
        """Answer a query, best row first."""
        return scored_rows(self._call("query_points", **query_arguments(query, self.schema.storage)))

    def count(self, filter: FilterJSON | None) -> int:
        """Return the exact number of points that match."""
        return int(self._call("count", count_filter=_filter(filter), exact=True).count)

    def page(
        self,
        filter: FilterJSON | None,
        *,
        limit: int,
        after: PointId | None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> tuple[list[Row], PointId | None]:
        """Return one page in the order of point ids, and where the next one starts."""
        selected = {"with_payload": payload_selector(fields), "with_vectors": vector_selector(vectors)}
        found, following = self._call("scroll", scroll_filter=_filter(filter), limit=limit, offset=after, **selected)
        return [row_of(record) for record in found], None if following is None else to_point_id(following)


def scored_rows(answer: models.QueryResponse) -> list[Scored]:
    """Convert the answer to a query."""
    return [(point.score, row_of(point)) for point in answer.points]


def vector_params(schema: Schema) -> dict[str, Any]:
    """Return the arguments of ``create_collection`` that describe the vectors."""
    size, on_disk = schema.identity.dimension, schema.storage.on_disk or None
    dense = models.VectorParams(size=size, distance=models.Distance.COSINE, on_disk=on_disk)
    terms = {SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)} if schema.hybrid else None
    return {"vectors_config": dense, "sparse_vectors_config": terms}


def check_completed(result: models.UpdateResult) -> None:
    """Refuse an answer that does not confirm that a write is completed."""
    if result.status != models.UpdateStatus.COMPLETED:
        raise WriteNotVerified(f"the server answered {result.status.value!r} to a write that it was to complete")


def query_arguments(query: Nearest, storage: Storage) -> dict[str, Any]:
    """Return the arguments of ``query_points``."""
    vector, filter = query.vector.tolist(), _filter(query.filter)
    params = None
    if storage.quantization is not None:
        rescored = models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING[storage.quantization])
        params = models.SearchParams(quantization=rescored)
    shared: dict[str, Any] = {"limit": query.limit, "offset": query.offset, "with_payload": True}
    if query.sparse is not None and query.fusion is None:
        by_terms = {"query": _sparse_vector(query.sparse), "using": SPARSE}
        return {**shared, **by_terms, "query_filter": filter, "with_vectors": [""]}
    if query.sparse is not None:
        depth: dict[str, Any] = {"limit": query.candidates, "filter": filter}
        by_rank = models.RrfQuery(rrf=models.Rrf(k=RRF_K))
        fusion = by_rank if query.fusion == "rrf" else models.FusionQuery(fusion=models.Fusion.DBSF)
        prefetch = [
            models.Prefetch(query=vector, params=params, **depth),
            models.Prefetch(query=_sparse_vector(query.sparse), using=SPARSE, **depth),
        ]
        return {**shared, "prefetch": prefetch, "query": fusion, "with_vectors": [""]}
    nearest: Any = vector
    if query.diversity is not None:
        mmr = models.Mmr(diversity=query.diversity, candidates_limit=query.candidates)
        nearest = models.NearestQuery(nearest=vector, mmr=mmr)
    return {**shared, "query": nearest, "query_filter": filter, "search_params": params}


def _filter(filter: FilterJSON | None) -> models.Filter | None:
    return models.Filter.model_validate(filter) if filter else None


def _sparse_vector(sparse: Sparse) -> models.SparseVector:
    return models.SparseVector(indices=list(sparse.indices), values=list(sparse.values))


def _vectors(row: Row) -> Any:  # noqa: ANN401 - one vector, or several by name
    dense = [] if row.vector is None else row.vector.tolist()
    return dense if row.sparse is None else {"": dense, SPARSE: _sparse_vector(row.sparse)}
