"""Operations on a server's collections as a whole: aliases, metadata and deletion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from qdrant_client import models
from typing_extensions import Self

from t1_vectorstore.engines.schema import OWN_KEY
from t1_vectorstore.engines.server.connections import check_reachable, client_settings, connect
from t1_vectorstore.engines.server.retry import with_retries
from t1_vectorstore.errors import StoreError
from t1_vectorstore.network import with_port
from t1_vectorstore.options import Retry

_Result = TypeVar("_Result")
REPLACES = "t1_replaces"
"""Key in a collection's metadata of the name of the collection that it has replaced behind an alias."""


class ServerAdmin:
    """A server, by its URL. Every error is one of this package's."""

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout: float = 60.0, retry: Retry | None = None
    ) -> None:
        """Check that the server can be reached; ``timeout`` is in seconds per call.

        Raises:
            StoreUnavailable: It cannot.
        """
        self.url = with_port(url.rstrip("/"))
        self.api_key = api_key
        self._retry = retry or Retry()
        self._client = connect(client_settings(self.url, api_key, timeout))
        check_reachable(self.url, self._retry)

    def aliases(self) -> dict[str, str]:
        """Return the collections of all aliases, by alias."""
        return {alias.alias_name: alias.collection_name for alias in self._call(self._client.get_aliases).aliases}

    def collections(self) -> set[str]:
        """Return the names of all collections."""
        return {found.name for found in self._call(self._client.get_collections).collections}

    def point_alias(self, alias: str, collection: str) -> None:
        """Create an alias, or move it, in one operation.

        (If a call has several operations, such as "delete" and "create", a server does not undo the first where the
        second fails.)

        Raises:
            StoreError: The alias is the name of a collection, the collection does not exist, or the server does not
                show the change.
        """
        create = models.CreateAlias(collection_name=collection, alias_name=alias)
        operation = models.CreateAliasOperation(create_alias=create)
        self._call(lambda: self._client.update_collection_aliases([operation]))
        if (found := self.aliases().get(alias)) != collection:
            raise StoreError(f"the alias {alias!r} at {self.url} leads to {found!r} after it was set to {collection!r}")

    def metadata(self, collection: str) -> dict[str, Any]:
        """Return a collection's metadata."""
        return dict(self._call(lambda: self._client.get_collection(collection)).config.metadata or {})

    def note(self, collection: str, key: str, value: object) -> None:
        """Write one key of a collection's metadata; other keys keep their values."""
        assert key != OWN_KEY, "this is the key of the collection's description"
        self._call(lambda: self._client.update_collection(collection, metadata={key: value}))

    def drop(self, collection: str) -> None:
        """Delete a collection with all its points.

        Raises:
            StoreError: An alias leads to it, and would be deleted as well.
        """
        if used := sorted(alias for alias, target in self.aliases().items() if target == collection):
            raise StoreError(f"the alias {used[0]!r} leads to {collection!r} at {self.url}, which is kept")
        self._call(lambda: self._client.delete_collection(collection))
        if collection in self.collections():
            raise StoreError(f"{collection!r} is still at {self.url} after it was deleted")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, call: Callable[[], _Result]) -> _Result:
        return with_retries(call, self._retry, self.url)
