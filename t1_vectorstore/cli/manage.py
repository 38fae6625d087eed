"""``t1 info``, ``t1 optimize`` and ``t1 delete``, which need no model."""

from __future__ import annotations

import sys
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from t1_vectorstore.cli.console import counted, print_json, print_text, stdout_console, styled
from t1_vectorstore.cli.options import (
    FILTER_HELP,
    ApiKey,
    Json,
    Name,
    ReadOnly,
    Where,
    Yes,
    documents_option,
    parse_filters,
)
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.cli.stores import note_unknown_fields, open_collection, open_to_read

if TYPE_CHECKING:
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.types import Indexing, LoadRecord

_INDEXING_STATES = {"green": "done", "yellow": "under way", "grey": "waiting for the next change", "red": "failed"}


def info(
    where: Where, name: Name = "t1", api_key: ApiKey = None, read_only: ReadOnly = False, json: Json = False
) -> None:
    """Show the model, size and state of an index."""
    with open_to_read(where, read_only=read_only, name=name, api_key=api_key) as collection:
        facts = collection.info()
    if json:
        print_json(asdict(facts))
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
    if facts.load is not None:
        lines["latest load"] = _describe_load(facts.load)
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


def delete(
    where: Where,
    id: Annotated[list[str] | None, documents_option(help="Document id; repeat it for several.")] = None,  # noqa: A002
    filter: Annotated[list[str] | None, documents_option(metavar="KEY=VALUE", help=FILTER_HELP)] = None,
    all: Annotated[bool, documents_option("--all", help="Delete all documents.")] = False,  # noqa: A002
    yes: Yes = False,
    name: Name = "t1",
    api_key: ApiKey = None,
) -> None:
    """Delete documents by id or by metadata, or all.

    Deleting by metadata, or everything, asks for confirmation.
    """
    parsed_filter = parse_filters(filter)
    if (bool(id) + (parsed_filter is not None) + all) != 1:
        raise ValueError("choose what to delete with --id, --filter or --all, and only one of them")
    with open_collection(where, name=name, api_key=api_key) as collection:
        if id:
            deleted = collection.delete_documents(id)
        else:
            confirm(f"Delete {counted(collection.count(parsed_filter), 'chunk')}", yes)
            deleted = _delete_all(collection) if all else collection.delete(filter=parsed_filter)
            if not deleted:
                note_unknown_fields(collection, parsed_filter)
    print_text(f"{counted(deleted, 'chunk')} deleted")


def confirm(action: str, yes: bool) -> None:
    """Ask whether to go on, unless ``yes`` is given. Without a terminal, nobody can answer, and that is a mistake."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ValueError(f"{action}? Confirm it with --yes")
    typer.confirm(f"{action}?", abort=True, err=True)


def _delete_all(collection: Collection) -> int:
    deleted = 0
    while ids := [chunk.id for chunk in islice(collection.scroll(), 1000)]:
        deleted += collection.delete(ids)
    return deleted
