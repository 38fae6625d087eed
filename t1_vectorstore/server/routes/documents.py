"""``/v1/documents``: store, read, count and delete documents."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from t1_vectorstore.collection.lookup import find_chunks
from t1_vectorstore.indexing import LoadReport
from t1_vectorstore.indexing.chunk_documents import chunk_sizes, chunker_for
from t1_vectorstore.server.access import Access, Reader, Writer
from t1_vectorstore.server.answers import AddAnswer, ChunksAnswer, CountAnswer, DeleteAnswer, PageAnswer
from t1_vectorstore.server.checks import check_count, check_filter
from t1_vectorstore.server.requests import AddBody, CountBody, DeleteBody, ListBody
from t1_vectorstore.types import Document

router = APIRouter(tags=["documents"], prefix="/v1/documents")

T = TypeVar("T")


@router.post("", response_model=AddAnswer)
async def add(request: Request, body: AddBody, access: Writer) -> JSONResponse:
    """Store documents, or replace those with the same ids.

    The answer is sent when everything was written and read back. It lists the documents that were not stored. If the
    client leaves after the load has begun, the documents are stored nevertheless; those of a load that waits for its
    turn are not.
    """
    service = access.service
    name, store = access.writable_store(body.index)
    check_count(len(body.documents), service.options.max_documents, "documents")
    documents = [Document(each.text, each.id, each.metadata) for each in body.documents]

    def load(_: threading.Event) -> LoadReport:
        size, overlap = chunk_sizes(store.collection, body.chunk_size, body.overlap)
        chunker = chunker_for(store.embedder, size=size, overlap=overlap)
        return store.add(documents, chunker=chunker, on_progress=service.work.lifecycle.check)

    report = await service.work.run(request, service.documents, lambda: service.documents.in_thread(load))
    service.metrics.tokens.labels("document").inc(report.tokens)
    service.metrics.chunks.labels(name).inc(report.stored)
    access.note(documents=report.documents, failed=report.failed, chunks=report.stored, tokens=report.tokens)
    return JSONResponse({**asdict(report), "complete": report.complete})


@router.get("", response_model=ChunksAnswer)
async def get(
    request: Request,
    access: Reader,
    id: Annotated[list[str], Query(description="Id of a chunk or a document.")],  # noqa: A002 - the parameter's name
    index: Annotated[str | None, Query(max_length=200)] = None,
) -> JSONResponse:
    """Read stored chunks by id; the id of a document reads all its chunks, in order."""
    _, store = access.store(index)
    check_count(len(id), access.service.options.max_documents, "id")
    chunks, missing = await _read(request, access, lambda: find_chunks(store.collection, id))
    return JSONResponse({"data": [asdict(chunk) for chunk in chunks], "missing": missing})


@router.post("/list", response_model=PageAnswer)
async def list_chunks(request: Request, body: ListBody, access: Reader) -> JSONResponse:
    """Read a page of the stored chunks, or of those that match a filter."""
    _, store = access.store(body.index)
    check_filter(body.filter, store.collection)
    chunks, following = await _read(request, access, lambda: store.collection.page(body.filter, body.limit, body.after))
    return JSONResponse({"data": [asdict(chunk) for chunk in chunks], "next": following})


@router.post("/count", response_model=CountAnswer)
async def count(request: Request, body: CountBody, access: Reader) -> JSONResponse:
    """Count the stored chunks, or those that match a filter."""
    _, store = access.store(body.index)
    check_filter(body.filter, store.collection)
    return JSONResponse({"count": await _read(request, access, lambda: store.count(body.filter))})


@router.post("/delete", response_model=DeleteAnswer)
async def delete(request: Request, body: DeleteBody, access: Writer) -> JSONResponse:
    """Delete documents with all their chunks, by id or by a filter."""
    service = access.service
    _, store = access.writable_store(body.index)
    if (body.ids is None) == (body.filter is None):
        raise ValueError("delete needs either ids or a filter")
    check_filter(body.filter, store.collection)
    if body.ids is not None:
        check_count(len(body.ids), service.options.max_documents, "ids")

    def remove(_: threading.Event) -> tuple[int, list[str]]:
        if body.ids is None:
            return store.collection.delete(filter=body.filter), []
        unknown = store.collection.unknown_documents(body.ids)
        return store.collection.delete_documents(body.ids), unknown

    deleted, unknown = await service.work.run(request, service.documents, lambda: service.documents.in_thread(remove))
    access.note(deleted=deleted)
    return JSONResponse({"deleted": deleted, "unknown": unknown})


async def _read(request: Request, access: Access, function: Callable[[], T]) -> T:
    """Call a function that reads an index in a thread for queries."""
    queries = access.service.queries
    return await access.service.work.run(request, queries, lambda: queries.in_thread(lambda _: function()))
