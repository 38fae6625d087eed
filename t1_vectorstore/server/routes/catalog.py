"""``/v1/models``, ``/v1/indexes``, the health checks and ``/metrics``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.server.access import Access, Reader
from t1_vectorstore.server.answers import IndexesAnswer, ModelsAnswer, StateAnswer
from t1_vectorstore.server.catalog import ROLES
from t1_vectorstore.server.service import Service
from t1_vectorstore.types import Role
from t1_vectorstore.vectorstore import T1VectorStore

router = APIRouter()
health = APIRouter()
"""The checks of health, which need no key."""


@router.get("/v1/models", tags=["model"], response_model=ModelsAnswer)
async def models(access: Reader) -> JSONResponse:
    """List the models, each also under the names that choose a role."""
    data = [
        describe_model(name, role, embedder)
        for name, embedder in access.catalog.embedders.items()
        for role in (None, *ROLES)
    ]
    return JSONResponse({"object": "list", "data": data})


@router.get("/v1/indexes", tags=["search"], response_model=IndexesAnswer)
async def indexes(request: Request, access: Reader) -> JSONResponse:
    """List the indexes that the request's key opens."""
    queries = access.service.queries
    data = await access.service.work.run(
        request,
        queries,
        lambda: queries.in_thread(
            lambda _: [_describe_index(name, store, access) for name, store in access.catalog.stores.items()]
        ),
    )
    return JSONResponse({"data": data})


@health.get("/healthz", tags=["service"], response_model=StateAnswer)
async def healthz() -> JSONResponse:
    """Say that the process answers."""
    return JSONResponse({"status": "ok"})


@health.get("/readyz", tags=["service"], response_model=StateAnswer, responses={503: {"model": StateAnswer}})
async def readyz(request: Request) -> JSONResponse:
    """Say whether new requests are accepted."""
    service: Service = request.app.state.service
    if service.work.lifecycle.stopping:
        return JSONResponse({"status": "stopping"}, 503)
    return JSONResponse({"status": "ok"})


@router.get("/metrics", tags=["service"], response_class=Response)
async def metrics(access: Reader) -> Response:
    """Return metrics in Prometheus' text format."""
    return Response(access.service.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def describe_model(name: str, role: Role | None, embedder: T1Embedder) -> dict[str, Any]:
    """Return the JSON object of a model under the name that chooses a role."""
    spec, identity = embedder.spec, embedder.identity
    return {
        "id": name if role is None else f"{name}:{role}",
        "role": role,
        "object": "model",
        "created": 0,
        "owned_by": "t1-vectorstore",
        "fingerprint": identity.fingerprint,
        "dimension": identity.dimension,
        "thinks": spec.thinks,
        "think_by_default": spec.thinks and spec.think_by_default,
        "refines": embedder.refines,
        "tasks": sorted(spec.tasks),
        "max_query_tokens": spec.max_query_tokens,
        "max_document_tokens": spec.max_document_tokens,
    }


def _describe_index(name: str, store: T1VectorStore, access: Access) -> dict[str, Any]:
    collection, identity, spec = store.collection, store.embedder.identity, store.embedder.spec
    return {
        "name": name,
        "points": store.count(),
        "model": identity.model,
        "fingerprint": identity.fingerprint,
        "dimension": identity.dimension,
        "hybrid": collection.hybrid,
        "fields": dict(collection.schema.indexes),
        "thinks": spec.thinks,
        "think_by_default": spec.thinks and spec.think_by_default,
        "writable": access.writes and not collection.read_only,
    }
