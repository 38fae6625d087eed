"""``t1 eval`` and ``t1 tune``: compare retrieval systems and search options, on a benchmark or on a user's queries."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from t1_vectorstore.cli.console import counted, note, print_json, print_text
from t1_vectorstore.cli.eval_files import EvalFiles
from t1_vectorstore.cli.options import (
    Adopt,
    ApiKey,
    Index,
    Json,
    ModelFlags,
    Name,
    output_option,
    storage_option,
    takes_flags,
)
from t1_vectorstore.cli.progress import busy, query_bar
from t1_vectorstore.cli.stores import open_store

if TYPE_CHECKING:
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.evaluation.benchmark import Benchmark
    from t1_vectorstore.evaluation.experiment import Experiment
    from t1_vectorstore.types import Document
    from t1_vectorstore.vectorstore import T1VectorStore

DEFAULT_SYSTEMS = "thinking,no-thinking,bm25"

benchmark_option = partial(typer.Option, rich_help_panel="Benchmark")


@takes_flags
def evaluate(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="Benchmark in BEIR's format, or a copy of BRIGHT.")
    ] = None,
    *,
    labels: Annotated[
        Path | None,
        benchmark_option(
            help="Instead of FOLDER: your relevance judgements (JSON Lines: query, positives) on the index of --index."
        ),
    ] = None,
    split: Annotated[
        str, benchmark_option(metavar="NAME,...", help="Splits of a benchmark in BEIR's format, each evaluated.")
    ] = "test",
    bright: Annotated[
        str | None, benchmark_option(metavar="TASK", help="Task of BRIGHT, if FOLDER is a copy of it.")
    ] = None,
    long: Annotated[bool, benchmark_option("--long", help="Use BRIGHT's long track.")] = False,
    queries: Annotated[
        int | None, benchmark_option(min=1, help="Number of queries; the first ones are used.  [default: all]")
    ] = None,
    systems: Annotated[
        str,
        benchmark_option(
            metavar="NAME,...",
            help="Systems to compare, each with the first one: thinking, no-thinking, rt:STEPS (refined; or "
            "rt:STEPS:last), hybrid, hybrid:WEIGHT (weight of the vector, such as .7), bm25, gold (with the right "
            "thoughts, as t1 data writes them), swapped (with those of other queries), t1:FOLDER (another checkpoint), "
            "st:MODEL (sentence-transformers).",
        ),
    ] = DEFAULT_SYSTEMS,
    depth: Annotated[int, benchmark_option(min=100, help="Number of documents in a ranking.")] = 1000,
    index: Annotated[
        str | None,
        storage_option(
            metavar="DIR|URL", help="Index of the documents, created if needed and kept.  [default: a temporary folder]"
        ),
    ] = None,
    name: Name = "t1",
    adopt: Adopt = False,
    api_key: ApiKey = None,
    model_flags: ModelFlags,
    report: Annotated[
        Path | None, output_option(help="Write an HTML report with plots and single queries to this file.")
    ] = None,
    runs: Annotated[Path | None, output_option(help="Write the rankings to this folder, as TREC run files.")] = None,
    json: Json = False,
) -> None:
    """Compare retrieval systems on a benchmark.

    All systems rank the same documents for the same queries. Differences are shown with their 95% confidence intervals.
    """
    from t1_vectorstore.checkpoints.checkpoint import Checkpoint
    from t1_vectorstore.evaluation import experiment, registry
    from t1_vectorstore.evaluation.labels import read_labels
    from t1_vectorstore.evaluation.scoring import LONG_TRACK, MEASURES

    names = registry.check_names(systems.split(","))
    options = model_flags.parse(refine_steps=registry.refine_steps(names))
    others = registry.other_models(names)
    for other in others:  # refuses a checkpoint that does not exist
        Checkpoint.from_options(options.with_model(other))
    if adopt and index is None:
        raise ValueError("--adopt opens the collection of --index: give it, or leave --adopt out")
    files = EvalFiles(report, runs)
    with ExitStack() as stack:
        if labels is None:
            tasks = _read_benchmarks(folder, split, bright, long)
        elif folder is not None or index is None:
            raise ValueError("--labels are judgements on an existing index: give --index, and no FOLDER")
        elif others:
            raise ValueError("t1:... indexes the documents of a benchmark, and --labels has none: leave t1:... out")
        else:
            store = stack.enter_context(open_store(index, options, name=name, adopt=adopt, api_key=api_key))
            tasks = [read_labels(labels, store.collection)]
        if queries is not None:
            tasks = [task.first(queries) for task in tasks]
        _check_thoughts(tasks, names)
        files.check(tasks)
        if labels is None:
            if tasks[0].instruction is not None:
                overrides = {"query_instruction": tasks[0].instruction, **(options.overrides or {})}
                options = options.model_copy(update={"overrides": overrides})
            create = {"hybrid": registry.need_words(names) or None}
            where = index or _temporary_folder(stack)
            opened = open_store(where, options, name=name, adopt=adopt, api_key=api_key, create=create)
            store = stack.enter_context(opened)
            _refuse_other_documents(tasks[0], store.collection)

        def open_other(model: str) -> T1VectorStore:
            """Index the documents with another model, in a temporary folder."""
            other = open_store(_temporary_folder(stack), options.with_model(model), create={})
            other_store = stack.enter_context(other)
            _index_documents(tasks[0], other_store)
            return other_store

        resources = registry.Resources(store, partial(_documents, tasks[0], store), open_other)
        compared = registry.create(names, resources)
        if tasks[0].read is not None:
            _index_documents(tasks[0], store)
        measures = {**LONG_TRACK, **MEASURES} if long else MEASURES
        with query_bar(sum(len(task.queries) for task in tasks) * len(compared)) as advance:
            experiments = [
                experiment.run(task, compared, depth=depth, measures=measures, on_progress=advance) for task in tasks
            ]
        facts = {"model": store.embedder.identity.model, "fingerprint": store.embedder.identity.fingerprint[:16]}
    _print(experiments, facts, json=json)  # before the files: the figures are not lost if a file cannot be written
    files.write(experiments, facts)


def _read_benchmarks(folder: Path | None, split: str, bright: str | None, long: bool) -> list[Benchmark]:
    """Read the benchmark, once for each split, after checking that the options fit together."""
    from t1_vectorstore.evaluation.beir import read_beir
    from t1_vectorstore.evaluation.bright import read_bright

    if folder is None:
        raise ValueError("give the folder of a benchmark, or your own judgements with --labels and --index")
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    if bright is not None:
        return [read_bright(folder, bright, long=long)]
    if long:
        raise ValueError("--long is BRIGHT's long track, and needs --bright TASK")
    splits = [name.strip() for name in split.split(",") if name.strip()]
    if not splits or len(set(splits)) < len(splits):
        raise ValueError(f"--split takes different names, such as test,dev; got {split!r}")
    tasks = [read_beir(folder, name) for name in splits]
    for task in tasks[1:]:  # the first task's documents are read, and so checked, when they are indexed
        deque(task.documents(), maxlen=0)
    return tasks


def _check_thoughts(tasks: Sequence[Benchmark], names: Sequence[str]) -> None:
    """Check that the thoughts that systems are given are known, and print how many are not."""
    from t1_vectorstore.evaluation.registry import GIVEN_THOUGHTS

    given = [name for name in names if name in GIVEN_THOUGHTS]
    for task in tasks:
        for name in given:
            GIVEN_THOUGHTS[name](task)
        if given and (unknown := len(task.queries) - len(task.thoughts)):
            note(
                f"{task.name}: no right thought is known for {unknown:,} of {len(task.queries):,} queries; "
                f"they are embedded without one for {' and '.join(given)}"
            )


def _temporary_folder(stack: ExitStack) -> str:
    return stack.enter_context(tempfile.TemporaryDirectory(prefix="t1-eval-"))


def _refuse_other_documents(benchmark: Benchmark, collection: Collection) -> None:
    """Refuse an index with documents that the benchmark does not have: T1 would rank them, the baselines would not."""
    points = collection.count()
    if not points:
        return
    ids = {str(document.id) for document in benchmark.documents()}
    others = points - len(collection.content_hashes(ids))  # in the usual case, only hashes are read
    # Other points may be chunks of the benchmark's documents; indexing replaces them.
    strangers = (chunk.document_id for chunk in collection.scroll() if chunk.document_id not in ids)
    if others and (stranger := next(strangers, None)) is not None:
        raise ValueError(
            f"{collection.location} holds {points:,} points, {others:,} of which are not documents of "
            f"{benchmark.name}, such as {stranger!r}, and would be ranked as well. Give another --index"
        )


def _index_documents(benchmark: Benchmark, store: T1VectorStore) -> None:
    """Index the documents of a benchmark that are not indexed yet, each as one chunk."""
    from t1_vectorstore.indexing.chunking import Chunker

    with busy("indexing"):
        report = store.add(benchmark.documents(), chunker=Chunker(sys.maxsize))
    if report.failed:
        first = report.failures[0]
        note(f"{counted(report.failed, 'document')} cannot be indexed, such as {first.id!r}: {first.reason}")
    if report.truncated:
        note(f"the model read only the beginning of {counted(report.truncated, 'document')}")


def _documents(benchmark: Benchmark, store: T1VectorStore) -> Iterator[Document]:
    """Read the documents to rank: the benchmark's, or the chunks of a user's index with their documents' ids."""
    from t1_vectorstore.types import Document

    if benchmark.read is not None:
        yield from benchmark.documents()
    else:
        for chunk in store.collection.scroll():
            yield Document(chunk.text, id=chunk.document_id)


