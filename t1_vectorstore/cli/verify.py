"""``t1 verify``: the proof that an index equals its source."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from t1_vectorstore.cli.console import counted, note, one_line, output, print_json, styled
from t1_vectorstore.cli.errors import FAILED
from t1_vectorstore.cli.model_flags import ModelFlags, takes_model_flags
from t1_vectorstore.cli.options import ApiKey, ChunkSize, Json, Name, Overlap, how_to_cut
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.cli.stores import open_with_checkpoint

if TYPE_CHECKING:
    from t1_vectorstore.maintenance.verify import Verification

SHOWN = 10
"""Of each kind of difference, so many are printed."""


@takes_model_flags
def verify(
    paths: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="The files and folders that were indexed.")],
    index: Annotated[str, typer.Option(metavar="DIR|URL", help="The index folder, or the URL of a Qdrant server.")],
    vectors: Annotated[int, typer.Option(min=0, help="Encode so many chunks anew, and compare their vectors.")] = 0,
    least_cosine: Annotated[
        float | None, typer.Option(min=-1, max=1, help="What such a vector must reach.  [default: 0.99]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw of those chunks.")] = 0,
    allow_extra: Annotated[
        bool, typer.Option("--allow-extra", help="Documents that the source does not have are no difference.")
    ] = False,
    *,
    model_flags: ModelFlags,
    name: Name = "t1",
    text_field: Annotated[str | None, typer.Option(help="As for t1 index.")] = None,
    id_field: Annotated[str | None, typer.Option(help="As for t1 index.")] = None,
    chunk_size: ChunkSize = None,
    overlap: Overlap = None,
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Prove that an index holds its source, all of it and nothing else; exit code 1 where it does not."""
    from t1_vectorstore.embedding.embedder import T1Embedder
    from t1_vectorstore.embedding.prompts import Prompter
    from t1_vectorstore.indexing import chunker_for
    from t1_vectorstore.maintenance.verify import LEAST_COSINE
    from t1_vectorstore.maintenance.verify import verify as compare
    from t1_vectorstore.readers import Fields, check, read

    check(paths)
    how_to_cut(chunk_size, overlap)  # refuses what cannot work
    options = model_flags.parse(here=vectors > 0)
    if model_flags.say_how_to_run and not vectors:
        raise ValueError("--device, --backend, ... say how the model runs, which is loaded with --vectors only")
    unread: list[str] = []
    skipped: list[str] = []
    documents = read(
        paths,
        fields=Fields(text_field, id_field),
        on_error=lambda error: unread.append(str(error)),
        on_skip=lambda error: skipped.append(str(error)),
    )
    collection, options, checkpoint = open_with_checkpoint(index, options, name=name, api_key=api_key)
    assert collection is not None
    with ExitStack() as stack:
        stack.enter_context(collection)
        stack.enter_context(busy("verifying"))
        cut = how_to_cut(chunk_size, overlap, collection)
        embedder = stack.enter_context(T1Embedder.from_options(options, checkpoint)) if vectors else None
        found = compare(
            documents,
            collection,
            chunker_for(embedder or Prompter.load(checkpoint), size=cut.size, overlap=cut.overlap),
            embedder=embedder,
            vectors=vectors,
            least_cosine=LEAST_COSINE if least_cosine is None else least_cosine,
            seed=seed,
            allow_extra=allow_extra,
        )
    if json:
        print_json({"equal": _proven(found, unread, skipped), **asdict(found), "unread": unread, "skipped": skipped})
    else:
        _print(found, index, unread, skipped)
    if not _proven(found, unread, skipped):
        raise typer.Exit(FAILED)


def _proven(found: Verification, unread: list[str], skipped: list[str]) -> bool:
    """Whether all of the source is there, and all of it was read: a folder of which nothing is proves nothing."""
    return found.equal and not unread and not (skipped and not found.documents)


def _print(found: Verification, index: str, unread: list[str], skipped: list[str]) -> None:
    from t1_vectorstore.maintenance.verify import DIFFERENCE_KINDS

    _list(f"{len(skipped)} not read", skipped, len(skipped))
    _list(f"{len(unread)} unreadable", unread, len(unread))
    for kind, differences in found.differences.items():
        lines = [f"{difference.id}: {difference.reason}" for difference in differences.first]
        _list(f"{differences.count} {kind} ({DIFFERENCE_KINDS[kind]})", lines, differences.count)
    different = sum(differences.count for differences in found.differences.values())
    if found.equal:
        verdict = "equal" if _proven(found, unread, skipped) else "equal, as far as the source could be read"
    else:
        verdict = counted(different, "difference")
    compared = f", {counted(found.vectors, 'vector')} encoded anew" if found.vectors else ""
    if found.lowest_cosine is not None:
        compared += f" (lowest cosine {found.lowest_cosine:.4f})"
    extra = f", {found.allowed:,} of them of other documents" if found.allowed else ""
    output().print(
        styled(
            f"{verdict}: {counted(found.documents, 'document')} in {counted(found.chunks, 'chunk')}; "
            f"{counted(found.points, 'chunk')} in {index}{extra}{compared}"
        )
    )
    if "changed" in found.differences and {"missing", "stale"} & found.differences.keys():
        note("if the index was made with another --chunk-size or --overlap, give the same ones here")


def _list(title: str, lines: list[str], count: int) -> None:
    if not count:
        return
    note(f"{title}:")
    for line in lines[:SHOWN]:
        note(f"- {one_line(line, 300)}")
    if count > SHOWN:
        note(f"- ... and {count - SHOWN:,} more")
