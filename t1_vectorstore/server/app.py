"""The application: routes, checks and playground, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from t1_vectorstore import __version__
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.server import guards
from t1_vectorstore.server.answers import ErrorAnswer
from t1_vectorstore.server.catalog import Catalog
from t1_vectorstore.server.errors import add_error_handlers
from t1_vectorstore.server.keys import WatchedKeys
from t1_vectorstore.server.observing import Metrics, Observer, Spans
from t1_vectorstore.server.options import ServiceOptions
from t1_vectorstore.server.routes import catalog, documents, embeddings, indexes, models, search
from t1_vectorstore.server.service import Service
from t1_vectorstore.server.work import Lifecycle, Slots, Work
from t1_vectorstore.vectorstore import T1VectorStore

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

PLAYGROUND = Path(__file__).parent / "playground"
"""Static files of the page at ``/``."""

_ERRORS = {
    400: "The request is wrong; the message says what to change.",
    401: "The API key is missing, unknown or expired.",
    403: "The API key, or the page that sends the request, may not do this.",
    404: "There is no such index or model.",
    408: "The body arrived too slowly.",
    413: "The body is too large.",
    429: "Too many requests; Retry-After says when to try again.",
    500: "The model or the store failed.",
    503: "The service is stopping, or a store does not answer.",
}


def create_app(
    stores: Mapping[str, T1VectorStore],
    *,
    embedders: Iterable[T1Embedder] = (),
    options: ServiceOptions | None = None,
    tracer_provider: TracerProvider | None = None,
) -> FastAPI:
    """Return an ASGI application that serves open stores and models.

    Args:
        stores: The indexes by name. They stay the caller's to close.
        embedders: Models to serve beside those of the indexes.
        options: Access and limits.
        tracer_provider: Receives OpenTelemetry spans. Default: the global provider.

    Raises:
        ValueError: Nothing to serve, two models of one name, or a file that is not one of API keys.
        FileNotFoundError: There is no file of API keys.
    """
    options = options or ServiceOptions()
    keys = None if options.keys is None else WatchedKeys(options.keys)
    lifecycle = Lifecycle()
    queries = Slots("queries", options.query_slots, options.query_queue)
    loads = Slots("documents", options.document_slots, options.document_queue)
    writes = Slots("writes", options.document_slots, options.document_queue)
    service = Service(
        options=options,
        catalog=Catalog.of(stores, embedders),
        queries=queries,
        documents=loads,
        writes=writes,
        work=Work(lifecycle),
        metrics=Metrics([queries, loads, writes]),
        spans=Spans(tracer_provider),
    )
    app = FastAPI(
        title="T1 vector store",
        version=__version__,
        description="Retrieval that thinks before it embeds a query: search, embeddings and documents.",
        docs_url=None,  # its pages load scripts from other sites
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        responses={status: {"model": ErrorAnswer, "description": text} for status, text in _ERRORS.items()},
        telemetry={
            "tracer_provider": tracer_provider,
            "auto_configure": options.telemetry,
            "metrics": False,
            "logs": False,  # its messages may contain texts
            "operation_spans": False,
        },
    )
    app.state.service = service
    add_error_handlers(app)
    routes: list[Route] = []
    described = [] if keys is None else [Security(HTTPBearer(auto_error=False, description="An API key."))]
    for resource in (search, embeddings, documents, catalog, models, indexes):
        app.include_router(resource.router, dependencies=described)  # the middleware checks the key
        routes += [route for route in resource.router.routes if isinstance(route, Route)]
    app.include_router(catalog.health)
    app.state.agents = None
    if options.mcp:
        from t1_vectorstore.server.agents import Agents

        app.state.agents = agents = Agents(service)
        app.router.routes.append(agents.route)
        routes.append(agents.route)
    if PLAYGROUND.is_dir():
        app.mount("/", StaticFiles(directory=PLAYGROUND, html=True))
    # The middleware that is added last sees a request first.
    app.add_middleware(guards.Gate, lifecycle=lifecycle)
    if options.requests_per_minute is not None:
        app.add_middleware(guards.RateLimit, per_minute=options.requests_per_minute)
    app.add_middleware(guards.Authentication, keys=keys)
    if options.allow_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=options.allow_origins, allow_methods=["GET", "POST"], allow_headers=["*"]
        )
    app.add_middleware(
        guards.Hosts, allowed=options.allow_hosts, any_host=keys is not None, origins=options.allow_origins
    )
    app.add_middleware(guards.ClientLimits, most_bytes=options.max_body_bytes, seconds=options.client_seconds)
    app.add_middleware(Observer, metrics=service.metrics, routes=routes)
    app.add_middleware(guards.SecurityHeaders)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Give the event loop a thread for each query that runs at a time: awaited searches run the model in these."""
    service: Service = app.state.service
    threads = ThreadPoolExecutor(service.options.query_slots + 2, "t1-model")
    asyncio.get_running_loop().set_default_executor(threads)
    async with app.state.agents.running() if app.state.agents else nullcontext():
        yield
    for slots in (service.queries, service.documents, service.writes):
        slots.close()
