"""``/v1/search`` and ``/v1/search/stream``."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from t1_vectorstore.options import SearchOptions, set_options
from t1_vectorstore.server.access import Access, Reader
from t1_vectorstore.server.answers import SearchAnswer, json_of_search
from t1_vectorstore.server.checks import check_search
from t1_vectorstore.server.errors import ClientGone, error_body, to_refused
from t1_vectorstore.server.map import draw_map
from t1_vectorstore.server.requests import SearchBody
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
    return _EventStream(request, access, _Search(body, access))


class _Search:
    """One search, whose options have been checked."""

    def __init__(self, body: SearchBody, access: Access) -> None:
        check_search(body, access.service.options)
        self._index, self._store = access.store(body.index)
        self._options: dict[str, Any] = set_options(body, SearchOptions)
        self._body, self._access = body, access
        access.note_text(query=body.query)

    async def answer(self) -> dict[str, Any]:
        """Return the answer."""
        began = time.time_ns()
        return await self._finish(await self._store.asearch(self._body.query, **self._options), began)

    def events(self) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """Return the names and data of events. Bad options are refused by this call, before the first event."""
        return self._events(self._store.astream(self._body.query, **self._options))

    async def _events(
        self, items: AsyncGenerator[str | SearchResult, None]
    ) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        began = time.time_ns()
        async with aclosing(items):
            async for item in items:
                if isinstance(item, str):
                    yield "thought", {"text": item}
                else:
                    yield "result", await self._finish(item, began)

    async def _finish(self, result: SearchResult, began: int) -> dict[str, Any]:
        """Record a result, and return its JSON object."""
        service, store = self._access.service, self._store
        service.metrics.count_thoughts(result.thoughts)
        service.spans.add_search(result, began, self._index)
        self._access.note(hits=len(result.hits), thought_tokens=sum(thought.tokens for thought in result.thoughts))
        points = await draw_map(store, result, self._options) if self._body.map else None
        return json_of_search(result, self._index, points)


class _EventStream(Response):
    """Runs a search and sends its events. Until the first one, an error is an ordinary answer."""

    def __init__(self, request: Request, access: Access, call: _Search) -> None:
        super().__init__()
        self._request, self._service, self._search = request, access.service, call
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the search and send its events."""
        try:
            await self._service.work.run(self._request, self._service.queries, lambda: self._send_events(send))
        except Exception as error:
            if not self._started:
                raise
            if isinstance(error, ClientGone):
                return
            refusal = to_refused(error)
            body = error_body(refusal.status_code, refusal.detail, code=refusal.code, param=refusal.param)
            await _send(send, "error", body)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_events(self, send: Send) -> None:
        async with aclosing(self._search.events()) as events:
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
            self._started = True
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for name, data in events:
                await _send(send, name, data)


async def _send(send: Send, name: str, data: dict[str, Any]) -> None:
    text = f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
