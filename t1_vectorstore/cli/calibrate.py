"""``t1 calibrate``: when ``--think-auto`` thinks, fitted on a user's queries."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from t1_vectorstore.cli.console import counted, note, print_json, print_text
from t1_vectorstore.cli.options import (
    Adopt,
    ApiKey,
    Json,
    ModelFlags,
    Name,
    Where,
    output_option,
    takes_flags,
)
from t1_vectorstore.cli.outputs import check_output
from t1_vectorstore.cli.progress import query_bar
from t1_vectorstore.cli.stores import open_store


@takes_flags
def calibrate(
    where: Where,
    queries: Annotated[
        Path,
        typer.Argument(
            metavar="QUERIES",
            help="At least 20 of your queries: a folder in BEIR's format, JSON Lines (query and, if judged, "
            "positives), or a .txt file with one query a line. Without judgements, thinking is taken to be right.",
        ),
    ],
    *,
    split: Annotated[str, typer.Option(metavar="NAME", help="Split of a folder in BEIR's format.")] = "test",
    keep: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of the quality of always thinking to keep.")
    ] = 0.97,
    budget: Annotated[int | None, typer.Option(min=0, help="Maximum thought length in tokens.")] = None,
    save: Annotated[
        bool, typer.Option("--save", help="Store the threshold with the index, for all searches that think if unsure.")
    ] = False,
    name: Name = "t1",
    adopt: Adopt = False,
    api_key: ApiKey = None,
    model_flags: ModelFlags,
    plot: Annotated[Path | None, output_option(metavar="FILE.png", help="Draw the trade-off as a PNG.")] = None,
    json: Json = False,
) -> None:
    """Fit when searches with --think-auto think.

    Answers every query with and without thinking, and finds the threshold that keeps most of the quality for the fewest
    thought tokens.
    """
    from t1_vectorstore.evaluation import calibrating, trade_off

    options = model_flags.parse()
    if plot is not None:
        check_output("--plot", plot, [queries])
        if plot.suffix.lower() != ".png":
            raise ValueError(f"--plot {plot} is written as a PNG: give a name that ends with .png")
    if not queries.exists():
        raise ValueError(f"{queries} does not exist: give a file or folder with queries")
    with open_store(where, options, name=name, adopt=adopt, api_key=api_key) as store:
        if save:
            store.collection.notes.check_writable()
        found = calibrating.read_queries(queries, split, store.collection)
        count = len(found if isinstance(found, dict) else found.queries)
        thinking = {} if budget is None else {"budget": budget}
        with query_bar(2 * count) as advance:
            result = calibrating.calibrate(store, found, keep=keep, thinking=thinking, on_progress=advance)
        if save:
            store.collection.save_calibration(result.calibration)
        model = store.embedder.identity.model
    calibration = result.calibration
    if json:
        facts = {"model": model, "keep": keep, "saved": save, "left_out": result.left_out}
        points = [asdict(point) for point in result.points]
        print_json({**facts, "calibration": calibration.to_json(), "chosen": asdict(result.chosen), "points": points})
    else:
        judged = "judged by nDCG@10" if calibration.labelled else "judged by agreement with always thinking"
        print_text(f"{counted(calibration.queries, 'query')}, {judged}, {model}. Shares are of always thinking.\n")
        print_text(trade_off.table(result.points, result.chosen))
        print_text(
            f"\nOn other queries, expect {calibration.quality:.1%} of the quality for {calibration.tokens:.0%} of the "
            "thought tokens (five-fold cross-validation)."
        )
        if not save:
            command = ["t1", "search", where, "QUERY", *(["--name", name] if name != "t1" else [])]
            command += ["--think-auto", "--think-threshold", f"{calibration.threshold:.3f}"]
            print_text(f"Store it with --save, or search with it:\n  {shlex.join(command)}", wrap=False)
    if result.left_out:
        note(f"{counted(result.left_out, 'query')} left out: thinking found nothing for them")
    if save:
        note(f"saved: {where} now thinks from a score of {calibration.threshold:.3f} on, if asked with --think-auto")
    if plot is not None:
        title = f"{model}, {counted(calibration.queries, 'query')}"
        trade_off.plot(result.points, result.chosen, keep, title, plot)
        note(f"plot: {plot}")
