"""``t1 index``: files in, points out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from t1_vectorstore.cli.console import counted, note, one_line, output, print_json, styled
from t1_vectorstore.cli.errors import FAILED
from t1_vectorstore.cli.options import (
    ApiKey,
    IndexFields,
    Json,
    Model,
    Name,
    OnDisk,
    Overrides,
    Preset,
    Quantized,
    Replicas,
    Shards,
    parse_indexes,
    parse_overrides,
    parse_storage,
)
from t1_vectorstore.cli.progress import load_bar
from t1_vectorstore.cli.stores import Making, open_store

if TYPE_CHECKING:
    from t1_vectorstore.errors import CorpusError
    from t1_vectorstore.ingest import LoadReport
    from t1_vectorstore.types import Document
    from t1_vectorstore.vectorstore import T1VectorStore

SHOWN = 10
"""Of many complaints of one kind, so many are printed."""


def index(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Folders, .txt, .md, .html, .pdf, .jsonl, .csv, .tsv (all also .gz), .parquet; - for JSONL on stdin.",
        ),
    ],
    to: Annotated[str, typer.Option(metavar="DIR|URL", help="The index folder, or the URL of a Qdrant server.")],
    model: Model = None,
    preset: Preset = None,
    override: Overrides = None,
    name: Name = "t1",
    text_field: Annotated[str | None, typer.Option(help="Field of the text.  [default: text, after title]")] = None,
    id_field: Annotated[str | None, typer.Option(help="Field of the id.  [default: id or _id]")] = None,
    chunk_size: Annotated[int, typer.Option(help="Characters in a chunk at most.")] = 1600,
    overlap: Annotated[int, typer.Option(help="Characters that a chunk repeats of the one before.")] = 0,
    hybrid: Annotated[
        bool | None,
        typer.Option("--hybrid/--no-hybrid", help="Whether a new index holds the words, too.  [default: no]"),
    ] = None,
    index_field: IndexFields = None,
    tenant: Annotated[str | None, typer.Option(help="Field that says whose a document is, in a new index.")] = None,
    on_disk: OnDisk = None,
    quantization: Quantized = None,
    shards: Shards = None,
    replicas: Replicas = None,
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Index documents; run it again to add what is new or changed, or to complete what was interrupted."""
    from t1_vectorstore.chunking import Chunker
    from t1_vectorstore.corpora import Fields, check, read

    check(paths)
    Chunker(chunk_size, overlap)  # refuses what cannot work
    if to == ":memory:":
        raise ValueError("an index in :memory: is gone when this command ends; name a folder or a URL")
    storage = parse_storage(on_disk=on_disk, quantization=quantization, shards=shards, replicas=replicas)
    made_with = Making(hybrid=hybrid, indexes=parse_indexes(index_field), tenant=tenant, storage=storage)
    unread, skipped = _Complaints(), _Complaints()
    documents = read(paths, fields=Fields(text_field, id_field), on_error=unread, on_skip=skipped)
    opened = open_store(
        to,
        model=model,
        preset=preset,
        overrides=parse_overrides(override),
        name=name,
        api_key=api_key,
        making=made_with,
    )
    with opened as store:
        report = _load(documents, store, chunk_size, overlap)
    if json:
        print_json({**asdict(report), "unread": unread.lines, "skipped": skipped.lines})
    else:
        _print(report, to, unread, skipped)
    if report.failed or unread.lines:
        raise typer.Exit(FAILED)


class _Complaints:
    """Collects what the readers report."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, error: CorpusError) -> None:
        self.lines.append(str(error))


def _load(documents: Iterable[Document], store: T1VectorStore, chunk_size: int, overlap: int) -> LoadReport:
    from t1_vectorstore.ingest import LoadProgress, chunker_for

    reached = LoadProgress()
    with load_bar() as show:

        def on_progress(progress: LoadProgress) -> None:
            nonlocal reached
            reached = progress
            show(progress)

        chunker = chunker_for(store.embedder, size=chunk_size, overlap=overlap)
        try:
            return store.add(documents, chunker=chunker, on_progress=on_progress)
        except KeyboardInterrupt:
            how_far = f"{counted(reached.stored, 'chunk')} stored, and there to be searched"
            raise KeyboardInterrupt(f"{how_far}; the same command again goes on from there") from None


def _print(report: LoadReport, to: str, unread: _Complaints, skipped: _Complaints) -> None:
    _complain("not read", skipped.lines)
    _complain("unreadable", unread.lines)
    _complain("not stored", [f"{failure.id}: {failure.reason}" for failure in report.failures])
    _complain(
        "stored, but the model read only their beginning (a smaller --chunk-size helps)",
        [f"{cut.id}: {cut.dropped_tokens} of {cut.total_tokens} tokens not read" for cut in report.truncations],
    )
    rate = f", {report.tokens / report.seconds:,.0f} tokens/s" if report.tokens else ""
    removed = f", {report.removed:,} stale removed" if report.removed else ""
    line = (
        f"{counted(report.documents, 'document')}, {report.failed:,} of them not stored; "
        f"{counted(report.chunks, 'chunk')}: {report.stored:,} stored, {report.unchanged:,} unchanged{removed} "
        f"({report.seconds:.1f} s{rate})"
    )
    output().print(styled(f"{line}\n{to}"))


def _complain(what: str, lines: list[str]) -> None:
    if not lines:
        return
    note(f"{len(lines)} {what}:")
    for line in lines[:SHOWN]:
        note(f"- {one_line(line, 300)}")
    if len(lines) > SHOWN:
        note(f"- ... and {len(lines) - SHOWN} more")
