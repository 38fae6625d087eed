"""``/v1/indexes/NAME/...``: an index as an engine stores it, for ``T1VectorStore.open("t1+http://...")``.

The client has the collection's logic: it compiles filters, chunks and checks documents, and reads back what it wrote.
Rows are checked here again, since a client may be anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, TypeVar, get_args

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.payload import check_row
from t1_vectorstore.engines import NoteName
from t1_vectorstore.engines.ids import check_point_id
from t1_vectorstore.engines.rows import check_filter, nearest_from_json, row_from_json, row_to_json
from t1_vectorstore.server.access import Access, Reader, Writer
from t1_vectorstore.server.errors import Refused
from t1_vectorstore.types import Calibration, LoadRecord

router = APIRouter(tags=["index in rows"], prefix="/v1/indexes/{name:path}")

T = TypeVar("T")
PointIds = list[int | str]
_RECORDS: dict[NoteName, type[LoadRecord | Calibration]] = {"load": LoadRecord, "calibration": Calibration}
MAX_ROWS = 20_000
"""Most rows of one answer, and most ids of one request."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReadBody(_Body):
    """Points to read."""

    ids: Annotated[PointIds, Field(max_length=MAX_ROWS)]
    fields: list[str] | None = Field(default=None, description="Payload paths to read; all by default.")
    vectors: bool = False


class PageBody(_Body):
    """A page of points to read, in the order of their ids."""

    filter: dict[str, Any] | None = Field(default=None, description="A filter in Qdrant's JSON.")
    limit: int = Field(ge=1, le=MAX_ROWS)
    after: int | str | None = None
    fields: list[str] | None = None
    vectors: bool = False


class FilterBody(_Body):
    """Points to count."""

    filter: dict[str, Any] | None = None


class NearestBody(_Body):
    """A query to the engine."""

    query: dict[str, Any]


class WriteBody(_Body):
    """Rows to insert or replace."""

    rows: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_ROWS)]


class EraseBody(_Body):
    """Points to delete."""

    ids: Annotated[PointIds, Field(max_length=MAX_ROWS)]


class NoteBody(_Body):
    """A record that the index stores about itself, such as that of its latest load."""

    name: NoteName
    record: dict[str, Any]


@router.get("")
async def describe(request: Request, name: str, access: Reader) -> JSONResponse:
    """Describe an index."""
    collection = _collection(access, name)

    def facts() -> dict[str, Any]:
        info, engine = collection.info(), collection.storage
        return {
            "schema": collection.schema.to_json(),
            "writable": access.writes and not collection.read_only,
            "index_kinds": dict(engine.index_kinds()),
            "words_need_index": engine.words_need_index(),
            "disk_bytes": info.disk_bytes,
            "indexing": None if info.indexing is None else asdict(info.indexing),
            "previous_build": info.previous_build,
            "notes": {name: engine.read_note(name) for name in get_args(NoteName)},
        }

    return JSONResponse(await _in_query_slot(request, access, facts))


@router.post("/read")
async def read(request: Request, name: str, body: ReadBody, access: Reader) -> JSONResponse:
    """Read points by id."""
    engine = _collection(access, name).storage
    ids = [check_point_id(each) for each in body.ids]

    def found() -> JSONResponse:
        rows = engine.read(ids, fields=body.fields, vectors=body.vectors)
        return JSONResponse({"rows": [row_to_json(row) for row in rows]})

    return await _in_query_slot(request, access, found)


@router.post("/page")
async def page(request: Request, name: str, body: PageBody, access: Reader) -> JSONResponse:
    """Read a page of points."""
    engine, filter = _collection(access, name).storage, check_filter(body.filter)
    after = None if body.after is None else check_point_id(body.after)

    def found() -> JSONResponse:
        rows, following = engine.page(filter, limit=body.limit, after=after, fields=body.fields, vectors=body.vectors)
        return JSONResponse({"rows": [row_to_json(row) for row in rows], "next": following})

    return await _in_query_slot(request, access, found)


@router.post("/count")
async def count(request: Request, name: str, body: FilterBody, access: Reader) -> JSONResponse:
    """Count points."""
    engine, filter = _collection(access, name).storage, check_filter(body.filter)
    return JSONResponse({"count": await _in_query_slot(request, access, lambda: engine.count(filter))})


@router.post("/nearest")
async def nearest(request: Request, name: str, body: NearestBody, access: Reader) -> JSONResponse:
    """Find the points nearest to a vector."""
    collection = _collection(access, name)
    query = nearest_from_json(body.query)
    for vector in (query.vector, *query.vectors):
        if vector.shape != (collection.identity.dimension,):
            raise ValueError(
                f"a vector of shape {vector.shape}; the index has {collection.identity.dimension} dimensions"
            )
    most = max(MAX_ROWS, access.service.options.max_hits)
    for field in ("limit", "offset", "candidates"):
        if getattr(query, field) > most:
            raise Refused(400, f"{field}={getattr(query, field)} is more than {most}", code="too_many", param=field)

    def found() -> JSONResponse:
        rows = collection.storage.nearest(query)
        return JSONResponse({"rows": [[score, row_to_json(row)] for score, row in rows]})

    return await _in_query_slot(request, access, found)


@router.post("/write")
async def write(request: Request, name: str, body: WriteBody, access: Writer) -> JSONResponse:
    """Insert or replace points. The client reads them back."""
    collection = _writable(access, name)
    rows = [check_row(row_from_json(record), collection.schema) for record in body.rows]
    await _in_write_slot(request, access, lambda: collection.storage.write(rows))
    access.note(rows=len(rows))
    return JSONResponse({"written": len(rows)})


@router.post("/erase")
async def erase(request: Request, name: str, body: EraseBody, access: Writer) -> JSONResponse:
    """Delete points by id."""
    collection = _writable(access, name)
    ids = [check_point_id(each) for each in body.ids]
    await _in_write_slot(request, access, lambda: collection.storage.erase(ids))
    access.note(erased=len(ids))
    return JSONResponse({"erased": len(ids)})


@router.post("/note")
async def note(request: Request, name: str, body: NoteBody, access: Writer) -> JSONResponse:
    """Store a record about the index."""
    if _RECORDS[body.name].from_json(body.record) is None:
        raise ValueError(f"not a record of {body.name!r}: {body.record!r:.200}")
    collection = _writable(access, name)
    await _in_write_slot(request, access, lambda: collection.notes.write({body.name: body.record}))
    return JSONResponse({"noted": body.name})


def _collection(access: Access, name: str) -> Collection:
    _, store = access.store(name)
    return store.collection


def _writable(access: Access, name: str) -> Collection:
    _, store = access.writable_store(name)
    return store.collection


async def _in_query_slot(request: Request, access: Access, function: Callable[[], T]) -> T:
    """Call a function in a thread for queries; the JSON of many rows is written there, too."""
    slots = access.service.queries
    return await access.service.work.run(request, slots, lambda: slots.in_thread(lambda _: function()))


async def _in_write_slot(request: Request, access: Access, function: Callable[[], T]) -> T:
    slots = access.service.writes
    return await access.service.work.run(request, slots, lambda: slots.in_thread(lambda _: function()))
