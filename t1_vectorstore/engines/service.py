"""A collection that a T1 service (``t1 serve``) has open, read and written over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from t1_vectorstore.engines.base import EngineKind, FilterJSON, Nearest, Row, Scored
from t1_vectorstore.engines.ids import PointId
from t1_vectorstore.engines.rows import nearest_to_json, row_from_json, row_to_json
from t1_vectorstore.engines.schema import NoteName, OpenOptions, Schema
from t1_vectorstore.errors import CollectionNotFound, StoreError, StoreUnavailable
from t1_vectorstore.forks import ForkSafeLock
from t1_vectorstore.options import CollectionOptions
from t1_vectorstore.service import ServiceClient, in_path
from t1_vectorstore.types import Indexing


class ServiceEngine:
    """One index of a service. Thread-safe."""

    kind: EngineKind = "service"

    def __init__(self, url: str, options: OpenOptions) -> None:
        """Connect to an index that the service has: the one that is named, or else its only one.

        Raises:
            CollectionNotFound: The service has no such index, or several and none is named.
            CollectionMismatch: It was created with other options, or for another model.
            StoreUnavailable: The service does not answer.
            ValueError: A new collection is asked for; a service serves those that exist.
        """
        self.write_lock = ForkSafeLock(reentrant=True)
        self._client = ServiceClient(
            url,
            failure=StoreUnavailable,
            api_key=options.api_key,
            timeout=options.timeout,
            patience=options.retry.budget,
        )
        self._closed = False
        try:
            name = self._choose(options.name)
            self._path = f"indexes/{in_path(name)}"
            record = self._client.get(self._path)
            # The service read its schema when it was started, and other clients have noted things since.
            notes = {note: text for note, text in record["notes"].items() if text is not None}
            schema = replace(Schema.from_json(record["schema"], f"{url}, index {name!r}"), notes=notes)
            self._index_kinds: Mapping[str, str] = record["index_kinds"]
            self._words_need_index = bool(record["words_need_index"])
            self.writable = bool(record["writable"])
            self.schema = options.for_only(schema).reconcile(schema, f"the index {name!r} of {url}")
        except BaseException:
            self.close()
            raise

    def write(self, rows: Sequence[Row]) -> None:
        """Insert or replace rows; the service checks them as a collection does."""
        self._post("write", rows=[row_to_json(row) for row in rows])

    def read(self, ids: Sequence[PointId], *, fields: Sequence[str] | None = None, vectors: bool = False) -> list[Row]:
        """Return the rows that exist among ``ids``."""
        answer = self._post("read", ids=list(ids), fields=fields, vectors=vectors)
        return [row_from_json(row) for row in answer["rows"]]

    def erase(self, ids: Sequence[PointId]) -> None:
        """Delete points."""
        self._post("erase", ids=list(ids))

    def nearest(self, query: Nearest) -> list[Scored]:
        """Answer a query, best row first."""
        answer = self._post("nearest", query=nearest_to_json(query))
        return [(float(score), row_from_json(row)) for score, row in answer["rows"]]

    async def anearest(self, query: Nearest) -> list[Scored]:
        """``nearest`` in a thread."""
        return await asyncio.to_thread(self.nearest, query)

    def count(self, filter: FilterJSON | None) -> int:
        """Return the exact number of points that match."""
        return int(self._post("count", filter=filter)["count"])

    def page(
        self,
        filter: FilterJSON | None,
        *,
        limit: int,
        after: PointId | None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> tuple[list[Row], PointId | None]:
        """Return one page of rows in the order of point ids, and where the next page starts."""
        answer = self._post("page", filter=filter, limit=limit, after=after, fields=fields, vectors=vectors)
        return [row_from_json(row) for row in answer["rows"]], answer["next"]

    def index_kinds(self) -> Mapping[str, str]:
        """Return the kinds of the payload indexes, by payload path, as they were when the index was opened."""
        return self._index_kinds

    def words_need_index(self) -> bool:
        """Return whether a filter by words compares words only in a field with a text index."""
        return self._words_need_index

    def disk_bytes(self) -> int | None:
        """Return the number of bytes used on the service's disk, if known."""
        size: int | None = self._record()["disk_bytes"]
        return size

    def defer_indexing(self) -> None:
        """Do nothing: when a graph is built is the service's affair."""

    def restore_indexing(self) -> None:
        """Do nothing, as ``defer_indexing`` does."""

    def indexing(self) -> Indexing | None:
        """Return the state of the optimizer behind the service, if there is one."""
        found = self._record()["indexing"]
        return None if found is None else Indexing(**found)

    def has_previous_build(self) -> bool:
        """Return whether the build before the last reindex is kept."""
        return bool(self._record()["previous_build"])

    def read_note(self, name: NoteName) -> Any:  # noqa: ANN401 - JSON
        """Return a record that was noted last, by any client."""
        return self._record()["notes"].get(name)

    def write_note(self, name: NoteName, record: Mapping[str, Any]) -> None:
        """Store a record."""
        self._post("note", name=name, record=dict(record))

    def optimize(self) -> None:
        """Refuse: an index is optimised where it is.

        Raises:
            StoreError: Always.
        """
        raise StoreError(f"{self._client.url} is a service; run t1 optimize on the machine that has the index")

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._client.close()

    def _choose(self, name: str) -> str:
        """Return the name of the index to open."""
        names = [str(index["name"]) for index in self._client.get("indexes")["data"]]
        if name in names:
            return name
        if len(names) == 1 and name == CollectionOptions.model_fields["name"].default:
            return names[0]
        shown = ", ".join(map(repr, names)) or "none"
        raise CollectionNotFound(f"{self._client.url} has no index {name!r}; it has {shown}: name one of them")

    def _record(self) -> dict[str, Any]:
        self._check_open()
        return self._client.get(self._path)

    def _post(self, action: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        self._check_open()
        return self._client.post(f"{self._path}/{action}", fields)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the connection to {self._client.url} is closed")
