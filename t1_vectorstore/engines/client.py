"""What ``:memory:`` and a server share: the verbs, spoken to a ``QdrantClient``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from t1_vectorstore.engines.base import FilterJSON, Row
from t1_vectorstore.engines.schema import Schema
from t1_vectorstore.errors import StoreError, WriteNotVerified
from t1_vectorstore.ids import PointId
from t1_vectorstore.types import Vector


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
        batch = models.Batch(
            ids=[row.id for row in rows],
            vectors=[[] if row.vector is None else row.vector.tolist() for row in rows],
            payloads=[row.payload for row in rows],
        )
        _completed(self._call("upsert", points=batch, wait=True))

    def read(self, ids: Sequence[PointId], *, fields: Sequence[str] | None = None, vectors: bool = False) -> list[Row]:
        """The rows that exist among ``ids``."""
        found = self._call("retrieve", ids=list(ids), with_payload=_selected(fields), with_vectors=vectors)
        return [_row(record) for record in found]

    def erase(self, ids: Sequence[PointId]) -> None:
        """Remove points, and wait until they are gone."""
        _completed(self._call("delete", points_selector=models.PointIdsList(points=list(ids)), wait=True))

    def nearest(self, vector: Vector, *, limit: int, offset: int, filter: FilterJSON | None) -> list[tuple[float, Row]]:
        """The rows of highest cosine similarity, best first."""
        answer = self._call(
            "query_points",
            query=vector.tolist(),
            limit=limit,
            offset=offset,
            query_filter=_filter(filter),
            with_payload=True,
        )
        return [(point.score, _row(point)) for point in answer.points]

    def count(self, filter: FilterJSON | None) -> int:
        """How many points match, exactly."""
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
        """One page in the order of point ids."""
        found, following = self._call(
            "scroll",
            scroll_filter=_filter(filter),
            limit=limit,
            offset=after,
            with_payload=_selected(fields),
            with_vectors=vectors,
        )
        return [_row(record) for record in found], None if following is None else _plain(following)


def _completed(result: models.UpdateResult) -> None:
    if result.status != models.UpdateStatus.COMPLETED:
        raise WriteNotVerified(f"the server only says {result.status.value!r} of a write it was asked to complete")


def _filter(filter: FilterJSON | None) -> models.Filter | None:
    return models.Filter.model_validate(filter) if filter else None


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
