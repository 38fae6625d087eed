"""The options that several commands share, and what their values mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from t1_vectorstore.options import Storage
from t1_vectorstore.types import IndexKind

if TYPE_CHECKING:
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.indexing.chunking import Chunker

Where = Annotated[str, typer.Argument(metavar="DIR|URL", help="An index folder, or the URL of a Qdrant server.")]
Name = Annotated[str, typer.Option(help="The collection's name.")]
ApiKey = Annotated[str | None, typer.Option(envvar="QDRANT_API_KEY", help="For a server.", show_envvar=True)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to standard output.")]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="KEY=VALUE",
        help='Only what has this metadata; repeat it to narrow down, or give JSON: \'{"year": {"gte": 2000}}\'.',
    ),
]
IndexFields = Annotated[
    list[str] | None,
    typer.Option(
        "--index-field",
        metavar="FIELD=KIND",
        help="Metadata to filter by in a new index, and what it is: keyword, integer, float, bool, datetime or text.",
    ),
]
ChunkSize = Annotated[
    int | None, typer.Option(help="Characters in a chunk at most.  [default: as in the latest load, else 1600]")
]
Overlap = Annotated[
    int | None,
    typer.Option(help="Characters that a chunk repeats of the one before.  [default: as in the latest load, else 0]"),
]
OnDisk = Annotated[
    bool | None, typer.Option("--on-disk", help="A new index reads its vectors from disk.", show_default=False)
]
Quantized = Annotated[
    str | None,
    typer.Option(
        "--quantization", metavar="int8|binary", help="Smaller copies of the vectors to search by, in a new index."
    ),
]
Shards = Annotated[int | None, typer.Option(help="Parts of a new index, to be spread over a cluster of servers.")]
Replicas = Annotated[int | None, typer.Option(help="On how many servers of a cluster each part of a new index is.")]


def how_to_cut(size: int | None, overlap: int | None, collection: Collection | None = None) -> Chunker:
    """What the options say; without either, what the collection remembers of its latest load.

    Raises:
        ValueError: sizes that cannot work.
    """
    from t1_vectorstore.indexing.chunking import DEFAULT_SIZE, Chunker

    latest = collection.latest_load if collection and size is overlap is None else None
    if latest is not None:
        return Chunker(latest.chunk_size, latest.overlap)
    return Chunker(DEFAULT_SIZE if size is None else size, overlap or 0)


def parse_storage(**given: Any) -> Storage | None:  # noqa: ANN401 - checked by Storage
    """How a new index keeps its points; ``None`` without any option.

    Raises:
        ValueError: an option with a value that it does not take.
    """
    options = {name: value for name, value in given.items() if value is not None}
    return Storage(**options) if options else None


def parse_indexes(given: Sequence[str] | None) -> dict[str, IndexKind] | None:
    """Fields to index as the store takes them; ``None`` without any.

    Raises:
        ValueError: not ``field=kind``, or no such kind.
    """
    indexes: dict[str, Any] = {}
    for text in given or ():
        field, _, kind = text.rpartition("=")
        if not field or kind not in get_args(IndexKind):
            raise ValueError(
                f"--index-field {text!r} is not FIELD=KIND, with a KIND of {', '.join(get_args(IndexKind))}"
            )
        indexes[field] = kind
    return indexes or None


def parse_fields(option: str, given: Sequence[str] | None) -> dict[str, Any]:
    """What an option sets, each time that it is given; a value that is not JSON is a string.

    Raises:
        ValueError: not ``field=value``, or a field twice.
    """
    fields: dict[str, Any] = {}
    for text in given or ():
        field, equals, value = text.partition("=")
        if not equals or not field:
            raise ValueError(f"{option} {text!r} is not of the form name=value")
        if field in fields:
            raise ValueError(f"{option} {field}=... is given twice")
        try:
            fields[field] = json.loads(value)
        except json.JSONDecodeError:
            fields[field] = value
    return fields


def parse_filters(given: Sequence[str] | None) -> dict[str, Any] | None:
    """Filters as the store takes them; ``None`` without any.

    ``year=1999`` finds the number as well as the string, since sources such as CSV know only strings. The same key
    twice finds either value.

    Raises:
        ValueError: neither ``key=value`` nor a JSON object.
    """
    combined: dict[str, Any] = {}
    for text in given or ():
        if text.lstrip().startswith("{"):
            combined.update(_json_filter(text))
            continue
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"--filter {text!r} is neither key=value nor a JSON object")
        known = combined.get(key.strip(), [])
        combined[key.strip()] = [*(known if isinstance(known, list) else [known]), *_readings(value)]
    return combined or None


def _json_filter(text: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--filter {text!r} is not JSON: {error.msg} at column {error.colno}") from None
    return value


def _readings(value: str) -> list[Any]:
    """A value as a string, and as the number or truth value it may be."""
    try:
        parsed = json.loads(value, parse_constant=str)
    except json.JSONDecodeError:
        return [value]
    return [value, parsed] if isinstance(parsed, bool | int | float) else [value]
