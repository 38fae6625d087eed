"""Save an index in one file, restore it, and copy a server's index into a folder.

A restored index is proven to be the saved one: every byte by a checksum, and every point by a digest of all ids, texts
and metadata that was computed when the snapshot was made.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.audit import CollectionDigest, digest_of
from t1_vectorstore.engines import Schema, refuse_service
from t1_vectorstore.engines.embedded import builds
from t1_vectorstore.engines.embedded.engine import EmbeddedEngine
from t1_vectorstore.engines.embedded.folder import IndexFolder
from t1_vectorstore.engines.embedded.shard import unpack_shard
from t1_vectorstore.engines.embedded.tempdir import temporary_folder
from t1_vectorstore.engines.server.engine import ServerEngine
from t1_vectorstore.engines.server.snapshots import ServerSnapshots
from t1_vectorstore.errors import StoreError
from t1_vectorstore.maintenance import archive
from t1_vectorstore.maintenance.archive import Header

_SHARD, _SERVER_SNAPSHOT = "shard", "collection.snapshot"
_UNFINISHED = ("lock", "changes", "shard.new")  # left by a killed restore, and removed by the next one
_ATTEMPTS = 3


def snapshot(
    collection: Collection, file: str | os.PathLike[str], *, overwrite: bool = False, api_key: str | None = None
) -> Header:
    """Save an open index in a file.

    Writes to a folder wait while its files are packed. A server continues to work; if points are written during the
    snapshot, it is complete but has no digest to prove its points by.

    Args:
        collection: The index to save.
        file: File to write, such as ``index.tar.gz``.
        overwrite: Replace an existing file.
        api_key: API key of the server.

    Raises:
        ValueError: The file exists, or the index is in memory or at a T1 service.
        StoreError: The engine failed.
        StoreUnavailable: The file cannot be written.
    """
    target = Path(file)
    archive.check_free(target, overwrite=overwrite)
    if collection.engine == "memory":
        raise ValueError("an index in ':memory:' has no files to save; make it in a folder, or on a server")
    refuse_service(collection.location)
    if collection.engine == "server":
        return _save_server(collection, target, overwrite, api_key)
    with collection.pause_writes():  # from the digest to the last byte
        proof = digest_of(collection)
        with collection.engine_as(EmbeddedEngine).held() as shard:
            paths = [shard, *sorted(shard.rglob("*"))]
            members = [((_SHARD / path.relative_to(shard)).as_posix(), path) for path in paths]
            used = sum(path.stat().st_blocks * 512 for path in paths if path.is_file())
            schema = replace(collection.schema, notes=collection.notes.all())
            header = Header("embedded", schema.to_json(), proof.points, proof.digest, used)
            archive.pack(target, header, members, overwrite=overwrite)
    return header


def restore(
    file: str | os.PathLike[str],
    location: str | os.PathLike[str],
    *,
    name: str | None = None,
    overwrite: bool = False,
    api_key: str | None = None,
) -> Header:
    """Create an index from a snapshot: in a folder from a folder's, on a server from a server's.

    Args:
        file: File that ``snapshot`` wrote.
        location: New folder, or URL of a server.
        name: Name of the collection. Default: as it was.
        overwrite: Replace an existing index. A folder keeps the replaced one until it is dropped, so ``reindex
            --rollback`` restores it; on a server it is lost.
        api_key: API key of the server.

    Raises:
        ValueError: Something exists there already, or the snapshot is of the other kind.
        StoreError: The snapshot is damaged, or the restored points are not the saved ones.
        StoreUnavailable: The disk is too small, or the server does not answer.
    """
    source, where = Path(file), os.fspath(location)
    refuse_service(where)
    header = archive.read_header(source)
    saved = None if header.digest is None else CollectionDigest(header.points, header.digest)
    on_server = where.lower().startswith(("http://", "https://"))
    if on_server != (header.kind == "server"):
        remedy = "restore it into a folder" if on_server else "t1 pull copies a server's index into a folder"
        raise ValueError(f"{source} is a snapshot of the {header.kind} engine and cannot become {where!r}; {remedy}")
    if on_server:
        _restore_server(source, saved, where, name or str(header.description["name"]), overwrite, api_key)
        return header
    schema = Schema.from_json(header.description, str(source))
    if name is not None:
        schema = replace(schema, name=name)

    def fill(shard: Path) -> None:
        archive.unpack(source, shard, inside=_SHARD)

    _create_index(Path(where).expanduser(), schema, fill, saved, overwrite)
    return header


def pull(
    collection: Collection, folder: str | os.PathLike[str], *, overwrite: bool = False, api_key: str | None = None
) -> CollectionDigest:
    """Copy a server's index into a folder, with its vectors, words and payload indexes.

    Args:
        collection: An open index on a server, with a single shard.
        folder: New folder.
        overwrite: Replace an existing index, which is kept until it is dropped.
        api_key: API key of the server.

    Returns:
        Number and digest of the points in the folder.

    Raises:
        ValueError: The index is not on a server, or the folder is not empty.
        StoreError: The index has several shards, or is written to all the time.
    """
    if collection.engine != "server":
        raise ValueError(
            f"only a server's index can be pulled into a folder, and {collection.location!r} is not on a server"
        )
    target = Path(folder).expanduser()
    _check_target(target, overwrite)
    storage = collection.schema.storage.model_copy(
        update={"shards": None, "replicas": None, "write_consistency": None, "shard_keys": ()}
    )
    schema = replace(collection.schema, notes=collection.notes.all(), storage=storage, uid=uuid.uuid4().hex)
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(target.parent) as temporary:
        file = temporary / "shard.snapshot"
        proof = _save_with_proof(collection, file, ServerSnapshots.save_only_shard, api_key)
        if proof is None:
            raise StoreError(f"{collection.location} is written to all the time; pull it when less is written")
        _create_index(target, schema, lambda shard: unpack_shard(file, shard, schema), proof, overwrite)
    return proof


def _create_index(
    path: Path, schema: Schema, fill: Callable[[Path], None], saved: CollectionDigest | None, overwrite: bool
) -> None:
    """Create an index in a folder and prove it. An index that it replaces stays as the previous build."""
    _check_target(path, overwrite)
    if not (path / "t1.json").exists():
        _create_build(path, schema, fill, saved)
        return
    build = f"restored-{uuid.uuid4().hex[:12]}"
    build_path = builds.build_path(path, build)
    with closing(IndexFolder(path, create=False)) as folder:
        try:
            _create_build(build_path, schema, fill, saved)
        except BaseException:
            shutil.rmtree(build_path, ignore_errors=True)
            raise
        builds.switch(folder, build)


def _create_build(path: Path, schema: Schema, fill: Callable[[Path], None], saved: CollectionDigest | None) -> None:
    is_new = not path.exists()
    with closing(IndexFolder(path, create=True)) as folder:
        try:
            folder.create(replace(schema, uid=uuid.uuid4().hex), fill)
        except BaseException:
            if is_new:  # and locked by this process
                shutil.rmtree(path, ignore_errors=True)
            raise
    with Collection.open(path, name=schema.name, create=False) as created:
        _check_digest(created, saved, str(path))


def _check_target(path: Path, overwrite: bool) -> None:
    if not path.exists() or (path.is_dir() and all(entry.name in _UNFINISHED for entry in path.iterdir())):
        return
    if not overwrite:
        raise ValueError(f"{path} exists and is not empty; choose a new folder, or overwrite it (--overwrite)")
    if not (path / "t1.json").exists():
        raise ValueError(f"{path} exists and is no index, so it is not overwritten; choose a new folder")


def _check_digest(restored: Collection, saved: CollectionDigest | None, where: str) -> None:
    found = digest_of(restored)
    if saved is not None and found != saved:
        raise StoreError(
            f"{where} does not hold what was saved: {found.points:,} points instead of {saved.points:,}, and "
            f"{'the same' if found.digest == saved.digest else 'another'} digest; do not use it"
        )


def _save_server(collection: Collection, target: Path, overwrite: bool, api_key: str | None) -> Header:
    with temporary_folder(target.parent) as temporary:
        file = temporary / _SERVER_SNAPSHOT
        proof = _save_with_proof(collection, file, ServerSnapshots.save, api_key)
        points, digest = (collection.count(), None) if proof is None else (proof.points, proof.digest)
        header = Header("server", collection.schema.to_json(), points, digest, file.stat().st_blocks * 512)
        archive.pack(target, header, [(_SERVER_SNAPSHOT, file)], overwrite=overwrite)
    return header


def _save_with_proof(
    collection: Collection, file: Path, save: Callable[[ServerSnapshots, str, Path], None], api_key: str | None
) -> CollectionDigest | None:
    """Let a server save, and return the digest of the saved points; None if every attempt met other writers."""
    name = collection.engine_as(ServerEngine).collection  # its own name, even if it was opened by an alias
    with ServerSnapshots(collection.location, api_key=api_key) as server:
        before = digest_of(collection)
        for _ in range(_ATTEMPTS):
            save(server, name, file)
            after = digest_of(collection)
            if after == before:
                return after
            before = after
    return None


def _restore_server(
    source: Path, saved: CollectionDigest | None, url: str, name: str, overwrite: bool, api_key: str | None
) -> None:
    with ServerSnapshots(url, api_key=api_key) as server:
        if name in server.aliases():
            raise ValueError(f"{name!r} at {url} is an alias, not a collection; restore under another --name")
        if name in server.collections() and not overwrite:
            raise ValueError(f"{url} has a collection {name!r}; give another --name, or overwrite it (--overwrite)")
        with temporary_folder(source.parent) as temporary:
            archive.unpack(source, temporary)
            file = temporary / _SERVER_SNAPSHOT
            digest = hashlib.sha256()
            with file.open("rb") as stream:
                while block := stream.read(2**20):
                    digest.update(block)
            server.restore(name, file, digest.hexdigest())
    with Collection.open(url, name=name, create=False, api_key=api_key) as restored:
        _check_digest(restored, saved, f"the collection {name!r}")
