"""Snapshots: an index in one file, and back; and a server's index in a folder.

What comes back is proven to be what was saved: every byte by its checksum, and every point by a digest of all ids,
texts and metadata that was made when the snapshot was.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.audit import CollectionDigest, digest_of
from t1_vectorstore.engines import Schema
from t1_vectorstore.engines.embedded import builds
from t1_vectorstore.engines.embedded.engine import EmbeddedEngine
from t1_vectorstore.engines.embedded.folder import IndexFolder
from t1_vectorstore.engines.embedded.snapshots import unpack_shard
from t1_vectorstore.engines.server.engine import ServerEngine
from t1_vectorstore.engines.server.snapshots import ServerSnapshots
from t1_vectorstore.errors import StoreError
from t1_vectorstore.maintenance import archive
from t1_vectorstore.maintenance.archive import Header
from t1_vectorstore.maintenance.tempdir import scratch

_SHARD, _WHOLE = "shard", "collection.snapshot"
_UNFINISHED = ("lock", "shard.new")  # what a killed restore leaves behind, and the next one clears away
_TRIES = 3


def snapshot(
    collection: Collection, file: str | os.PathLike[str], *, overwrite: bool = False, api_key: str | None = None
) -> Header:
    """Save an open index in a file.

    A folder's writes wait while its files are packed. A server goes on as ever; where it is written to meanwhile, the
    snapshot is whole, but there is no digest to prove its points by.

    Args:
        collection: what to save.
        file: where to, such as ``index.tar.gz``.
        overwrite: replace a file that is there.
        api_key: for a server.

    Raises:
        ValueError: the file is there, or the index is in memory.
        StoreError: the engine failed.
        StoreUnavailable: the file cannot be written.
    """
    target = Path(file)
    archive.check_free(target, overwrite=overwrite)
    if collection.engine == "memory":
        raise ValueError("an index in ':memory:' has no files to save; make it in a folder, or on a server")
    if collection.engine == "server":
        return _save_server(collection, target, overwrite, api_key)
    with collection.pause_writes():  # from the proof to the last byte
        proof = digest_of(collection)
        with collection.engine_as(EmbeddedEngine).held() as shard:
            members = [(_SHARD, shard), *_files(shard, _SHARD)]
            used = sum(path.stat().st_blocks * 512 for _, path in members if path.is_file())
            header = Header("embedded", collection.schema.to_json(), proof.points, proof.digest, used)
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
    """Make an index of a snapshot: of a folder's in a folder, of a server's on a server.

    Args:
        file: what ``snapshot`` wrote.
        location: a new folder, or the URL of a server.
        name: the collection's, on a server; ``None``: as it was.
        overwrite: replace an index that is there. A folder keeps the replaced one until it is dropped, so that
            ``reindex --rollback`` goes back to it; a server's is lost.
        api_key: for a server.

    Raises:
        ValueError: something is there already, or the snapshot is of the other kind.
        StoreError: the snapshot is damaged, or what came back is not what was saved.
        StoreUnavailable: the disk is too small, or the server does not answer.
    """
    source, where = Path(file), os.fspath(location)
    header = archive.read_header(source)
    on_server = where.lower().startswith(("http://", "https://"))
    if on_server != (header.kind == "server"):
        remedy = "restore it into a folder" if on_server else "t1 pull brings a server's index into a folder"
        raise ValueError(f"{source} is a snapshot of the {header.kind} engine and cannot become {where!r}; {remedy}")
    if on_server:
        _restore_server(source, header, where, name, overwrite, api_key)
        return header
    schema = Schema.from_json(header.description, str(source))
    if name is not None:
        schema = replace(schema, name=name)
    saved = None if header.digest is None else CollectionDigest(header.points, header.digest)

    def fill(shard: Path) -> None:
        archive.unpack(source, shard, inside=_SHARD)

    _make(Path(where).expanduser(), schema, fill, saved, overwrite)
    return header


def pull(
    collection: Collection, folder: str | os.PathLike[str], *, overwrite: bool = False, api_key: str | None = None
) -> CollectionDigest:
    """Copy a server's index into a folder, vectors, words and indexes as they are.

    Args:
        collection: open, on a server, with a single shard.
        folder: a new one.
        overwrite: replace an index that is there; it is kept until it is dropped.
        api_key: for the server.

    Returns:
        What the folder holds.

    Raises:
        ValueError: the index is not on a server, or the folder is taken.
        StoreError: it has several shards, or is written to all the while.
    """
    if collection.engine != "server":
        raise ValueError(f"only a server's index is pulled into a folder, and {collection.location!r} is none")
    target = Path(folder).expanduser()
    _check_target(target, overwrite)
    made = replace(collection.schema, load=collection.latest_load)
    alone = made.storage.model_copy(
        update={"shards": None, "replicas": None, "write_consistency": None, "shard_keys": ()}
    )
    schema = replace(made, storage=alone, uid=uuid.uuid4().hex)
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch(target.parent) as room:
        file = room / "shard.snapshot"

        def save(server: ServerSnapshots) -> None:
            server.save_only_shard(_real_name(collection), file)

        proof = _proven_save(collection, save, api_key)
        if proof is None:
            raise StoreError(f"{collection.location} is written to all the while; pull it when less is written")
        _make(target, schema, lambda shard: unpack_shard(file, shard, schema), proof, overwrite)
    return proof


def _make(
    path: Path, schema: Schema, fill: Callable[[Path], None], saved: CollectionDigest | None, overwrite: bool
) -> None:
    """Make an index in a folder and prove it; in the place of another one, which stays as its previous build."""
    _check_target(path, overwrite)
    if not (path / "t1.json").exists():
        _build(path, schema, fill, saved)
        return
    build = f"restored-{uuid.uuid4().hex[:12]}"
    held = IndexFolder(path, create=False)
    try:
        try:
            _build(builds.build_path(path, build), schema, fill, saved)
        except BaseException:
            shutil.rmtree(builds.build_path(path, build), ignore_errors=True)
            raise
        builds.switch(held, build)
    finally:
        held.close()


def _build(path: Path, schema: Schema, fill: Callable[[Path], None], saved: CollectionDigest | None) -> None:
    folder = IndexFolder(path, create=True)
    try:
        folder.create(replace(schema, uid=uuid.uuid4().hex), fill)
    finally:
        folder.close()
    with Collection.open(path, name=schema.name, create=False) as made:
        _check_proof(digest_of(made), saved, str(path))


def _check_target(path: Path, overwrite: bool) -> None:
    there = path.exists() and (not path.is_dir() or any(entry.name not in _UNFINISHED for entry in path.iterdir()))
    if there and not overwrite:
        raise ValueError(f"{path} is there already and not empty; choose a new folder, or overwrite it (--overwrite)")
    if there and not (path / "t1.json").exists():
        raise ValueError(f"{path} is there already and is no index: it is not overwritten; choose a new folder")


def _check_proof(found: CollectionDigest, saved: CollectionDigest | None, where: str) -> None:
    if saved is not None and found != saved:
        raise StoreError(
            f"what came back in {where} is not what was saved: {found.points:,} points for {saved.points:,}, and "
            f"{'the same' if found.digest == saved.digest else 'another'} digest; do not use it"
        )


def _save_server(collection: Collection, target: Path, overwrite: bool, api_key: str | None) -> Header:
    with scratch(target.parent) as room:
        file = room / _WHOLE

        def save(server: ServerSnapshots) -> None:
            server.save(_real_name(collection), file)

        proof = _proven_save(collection, save, api_key)
        points, digest = (collection.count(), None) if proof is None else (proof.points, proof.digest)
        header = Header("server", collection.schema.to_json(), points, digest, file.stat().st_blocks * 512)
        archive.pack(target, header, [(_WHOLE, file)], overwrite=overwrite)
    return header


def _proven_save(
    collection: Collection, save: Callable[[ServerSnapshots], None], api_key: str | None
) -> CollectionDigest | None:
    """Let a server save; the proof of what it saved, unless it was written to at every try."""
    with ServerSnapshots(collection.location, api_key=api_key) as server:
        before = digest_of(collection)
        for _ in range(_TRIES):
            save(server)
            after = digest_of(collection)
            if after == before:
                return after
            before = after
    return None


def _restore_server(
    source: Path, header: Header, url: str, name: str | None, overwrite: bool, api_key: str | None
) -> None:
    target = name or str(header.description["name"])
    with ServerSnapshots(url, api_key=api_key) as server:
        if target in server.aliases():
            raise ValueError(f"{target!r} at {url} is an alias, not a collection; restore under another --name")
        if target in server.collections() and not overwrite:
            raise ValueError(f"{url} has a collection {target!r}; give another --name, or overwrite it (--overwrite)")
        with scratch(source.parent) as room:
            archive.unpack(source, room)
            file = room / _WHOLE
            with file.open("rb") as stream:
                digest = hashlib.sha256()
                while block := stream.read(2**20):
                    digest.update(block)
            server.restore(target, file, digest.hexdigest())
    with Collection.open(url, name=target, create=False, api_key=api_key) as made:
        _check_proof(
            digest_of(made),
            None if header.digest is None else CollectionDigest(header.points, header.digest),
            f"{target!r}",
        )


def _real_name(collection: Collection) -> str:
    """The collection's own name, whatever alias it was opened by."""
    return collection.engine_as(ServerEngine).collection


def _files(folder: Path, under: str) -> Iterator[tuple[str, Path]]:
    """Everything below a folder, with its names inside a snapshot, in order."""
    for path in sorted(folder.rglob("*")):
        yield f"{under}/{path.relative_to(folder).as_posix()}", path
