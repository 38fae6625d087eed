"""Reindex without downtime: replace an index by one with another model or other settings, while it is searched.

The new build is made beside the old one, from the texts that the old one holds. When both are proven to hold the same,
the new build takes the place of the old one in one step: by moving an alias on a server, or by replacing the
description of a folder. The old build is kept until it is dropped, so that the step can be undone.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.engines.embedded.engine import EmbeddedEngine
from t1_vectorstore.engines.server.admin import ServerAdmin
from t1_vectorstore.errors import StoreError
from t1_vectorstore.indexing.dead_letters import DeadLetters
from t1_vectorstore.maintenance.swap import SwapTarget, swap_target
from t1_vectorstore.maintenance.sync import SyncPass, find_changes, sync_once
from t1_vectorstore.options import Storage
from t1_vectorstore.types import Document, IndexKind

MAX_PASSES = 10
"""Maximum number of passes in which a build may catch up with an index that is written to."""
MAX_LATE = 100
"""Maximum number of late chunks that are listed."""

_SETTINGS = ("content_key", "metadata_key", "hybrid", "indexes", "tenant", "storage")


@dataclass(frozen=True, slots=True)
class ReindexResult:
    """Result of a reindex.

    Attributes:
        name: Name by which the index is opened: a server's alias, or the collection's name in a folder.
        build: Name of the build that the index is now.
        moved: Whether the build was replaced; false if the index already had that model and those settings.
        chunks: Number of chunks in the index.
        encoded: Number of chunks that the model encoded in this run.
        tokens: Number of their tokens.
        truncated: Ids of chunks whose end the model did not read.
        late: Ids of chunks that were written to the old collection, or deleted from it, while the alias was moved, and
            that the new one lacks. Always empty for a folder, which has no other writers at that moment.
        left_out: Ids of chunks that the new model cannot embed, and that the new build lacks; see ``leave_out``.
        seconds: Wall time.
    """

    name: str
    build: str
    moved: bool
    chunks: int
    encoded: int
    tokens: int
    truncated: tuple[str, ...]
    late: tuple[str, ...]
    left_out: tuple[str, ...]
    seconds: float


def reindex(
    old: Collection,
    embedder: T1Embedder,
    *,
    alias: str | None = None,
    hybrid: bool | None = None,
    indexes: Mapping[str, IndexKind] | None = None,
    tenant: str | None = None,
    storage: Storage | None = None,
    leave_out: str | os.PathLike[str] | None = None,
    api_key: str | None = None,
    on_progress: Callable[[SyncPass], None] | None = None,
) -> ReindexResult:
    """Move an index to another model or other settings, while it is searched and written to.

    The stored chunks are encoded again; documents are not split again. After an interruption the same call continues.
    Changes to the old index during the reindex are repeated in the new build, until a pass finds both equal.

    Args:
        old: The open index. In a folder it is closed at the end; open it again, with the new model. On a server it
            stays open, and keeps using the old collection.
        embedder: The new model. For the same model, the vectors are copied.
        alias: On a server, the alias by which the index is opened from now on. Default: the one that opened ``old``.
        hybrid: Whether the new build stores words as well. Default: as the old one; the same holds for the next three.
        indexes: Metadata fields to index for filters.
        tenant: Metadata field that names the tenant.
        storage: How the points are stored.
        leave_out: File for the chunks that the new model cannot embed, as JSON Lines with the reasons; the new build
            then lacks them. Default: such chunks are an error, after all others have been encoded.
        api_key: API key of the server.
        on_progress: Called after each batch.

    Raises:
        ValueError: The alias cannot be used, or the index is in memory or has shard keys.
        StoreError: The old index has points that cannot be copied or embedded, or is written to faster than the new
            build catches up. It is unchanged.
        OSError: The file ``leave_out`` cannot be written.
        CollectionLocked: The folder is open elsewhere in this process as well.
        BackendError: The model failed. The old index is unchanged.
    """
    # 1. The settings of the new build; with the model they give its name.
    started = time.perf_counter()
    alias = name_to_move(old, alias, api_key=api_key)
    current = {name: getattr(old.schema, name) for name in _SETTINGS}
    if old.schema.words == "other" and hybrid is None:
        raise ValueError(
            f"the words in {old.location} were encoded by another package; give hybrid=True to encode them again as "
            "BM25 terms, or hybrid=False to leave them out"
        )
    wanted = {"hybrid": hybrid, "indexes": indexes, "tenant": tenant, "storage": storage}
    settings = {**current, **{name: value for name, value in wanted.items() if value is not None}}
    if current["storage"].shard_keys or settings["storage"].shard_keys:
        raise ValueError(f"{old.location} has shard keys, and a reindex cannot tell which points belong to which key")
    build = _build_name(embedder, settings)
    old.check_writable()
    if old.engine == "embedded":
        old.engine_as(EmbeddedEngine).check_alone()
    # 2. Nothing to do if the index already is that build; with the same model the vectors are copied.
    same_model = old.identity.fingerprint == embedder.identity.fingerprint
    words_again = settings["hybrid"] and old.schema.words == "other"
    if same_model and alias == old.name and settings == current and not words_again:
        return ReindexResult(
            name=alias,
            build=build,
            moved=False,
            chunks=old.count(),
            encoded=0,
            tokens=0,
            truncated=(),
            late=(),
            left_out=(),
            seconds=time.perf_counter() - started,
        )
    model = None if same_model else embedder
    with ExitStack() as stack:
        left_out_file = None if leave_out is None else stack.enter_context(closing(DeadLetters(leave_out)))
        target = stack.enter_context(closing(swap_target(old.location, alias, api_key=api_key)))
        new = stack.enter_context(closing(target.open_build(build, embedder.identity, settings)))
        # 3. Fill the new build beside the old one, until both hold the same.
        with new.bulk():
            passes = _sync(old, new, model, on_progress)
        # 4. Hand over the notes, wait for the new graph, and switch.
        if left_out_file is None:
            _refuse_incomplete(passes[-1])
        new.notes.write(old.notes.all(same_model=same_model))
        new.settle()
        last_passes, late = _switch(target, old, new, build, model, left_out_file)
        passes += last_passes
        left_out_ids = tuple(passes[-1].refused)
    return ReindexResult(
        name=alias,
        build=build,
        moved=True,
        chunks=passes[-1].compared - len(passes[-1].refused),
        encoded=sum(done.written for done in passes) if model else 0,
        tokens=sum(done.tokens for done in passes),
        truncated=tuple(name for done in passes for name in done.truncated),
        late=late,
        left_out=left_out_ids,
        seconds=time.perf_counter() - started,
    )


def name_to_move(old: Collection, alias: str | None = None, *, api_key: str | None = None) -> str:
    """Return the name by which the reindexed index will be opened. Call it before a model is loaded.

    Raises:
        ValueError: The alias is a collection's name or points to another collection, or the index is not on a server.
    """
    if old.engine != "server":
        if alias is not None:
            raise ValueError(f"only a server has aliases; {old.location!r} keeps its place: leave alias={alias!r} out")
        return old.name
    with ServerAdmin(old.location, api_key=api_key) as admin:
        aliases, collections = admin.aliases(), admin.collections()
    name = old.name if alias is None else alias
    if name in collections:
        raise ValueError(
            f"{name!r} at {old.location} is a collection, and an alias cannot have the name of one; choose an alias "
            "(alias=, --alias), and open that in your programs"
        )
    current = aliases.get(old.name, old.name)
    if aliases.get(name, current) != current:
        raise ValueError(f"the alias {name!r} at {old.location} points to {aliases[name]!r}, not to {old.name!r}")
    return name


def _sync(
    old: Collection, new: Collection, model: T1Embedder | None, on_progress: Callable[[SyncPass], None] | None
) -> list[SyncPass]:
    """Run passes until one finds no difference."""
    passes: list[SyncPass] = []
    while not passes or passes[-1].changes:
        if len(passes) == MAX_PASSES:
            raise StoreError(
                f"{old.location} is written to faster than the new build catches up: {passes[-1].changes} chunks "
                f"changed during the last of {MAX_PASSES} passes; try again when less is written"
            )
        passes.append(sync_once(old, new, model, on_progress=on_progress))
    return passes


def _refuse_incomplete(last: SyncPass) -> None:
    """Refuse to go on without the chunks that the new model cannot embed."""
    if last.refused:
        chunk, reason = next(iter(last.refused.values()))
        raise StoreError(
            f"the new model cannot embed {len(last.refused)} chunks, such as {chunk.id!r}: {reason}. All others are "
            "encoded. Delete these, or leave them out (leave_out=FILE, --leave-out FILE), and run it again"
        )


def _write_left_out(last: SyncPass, file: DeadLetters) -> None:
    """Write the chunks that the new model cannot embed to a file."""
    for chunk, reason in last.refused.values():
        file.write(Document(chunk.text, chunk.id, chunk.metadata), reason)


def _switch(
    target: SwapTarget,
    old: Collection,
    new: Collection,
    build: str,
    model: T1Embedder | None,
    left_out_file: DeadLetters | None,
) -> tuple[list[SyncPass], tuple[str, ...]]:
    """Compare once more, and switch; return the passes, and the ids of chunks that changed too late for the build."""
    with old.pause_writes():  # a folder has no other writers than this object
        passes = _sync(old, new, model, None)
        if left_out_file is None:
            _refuse_incomplete(passes[-1])
        else:
            _write_left_out(passes[-1], left_out_file)
        target.switch(old, new, build)
        if old.engine == "embedded":
            return passes, ()
    refused = passes[-1].refused
    late = (stored.chunk.id for _, stored in find_changes(old, new) if stored.chunk.id not in refused)
    return passes, tuple(islice(late, MAX_LATE))


def _build_name(embedder: T1Embedder, settings: Mapping[str, Any]) -> str:
    """Return a name that depends only on model and settings, by which an interrupted reindex finds its build again."""
    plain = {**settings, "indexes": dict(settings["indexes"]), "storage": settings["storage"].changed()}
    content = json.dumps([asdict(embedder.identity), plain], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]
