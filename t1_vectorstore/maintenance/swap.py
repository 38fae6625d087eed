"""Where an index lives, and how another build takes its place there: in a folder, or behind a server's alias."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines.embedded import builds
from t1_vectorstore.engines.embedded.engine import EmbeddedEngine
from t1_vectorstore.engines.embedded.folder import IndexFolder
from t1_vectorstore.engines.server.admin import REPLACES, ServerAdmin
from t1_vectorstore.errors import StoreError
from t1_vectorstore.types import ModelIdentity


class Home(Protocol):
    """What can be done about the builds of one index."""

    def build(self, name: str, identity: ModelIdentity, settings: Mapping[str, Any]) -> Collection:
        """Create a build, or open an unfinished one."""

    def switch(self, old: Collection, new: Collection, build: str) -> None:
        """Let the index be the build from now on; closes what has to be closed for that."""

    def roll_back(self) -> str:
        """Exchange the index with what it replaced; says what it is now."""

    def drop_others(self) -> list[str]:
        """Remove what the index replaced, and unfinished builds; says what was removed."""

    def close(self) -> None:
        """Release everything."""


class FolderHome:
    """An embedded index; whoever exchanges its builds has the lock, or takes it for that long."""

    def __init__(self, path: Path, name: str) -> None:
        """Of the index in ``path``, whose collection has that name."""
        self._path = path
        self._name = name

    def build(self, name: str, identity: ModelIdentity, settings: Mapping[str, Any]) -> Collection:
        """A folder inside the index's."""
        path = builds.build_path(self._path, name)
        return Collection.open(path, name=self._name, identity=identity, **settings)

    def switch(self, old: Collection, new: Collection, build: str) -> None:
        """One atomic write, under the old index's lock; closes both."""
        new.close()
        old.engine_as(EmbeddedEngine).switch(build)

    def roll_back(self) -> str:
        """One atomic write."""
        folder = self._locked()
        try:
            builds.roll_back(folder)
            return builds.current_build(self._path) or "the first build"
        finally:
            folder.close()

    def drop_others(self) -> list[str]:
        """Folders."""
        folder = self._locked()
        try:
            return builds.drop_others(folder)
        finally:
            folder.close()

    def close(self) -> None:
        """Nothing is held between the calls."""

    def _locked(self) -> IndexFolder:
        return IndexFolder(self._path, create=False)


class ServerHome:
    """A server's alias, and the collections that it has stood and will stand for."""

    def __init__(self, admin: ServerAdmin, alias: str) -> None:
        """Of ``alias``, which need not exist before the first switch."""
        self._admin = admin
        self._alias = alias

    def build(self, name: str, identity: ModelIdentity, settings: Mapping[str, Any]) -> Collection:
        """A collection named after the alias. One of that name that is no unfinished build of ours is not touched."""
        target = f"{self._alias}__{name}"
        existed = target in self._admin.collections()
        if used := [alias for alias, collection in self._admin.aliases().items() if collection == target]:
            raise StoreError(f"{target!r} at {self._admin.url} is what the alias {used[0]!r} stands for")
        new = Collection.open(self._admin.url, name=target, identity=identity, api_key=self._admin.api_key, **settings)
        if existed and REPLACES not in self._admin.metadata(target) and new.count():
            new.close()
            raise StoreError(f"{target!r} at {self._admin.url} was not made by a reindex; rename or remove it")
        self._admin.note(target, REPLACES, "")
        return new

    def switch(self, old: Collection, new: Collection, build: str) -> None:
        """One operation on the alias; whoever has it open goes on with the old collection."""
        target = f"{self._alias}__{build}"
        self._admin.note(target, REPLACES, self._admin.aliases().get(old.name, old.name))
        self._admin.point_alias(self._alias, target)

    def roll_back(self) -> str:
        """One operation on the alias."""
        current, previous = self._pair()
        if not previous:
            raise StoreError(f"{current!r} at {self._admin.url} has replaced nothing: there is nothing to go back to")
        if previous not in self._admin.collections():
            raise StoreError(f"{previous!r}, which {current!r} has replaced, is not at {self._admin.url} any more")
        self._admin.note(previous, REPLACES, current)
        self._admin.point_alias(self._alias, previous)
        return previous

    def drop_others(self) -> list[str]:
        """Collections that the alias has stood for, or that were to become so."""
        current, previous = self._pair()
        there = self._admin.collections()
        builds = {name for name in there if name.startswith(f"{self._alias}__") and self._is_build(name)}
        others = sorted((builds | ({previous} & there)) - {current})
        for other in others:
            self._admin.drop(other)
        return others

    def close(self) -> None:
        """Close the connection."""
        self._admin.close()

    def _is_build(self, collection: str) -> bool:
        return REPLACES in self._admin.metadata(collection)

    def _pair(self) -> tuple[str, str]:
        current = self._admin.aliases().get(self._alias)
        if current is None:
            raise StoreError(f"{self._alias!r} at {self._admin.url} is no alias: nothing has been moved behind it")
        return current, str(self._admin.metadata(current).get(REPLACES, ""))


def home_of(location: str | os.PathLike[str], name: str, *, api_key: str | None = None) -> Home:
    """The home of an index that is opened by that name.

    Raises:
        ValueError: it is in memory, where nothing lasts.
    """
    text = os.fspath(location)
    if text == ":memory:":
        raise ValueError(
            "an index in ':memory:' lives only as long as its process: there is nothing to move or to keep"
        )
    if text.lower().startswith(("http://", "https://")):
        return ServerHome(ServerAdmin(text, api_key=api_key), name)
    return FolderHome(Path(text).expanduser(), name)
