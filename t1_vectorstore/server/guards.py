"""Checks of every request before its body is read: host, origin, key, rate; and the limits on slow clients.

They are ASGI middlewares, so that they also protect applications that are mounted, such as an MCP server. The key that
was checked is ``scope["state"]["key"]``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterator
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from t1_vectorstore.server.errors import Refused, error_response
from t1_vectorstore.server.hosts import is_safe_host, split_host
from t1_vectorstore.server.keys import WatchedKeys
from t1_vectorstore.server.work import Lifecycle

PROTECTED = ("/v1", "/mcp", "/metrics")
"""Prefixes of paths that need a key, if the service has keys. The others say nothing about indexes."""
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
_MOST_BUCKETS = 10_000
_PIECE = 64 * 1024
"""Bytes of an answer that are sent at once; the server keeps all that a client has not read of them."""

logger = logging.getLogger(__name__)


def is_protected(path: str) -> bool:
    """Return whether a path needs a key."""
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in PROTECTED)


class SecurityHeaders:
    """Adds headers that keep browsers from running or guessing anything that the service did not mean."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI defines it."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class Hosts:
    """Refuses requests that a browser sends for a page of another site.

    A page of another site reaches a local service either under the service's own name, with its own Origin, or by DNS
    rebinding, under a name of its own.
    """

    def __init__(self, app: ASGIApp, *, allowed: Collection[str], any_host: bool, origins: Collection[str]) -> None:
        """Accept host names (or any, which is safe with keys), and origins of other sites."""
        self._app = app
        self._allowed = {name.lower() for name in allowed}
        self._any_host = any_host and not self._allowed
        self._origins = {origin.lower() for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI defines it."""
        if scope["type"] in ("http", "websocket") and (refusal := self._check(scope, Headers(scope=scope))):
            await _refuse(refusal, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> Refused | None:
        host = headers.get("host", "")
        try:
            name = split_host(host)
        except ValueError as error:
            return Refused(400, str(error), code="invalid_host")
        if not (self._any_host or is_safe_host(name, self._allowed)):
            message = f"the service does not answer under the name {name!r:.100}; to allow it: --allow-host {name:.100}"
            return Refused(403, message, code="host_not_allowed")
        origin = headers.get("origin")
        own = origin is None or origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
        if own or origin.lower() in self._origins or not is_protected(scope["path"]):  # type: ignore[union-attr]
            return None
        message = f"pages of {origin!r:.200} may not call the service; to allow it: --allow-origin {origin:.200}"
        return Refused(403, message, code="origin_not_allowed")


class Authentication:
    """Checks the API key of a request to a protected path."""

    def __init__(self, app: ASGIApp, *, keys: WatchedKeys | None) -> None:
        """Check against ``keys``; without them every request passes."""
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI defines it."""
        if self._keys is not None and scope["type"] in ("http", "websocket") and is_protected(scope["path"]):
            try:
                scope.setdefault("state", {})["key"] = self._find(self._keys, Headers(scope=scope))
            except Refused as refusal:
                await _refuse(refusal, scope, receive, send, {"WWW-Authenticate": "Bearer"})
                return
        await self._app(scope, receive, send)

    def _find(self, keys: WatchedKeys, headers: Headers) -> object:
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        secret = secret.strip()
        if not secret or scheme.lower() != "bearer":
            raise Refused(401, "an API key is needed: Authorization: Bearer KEY", code="key_missing")
        try:
            key = keys.find(secret)
        except (OSError, ValueError):
            raise Refused(503, "the service cannot read its API keys", code="keys_unreadable") from None
        if key is None:
            raise Refused(401, "unknown API key", code="key_unknown")
        if key.expired():
            raise Refused(
                401, f"the API key {key.name!r} expired at {key.expires:%Y-%m-%d %H:%M} UTC", code="key_expired"
            )
        return key


class RateLimit:
    """Limits the requests of a key, or of an address, in a minute.

    A token bucket: a minute's requests may come at once, and then one at a time as the bucket fills again.
    """

    def __init__(self, app: ASGIApp, *, per_minute: int) -> None:
        self._app = app
        self._size = float(per_minute)
        self._rate = per_minute / 60
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens left, and when

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI defines it."""
        if scope["type"] == "http" and is_protected(scope["path"]):
            wait = self._take(_caller(scope))
            if wait > 0:
                message = f"more than {self._size:g} requests in a minute; the next one is accepted in {wait:.1f} s"
                await _refuse(Refused(429, message, code="rate_limited", retry_after=wait), scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _take(self, caller: str) -> float:
        """Take a token, and return 0; or return the seconds until there is one."""
        now = time.monotonic()
        left, since = self._buckets.pop(caller, (self._size, now))
        left = min(self._size, left + (now - since) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._buckets[caller] = (left if wait else left - 1, now)  # at the end: the dictionary is in order of use
        while len(self._buckets) > _MOST_BUCKETS:
            del self._buckets[next(iter(self._buckets))]
        return wait


class ClientLimits:
    """Limits the size of a body, and the time that a client takes to send its next part or to read an answer's."""

    def __init__(self, app: ASGIApp, *, most_bytes: int, seconds: float) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI defines it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self._most_bytes:
            await _refuse(self._too_large(), scope, receive, send, {"Connection": "close"})
            return
        arrived = 0
        whole = declared in ("", "0") and "transfer-encoding" not in headers

        async def limited_receive() -> Message:
            nonlocal arrived, whole
            if whole:  # what is awaited now is that the client leaves
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._seconds)
            except asyncio.TimeoutError:
                error = f"no more of the body arrived in {self._seconds:g} s"
                raise Refused(408, error, code="body_too_slow") from None
            arrived += len(message.get("body", b""))
            if arrived > self._most_bytes:
                raise self._too_large()
            whole = not message.get("more_body", False)
            return message

        async def limited_send(message: Message) -> None:
            if message["type"] == "http.response.start" and not whole:  # uvicorn would go on to receive the body
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            try:
                for part in _in_pieces(message):
                    await asyncio.wait_for(send(part), self._seconds)
            except asyncio.TimeoutError:
                raise _TooSlow from None

        try:
            await self._app(scope, limited_receive, limited_send)
        except _TooSlow:
            logger.warning("a client did not read its answer for %g s; its connection is closed", self._seconds)

    def _too_large(self) -> Refused:
        message = f"the body is larger than {self._most_bytes:,} bytes; send several requests"
        return Refused(413, message, code="body_too_large")


