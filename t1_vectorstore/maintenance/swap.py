"""Replace an index by another build: in a folder by one write to its description, on a server by moving an alias."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines import refuse_service
from t1_vectorstore.engines.embedded import builds
from t1_vectorstore.engines.embedded.engine import EmbeddedEngine
from t1_vectorstore.engines.embedded.folder import IndexFolder
from t1_vectorstore.engines.server.admin import REPLACES, ServerAdmin
from t1_vectorstore.errors import StoreError
from t1_vectorstore.types import ModelIdentity


class FolderTarget:
    """An embedded index whose build can be replaced."""

    def __init__(self, path: Path, name: str) -> None:
        """Use the index in ``path``, whose collection is called ``name``."""
        self._path = path
        self._name = name

    def open_build(self, build: str, identity: ModelIdentity, settings: Mapping[str, Any]) -> Collection:
        """Create a build, or open an unfinished one, in a subfolder of the index."""
        return Collection.open(builds.build_path(self._path, build), name=self._name, identity=identity, **settings)

    def switch(self, old: Collection, new: Collection, build: str) -> None:
        """Make a build the index: one atomic write, under the lock that ``old`` holds. Both collections are closed."""
        new.close()
        old.engine_as(EmbeddedEngine).switch(build)

    def roll_back(self) -> str:
        """Exchange the index with its previous build, and return the name of the build it is now."""
        with closing(IndexFolder(self._path, create=False)) as folder:
            builds.roll_back(folder)
            return builds.current_build(self._path) or "the first build"

    def drop_others(self) -> list[str]:
        """Delete the previous build and unfinished ones, and return the names of their folders."""
        with closing(IndexFolder(self._path, create=False)) as folder:
            return builds.drop_others(folder)

    def close(self) -> None:
        """Do nothing: the lock is held only during a call."""


class ServerTarget:
    """A server's alias, whose collection can be replaced. Each build is a collection, named after the alias."""

    def __init__(self, admin: ServerAdmin, alias: str) -> None:
        """Use ``alias``, which the first switch creates if it does not exist."""
        self._admin = admin
        self._alias = alias

    def open_build(self, build: str, identity: ModelIdentity, settings: Mapping[str, Any]) -> Collection:
        """Create a build, or open an unfinished one.

        Raises:
            StoreError: A collection of its name exists that is not an unfinished build; it is not changed.
        """
        name = f"{self._alias}__{build}"
        existed = name in self._admin.collections()
        if used := [alias for alias, collection in self._admin.aliases().items() if collection == name]:
            raise StoreError(f"the alias {used[0]!r} at {self._admin.url} already points to {name!r}")
        new = Collection.open(self._admin.url, name=name, identity=identity, api_key=self._admin.api_key, **settings)
        if existed and not self._is_build(name) and new.count():
            new.close()
            raise StoreError(f"{name!r} at {self._admin.url} was not made by a reindex; rename or remove it")
        self._admin.note(name, REPLACES, "")
        return new

    def switch(self, old: Collection, new: Collection, build: str) -> None:
        """Move the alias to a build, in one operation. Open connections keep using the old collection."""
        name = f"{self._alias}__{build}"
        self._admin.note(name, REPLACES, self._admin.aliases().get(old.name, old.name))
        self._admin.point_alias(self._alias, name)

    def roll_back(self) -> str:
        """Move the alias to the previous build, in one operation, and return that build's name."""
        current, previous = self._current_and_previous()
        if not previous:
            raise StoreError(f"{current!r} at {self._admin.url} replaced nothing, so there is no previous build")
        if previous not in self._admin.collections():
            raise StoreError(f"{previous!r}, which {current!r} replaced, no longer exists at {self._admin.url}")
        self._admin.note(previous, REPLACES, current)
        self._admin.point_alias(self._alias, previous)
        return previous

    def drop_others(self) -> list[str]:
        """Delete the previous build and unfinished ones, and return the names of their collections."""
        current, previous = self._current_and_previous()
        existing = self._admin.collections()
        own = {name for name in existing if name.startswith(f"{self._alias}__") and self._is_build(name)}
        others = sorted((own | ({previous} & existing)) - {current})
        for other in others:
            self._admin.drop(other)
        if previous:
            self._admin.note(current, REPLACES, "")
        return others

    def close(self) -> None:
        """Close the connection."""
        self._admin.close()

    def _is_build(self, collection: str) -> bool:
        return REPLACES in self._admin.metadata(collection)

    def _current_and_previous(self) -> tuple[str, str]:
        current = self._admin.aliases().get(self._alias)
        if current is None:
            raise StoreError(f"{self._alias!r} at {self._admin.url} is not an alias: nothing was reindexed")
        return current, str(self._admin.metadata(current).get(REPLACES, ""))


SwapTarget: TypeAlias = FolderTarget | ServerTarget


def swap_target(location: str | os.PathLike[str], name: str, *, api_key: str | None = None) -> SwapTarget:
    """Return the index at a location that is opened by ``name``.

    Raises:
        ValueError: It is in memory, where nothing can be replaced, or at a T1 service.
    """
    text = os.fspath(location)
    if text == ":memory:":
        raise ValueError("an index in ':memory:' is lost when its process ends; it has no builds to replace or to keep")
    refuse_service(text)
    if text.lower().startswith(("http://", "https://")):
        return ServerTarget(ServerAdmin(text, api_key=api_key), name)
    return FolderTarget(Path(text).expanduser(), name)
