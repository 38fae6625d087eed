"""What operators see of a request: a line in the log, Prometheus metrics, and OpenTelemetry spans."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.server.errors import error_response, internal_error
from t1_vectorstore.server.work import Slots
from t1_vectorstore.types import DocumentEmbeddings, SearchResult, Thought

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

logger = logging.getLogger(__name__)
ACCESS = logging.getLogger("t1_vectorstore.access")
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The Prometheus metrics of one service."""

    def __init__(self, slots: Sequence[Slots]) -> None:
        """Create the metrics; those of the slots are read when they are asked for."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "t1_requests", "Requests by route and status.", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "t1_request_seconds", "Time until the end of the answer.", ["route"], buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.tokens = Counter(
            "t1_tokens", "Tokens by kind: query, thought, document.", ["kind"], registry=self.registry
        )
        self.thoughts = Counter("t1_thoughts", "Thoughts by how they ended.", ["stop"], registry=self.registry)
        self.cached = Counter("t1_cached_queries", "Queries answered from the cache.", registry=self.registry)
        self.chunks = Counter("t1_stored_chunks", "Chunks stored, by index.", ["index"], registry=self.registry)
        running = Gauge("t1_requests_running", "Requests that hold a slot.", ["kind"], registry=self.registry)
        waiting = Gauge("t1_requests_waiting", "Requests that wait for a slot.", ["kind"], registry=self.registry)
        for each in slots:
            running.labels(each.name).set_function(lambda each=each: each.running)  # type: ignore[misc]
            waiting.labels(each.name).set_function(lambda each=each: each.waiting)  # type: ignore[misc]

    def count_queries(self, tokens: int, thoughts: Sequence[Thought], *, cached: int) -> None:
        """Count the tokens of queries, their thoughts, and how many of the queries were cached; those ran no model."""
        self.tokens.labels("query").inc(tokens)
        self.cached.inc(cached)
        for thought in thoughts:
            self.thoughts.labels(thought.stop).inc()
            self.tokens.labels("thought").inc(thought.tokens)

    def count_search(self, result: SearchResult, embedder: T1Embedder) -> None:
        """Count what a search has read and thought."""
        cut = result.truncated
        tokens = cut.total_tokens - cut.dropped_tokens if cut else embedder.query_tokens([result.query])
        self.count_queries(tokens, result.thoughts, cached=result.cached)

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class Observer:
    """Logs and counts each request. What a route puts into ``scope["state"]["log"]`` is logged with it."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, routes: Sequence[Route]) -> None:
        """Count by the paths of ``routes``."""
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI defines it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["log"], state["request_id"] = {}, secrets.token_hex(8)
        began = time.perf_counter()
        status = 499  # as nginx logs a client that left before an answer

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", state["request_id"].encode())]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception:
            logger.exception("a request failed", extra={"fields": {"request_id": state["request_id"]}})
            if status != 499:  # the answer has begun
                raise
            error = internal_error(state["request_id"])
            answer = error_response(error.status_code, error.detail, code=error.code)
            await answer(scope, receive, observed)
        finally:
            seconds = time.perf_counter() - began
            route = self._route(scope)
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            key = state.get("key")
            ACCESS.info(
                "request",
                extra={
                    "fields": {
                        "request_id": state["request_id"],
                        "method": scope["method"],
                        "route": route,
                        "status": status,
                        "ms": round(seconds * 1000, 2),
                        **({"key": key.name} if key is not None else {}),
                        **state["log"],
                    }
                },
            )

    def _route(self, scope: Scope) -> str:
        """Return the path of the route; also of a request that was refused before it reached one."""
        if (chosen := getattr(scope.get("route"), "path", None)) is not None:
            return str(chosen) or "page"
        return next((route.path for route in self._routes if route.path_regex.match(scope["path"])), "other")


class JsonFormatter(logging.Formatter):
    """Formats log records as JSON, one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record; ``extra={"fields": {...}}`` adds fields."""
        line: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the time in UTC, in milliseconds (ISO 8601)."""
        return f"{datetime.fromtimestamp(record.created, timezone.utc):%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03}Z"


class Spans:
    """OpenTelemetry spans of what the model and the store did for a request. Without a provider they cost nothing."""

    def __init__(self, provider: TracerProvider | None) -> None:
        """Use a provider, else the global one, which the ``telemetry`` extra configures."""
        self._tracer = trace.get_tracer("t1_vectorstore", tracer_provider=provider)

    def add_embedding(self, thoughts: Sequence[Thought], began: int, seconds: float) -> int:
        """Add the span of embedding queries, ``think`` or ``encode``; return its end."""
        tokens = sum(thought.tokens for thought in thoughts)
        name, attributes = ("think", {"t1.thought_tokens": tokens}) if thoughts else ("encode", {})
        return self._add(name, began, seconds, attributes)

    def add_documents(self, embeddings: DocumentEmbeddings, began: int) -> None:
        """Add the span ``encode`` of embedding documents."""
        attributes = {"t1.texts": len(embeddings.vectors), "t1.tokens": embeddings.tokens}
        self._add("encode", began, embeddings.seconds, attributes)

    def add_search(self, result: SearchResult, began: int, index: str) -> None:
        """Add the spans of a search: ``think`` or ``encode``, then ``search``."""
        ended = self.add_embedding(result.thoughts, began, result.timings.embed)
        self._add("search", ended, result.timings.search, {"t1.index": index, "t1.hits": len(result.hits)})

    def _add(self, name: str, began: int, seconds: float, attributes: Mapping[str, Any]) -> int:
        """Add a span that is over, below that of the request; return its end in nanoseconds since 1970."""
        ended = began + int(seconds * 1e9)
        self._tracer.start_span(name, start_time=began, attributes=dict(attributes)).end(ended)
        return ended
