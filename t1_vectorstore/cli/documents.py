"""``t1 get``, ``t1 list`` and ``t1 delete``: the stored documents, without a model."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from t1_vectorstore.cli.commands import FAILED
from t1_vectorstore.cli.console import (
    counted,
    note,
    one_line,
    print_indented,
    print_json,
    print_text,
    stdout_console,
    styled,
)
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
from t1_vectorstore.cli.stores import note_unknown_fields, open_collection, open_to_read

if TYPE_CHECKING:
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.types import Chunk

SNIPPET_LENGTH = 300
"""Maximum number of characters of a text or of metadata that are printed in a list."""


def get(
    where: Where,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of chunks or of documents.")],
    *,
    name: Name = "t1",
    api_key: ApiKey = None,
    read_only: ReadOnly = False,
    json: Json = False,
) -> None:
    """Print stored chunks or documents by id.

    The id of a document prints all its chunks. The exit code is 1 if there is nothing under one of the ids.
    """
    from t1_vectorstore.collection.lookup import find_chunks

    with open_to_read(where, read_only=read_only, name=name, api_key=api_key) as collection:
        chunks, missing = find_chunks(collection, ids)
    _print(chunks, json=json, whole=True)
    if missing:
        note(f"not in the index: {', '.join(missing)}")
        raise typer.Exit(FAILED)


def list_chunks(
    where: Where,
    *,
    filter: Annotated[
        list[str] | None, documents_option(metavar="KEY=VALUE", help=f"Restrict to {FILTER_HELP}")
    ] = None,
    limit: Annotated[int, documents_option(min=1, help="Maximum number of chunks.")] = 20,
    name: Name = "t1",
    api_key: ApiKey = None,
    read_only: ReadOnly = False,
    json: Json = False,
) -> None:
    """List the stored chunks, or those with metadata."""
    parsed_filter = parse_filters(filter)
    with open_to_read(where, read_only=read_only, name=name, api_key=api_key) as collection:
        chunks = list(islice(collection.scroll(parsed_filter), limit))
        held = collection.count(parsed_filter)
        if not chunks:
            note_unknown_fields(collection, parsed_filter)
    _print(chunks, json=json, whole=False)
    if not json:
        more = f"; --limit shows more than {limit}" if held > len(chunks) else ""
        note(f"{len(chunks):,} of {counted(held, 'chunk')}{more}")


def delete(
    where: Where,
    id: Annotated[list[str] | None, documents_option(help="Document id; repeat it for several.")] = None,  # noqa: A002
    filter: Annotated[list[str] | None, documents_option(metavar="KEY=VALUE", help=f"Delete {FILTER_HELP}")] = None,
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
            unknown = collection.unknown_documents(id)
            deleted = collection.delete_documents(id)
            _note_unknown(collection, unknown)
        else:
            matching = collection.count(parsed_filter)
            if matching:
                confirm(f"Delete {counted(matching, 'chunk')}", yes)
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


def _note_unknown(collection: Collection, unknown: list[str]) -> None:
    """Say which ids are of no document, and of which document a chunk is."""
    chunks = collection.get(unknown)
    for given in unknown:
        if (chunk := chunks.get(given)) is not None:
            note(f"{given} is a chunk; delete its document: --id {chunk.document_id}")
        else:
            note(f"not in the index: {given}")


def _delete_all(collection: Collection) -> int:
    deleted = 0
    while ids := [chunk.id for chunk in islice(collection.scroll(), 1000)]:
        deleted += collection.delete(ids)
    return deleted


def _print(chunks: Iterable[Chunk], *, json: bool, whole: bool) -> None:
    if json:
        print_json([asdict(chunk) for chunk in chunks])
        return
    console = stdout_console()
    for chunk in chunks:
        console.print(styled(one_line(chunk.id), "bold cyan"))
        print_indented(console, chunk.text.strip() if whole else one_line(chunk.text, SNIPPET_LENGTH))
        if chunk.metadata:
            metadata = "  ".join(f"{key}={value}" for key, value in chunk.metadata.items())
            print_indented(console, one_line(metadata, SNIPPET_LENGTH), "dim")
