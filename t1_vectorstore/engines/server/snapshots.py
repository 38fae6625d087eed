"""A server's snapshots: made there, brought here and proven by their checksum; and taken back by a server."""

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

_CHUNK = 2**20


class ServerSnapshots(ServerAdmin):
    """Snapshots of a server's collections."""

    def save(self, collection: str, file: Path) -> None:
        """Bring a snapshot of a whole collection into a file; the server keeps none.

        Raises:
            StoreError: the server cannot make it, or what arrives is not what it made.
        """
        self._save(
            file,
            f"/collections/{quote(collection)}/snapshots",
            lambda client: client.create_snapshot(collection, wait=True),
            lambda client, name: client.delete_snapshot(collection, name, wait=True),
        )

    def save_only_shard(self, collection: str, file: Path) -> None:
        """Bring a snapshot of a collection's only shard into a file, for an embedded engine.

        Raises:
            StoreError: it has several; or as for ``save``.
        """
        cluster = self._do(lambda: self._client.http.distributed_api.collection_cluster_info(collection)).result
        shards = [] if cluster is None else [shard.shard_id for shard in cluster.local_shards]
        remote = [] if cluster is None else cluster.remote_shards
        if len(shards) != 1 or remote:
            raise StoreError(
                f"{collection!r} at {self.url} has {len(shards) + len(remote)} shards, and an embedded index is one; "
                "index its source into a folder instead"
            )
        [shard] = shards
        self._save(
            file,
            f"/collections/{quote(collection)}/shards/{shard}/snapshots",
            lambda client: client.create_shard_snapshot(collection, shard, wait=True),
            lambda client, name: client.delete_shard_snapshot(collection, shard, name, wait=True),
        )

    def restore(self, collection: str, file: Path, sha256: str) -> None:
        """Let the server make a collection of a snapshot; one that is there gets the snapshot's content.

        Raises:
            StoreError: the server refuses it.
            StoreUnavailable: it does not answer, or the upload was broken off.
        """
        path = f"/collections/{quote(collection)}/snapshots/upload"
        query = {"priority": "snapshot", "wait": "true", "checksum": sha256}
        with file.open("rb") as source, self._http() as http, _said(self.url):
            answer = http.post(path, params=query, files={"snapshot": (file.name, source)})
        _check(answer, self.url)

    def _save(
        self,
        file: Path,
        path: str,
        create: Callable[[QdrantClient], Any],
        delete: Callable[[QdrantClient, str], Any],
    ) -> None:
        made = self._do(lambda: create(self._client))
        if made is None:
            raise StoreError(f"{self.url} says nothing of the snapshot that it was asked to make")
        try:
            digest = self._download(f"{path}/{quote(made.name)}", file)
        finally:
            self._do(lambda: delete(self._client, made.name))
        if made.checksum and digest != made.checksum:
            raise StoreError(f"the snapshot from {self.url} arrived damaged: its checksum is not what the server says")

    def _download(self, path: str, file: Path) -> str:
        digest = hashlib.sha256()
        try:
            with self._http() as http, _said(self.url), http.stream("GET", path) as answer, file.open("wb") as target:
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

    def _http(self) -> httpx.Client:
        headers = {"api-key": self.api_key} if self.api_key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=httpx.Timeout(60.0, read=None))


@contextmanager
def _said(where: str) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise StoreUnavailable(f"{where} broke off: {type(error).__name__} {error}") from error


def _check(answer: httpx.Response, where: str) -> None:
    if answer.is_error:
        raise StoreError(f"{where} refused: {answer.status_code} {answer.text[:500]}")
