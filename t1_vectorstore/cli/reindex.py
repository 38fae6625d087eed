"""``t1 reindex``: rebuild an index with another model or other settings, or go back to the previous build."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from t1_vectorstore.cli.commands import FAILED
from t1_vectorstore.cli.console import MAX_PRINTED, counted, note, print_json, print_text
from t1_vectorstore.cli.documents import confirm
from t1_vectorstore.cli.options import (
    ApiKey,
    Json,
    ModelFlags,
    Name,
    StorageFlags,
    Where,
    Yes,
    output_option,
    storage_option,
    takes_flags,
)
from t1_vectorstore.cli.outputs import check_output
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.cli.stores import open_collection

if TYPE_CHECKING:
    from t1_vectorstore.maintenance.reindex import ReindexResult


@takes_flags
def reindex(
    where: Where,
    *,
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the previous build.")] = False,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Delete the previous build, and unfinished builds.")
    ] = False,
    leave_out: Annotated[
        Path | None,
        output_option(
            metavar="FILE", help="Go on without chunks that the new model cannot embed, and write them to this file."
        ),
    ] = None,
    yes: Yes = False,
    model_flags: ModelFlags,
    storage_flags: StorageFlags,
    alias: Annotated[
        str | None, storage_option(help="On a server, for the first time: the alias to search by from now on.")
    ] = None,
    name: Name = "t1",
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Rebuild an index with another model or settings.

    The new build is made from the texts in the index, while the old one is searched. It is checked to hold the same
    documents and takes the old one's place in one step; the old one is kept until --drop-old. If the command is
    interrupted, run it again: it continues from there.
    """
    changed = storage_flags != StorageFlags() or any(
        flag is not None for flag in (model_flags.model, model_flags.preset, model_flags.override)
    )
    if rollback + drop_old + changed != 1:
        raise ValueError(
            "give what to change (--model, --hybrid, ...), or --rollback, or --drop-old, and only one of these"
        )
    options = model_flags.parse(here=not (rollback or drop_old))
    settings = storage_flags.options()
    if rollback or drop_old:
        if leave_out is not None:
            raise ValueError("--rollback and --drop-old embed nothing: leave --leave-out out")
        if model_flags.place_model:
            raise ValueError("--rollback and --drop-old load no model: leave --device, --backend, ... out")
        if alias is not None:
            raise ValueError("--rollback and --drop-old use the alias that --name gives: leave --alias out")
        _swap(where, name, api_key, rollback=rollback, yes=yes, json=json)
        return
    from t1_vectorstore.embedding.embedder import T1Embedder
    from t1_vectorstore.indexing.dead_letters import refuse_other_file
    from t1_vectorstore.maintenance.reindex import name_to_move
    from t1_vectorstore.maintenance.reindex import reindex as rebuild

    if leave_out is not None:
        check_output("--leave-out", leave_out)
        refuse_other_file(leave_out)
    with open_collection(where, name=name, api_key=api_key) as old:
        hybrid = old.schema.hybrid if settings["hybrid"] is None else bool(settings["hybrid"])
        name_to_move(old, alias, api_key=api_key)  # refuses a wrong alias before the model is loaded
        options = options.with_model(options.model if model_flags.model else old.identity.model)
        with busy(f"loading {options.model}"):
            embedder = T1Embedder.from_options(options)
        with embedder, busy(f"building with {options.model}"):
            done = rebuild(old, embedder, alias=alias, leave_out=leave_out, api_key=api_key, **settings)
    if json:
        print_json(asdict(done))
    else:
        _print(done, where, embedder.identity.model, hybrid=hybrid)
        if done.moved and model_flags.to_repeat:
            print_text(f"search it with {model_flags.to_repeat}", wrap=False)
    if done.late or done.left_out:
        raise typer.Exit(FAILED)


def _print(done: ReindexResult, where: str, model: str, *, hybrid: bool) -> None:
    if done.truncated:
        chunks = counted(len(done.truncated), "chunk")
        note(f"the model reads only the beginning of {chunks}, such as {done.truncated[0]}")
    if done.late:
        note(
            f"written to the old collection while the alias was moved, and missing in the new one: "
            f"{', '.join(done.late[:MAX_PRINTED])}; index their documents again, or go back with --rollback"
        )
    if done.left_out:
        note(f"the new model cannot embed {counted(len(done.left_out), 'chunk')}, such as {done.left_out[0]}: left out")
    if not done.moved:
        print_text(f"{where} already has this model and these settings; nothing was done")
        return
    vectors = f"{done.encoded:,} encoded" if done.encoded else "vectors kept"
    words = ", searched by vector and words (hybrid)" if hybrid else ""
    chunks = counted(done.chunks, "chunk")
    print_text(
        f"{done.name!r} now uses model {model}{words}: {chunks}, {vectors} ({done.seconds:.1f} s)\n"
        f"{where} keeps the previous build: --rollback goes back to it, --drop-old deletes it"
    )


def _swap(where: str, name: str, api_key: str | None, *, rollback: bool, yes: bool, json: bool) -> None:
    """Go back to the previous build, or delete it."""
    from t1_vectorstore.maintenance.swap import swap_target

    with closing(swap_target(where, name, api_key=api_key)) as target:
        if rollback:
            target.roll_back()
            with open_collection(where, name=name, api_key=api_key) as found:
                name, model, chunks = found.name, found.identity.model, found.count()
            if json:
                print_json({"name": name, "model": model, "chunks": chunks})
            else:
                print_text(f"{name!r} uses model {model} again: {counted(chunks, 'chunk')}")
        else:
            confirm("Delete the previous build, and unfinished builds", yes)
            dropped = target.drop_others()
            if json:
                print_json({"deleted": dropped})
                return
            print_text(f"deleted: {', '.join(dropped)}" if dropped else "there was nothing to delete")
