"""What concerns a server's collections as a whole: their aliases, and removing them."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models
from typing_extensions import Self

from t1_vectorstore.engines.schema import OWN_KEY
from t1_vectorstore.engines.server.retry import patiently
from t1_vectorstore.errors import StoreError, StoreUnavailable
from t1_vectorstore.options import Retry

_Result = TypeVar("_Result")
REPLACES = "t1_replaces"
"""The key in a collection's metadata of the name of the collection that it took the place of, behind an alias."""


def aliased(client: QdrantClient, name: str, retry: Retry, where: str) -> str:
    """The collection that a name stands for: the alias's, or the name itself where it is none.

    An alias can be moved to a collection of another model at any time. Whoever has opened it goes on with the one that
    he has opened, whose vectors are his model's.
    """
    try:
        aliases = patiently(client.get_aliases, retry, where).aliases
    except StoreUnavailable:
        raise
    except StoreError:  # a key for a single collection may not list them
        return name
    return next((alias.collection_name for alias in aliases if alias.alias_name == name), name)


class ServerAdmin:
    """A server by its URL. Every error is one of this package's."""

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout: float = 60.0, retry: Retry | None = None
    ) -> None:
        """Connect when first used; ``timeout`` is seconds per call."""
        self.url = url.rstrip("/")
        self.api_key = api_key
        self._retry = retry or Retry()
        parts = urlsplit(self.url)
        port = parts.port or (443 if parts.scheme == "https" else 6333)
        self._client = QdrantClient(
            url=self.url, port=port, api_key=api_key, timeout=math.ceil(timeout), check_compatibility=False
        )

    def aliases(self) -> dict[str, str]:
        """The collections that aliases stand for, by alias."""
        return {alias.alias_name: alias.collection_name for alias in self._do(self._client.get_aliases).aliases}

    def collections(self) -> set[str]:
        """The names of all collections."""
        return {found.name for found in self._do(self._client.get_collections).collections}

    def point_alias(self, alias: str, collection: str) -> None:
        """Let an alias stand for a collection, whatever it stood for: one operation, so that it always stands for one.

        (Of several operations in one call, such as "delete" and "create", a server does not undo the first where the
        second fails.)

        Raises:
            StoreError: the name is a collection's, there is no such collection, or the server does not show the change.
        """
        create = models.CreateAlias(collection_name=collection, alias_name=alias)
        operation = models.CreateAliasOperation(create_alias=create)
        self._do(lambda: self._client.update_collection_aliases([operation]))
        if (found := self.aliases().get(alias)) != collection:
            raise StoreError(
                f"the alias {alias!r} at {self.url} stands for {found!r} after it was set to {collection!r}"
            )

    def metadata(self, collection: str) -> dict[str, Any]:
        """What is written about a collection beside its settings."""
        return dict(self._do(lambda: self._client.get_collection(collection)).config.metadata or {})

    def note(self, collection: str, key: str, value: object) -> None:
        """Write something into a collection's metadata; other keys stay as they are."""
        if key == OWN_KEY:
            raise ValueError(f"{OWN_KEY!r} holds the collection's description")
        self._do(lambda: self._client.update_collection(collection, metadata={key: value}))

    def drop(self, collection: str) -> None:
        """Remove a collection with all its points.

        Raises:
            StoreError: an alias stands for it, and would be gone as well.
        """
        if used := sorted(alias for alias, target in self.aliases().items() if target == collection):
            raise StoreError(f"{collection!r} at {self.url} is what the alias {used[0]!r} stands for; it is kept")
        self._do(lambda: self._client.delete_collection(collection))
        if collection in self.collections():
            raise StoreError(f"{collection!r} is still at {self.url} after it was removed")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        """Close at the end of a ``with`` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _do(self, call: Callable[[], _Result]) -> _Result:
        return patiently(call, self._retry, self.url)
