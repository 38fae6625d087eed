"""``/v1/search`` and ``/v1/search/stream``."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from t1_vectorstore.collection.lookup import explain_filter
from t1_vectorstore.keyword_options import set_options
from t1_vectorstore.options import SearchOptions
from t1_vectorstore.server.access import Access, Reader
from t1_vectorstore.server.answers import SearchAnswer, json_of_search
from t1_vectorstore.server.checks import check_filter, check_search
from t1_vectorstore.server.map import draw_map
from t1_vectorstore.server.requests import SearchBody
from t1_vectorstore.server.streaming import StreamedAnswer
from t1_vectorstore.types import SearchResult

router = APIRouter(tags=["search"])

_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["thought", "result", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}


@router.post("/v1/search", response_model=SearchAnswer)
async def search(request: Request, body: SearchBody, access: Reader) -> JSONResponse:
    """Think about a query, then search with its vector."""
    call = _Search(body, access)
    answer = await access.service.work.run(request, access.service.queries, call.answer)
    return JSONResponse(answer)


@router.post(
    "/v1/search/stream",
    response_class=Response,
    responses={
        200: {
            "description": "Events: 'thought' (pieces of it), then 'result' (as /v1/search answers) or 'error'.",
            "content": {"text/event-stream": {"schema": _EVENT}},
        }
    },
)
async def stream(request: Request, body: SearchBody, access: Reader) -> Response:
    """Search, and send the thought while it is generated, as server-sent events."""
    call = _Search(body, access)
    return StreamedAnswer(
        request, access.service, call.events, media_type="text/event-stream", error=partial(_event, "error")
    )


class _Search:
    """One search, whose options have been checked."""

    def __init__(self, body: SearchBody, access: Access) -> None:
        check_search(body, access.service.options)
        self._index, self._store = access.store(body.index)
        check_filter(body.filter, self._store.collection)
        self._options: dict[str, Any] = set_options(body, SearchOptions)
        self._body, self._access = body, access
        access.note_text(query=body.query)

    async def answer(self) -> dict[str, Any]:
        """Return the answer."""
        began = time.time_ns()
        return await self._finish(await self._store.asearch(self._body.query, **self._options), began)

    def events(self) -> AsyncGenerator[bytes, None]:
        """Return the events. Bad options are refused by this call, before the first event."""
        return self._events(self._store.astream(self._body.query, **self._options))

    async def _events(self, items: AsyncGenerator[str | SearchResult, None]) -> AsyncGenerator[bytes, None]:
        began = time.time_ns()
        async with aclosing(items):
            async for item in items:
                if isinstance(item, str):
                    yield _event("thought", {"text": item})
                else:
                    yield _event("result", await self._finish(item, began))

    async def _finish(self, result: SearchResult, began: int) -> dict[str, Any]:
        """Record a result, and return its JSON object."""
        service, store = self._access.service, self._store
        service.metrics.count_search(result, store.embedder)
        service.spans.add_search(result, began, self._index)
        self._access.note(hits=len(result.hits), thought_tokens=sum(thought.tokens for thought in result.thoughts))
        points = await draw_map(store, result, self._options) if self._body.map else None
        filter, warnings = self._body.filter, []
        if filter and not result.hits:
            warnings = await asyncio.to_thread(explain_filter, store.collection, filter)
        return json_of_search(result, self._index, points, warnings)


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
