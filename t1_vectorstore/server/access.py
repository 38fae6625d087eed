"""What a request may use, by its API key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.server.catalog import Catalog
from t1_vectorstore.server.errors import Refused
from t1_vectorstore.server.keys import Key, Scope
from t1_vectorstore.server.service import Service
from t1_vectorstore.types import Role
from t1_vectorstore.vectorstore import T1VectorStore


@dataclass(frozen=True)
class Access:
    """What one request may use.

    Attributes:
        service: The service.
        catalog: The indexes and models that its key opens.
        request: The request.
        writes: Whether it may change indexes.
    """

    service: Service
    catalog: Catalog
    request: Request
    writes: bool

    def store(self, index: str | None) -> tuple[str, T1VectorStore]:
        """Return the name and the store of an index, and log the name; see ``Catalog.store``."""
        name, store = self.catalog.store(index)
        self.note(index=name)
        return name, store

    def writable_store(self, index: str | None) -> tuple[str, T1VectorStore]:
        """``store`` for a request that changes the index.

        Raises:
            Refused: The index was opened for reading only.
        """
        name, store = self.store(index)
        if store.collection.read_only:
            raise Refused(403, f"the service opened the index {name!r} for reading only", code="read_only")
        return name, store

    def model(self, given: str | None) -> tuple[str, T1Embedder, Role | None]:
        """Return a model's name, the model and the role in the name, and log the name; see ``Catalog.model``."""
        name, embedder, role = self.catalog.model(given)
        self.note(model=name)
        return name, embedder, role

    def note(self, **fields: object) -> None:
        """Add fields to the request's line in the log."""
        self.request.state.log.update(fields)

    def note_text(self, **texts: str) -> None:
        """Add texts to the request's line in the log, if the service logs texts."""
        if self.service.options.log_texts:
            self.note(**texts)


async def reading(request: Request) -> Access:
    """Let a request read, if its key has that scope."""
    return _access(request, "read")


async def writing(request: Request) -> Access:
    """Let a request write, if its key has that scope."""
    return _access(request, "write")


def _access(request: Request, scope: Scope) -> Access:
    """Check the scope. The middleware ``Authentication`` has checked the key; where it did not run, this refuses."""
    service: Service = request.app.state.service
    key: Key | None = getattr(request.state, "key", None)
    if service.options.keys is None:
        return Access(service, service.catalog, request, writes=True)
    if key is None:
        raise Refused(401, "an API key is needed", code="key_missing")
    if scope not in key.scopes:
        raise Refused(403, f"the key {key.name!r} does not have the scope {scope!r}", code="scope_missing")
    return Access(service, service.catalog.for_key(key), request, writes="write" in key.scopes)


Reader = Annotated[Access, Depends(reading)]
Writer = Annotated[Access, Depends(writing)]
