"""What ``:memory:`` and a server share: the verbs, spoken to a ``QdrantClient``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from t1_vectorstore.engines.base import SPARSE, FilterJSON, Nearest, Row, Scored
from t1_vectorstore.engines.client_queries import client_filter, query_arguments, sparse_vector
from t1_vectorstore.engines.ids import PointId
from t1_vectorstore.engines.schema import Schema
from t1_vectorstore.engines.server.storage import search_params
from t1_vectorstore.errors import StoreError, WriteNotVerified


class ClientEngine:
    """The verbs over one client; a subclass says how a call is made safe."""

    def __init__(self, name: str, schema: Schema) -> None:
        """Speak of the collection ``name``."""
        self.schema = schema
        self._name = name

    def _call(self, verb: str, **arguments: Any) -> Any:  # noqa: ANN401 - what the client's method returns
        raise NotImplementedError

    def write(self, rows: Sequence[Row]) -> None:
        """Insert or replace rows, and wait until they can be read."""
        points = [models.PointStruct(id=row.id, vector=_vectors(row), payload=row.payload) for row in rows]
        completed(self._call("upsert", points=points, wait=True))

    def read(self, ids: Sequence[PointId], *, fields: Sequence[str] | None = None, vectors: bool = False) -> list[Row]:
        """The rows that exist among ``ids``."""
        found = self._call("retrieve", ids=list(ids), with_payload=_selected(fields), with_vectors=_dense(vectors))
        return [_row(record) for record in found]

    def erase(self, ids: Sequence[PointId]) -> None:
        """Remove points, and wait until they are gone."""
        completed(self._call("delete", points_selector=models.PointIdsList(points=list(ids)), wait=True))

    def optimize(self) -> None:
        """Nothing to do: memory has no graph, and a server builds its own."""

    def nearest(self, query: Nearest) -> list[Scored]:
        """The rows that answer a query, best first."""
        return scored(self._call("query_points", **query_arguments(query, search_params(self.schema.storage))))

    async def anearest(self, query: Nearest) -> list[Scored]:
        """``nearest`` in a thread, as the library has nothing to wait for."""
        return await asyncio.to_thread(self.nearest, query)

    def count(self, filter: FilterJSON | None) -> int:
        """How many points match, exactly."""
        return int(self._call("count", count_filter=client_filter(filter), exact=True).count)

    def page(
        self,
        filter: FilterJSON | None,
        *,
        limit: int,
        after: PointId | None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> tuple[list[Row], PointId | None]:
        """One page in the order of point ids."""
        found, following = self._call(
            "scroll",
            scroll_filter=client_filter(filter),
            limit=limit,
            offset=after,
            with_payload=_selected(fields),
            with_vectors=_dense(vectors),
        )
        return [_row(record) for record in found], None if following is None else _plain(following)


def scored(answer: models.QueryResponse) -> list[Scored]:
    """What a query found."""
    return [(point.score, _row(point)) for point in answer.points]


def vector_params(schema: Schema) -> dict[str, Any]:
    """The arguments of ``create_collection`` that say which vectors it holds."""
    size, on_disk = schema.identity.dimension, schema.storage.on_disk or None
    dense = models.VectorParams(size=size, distance=models.Distance.COSINE, on_disk=on_disk)
    terms = {SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)} if schema.hybrid else None
    return {"vectors_config": dense, "sparse_vectors_config": terms}


def completed(result: models.UpdateResult) -> None:
    """Refuse an answer that says less than that a write is done."""
    if result.status != models.UpdateStatus.COMPLETED:
        raise WriteNotVerified(f"the server only says {result.status.value!r} of a write it was asked to complete")


def _vectors(row: Row) -> Any:  # noqa: ANN401 - one vector, or several by name
    dense = [] if row.vector is None else row.vector.tolist()
    return dense if row.sparse is None else {"": dense, SPARSE: sparse_vector(row.sparse)}


def _dense(vectors: bool) -> Any:  # noqa: ANN401 - a flag, or the names of the vectors wanted
    """The unnamed vector alone, whatever else a collection has."""
    return [""] if vectors else False


def _selected(fields: Sequence[str] | None) -> bool | list[str]:
    return True if fields is None else list(fields)


def _plain(point: object) -> PointId:
    return point if isinstance(point, int) else str(point)


def _row(record: models.Record | models.ScoredPoint) -> Row:
    if record.vector is None:
        vector = None
    elif isinstance(record.vector, dict):
        raise StoreError(f"the point {record.id} has named vectors ({', '.join(record.vector)}), not the unnamed one")
    else:
        vector = np.asarray(record.vector, dtype=np.float32)
    return Row(_plain(record.id), record.payload or {}, vector)
