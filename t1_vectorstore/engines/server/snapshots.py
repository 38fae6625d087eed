"""Snapshots of a server's collections: downloaded and checked by their checksum, and restored by upload."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from qdrant_client import QdrantClient

from t1_vectorstore.engines.server.admin import ServerAdmin
from t1_vectorstore.errors import StoreError, StoreUnavailable
from t1_vectorstore.network import is_loopback, proxy_hint

_CHUNK = 2**20


class ServerSnapshots(ServerAdmin):
    """Snapshots of a server's collections."""

    def save(self, collection: str, file: Path) -> None:
        """Download a snapshot of a whole collection; the server does not keep it.

        Raises:
            StoreError: The server cannot create it, it was damaged on its way, or other servers have a part of the
                collection.
        """
        here, elsewhere = self._shards(collection)
        if missing := set(elsewhere) - set(here):
            raise StoreError(
                f"{len(missing)} shards of {collection!r} are only on other servers of {self.url}'s cluster, and a "
                "snapshot has those of one server; save it with Qdrant's own tools, on each server"
            )
        self._save(
            file,
            f"/collections/{quote(collection)}/snapshots",
            lambda client, name: client.delete_snapshot(collection, name, wait=True),
        )

    def save_only_shard(self, collection: str, file: Path) -> None:
        """Download a snapshot of a collection's only shard, for an embedded engine.

        Raises:
            StoreError: The collection has several shards; or as for ``save``.
        """
        here, elsewhere = self._shards(collection)
        if len(here) != 1 or elsewhere:
            raise StoreError(
                f"{collection!r} at {self.url} has {len(here) + len(elsewhere)} shards, and an embedded index is one; "
                "index its source into a folder instead"
            )
        [shard] = here
        self._save(
            file,
            f"/collections/{quote(collection)}/shards/{shard}/snapshots",
            lambda client, name: client.delete_shard_snapshot(collection, shard, name, wait=True),
        )

    def restore(self, collection: str, file: Path, sha256: str) -> None:
        """Upload a snapshot as a collection; an existing collection is replaced by the snapshot's content.

        Raises:
            StoreError: The server refuses it.
            StoreUnavailable: The server does not answer, or the upload was interrupted.
        """
        path = f"/collections/{quote(collection)}/snapshots/upload"
        query = {"priority": "snapshot", "wait": "true", "checksum": sha256}
        with file.open("rb") as source, self._http() as http:
            _check(http.post(path, params=query, files={"snapshot": (file.name, source)}), self.url)

    def _shards(self, collection: str) -> tuple[list[int], list[int]]:
        """Return the shards that this server holds, and those that other servers hold, copies among them."""
        cluster = self._call(lambda: self._client.http.distributed_api.collection_cluster_info(collection)).result
        if cluster is None:
            return [], []
        return [shard.shard_id for shard in cluster.local_shards], [shard.shard_id for shard in cluster.remote_shards]

    def _save(self, file: Path, path: str, delete: Callable[[QdrantClient, str], Any]) -> None:
        # A large collection takes the server minutes, which the client's time limit does not allow.
        with self._http() as http:
            answer = http.post(path, params={"wait": "true"})
            _check(answer, self.url)
        created = answer.json().get("result")
        if not created:
            raise StoreError(f"{self.url} does not describe the snapshot that it was to create")
        try:
            sha256 = self._download(f"{path}/{quote(created['name'])}", file)
        finally:
            self._call(lambda: delete(self._client, created["name"]))
        if created.get("checksum") and sha256 != created["checksum"]:
            raise StoreError(f"the snapshot from {self.url} was damaged on its way: its checksum is another one")

    def _download(self, path: str, file: Path) -> str:
        """Write an answer to a file, and return its SHA-256."""
        digest = hashlib.sha256()
        try:
            with self._http() as http, http.stream("GET", path) as answer, file.open("wb") as target:
                if answer.is_error:
                    answer.read()
                _check(answer, self.url)
                for block in answer.iter_bytes(_CHUNK):
                    digest.update(block)
                    target.write(block)
                target.flush()
                os.fsync(target.fileno())
        except OSError as error:
            raise StoreUnavailable(f"cannot write {file}: {error.strerror or error}") from error
        return digest.hexdigest()

    @contextmanager
    def _http(self) -> Iterator[httpx.Client]:
        headers = {"api-key": self.api_key} if self.api_key else {}
        try:
            timeout, trust_env = httpx.Timeout(60.0, read=None), not is_loopback(self.url)
            with httpx.Client(base_url=self.url, headers=headers, timeout=timeout, trust_env=trust_env) as client:
                yield client
        except httpx.HTTPError as error:
            hint = proxy_hint(self.url)
            raise StoreUnavailable(f"{self.url} broke off: {type(error).__name__} {error}{hint}") from error


def _check(answer: httpx.Response, url: str) -> None:
    if answer.is_error:
        raise StoreError(f"{url} refused: {answer.status_code} {answer.text[:500]}")
