"""``t1 index``: files in, points out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from t1_vectorstore.cli import ray as on_ray
from t1_vectorstore.cli.console import counted, note, one_line, output, print_json, styled
from t1_vectorstore.cli.errors import FAILED
from t1_vectorstore.cli.load_log import LoadLog
from t1_vectorstore.cli.model_flags import ModelFlags, takes_model_flags
from t1_vectorstore.cli.options import (
    ApiKey,
    ChunkSize,
    IndexFields,
    Json,
    Name,
    OnDisk,
    Overlap,
    Quantized,
    Replicas,
    Shards,
    how_to_cut,
    parse_indexes,
    parse_storage,
)
from t1_vectorstore.cli.progress import load_bar, settling
from t1_vectorstore.cli.stores import open_store, open_with_checkpoint

if TYPE_CHECKING:
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.errors import CorpusError
    from t1_vectorstore.indexing import LoadProgress, LoadReport
    from t1_vectorstore.indexing.chunking import Chunker

SHOWN = 10
"""Of many complaints of one kind, so many are printed."""
KEPT = 1000
"""And so many are in the JSON; all are counted."""


@takes_model_flags
def index(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Folders, .txt, .md, .html, .pdf, .jsonl, .csv, .tsv (all also .gz), .parquet; - for JSONL on stdin.",
        ),
    ],
    to: Annotated[str, typer.Option(metavar="DIR|URL", help="The index folder, or the URL of a Qdrant server.")],
    *,
    model_flags: ModelFlags,
    name: Name = "t1",
    text_field: Annotated[str | None, typer.Option(help="Field of the text.  [default: text, after title]")] = None,
    id_field: Annotated[str | None, typer.Option(help="Field of the id.  [default: id or _id]")] = None,
    chunk_size: ChunkSize = None,
    overlap: Overlap = None,
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
    ray: on_ray.Address = None,
    workers: on_ray.Count = 1,
    worker_gpus: on_ray.Gpus = 0.0,
    prune: Annotated[
        bool, typer.Option("--prune", help="At the end, delete what the index holds and these sources do not.")
    ] = False,
    dead_letters: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what was not stored to this file, as JSONL to be mended and indexed."),
    ] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append progress and report to this file, as JSONL.")
    ] = None,
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Index documents; run it again to add what is new or changed, or to complete what was interrupted.

    Exit code 0: all is stored. 1: something was not read or not stored, or the index or the model failed. 2: a mistake
    in the command; nothing was done. 130: interrupted, also by SIGTERM.
    """
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.embedding.embedder import T1Embedder
    from t1_vectorstore.indexing import chunker_for
    from t1_vectorstore.readers import Fields, check, read, total_bytes

    check(paths)
    how_to_cut(chunk_size, overlap)  # refuses what cannot work
    if to == ":memory:":
        raise ValueError("an index in :memory: is gone when this command ends; name a folder or a URL")
    _check_outputs(paths, dead_letters, log)
    storage = parse_storage(on_disk=on_disk, quantization=quantization, shards=shards, replicas=replicas)
    create: dict[str, Any] = {
        "hybrid": hybrid,
        "indexes": parse_indexes(index_field),
        "tenant": tenant,
        "storage": storage,
    }
    team = (
        None
        if ray is None
        else on_ray.plan(paths, to, model_flags.device, count=workers, gpus=worker_gpus, prune=prune)
    )
    options = model_flags.parse(here=team is None)
    skipped = _Complaints()
    fields = Fields(text_field, id_field)
    with ExitStack() as stack:
        store = None
        if team is None:
            store = stack.enter_context(open_store(to, options, name=name, api_key=api_key, create=create))
            collection = store.collection
        else:  # the model is loaded by the workers
            found, options, checkpoint = open_with_checkpoint(to, options, name=name, api_key=api_key, create=create)
            collection = stack.enter_context(
                found or Collection.open(to, name=name, identity=checkpoint.identity, api_key=api_key, **create)
            )
        cut = how_to_cut(chunk_size, overlap, collection)
        kept = stack.enter_context(LoadLog(log)) if log else None
        with load_bar(None if store is None else total_bytes(paths)) as bar:
            if store is None:
                run = on_ray.load_by_workers(
                    paths,
                    to,
                    name=name,
                    api_key=api_key,
                    embedder=partial(T1Embedder.from_options, options),
                    workers=team,
                    address=ray,
                    fields=fields,
                    chunk_size=cut.size,
                    overlap=cut.overlap,
                )
            else:
                documents = partial(read, paths, fields=fields, on_skip=skipped, on_bytes=bar.read)
                chunker = chunker_for(store.embedder, size=cut.size, overlap=cut.overlap)
                run = partial(store.add, documents, chunker=chunker, prune=prune)
            listeners = [bar.show, kept.progress] if kept else [bar.show]
            report = _load(collection, cut, partial(run, dead_letters=dead_letters), listeners)
        with settling() as show:
            collection.settle(on_progress=show)
        held = collection.count()
        if kept:
            kept.report(report)
    if json:
        print_json({**asdict(report), "held": held, "skipped": skipped.count, "skips": skipped.lines})
    else:
        _print(report, held, to, skipped)
    if not report.complete or (skipped.count and not report.documents):
        raise typer.Exit(FAILED)


