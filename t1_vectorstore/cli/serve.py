"""``t1 serve``: indexes and models over HTTP."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import warnings
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from t1_vectorstore.cli.cache import cache_folder
from t1_vectorstore.cli.console import note
from t1_vectorstore.cli.options import Adopt, ApiKey, Cache, ModelFlags, Name, takes_flags
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.cli.stores import open_stores

_M_ARENA_MAX = -8  # in glibc's malloc.h

service_option = partial(typer.Option, rich_help_panel="Service")
access_option = partial(typer.Option, rich_help_panel="Access")


@takes_flags
def serve(
    where: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]DIR|URL...",
            help="Indexes, each with the name by which requests choose it. Without one, only --model is served.",
            show_default=False,
        ),
    ] = None,
    *,
    host: Annotated[str, service_option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, service_option(min=0, max=65_535, help="Port to listen on; 0 chooses one.")] = 8321,
    grace: Annotated[
        float, service_option(min=0, max=3600, help="Seconds that running requests have to finish after SIGTERM.")
    ] = 30,
    queries: Annotated[int, service_option(min=1, max=1024, help="Queries that are answered at the same time.")] = 16,
    telemetry: Annotated[
        bool, service_option("--telemetry", help="Export OpenTelemetry spans as OTEL_EXPORTER_OTLP_ENDPOINT says.")
    ] = False,
    mcp: Annotated[
        bool, service_option("--mcp", help="Also serve the indexes to agents at /mcp (Model Context Protocol).")
    ] = False,
    log_texts: Annotated[bool, service_option("--log-texts", help="Log queries.")] = False,
    keys: Annotated[
        Path | None, access_option(metavar="FILE", help="File with API keys, which 't1 keys add' writes.")
    ] = None,
    without_keys: Annotated[
        bool, access_option("--without-keys", help="Accept requests of other machines without a key.")
    ] = False,
    read_only: Annotated[
        bool, access_option("--read-only", help="Change nothing. A folder is read as it was at the start.")
    ] = False,
    rate: Annotated[
        int | None, access_option(min=1, metavar="NUMBER", help="Maximum requests of a key in a minute.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        access_option(metavar="NAME", help="Host name under which browsers reach the service; repeat it for more."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        access_option(metavar="ORIGIN", help="Site whose pages may call the service (CORS); repeat it for more."),
    ] = None,
    cache: Cache = True,
    name: Name = "t1",
    adopt: Adopt = False,
    api_key: ApiKey = None,
    model_flags: ModelFlags,
) -> None:
    """Serve indexes over HTTP.

    There are OpenAI's /v1/embeddings, searches with streamed thoughts, documents, and a playground at /. Requests are
    logged on standard error as JSON, without texts.
    """
    from t1_vectorstore.embedding.embedder import T1Embedder
    from t1_vectorstore.server import ServiceOptions, create_app
    from t1_vectorstore.server.keys import KeyFile
    from t1_vectorstore.server.run import address, listen, run

    if not where and model_flags.model is None:
        raise ValueError("nothing to serve: name an index, or a model with --model")
    given: dict[str, Any] = {"host": host, "port": port, "grace": grace, "query_slots": queries, "keys": keys}
    given |= {"without_keys": without_keys, "requests_per_minute": rate, "log_texts": log_texts}
    given |= {"allow_hosts": tuple(allow_host or ()), "allow_origins": tuple(allow_origin or ())}
    given |= {"telemetry": telemetry, "mcp": mcp}
    options = ServiceOptions(**given)
    if keys is not None and not KeyFile.read(keys).keys:
        note(f"note: {keys} has no keys yet, so every request is refused; add one with: t1 keys add {keys} NAME")
    _share_malloc_arena()
    model_options = model_flags.parse().model_copy(update={"cache": cache_folder() if cache else None})
    with ExitStack() as stack:
        listening = stack.enter_context(listen(host, port))  # before the model is loaded
        opened = open_stores(
            where or (), model_options, name=name, api_key=api_key, adopt=adopt, read_only=True if read_only else None
        )
        stores = stack.enter_context(opened)
        embedders: list[T1Embedder] = []
        if not where:
            with busy(f"loading {model_options.model}"):
                embedders.append(stack.enter_context(T1Embedder.from_options(model_options)))
        for key in KeyFile.read(keys).keys if keys is not None else ():
            for index in sorted((key.indexes or set()) - set(stores)):
                note(f"note: the API key {key.name!r} opens the index {index!r}, which this service does not have")
        app = create_app(stores, embedders=embedders, options=options)
        _log_as_json()
        served = ", ".join(stores) or str(model_options.model)
        note(f"serving {served} at {address(listening)} (Ctrl-C stops)")
        run(app, listening)


def _share_malloc_arena() -> None:
    """Give all threads one arena of glibc's malloc, unless MALLOC_ARENA_MAX says how many; other libraries have none.

    By default each thread has its own, and what it has freed is not used by the others: memory grows for minutes.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 1)


def _log_as_json() -> None:
    """Send all logs and warnings to standard error, as JSON."""
    from t1_vectorstore.server.observing import JsonFormatter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    warnings.showwarning = lambda message, *_, **__: logging.getLogger("py.warnings").warning(str(message))
