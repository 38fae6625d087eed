"""``t1 verify``: does an index equal its source?"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from t1_vectorstore.cli.commands import FAILED
from t1_vectorstore.cli.console import counted, note, print_json, print_problems, print_text
from t1_vectorstore.cli.options import Adopt, ApiKey, Index, Json, ModelFlags, Name, SourceFlags, takes_flags
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.cli.stores import open_with_checkpoint

if TYPE_CHECKING:
    from t1_vectorstore.maintenance.verify import Verification


@takes_flags
def verify(
    paths: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Files and folders that were indexed.")],
    *,
    vectors: Annotated[
        int, typer.Option(min=0, help="Number of random chunks whose vectors are compared with newly encoded ones.")
    ] = 0,
    least_cosine: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Minimum cosine of a stored and a newly encoded vector.  [default: 0.99]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the choice of these chunks.")] = 0,
    allow_extra: Annotated[
        bool, typer.Option("--allow-extra", help="Accept indexed documents that the source does not have.")
    ] = False,
    source_flags: SourceFlags,
    index: Index,
    name: Name = "t1",
    adopt: Adopt = False,
    api_key: ApiKey = None,
    model_flags: ModelFlags,
    json: Json = False,
) -> None:
    """Check that an index equals its source.

    Every document of the source must be stored as it is, and nothing else. Exit code 1: there is a difference, or a
    part of the source cannot be read.
    """
    from t1_vectorstore.embedding.embedder import T1Embedder
    from t1_vectorstore.embedding.prompts import Prompter
    from t1_vectorstore.indexing import chunker_for
    from t1_vectorstore.maintenance.verify import LEAST_COSINE
    from t1_vectorstore.maintenance.verify import verify as compare
    from t1_vectorstore.readers import check, read

    # Mistakes are refused before the index is opened.
    check(paths)
    source_flags.chunker()
    source_flags.fields({})
    options = model_flags.parse(here=vectors > 0)
    if model_flags.place_model and not vectors:
        raise ValueError("--device, --backend and similar flags need --vectors: without it no model is loaded")
    unread: list[str] = []
    skipped: list[str] = []
    with ExitStack() as stack:
        opened = open_with_checkpoint(index, options, name=name, adopt=adopt, api_key=api_key)
        collection, options, checkpoint = stack.enter_context(opened)
        assert collection is not None
        documents = read(
            paths,
            fields=source_flags.fields(collection.schema.indexes),
            on_error=lambda error: unread.append(str(error)),
            on_skip=lambda error: skipped.append(str(error)),
        )
        stack.enter_context(busy("verifying"))
        chunker = source_flags.chunker(collection)
        embedder = stack.enter_context(T1Embedder.from_options(options, checkpoint)) if vectors else None
        found = compare(
            documents,
            collection,
            chunker_for(embedder or Prompter.load(checkpoint), size=chunker.size, overlap=chunker.overlap),
            embedder=embedder,
            vectors=vectors,
            least_cosine=LEAST_COSINE if least_cosine is None else least_cosine,
            seed=seed,
            allow_extra=allow_extra,
        )
    # A folder of which every file was skipped proves nothing.
    read_whole = not unread and not (skipped and not found.documents)
    if json:
        print_json({"equal": found.equal and read_whole, **asdict(found), "unread": unread, "skipped": skipped})
    else:
        print_problems("skipped", len(skipped), skipped)
        print_problems("unreadable", len(unread), unread)
        _print(found, index, read_whole=read_whole)
    if not (found.equal and read_whole):
        raise typer.Exit(FAILED)


def _print(found: Verification, index: str, *, read_whole: bool) -> None:
    from t1_vectorstore.maintenance.verify import DIFFERENCE_KINDS

    for kind, differences in found.differences.items():
        lines = [f"{difference.id}: {difference.reason}" for difference in differences.first]
        print_problems(f"{kind} ({DIFFERENCE_KINDS[kind]})", differences.count, lines)
    if not found.equal:
        verdict = counted(sum(differences.count for differences in found.differences.values()), "difference")
    else:
        verdict = "equal" if read_whole else "equal, as far as the source could be read"
    compared = f", {counted(found.vectors, 'vector')} encoded again" if found.vectors else ""
    if found.lowest_cosine is not None:
        compared += f" (lowest cosine {found.lowest_cosine:.4f})"
    extra = f", {found.allowed:,} of them from other documents" if found.allowed else ""
    print_text(
        f"{verdict}: {counted(found.documents, 'document')} in {counted(found.chunks, 'chunk')} in the source; "
        f"{counted(found.points, 'chunk')} in {index}{extra}{compared}"
    )
    if "changed" in found.differences:
        note(
            "the path of a file, as given, is part of its document (metadata source): give the paths that t1 index got"
        )
    if "changed" in found.differences and {"missing", "stale"} & found.differences.keys():
        note("if the index was made with another --chunk-size or --overlap, give the same values here")
