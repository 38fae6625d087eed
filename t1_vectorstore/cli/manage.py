"""``t1 info``, ``t1 optimize`` and ``t1 delete``: what needs no model."""

from __future__ import annotations

import sys
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from t1_vectorstore.cli.console import counted, output, print_json, styled
from t1_vectorstore.cli.options import ApiKey, Filters, Json, Name, Where, parse_filters
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.cli.stores import open_collection

if TYPE_CHECKING:
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.types import Indexing, LoadRecord


def info(where: Where, name: Name = "t1", api_key: ApiKey = None, json: Json = False) -> None:
    """Say what an index holds, and which model made it."""
    with open_collection(where, name=name, api_key=api_key) as collection:
        facts = collection.info()
    if json:
        print_json(asdict(facts))
        return
    size = "unknown" if facts.disk_bytes is None else f"{facts.disk_bytes / 2**20:,.1f} MiB"
    lines = {
        "location": facts.location,
        "engine": facts.engine,
        "collection": facts.name,
        "model": facts.identity.model,
        "fingerprint": facts.identity.fingerprint or "not recorded",
        "dimension": str(facts.identity.dimension),
        "chunks": f"{facts.points:,}",
        "on disk": size,
    }
    if facts.load is not None:
        lines["latest load"] = _load(facts.load)
    if facts.indexing is not None:
        lines["indexing"] = _indexing(facts.indexing)
    console = output()
    for what, value in lines.items():
        console.print(styled(f"{what:<12}", "bold"), styled(value), sep="")


def _load(found: LoadRecord) -> str:
    state = "finished" if found.finished else "under way, or cut off: run it again"
    overlap = f", overlapping by {found.overlap:,}" if found.overlap else ""
    return f"{state}; began {found.began[:19]}Z, chunks of {counted(found.chunk_size, 'character')}{overlap}"


def _indexing(found: Indexing) -> str:
    state = {"green": "done", "yellow": "under way", "grey": "waiting for the next change", "red": "failed"}
    words = "deferred by a bulk load" if found.deferred else state[found.status]
    return f"{words}, {found.indexed:,} vectors in the graph{found.error and ': '}{found.error}"


def optimize(where: Where, name: Name = "t1", api_key: ApiKey = None, json: Json = False) -> None:
    """Make searches of a large index fast: a folder gets its graph now, a server's indexing is waited for."""
    with open_collection(where, name=name, api_key=api_key) as collection, busy("optimising"):
        collection.restore_indexing()
        collection.optimize()
        collection.settle()
        facts = collection.info()
    if json:
        print_json(asdict(facts))
        return
    output().print(styled(f"{counted(facts.points, 'chunk')} ready to be searched\n{where}"))


def delete(
    where: Where,
    id: Annotated[list[str] | None, typer.Option(help="A document's id; repeat it for several.")] = None,  # noqa: A002
    filter: Filters = None,
    all: Annotated[bool, typer.Option("--all", help="Everything.")] = False,  # noqa: A002 - the option's name
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    name: Name = "t1",
    api_key: ApiKey = None,
) -> None:
    """Delete documents: by id, by metadata, or all of them."""
    wanted = parse_filters(filter)
    if (bool(id) + (wanted is not None) + all) != 1:
        raise ValueError("say what to delete: --id, --filter or --all, and only one of them")
    with open_collection(where, name=name, api_key=api_key) as collection:
        if not id:
            _confirm(collection.count(wanted), yes)
        if id:
            removed = collection.delete_documents(id)
        elif wanted is not None:
            removed = collection.delete(filter=wanted)
        else:
            removed = _delete_all(collection)
    output().print(styled(f"{counted(removed, 'chunk')} deleted"))


def _confirm(chunks: int, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ValueError(f"this would delete {counted(chunks, 'chunk')}; confirm it with --yes")
    typer.confirm(f"Delete {counted(chunks, 'chunk')}?", abort=True, err=True)


def _delete_all(collection: Collection) -> int:
    removed = 0
    while ids := [chunk.id for chunk in islice(collection.scroll(), 1000)]:
        removed += collection.delete(ids)
    return removed