class Gate:
    """Counts the requests in progress, and refuses new ones while the service stops."""

    def __init__(self, app: ASGIApp, *, lifecycle: Lifecycle) -> None:
        self._app = app
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI defines it."""
        if scope["type"] != "http" or not is_protected(scope["path"]):
            await self._app(scope, receive, send)
            return
        if self._lifecycle.stopping:
            refusal = Refused(503, "the service is stopping", code="stopping", retry_after=1)
            await _refuse(refusal, scope, receive, send, {"Connection": "close"})
            return
        self._lifecycle.running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._lifecycle.running -= 1


class _TooSlow(OSError):
    """The client does not read its answer."""


def _in_pieces(message: Message) -> Iterator[Message]:
    """Split a large part of a body, so that each piece waits until the client has read those before."""
    body = message.get("body", b"")
    if len(body) <= _PIECE:
        yield message
        return
    for start in range(0, len(body), _PIECE):
        more = message.get("more_body", False) or start + _PIECE < len(body)
        yield {"type": message["type"], "body": body[start : start + _PIECE], "more_body": more}


def _caller(scope: Scope) -> str:
    """Return who sends a request: the name of the key, else the address."""
    key = scope.get("state", {}).get("key")
    client: Any = scope.get("client")
    return f"key {key.name}" if key is not None else f"address {client[0] if client else ''}"


async def _refuse(
    refusal: Refused, scope: Scope, receive: Receive, send: Send, headers: dict[str, str] | None = None
) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    every = {**(refusal.headers or {}), **(headers or {})}
    response = error_response(refusal.status_code, refusal.detail, code=refusal.code, headers=every)
    await response(scope, receive, send)
