"""``t1 tune``: the best way of asking, for an index and its users' questions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from t1_vectorstore.cli.console import output, print_json, styled
from t1_vectorstore.cli.model_flags import ModelFlags, takes_model_flags
from t1_vectorstore.cli.options import ApiKey, Json, Name
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.cli.stores import open_store


@takes_model_flags
def tune(
    labels: Annotated[Path, typer.Option(help="Your judgements (JSON Lines: query, positives), 20 at least.")],
    index: Annotated[str, typer.Option(metavar="DIR|URL", help="Where the documents are.")],
    *,
    model_flags: ModelFlags,
    name: Name = "t1",
    seed: Annotated[int, typer.Option(help="Of the halves to choose and to report on.")] = 0,
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Choose whether to think, how long, whether to refine, and how much the words count, if at all."""
    from t1_vectorstore.evaluation import tuning
    from t1_vectorstore.evaluation.labels import read_labels
    from t1_vectorstore.evaluation.tables import markdown

    options = model_flags.parse()
    with open_store(index, options, name=name, api_key=api_key) as store, busy("asking"):
        found = tuning.tune(store, read_labels(labels, store.collection), seed=seed)
    if json:
        print_json(
            {"options": found.options, "chosen_on": found.chosen_on.rows(), "reported_on": found.reported_on.rows()}
        )
        return
    console = output()
    console.print(styled(f"tried on {len(found.chosen_on.benchmark.queries)} queries\n"))
    console.print(styled(markdown(found.chosen_on)))
    console.print(styled(f"\nchosen: {tuning.describe(found.options)}; on the other half of the queries\n"))
    console.print(styled(markdown(found.reported_on)))
