"""``t1 eval``: what thinking is worth, on a benchmark or on a user's own questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from t1_vectorstore.cli.benchmarks import (
    check_thoughts,
    demand_own_index,
    index_documents,
    parts_of_systems,
    passing_folder,
    read_benchmarks,
)
from t1_vectorstore.cli.console import output, print_json, styled
from t1_vectorstore.cli.eval_files import EvalFiles
from t1_vectorstore.cli.model_flags import ModelFlags, takes_model_flags
from t1_vectorstore.cli.options import ApiKey, Json, Name
from t1_vectorstore.cli.progress import counting
from t1_vectorstore.cli.stores import open_store

if TYPE_CHECKING:
    from t1_vectorstore.evaluation.benchmark import Benchmark
    from t1_vectorstore.evaluation.experiment import Experiment

DEFAULT_SYSTEMS = "thinking,no-thinking,bm25"


@takes_model_flags
def evaluate(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="A benchmark in BEIR's format, or a copy of BRIGHT.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Your own judgements (JSON Lines: query, positives), on the index of --index.")
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(metavar="DIR|URL", help="Where the documents are indexed, and kept.  [default: a passing folder]"),
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="NAME,...", help="Of a benchmark in BEIR's format; several are measured one by one.")
    ] = "test",
    bright: Annotated[str | None, typer.Option(metavar="TASK", help="The task, if FOLDER is a copy of BRIGHT.")] = None,
    long: Annotated[bool, typer.Option("--long", help="BRIGHT's long track.")] = False,
    systems: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="What to compare: thinking, no-thinking, rt:STEPS (refined; or rt:STEPS:last), hybrid, "
            "hybrid:WEIGHT (the vector's, such as .7), bm25, gold (the right thoughts of what t1 data writes), swapped "
            "(another query's), t1:FOLDER (another checkpoint), st:MODEL. The first leads.",
        ),
    ] = DEFAULT_SYSTEMS,
    *,
    model_flags: ModelFlags,
    name: Name = "t1",
    queries: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    depth: Annotated[int, typer.Option(min=100, help="Documents of a ranking.")] = 1000,
    report: Annotated[Path | None, typer.Option(help="HTML file to write, with plots and single queries.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder to write the rankings to, as TREC run files.")] = None,
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Compare ways of retrieval on the same queries and documents, and say how sure the differences are."""
    from t1_vectorstore.checkpoints.checkpoint import Checkpoint
    from t1_vectorstore.evaluation import experiment, registry
    from t1_vectorstore.evaluation.labels import read_labels
    from t1_vectorstore.evaluation.scoring import LONG_TRACK, MEASURES

    wanted = registry.check_names(systems.split(","))
    steps = registry.refine_steps(wanted)
    options = model_flags.parse(refine_steps=steps)
    others = registry.other_models(wanted)
    for other in others:
        Checkpoint.from_options(options.model_copy(update={"model": other}))  # refused here if it is not there
    files = EvalFiles(report, runs)
    with ExitStack() as stack:
        if labels is not None:
            if folder is not None or index is None:
                raise ValueError("--labels is measured on an index that exists: give --index, and no FOLDER")
            if others:
                raise ValueError("another checkpoint is compared on a benchmark, which it indexes: leave t1:... out")
            store = stack.enter_context(open_store(index, options, name=name, api_key=api_key))
            tasks = _first(queries, [read_labels(labels, store.collection)])
            check_thoughts(tasks, wanted)
            files.check(tasks)
        else:
            tasks = _first(queries, read_benchmarks(folder, split, bright, long))
            check_thoughts(tasks, wanted)
            files.check(tasks)
            where = index or passing_folder(stack)
            if tasks[0].instruction is not None:
                overrides = {"query_instruction": tasks[0].instruction, **(options.overrides or {})}
                options = options.model_copy(update={"overrides": overrides})
            create = {"hybrid": registry.need_words(wanted) or None}
            store = stack.enter_context(open_store(where, options, name=name, api_key=api_key, create=create))
            demand_own_index(tasks[0], store.collection)
        compared = registry.make(wanted, parts_of_systems(tasks[0], store, options, stack))
        if tasks[0].read is not None:
            index_documents(tasks[0], store)
        with counting(sum(len(task.queries) for task in tasks) * len(compared)) as advance:
            measures = {**LONG_TRACK, **MEASURES} if long else MEASURES
            measured = [
                experiment.run(task, compared, depth=depth, measures=measures, on_progress=advance) for task in tasks
            ]
        facts = {"model": store.embedder.identity.model, "fingerprint": store.embedder.identity.fingerprint[:16]}
    _show(measured, facts, json=json)  # first: whatever becomes of the files, the figures are there
    files.write(measured, facts)


def _first(count: int | None, tasks: list[Benchmark]) -> list[Benchmark]:
    return tasks if count is None else [task.first(count) for task in tasks]


def _show(measured: Sequence[Experiment], facts: Mapping[str, str], *, json: bool) -> None:
    from t1_vectorstore.evaluation.tables import markdown

    if json:
        tables = [
            {
                "benchmark": each.benchmark.name,
                "queries": len(each.benchmark.queries),
                "with_right_thoughts": len(each.benchmark.thoughts),
                "systems": each.rows(),
            }
            for each in measured
        ]
        print_json({**facts, "benchmarks": tables})
        return
    for each in measured:
        output().print(styled(f"{each.benchmark.name}, {len(each.benchmark.queries):,} queries, {facts['model']}\n"))
        output().print(styled(f"{markdown(each)}\n"))
