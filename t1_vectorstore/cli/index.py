"""``t1 index``: documents into an index."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from t1_vectorstore.cli.commands import FAILED
from t1_vectorstore.cli.console import counted, note, print_json, print_problems, print_text
from t1_vectorstore.cli.options import (
    Adopt,
    ApiKey,
    Index,
    Json,
    ModelFlags,
    Name,
    NewIndexFlags,
    SourceFlags,
    documents_option,
    output_option,
    takes_flags,
)
from t1_vectorstore.cli.outputs import check_log, check_output
from t1_vectorstore.cli.progress import LoadLog, indexing_status, load_bar
from t1_vectorstore.cli.stores import key_for, open_store, open_with_checkpoint

if TYPE_CHECKING:
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.errors import CorpusError
    from t1_vectorstore.indexing import LoadProgress, LoadReport
    from t1_vectorstore.indexing.chunking import Chunker
    from t1_vectorstore.indexing.ray import Workers


ray_option = partial(typer.Option, rich_help_panel="Ray")


@takes_flags
def index(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Folders, or files: text, Markdown, source code, HTML, PDF, DOCX, PPTX, XLSX, EPUB, notebooks, .zip; "
            "and records: .jsonl, .csv, .tsv, .parquet. All but .parquet also as .gz. - is JSONL on standard input.",
        ),
    ],
    *,
    source_flags: SourceFlags,
    prune: Annotated[
        bool, documents_option("--prune", help="At the end, delete indexed documents that are not in these sources.")
    ] = False,
    to: Index,
    name: Name = "t1",
    adopt: Adopt = False,
    api_key: ApiKey = None,
    storage_flags: NewIndexFlags,
    model_flags: ModelFlags,
    ray: Annotated[
        str | None,
        ray_option(metavar="ADDRESS", help="Load by workers on Ray: 'local', or a cluster such as 'auto'."),
    ] = None,
    workers: Annotated[
        int | None, ray_option(min=1, help="Number of workers, each with its own model.  [default: 1]")
    ] = None,
    worker_gpus: Annotated[
        float | None, ray_option(min=0, help="GPUs for each worker; may be a fraction.  [default: 0]")
    ] = None,
    dead_letters: Annotated[
        Path | None,
        output_option(
            metavar="FILE", help="Write failed documents to this file: JSONL that you can fix and index again."
        ),
    ] = None,
    log: Annotated[
        Path | None, output_option(metavar="FILE", help="Append progress and report to this file, as JSONL.")
    ] = None,
    json: Json = False,
) -> None:
    """Index documents, or update an index.

    Documents that are already indexed unchanged are not encoded again. If a load is interrupted, run the same command
    again: it continues from there. Options of storage apply to a new index.

    Exit codes: 0, everything is stored. 1, a document was not read or not stored, or the index or the model failed. 2,
    a mistake in the command; nothing was done. 130, interrupted by Ctrl-C or SIGTERM.
    """
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.embedding.embedder import T1Embedder
    from t1_vectorstore.indexing import chunker_for
    from t1_vectorstore.indexing.dead_letters import refuse_other_file
    from t1_vectorstore.readers import check, read, total_bytes
    from t1_vectorstore.readers.files import files_to_read

    # Mistakes are refused before the model is loaded.
    check(paths)
    source_flags.chunker()
    source_flags.fields({})
    if to == ":memory:":
        raise ValueError("an index in :memory: is lost when this command ends; name a folder or a URL")
    if dead_letters is not None:
        check_output("--dead-letters", dead_letters, paths)
        refuse_other_file(dead_letters)
    if log is not None:
        check_output("--log", log, paths)
        check_log(log)
    create = storage_flags.options()
    ray_options: dict[str, Any] | None = None
    if ray is not None:
        planned = _plan_workers(paths, to, model_flags.device, count=workers or 1, gpus=worker_gpus or 0, prune=prune)
        ray_options = {"address": ray, "workers": planned}
    elif workers is not None or worker_gpus is not None:
        raise ValueError("--workers and --worker-gpus are options of a load on Ray: give --ray, or leave them out")
    options = model_flags.parse(here=ray_options is None)
    skipped = _SkippedFiles()
    if all(path.is_dir() for path in paths) and not any(files_to_read(paths)):
        unread: list[str] = []
        deque(read(paths, on_skip=skipped, on_error=lambda error: unread.append(str(error))), maxlen=0)
        print_problems("skipped", skipped.count, skipped.first)
        print_problems("unreadable", len(unread), unread)
        note("the sources have no document; nothing was done")
        raise typer.Exit(FAILED)
    with ExitStack() as stack:
        if ray_options is None:
            store = stack.enter_context(open_store(to, options, name=name, adopt=adopt, api_key=api_key, create=create))
            collection = store.collection
        else:  # only the workers load the model
            opened = open_with_checkpoint(to, options, name=name, adopt=adopt, api_key=api_key, create=create)
            found, options, checkpoint = stack.enter_context(opened)
            adopted = {"adopt": True, "identity": checkpoint.identity, "hybrid": create["hybrid"]} if adopt else {}
            collection = found or stack.enter_context(
                Collection.open(to, name=name, identity=checkpoint.identity, api_key=key_for(to, api_key), **create)
            )
        chunker = source_flags.chunker(collection)
        fields = source_flags.fields(collection.schema.indexes)
        load_log = stack.enter_context(LoadLog(log)) if log else None
        with load_bar(total_bytes(paths) if ray_options is None else None) as bar:
            if ray_options is None:
                run = partial(
                    store.add,
                    partial(read, paths, fields=fields, on_skip=skipped, on_bytes=bar.read),
                    chunker=chunker_for(store.embedder, size=chunker.size, overlap=chunker.overlap),
                    prune=prune,
                )
            else:
                from t1_vectorstore.indexing.ray import load_on_ray

                run = partial(
                    load_on_ray,
                    paths,
                    partial(T1Embedder.from_options, options),
                    partial(Collection.open, to, name=name, create=False, api_key=key_for(to, api_key), **adopted),
                    fields=fields,
                    chunk_size=chunker.size,
                    overlap=chunker.overlap,
                    **ray_options,
                )
            listeners = [bar.show, load_log.progress] if load_log else [bar.show]
            report = _load(collection, chunker, partial(run, dead_letters=dead_letters), listeners)
        with indexing_status() as show:
            collection.settle(on_progress=show)
        held = collection.count()
        if load_log:
            load_log.report(report)
    if json:
        print_json({**asdict(report), "held": held, "skipped": skipped.count, "skips": skipped.first})
    else:
        _print_problems(report, skipped)
        print_text(f"{_summary(report)}\n{to} holds {counted(held, 'chunk')}")
        if model_flags.to_repeat:
            print_text(f"search it with {model_flags.to_repeat}", wrap=False)
    if not report.complete or (skipped.count and not report.documents):
        raise typer.Exit(FAILED)


def _plan_workers(
    paths: Sequence[Path], to: str, devices: Sequence[str] | None, *, count: int, gpus: float, prune: bool
) -> Workers:
    """Return the workers on Ray, after refusing what they cannot do."""
    from t1_vectorstore.indexing.ray import Workers, check_shards

    if devices and len(devices) > 1:
        raise ValueError(f"a worker has one device, not {', '.join(devices)}; with --ray, more --workers use more")
    check_shards(paths)
    if "://" not in to:
        raise ValueError(f"{to} can be open in one process only; with --ray, --to takes the URL of a Qdrant server")
    if prune:
        raise ValueError(
            "--prune does not work with --ray, since no worker knows the documents of the others. Load without "
            "--prune, then run t1 index --prune without --ray"
        )
    return Workers(count, gpus=gpus)


class _SkippedFiles:
    """Counts the files that the readers skip, and keeps the first messages."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def __call__(self, error: CorpusError) -> None:
        from t1_vectorstore.indexing import MAX_REPORTED

        self.count += 1
        if len(self.first) < MAX_REPORTED:
            self.first.append(str(error))


