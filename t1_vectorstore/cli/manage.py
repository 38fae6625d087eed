"""``t1 info`` and ``t1 optimize``, which need no model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from t1_vectorstore.cli.console import counted, print_json, print_text, stdout_console, styled
from t1_vectorstore.cli.options import (
    ApiKey,
    Json,
    Name,
    ReadOnly,
    Where,
)
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.cli.stores import open_collection, open_to_read

if TYPE_CHECKING:
    from t1_vectorstore.types import Indexing, LoadRecord

_INDEXING_STATES = {"green": "done", "yellow": "under way", "grey": "waiting for the next change", "red": "failed"}


def info(
    where: Where, name: Name = "t1", api_key: ApiKey = None, read_only: ReadOnly = False, json: Json = False
) -> None:
    """Show the model, size and state of an index."""
    with open_to_read(where, read_only=read_only, name=name, api_key=api_key) as collection:
        facts, schema = collection.info(), collection.schema
    settings = {
        "hybrid": schema.hybrid,
        "indexes": dict(schema.indexes),
        "tenant": schema.tenant,
        "storage": schema.storage.changed(),
        "previous_build": facts.previous_build,
    }
    if json:
        print_json({**asdict(facts), **settings})
        return
    lines = {
        "location": facts.location,
        "engine": facts.engine,
        "collection": facts.name,
        "model": facts.identity.model,
        "fingerprint": facts.identity.fingerprint or "not recorded",
        "dimension": str(facts.identity.dimension),
        "chunks": f"{facts.points:,}",
        "on disk": "unknown" if facts.disk_bytes is None else f"{facts.disk_bytes / 2**20:,.1f} MiB",
    }
    lines["searched by"] = "vector and words (hybrid)" if schema.hybrid else "vector"
    if schema.indexes or schema.tenant:
        kinds = [f"{field}={kind}" for field, kind in schema.indexes.items()]
        lines["filters"] = ", ".join([*kinds, *([f"{schema.tenant} (tenant)"] if schema.tenant else [])])
    if changed := schema.storage.changed():
        lines["storage"] = ", ".join(f"{option}={value}" for option, value in changed.items())
    if facts.previous_build:
        lines["previous"] = "kept: t1 reindex --rollback goes back to it, --drop-old deletes it"
    if facts.load is not None:
        lines["latest load"] = _describe_load(facts.load)
    if (found := facts.calibration) is not None:
        kind = "judged queries" if found.labelled else "queries"
        lines["think auto"] = (
            f"from a score of {found.threshold:.3f} on; fitted {found.fitted[:10]}, {found.queries:,} {kind}"
        )
    if facts.indexing is not None:
        lines["indexing"] = _describe_indexing(facts.indexing)
    console = stdout_console()
    for label, value in lines.items():
        console.print(styled(f"{label:<12}", "bold"), styled(value), sep="")


def _describe_load(load: LoadRecord) -> str:
    state = "finished" if load.finished else "under way or interrupted (run it again to complete it)"
    overlap = f", overlapping by {load.overlap:,}" if load.overlap else ""
    return f"{state}; began {load.began[:19]}Z, chunks of {counted(load.chunk_size, 'character')}{overlap}"


def _describe_indexing(indexing: Indexing) -> str:
    state = "deferred by a bulk load" if indexing.deferred else _INDEXING_STATES[indexing.status]
    return f"{state}, {indexing.indexed:,} vectors in the graph{indexing.error and ': '}{indexing.error}"


def optimize(where: Where, name: Name = "t1", api_key: ApiKey = None, json: Json = False) -> None:
    """Build the search graph of an index now.

    This makes searches of a large index fast. The graph of an index folder is built by this command; a server builds it
    by itself, and the command waits for it.
    """
    with open_collection(where, name=name, api_key=api_key) as collection, busy("optimising"):
        collection.restore_indexing()
        collection.optimize()
        collection.settle()
        facts = collection.info()
    if json:
        print_json(asdict(facts))
    else:
        print_text(f"{counted(facts.points, 'chunk')} ready to be searched\n{where}")
