"""``t1 reindex``: another model or other settings in the place of an index, and back."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from t1_vectorstore.cli.console import counted, note, output, print_json, styled
from t1_vectorstore.cli.errors import FAILED
from t1_vectorstore.cli.model_flags import ModelFlags, takes_model_flags
from t1_vectorstore.cli.options import (
    ApiKey,
    IndexFields,
    Json,
    Name,
    OnDisk,
    Quantized,
    Where,
    parse_indexes,
    parse_storage,
)
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.cli.stores import open_collection

if TYPE_CHECKING:
    from t1_vectorstore.maintenance.reindex import ReindexResult

SHOWN = 10
"""Of many ids, so many are printed."""


@takes_model_flags
def reindex(
    where: Where,
    *,
    model_flags: ModelFlags,
    hybrid: Annotated[
        bool | None,
        typer.Option("--hybrid/--no-hybrid", help="Whether the new index holds the words, too.  [default: as the old]"),
    ] = None,
    index_field: IndexFields = None,
    tenant: Annotated[str | None, typer.Option(help="Field that says whose a document is, in the new index.")] = None,
    on_disk: OnDisk = None,
    quantization: Quantized = None,
    alias: Annotated[
        str | None, typer.Option(help="On a server, the first time: the name to search by from now on.")
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to what the index has replaced.")] = False,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Delete what the index has replaced, and unfinished builds.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    name: Name = "t1",
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Move an index to another model or other settings, from its own texts, while it is searched.

    The new index is built beside the old one, proven to hold the same, and takes its place in one step; the old one is
    kept until --drop-old. Interrupted, the same command goes on from there.
    """
    wanted = (
        model_flags.model,
        model_flags.preset,
        model_flags.override,
        hybrid,
        index_field,
        tenant,
        on_disk,
        quantization,
    )
    if rollback + drop_old + any(option is not None for option in wanted) != 1:
        raise ValueError(
            "say what is to change (--model, --hybrid, ...), or --rollback, or --drop-old, and only one of these"
        )
    options = model_flags.parse(here=not (rollback or drop_old))
    if rollback or drop_old:
        if model_flags.say_how_to_run:
            raise ValueError("--rollback and --drop-old load no model: leave --device, --backend, ... out")
        _exchange(where, name, api_key, rollback=rollback, yes=yes)
        return
    from t1_vectorstore.embedding.embedder import T1Embedder
    from t1_vectorstore.maintenance.reindex import name_to_move
    from t1_vectorstore.maintenance.reindex import reindex as move

    with open_collection(where, name=name, api_key=api_key) as old:
        name_to_move(old, alias, api_key=api_key)  # refused before the model is loaded
        if model_flags.model is None:
            options = options.model_copy(update={"model": old.identity.model})
        new_model = options.model
        with busy(f"loading {new_model}"):
            embedder = T1Embedder.from_options(options)
        with embedder, busy(f"building with {new_model}"):
            done = move(
                old,
                embedder,
                alias=alias,
                hybrid=hybrid,
                indexes=parse_indexes(index_field),
                tenant=tenant,
                storage=parse_storage(on_disk=on_disk, quantization=quantization),
                api_key=api_key,
            )
    if json:
        print_json(asdict(done))
    else:
        _print(done, where, embedder.identity.model)
    if done.late:
        raise typer.Exit(FAILED)


def _print(done: ReindexResult, where: str, model: str) -> None:
    if done.truncated:
        some = counted(len(done.truncated), "chunk")
        note(f"the model reads only the beginning of {some}, such as {done.truncated[0]}")
    if done.late:
        note(
            f"written to the old collection while the alias was moved, and not in the new one: "
            f"{', '.join(done.late[:SHOWN])}; index their documents again, or go back with --rollback"
        )
    if not done.moved:
        output().print(styled(f"{where} has that model and those settings already; nothing was done"))
        return
    how = f"{done.encoded:,} encoded ({done.seconds:.1f} s)" if done.encoded else f"vectors kept ({done.seconds:.1f} s)"
    output().print(
        styled(
            f"{done.name!r} is now of {model}: {counted(done.chunks, 'chunk')}, {how}\n"
            f"{where} still has what it was: --rollback goes back to it, --drop-old deletes it"
        )
    )


def _exchange(where: str, name: str, api_key: str | None, *, rollback: bool, yes: bool) -> None:
    from t1_vectorstore.maintenance.swap import swap_target

    with closing(swap_target(where, name, api_key=api_key)) as home:
        if rollback:
            home.roll_back()
            with open_collection(where, name=name, api_key=api_key) as found:
                output().print(
                    styled(f"{name!r} is again of {found.identity.model}: {counted(found.count(), 'chunk')}")
                )
            return
        if not yes and not sys.stdin.isatty():
            raise ValueError("this deletes what could be gone back to; confirm it with --yes")
        if not yes:
            typer.confirm("Delete what could be gone back to?", abort=True, err=True)
        dropped = home.drop_others()
        output().print(styled(f"deleted: {', '.join(dropped)}" if dropped else "nothing was there to delete"))