def _load(
    collection: Collection,
    chunker: Chunker,
    run: Callable[..., LoadReport],
    listeners: Sequence[Callable[[LoadProgress], None]],
) -> LoadReport:
    """Run the load; if it is interrupted or fails, say how far it got."""
    from t1_vectorstore.errors import T1Error
    from t1_vectorstore.indexing import LoadProgress

    latest = LoadProgress()

    def on_progress(progress: LoadProgress) -> None:
        nonlocal latest
        latest = progress
        for listener in listeners:
            listener(progress)

    def state() -> str:
        return f"{counted(latest.stored, 'chunk')} stored and searchable; run the same command again to continue"

    try:
        with collection.loading(chunk_size=chunker.size, overlap=chunker.overlap), collection.bulk():
            return run(on_progress=on_progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(state()) from None
    except T1Error:
        note(f"not finished: {state()}")
        raise


def _print_problems(report: LoadReport, skipped: _SkippedFiles) -> None:
    unread = [failure.reason for failure in report.failures if failure.id is None]
    failed = [f"{failure.id}: {failure.reason}" for failure in report.failures if failure.id is not None]
    truncated = [f"{cut.id}: {cut.dropped_tokens} of {cut.total_tokens} tokens not read" for cut in report.truncations]
    print_problems("skipped", skipped.count, skipped.first)
    print_problems("unreadable", report.unread, unread)
    print_problems("not stored", report.failed, failed)
    print_problems("truncated by the model (a smaller --chunk-size helps)", report.truncated, truncated)
    if report.not_pruned:
        note(f"not pruned: {report.not_pruned}")
    if not report.documents:
        note("the sources have no document")


def _summary(report: LoadReport) -> str:
    stored = f"{report.failed:,} of them not stored" if report.failed else "all stored"
    if report.failed == report.documents:
        stored = "none stored"
    documents = f"{counted(report.documents, 'document')}{f', {stored}' if report.documents else ''}"
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