class _Complaints:
    """Counts what the readers pass over, and keeps the first of it."""

    def __init__(self) -> None:
        self.count = 0
        self.lines: list[str] = []

    def __call__(self, error: CorpusError) -> None:
        self.count += 1
        if len(self.lines) < KEPT:
            self.lines.append(str(error))


def _check_outputs(paths: list[Path], *outputs: Path | None) -> None:
    """Refuse, before the model is loaded, files that cannot be written or that are about to be read."""
    for output_file in filter(None, outputs):
        if output_file.is_dir() or not output_file.absolute().parent.is_dir():
            raise ValueError(f"{output_file} cannot be written: it is a folder, or in a folder that does not exist")
        if any(path.exists() and output_file.exists() and path.samefile(output_file) for path in paths):
            raise ValueError(f"{output_file} is to be read as well as written; name another file to write to")


def _load(
    collection: Collection,
    cut: Chunker,
    run: Callable[..., LoadReport],
    listeners: Sequence[Callable[[LoadProgress], None]],
) -> LoadReport:
    from t1_vectorstore.errors import T1Error
    from t1_vectorstore.indexing import LoadProgress

    reached = LoadProgress()

    def on_progress(progress: LoadProgress) -> None:
        nonlocal reached
        reached = progress
        for tell in listeners:
            tell(progress)

    def how_far() -> str:
        stored = f"{counted(reached.stored, 'chunk')} stored, and there to be searched"
        return f"{stored}; the same command again goes on from there"

    try:
        with collection.loading(chunk_size=cut.size, overlap=cut.overlap), collection.bulk():
            return run(on_progress=on_progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(how_far()) from None
    except T1Error:
        note(f"not finished: {how_far()}")
        raise


def _print(report: LoadReport, held: int, to: str, skipped: _Complaints) -> None:
    unread = [failure.reason for failure in report.failures if failure.id is None]
    failed = [f"{failure.id}: {failure.reason}" for failure in report.failures if failure.id is not None]
    cuts = [f"{cut.id}: {cut.dropped_tokens} of {cut.total_tokens} tokens not read" for cut in report.truncations]
    _complain("not read", skipped.lines, skipped.count)
    _complain("unreadable", unread, report.unread)
    _complain("not stored", failed, report.failed)
    _complain("stored, but the model read only their beginning (a smaller --chunk-size helps)", cuts, report.truncated)
    if report.not_pruned:
        note(f"not pruned: {report.not_pruned}")
    if not report.documents:
        note("the sources have no document")
    output().print(styled(f"{_summary(report)}\n{to} holds {counted(held, 'chunk')}"))


def _summary(report: LoadReport) -> str:
    documents = f"{counted(report.documents, 'document')}, {report.failed:,} of them not stored"
    if report.repeated:
        documents += f", {report.repeated:,} repeated"
    chunks = f"{counted(report.chunks, 'chunk')}: {report.stored:,} stored, {report.unchanged:,} unchanged"
    if report.removed:
        chunks += f", {report.removed:,} stale removed"
    if report.pruned:
        chunks += f", {report.pruned:,} pruned"
    speed = f"{report.seconds:.1f} s"
    if report.tokens:
        speed += f", {report.tokens / report.seconds:,.0f} tokens/s, {report.stored / report.seconds:,.0f} points/s"
    return f"{documents}; {chunks} ({speed})"


def _complain(what: str, lines: list[str], count: int) -> None:
    if not count:
        return
    note(f"{count:,} {what}:")
    for line in lines[:SHOWN]:
        note(f"- {one_line(line, 300)}")
    if count > len(lines[:SHOWN]):
        note(f"- ... and {count - len(lines[:SHOWN]):,} more")
