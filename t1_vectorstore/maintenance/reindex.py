"""Zero-downtime reindex: another model, or other settings, in the place of an index that is searched all the while.

The new build is made beside the old one, from the texts that the old one holds or from their source. When both are
proven to hold the same, the new one takes the old one's place in one step: an alias on a server, the description of a
folder. The old one stays until it is dropped, so that the step can be taken back.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.engines.server.admin import ServerAdmin
from t1_vectorstore.errors import StoreError
from t1_vectorstore.maintenance.swap import Home, home_of
from t1_vectorstore.maintenance.sync import Pass, changes, mirror
from t1_vectorstore.options import Storage
from t1_vectorstore.types import IndexKind

MOST_PASSES = 10
"""How often a build may try to catch up with an index that is written to meanwhile."""
LISTED = 100
"""Of the chunks that came too late, so many are listed."""


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What a reindex has done.

    Attributes:
        name: what the index is opened by: a server's alias, or the collection's name in a folder.
        build: the build that it is now.
        moved: whether anything took place: not where the index has that model and those settings already.
        chunks: that it holds.
        encoded: chunks that the model has read, in this run.
        tokens: of theirs.
        truncated: ids of chunks whose end the model did not read.
        late: ids of chunks that were written to the old collection, or removed from it, while the alias was moved: they
            are not in the new one. Always empty for a folder, where nobody can write at that moment.
        seconds: wall time.
    """

    name: str
    build: str
    moved: bool
    chunks: int
    encoded: int
    tokens: int
    truncated: tuple[str, ...]
    late: tuple[str, ...]
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
    api_key: str | None = None,
    on_progress: Callable[[Pass], None] | None = None,
) -> Reindexed:
    """Move an index to another model or other settings, while it is searched and written to.

    What is stored is encoded anew, chunk by chunk as it was cut. Interrupted anywhere, the same call goes on from
    there. What the old index gains or loses meanwhile is caught up with, until a pass finds both equal.

    Args:
        old: the open index. A folder's is closed in the end, since its place is taken: open it again, with the new
            model. A server's stays open, and goes on with the old collection.
        embedder: the new model. Where it is the old one, the vectors are copied.
        alias: a server's only: the name to search by from now on. ``None``: the alias that ``old`` was opened by.
        hybrid: whether the new build holds words as well; ``None``: as the old one. Likewise for the rest.
        indexes: metadata fields to filter by.
        tenant: the metadata field that says whose a document is.
        storage: how the points are kept.
        api_key: for a server.
        on_progress: told after each batch.

    Raises:
        ValueError: the name cannot be an alias, or the index is in memory.
        StoreError: the old index cannot be carried over, or does not come to rest. It is what it was, then.
        BackendError: the model failed; likewise.
    """
    started = time.perf_counter()
    alias = name_to_move(old, alias, api_key=api_key)
    made = _made(old)
    asked = {"hybrid": hybrid, "indexes": indexes, "tenant": tenant, "storage": storage}
    settings = {**made, **{name: value for name, value in asked.items() if value is not None}}
    if made["storage"].shard_keys or settings["storage"].shard_keys:
        raise ValueError(f"{old.location} has points under shard keys, and a reindex cannot tell which are whose")
    build = _build_name(embedder, settings)
    model = None if old.identity.fingerprint == embedder.identity.fingerprint else embedder
    if model is None and alias == old.name and settings == made:
        return Reindexed(alias, build, False, old.count(), 0, 0, (), (), time.perf_counter() - started)
    with ExitStack() as stack:
        home = stack.enter_context(closing(home_of(old.location, alias, api_key=api_key)))
        new = stack.enter_context(closing(home.build(build, embedder.identity, settings)))
        with new.bulk():
            passes = _until_equal(old, new, model, on_progress)
        if (latest := old.latest_load) is not None:
            new.note_load(latest)
        new.settle()
        late = _switch(home, old, new, build, model, passes)
    written = sum(done.written for done in passes)
    return Reindexed(
        name=alias,
        build=build,
        moved=True,
        chunks=passes[-1].compared,
        encoded=written if model else 0,
        tokens=sum(done.tokens for done in passes),
        truncated=tuple(name for done in passes for name in done.truncated),
        late=late,
        seconds=time.perf_counter() - started,
    )


def name_to_move(old: Collection, alias: str | None = None, *, api_key: str | None = None) -> str:
    """The name that a reindex moves to the new build; to be asked before a model is loaded for it.

    Args:
        old: the open index.
        alias: as for ``reindex``.
        api_key: for a server.

    Raises:
        ValueError: it cannot be: it is a collection's, or stands for something else.
    """
    if old.engine != "server":
        if alias is not None:
            raise ValueError(f"only a server has aliases; {old.location!r} keeps its place: leave alias={alias!r} out")
        return old.name
    with ServerAdmin(old.location, api_key=api_key) as admin:
        aliases, collections = admin.aliases(), admin.collections()
    wanted = old.name if alias is None else alias
    if wanted in collections:
        raise ValueError(
            f"{wanted!r} at {old.location} is a collection, and an alias cannot have the name of one; choose the alias "
            "that is to be searched from now on (alias=, --alias), and open that in your programs"
        )
    if aliases.get(wanted, aliases.get(old.name, old.name)) != aliases.get(old.name, old.name):
        raise ValueError(f"the alias {wanted!r} at {old.location} stands for {aliases[wanted]!r}, not for {old.name!r}")
    return wanted


def _until_equal(
    old: Collection, new: Collection, model: T1Embedder | None, on_progress: Callable[[Pass], None] | None
) -> list[Pass]:
    passes = [mirror(old, new, model, on_progress=on_progress)]
    while passes[-1].changes:
        if len(passes) == MOST_PASSES:
            raise StoreError(
                f"{old.location} is written to faster than the new build catches up: {passes[-1].changes} chunks "
                f"changed during the last of {MOST_PASSES} passes; do it again when less is written"
            )
        passes.append(mirror(old, new, model, on_progress=on_progress))
    return passes


def _switch(
    home: Home, old: Collection, new: Collection, build: str, model: T1Embedder | None, passes: list[Pass]
) -> tuple[str, ...]:
    """Take the last step, behind a last comparison; returns what came too late for it."""
    with old.pause_writes():  # a folder has no other writers than this object
        passes += _until_equal(old, new, model, None)
        home.switch(old, new, build)
        if old.engine == "embedded":
            return ()
    return tuple(stored.chunk.id for _, stored in islice(changes(old, new), LISTED))


def _made(old: Collection) -> dict[str, Any]:
    """What was decided when the old index was made."""
    schema = old.schema
    names = ("content_key", "metadata_key", "hybrid", "indexes", "tenant", "storage")
    return {name: getattr(schema, name) for name in names}


def _build_name(embedder: T1Embedder, settings: Mapping[str, Any]) -> str:
    """Always the same for the same model and settings, so that an interrupted reindex finds its build again."""
    plain = {**settings, "indexes": dict(settings["indexes"]), "storage": settings["storage"].changed()}
    wanted = json.dumps([asdict(embedder.identity), plain], sort_keys=True)
    return hashlib.sha256(wanted.encode()).hexdigest()[:12]