def _print(experiments: Sequence[Experiment], facts: Mapping[str, str], *, json: bool) -> None:
    from t1_vectorstore.evaluation.tables import markdown

    if json:
        tables = [
            {
                "benchmark": experiment.benchmark.name,
                "queries": len(experiment.benchmark.queries),
                "unjudged": experiment.benchmark.unjudged,
                "with_right_thoughts": len(experiment.benchmark.thoughts),
                "systems": experiment.rows(),
            }
            for experiment in experiments
        ]
        print_json({**facts, "benchmarks": tables})
        return
    for experiment in experiments:
        benchmark = experiment.benchmark
        left_out = f" (left out: {benchmark.unjudged:,} without a judgement)" if benchmark.unjudged else ""
        print_text(f"{benchmark.name}, {counted(len(benchmark.queries), 'query')}{left_out}, {facts['model']}\n")
        print_text(f"{markdown(experiment)}\n")


@takes_flags
def tune(
    *,
    labels: Annotated[
        Path, typer.Option(help="Your judgements of at least 20 queries (JSON Lines: query, positives).")
    ],
    seed: Annotated[int, typer.Option(help="Random seed of the split of the queries into halves.")] = 0,
    index: Index,
    name: Name = "t1",
    adopt: Adopt = False,
    api_key: ApiKey = None,
    model_flags: ModelFlags,
    json: Json = False,
) -> None:
    """Find the best search options for an index.

    Chooses whether to think, for how long, whether to refine, and how much the words count. Options are chosen on one
    half of the queries and reported on the other.
    """
    from t1_vectorstore.evaluation import tuning
    from t1_vectorstore.evaluation.labels import read_labels
    from t1_vectorstore.evaluation.tables import markdown

    options = model_flags.parse()
    with open_store(index, options, name=name, adopt=adopt, api_key=api_key) as store, busy("searching"):
        result = tuning.tune(store, read_labels(labels, store.collection), seed=seed)
    if json:
        print_json(
            {
                "options": result.options,
                "worse_than_defaults": result.worse_than_defaults,
                "chosen_on": result.chosen_on.rows(),
                "reported_on": result.reported_on.rows(),
            }
        )
        return
    print_text(f"tried on {counted(len(result.chosen_on.benchmark.queries), 'query')}\n")
    print_text(markdown(result.chosen_on))
    print_text(f"\nchosen: {tuning.describe(result.options)}; on the other half of the queries\n")
    print_text(markdown(result.reported_on))
    if result.worse_than_defaults:
        print_text("\nOn the other half this was significantly worse than the defaults: keep the defaults.")
    elif result.options:
        print_text(f"\nSearch with these options:\n  {_search_call(index, name, result.options)}", wrap=False)


def _search_call(index: str, name: str, options: Mapping[str, Any]) -> str:
    """Return a call that searches with these options: a command, or Python if ``t1 search`` has no such flag."""
    flags = ("think", "hybrid")
    values = ("budget", "refine_steps", "vector_weight")
    if not options.keys() <= {*flags, *values}:
        return f"store.search(query, {', '.join(f'{option}={value!r}' for option, value in options.items())})"
    command = ["t1", "search", index, "QUERY", *(["--name", name] if name != "t1" else [])]
    for option, value in options.items():
        flag = option.replace("_", "-")
        command += [f"--{flag}" if value else f"--no-{flag}"] if option in flags else [f"--{flag}", str(value)]
    return shlex.join(command)
