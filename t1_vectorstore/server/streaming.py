"""Answers whose parts are sent while they are computed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from t1_vectorstore.server.errors import ClientGone, error_body, internal_error, to_refused
from t1_vectorstore.server.service import Service

logger = logging.getLogger(__name__)


class StreamedAnswer(Response):
    """Does work in a slot for queries and sends its parts. An error before the work begins is an ordinary answer."""

    def __init__(
        self,
        request: Request,
        service: Service,
        parts: Callable[[], AsyncGenerator[bytes, None]],
        *,
        media_type: str,
        error: Callable[[dict[str, Any]], bytes],
    ) -> None:
        """Prepare the answer.

        Args:
            request: The request.
            service: The service.
            parts: Returns the iterator that does the work and yields the parts of the body; it may refuse the request.
            media_type: Content type of the body.
            error: Returns the last part of a body that fails in the middle, with the error's JSON object.
        """
        super().__init__(media_type=media_type)
        self._request, self._service, self._parts, self._error = request, service, parts, error
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do the work and send its parts."""
        try:
            await self._service.work.run(self._request, self._service.queries, lambda: self._send_parts(send))
        except Exception as error:
            if not self._started:
                raise
            if isinstance(error, ClientGone):
                return
            try:
                refusal = to_refused(error)
            except Exception:
                request_id = self._request.state.request_id
                logger.exception("a streamed answer failed", extra={"fields": {"request_id": request_id}})
                refusal = internal_error(request_id)
            body = error_body(refusal.status_code, refusal.detail, code=refusal.code, param=refusal.param)
            await send({"type": "http.response.body", "body": self._error(body), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_parts(self, send: Send) -> None:
        content_type = f"{self.media_type}; charset=utf-8".encode()
        # This call refuses what can be refused before the first part. It may tokenise a long text, so it has a thread.
        async with aclosing(await asyncio.to_thread(self._parts)) as parts:
            self._started = True
            headers = [(b"content-type", content_type), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
