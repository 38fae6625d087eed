"""``t1 eval``: what thinking is worth, on a benchmark or on a user's own questions."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from t1_vectorstore.cli.console import counted, note, output, print_json, styled
from t1_vectorstore.cli.model_source import ModelSource
from t1_vectorstore.cli.options import (
    ApiKey,
    BackendOption,
    Devices,
    EngineOptions,
    Json,
    Model,
    Name,
    Overrides,
    Preset,
)
from t1_vectorstore.cli.progress import busy, counting
from t1_vectorstore.cli.stores import Making, open_store

if TYPE_CHECKING:
    from t1_vectorstore.evaluation.benchmark import Benchmark
    from t1_vectorstore.evaluation.systems import System
    from t1_vectorstore.types import Document
    from t1_vectorstore.vectorstore import T1VectorStore

DEFAULT_SYSTEMS = "thinking,no-thinking,bm25"

_ASKING: dict[str, dict[str, Any]] = {"thinking": {"think": True}, "no-thinking": {"think": False}, "hybrid": {}}
"""The options of ``T1Embedder.embed_queries`` by a system's name."""


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
    split: Annotated[str, typer.Option(help="Of a benchmark in BEIR's format.")] = "test",
    bright: Annotated[str | None, typer.Option(metavar="TASK", help="The task, if FOLDER is a copy of BRIGHT.")] = None,
    long: Annotated[bool, typer.Option("--long", help="BRIGHT's long track.")] = False,
    systems: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="What to compare: thinking, no-thinking, rt:STEPS (refined; or rt:STEPS:mean), hybrid, bm25, "
            "st:MODEL. The first leads.",
        ),
    ] = DEFAULT_SYSTEMS,
    model: Model = None,
    preset: Preset = None,
    override: Overrides = None,
    device: Devices = None,
    backend: BackendOption = "transformers",
    engine_option: EngineOptions = None,
    name: Name = "t1",
    queries: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    depth: Annotated[int, typer.Option(min=10, help="Documents of a ranking.")] = 1000,
    report: Annotated[Path | None, typer.Option(help="HTML file to write, with plots and single queries.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder to write the rankings to, as TREC run files.")] = None,
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Compare ways of retrieval on the same queries and documents, and say how sure the differences are."""
    from t1_vectorstore.evaluation import experiment
    from t1_vectorstore.evaluation.labels import read_labels
    from t1_vectorstore.evaluation.report import write_report
    from t1_vectorstore.evaluation.runs import write_trec
    from t1_vectorstore.evaluation.scoring import LONG_TRACK, MEASURES

    wanted = _names(systems)
    steps = max(_refining(name).get("refine_steps", 0) for name in wanted)
    source = ModelSource.parse(model, preset, override, device, backend, engine_option, refine_steps=steps)
    with ExitStack() as stack:
        if labels is not None:
            if folder is not None or index is None:
                raise ValueError("--labels is measured on an index that exists: give --index, and no FOLDER")
            store = stack.enter_context(open_store(index, source, name=name, api_key=api_key))
            benchmark = read_labels(labels, store.collection)
        else:
            benchmark = _benchmark(folder, split, bright, long)
            where = index or stack.enter_context(tempfile.TemporaryDirectory(prefix="t1-eval-"))
            if benchmark.instruction is not None:
                source = source.overridden_below({"query_instruction": benchmark.instruction})
            making: Making = {"hybrid": "hybrid" in wanted or None}
            store = stack.enter_context(open_store(where, source, name=name, api_key=api_key, making=making))
            _index(benchmark, store)
        if queries is not None:
            benchmark = benchmark.first(queries)
        compared = [_system(each, store, benchmark) for each in wanted]
        with counting(len(benchmark.queries) * len(compared)) as advance:
            measured = experiment.run(
                benchmark,
                compared,
                depth=depth,
                measures={**LONG_TRACK, **MEASURES} if long else MEASURES,
                on_progress=advance,
            )
        facts = {"model": store.embedder.identity.model, "fingerprint": store.embedder.identity.fingerprint[:16]}
    if report is not None:
        write_report(measured, report, facts={**facts, "command": _command()})
    if runs is not None:
        runs.mkdir(parents=True, exist_ok=True)
        for each in measured.outcomes.values():
            write_trec(each.run, runs / f"{each.run.system.replace(':', '-').replace('/', '-')}.trec")
    if json:
        print_json({"benchmark": benchmark.name, **facts, "systems": measured.rows()})
    else:
        output().print(styled(f"{benchmark.name}, {len(benchmark.queries):,} queries, {facts['model']}\n"))
        output().print(styled(experiment.table(measured)))
    if report is not None:
        note(f"report: {report}")


def _command() -> str:
    """This command as it was given, but for keys to servers: a report is shown to others."""
    return re.sub(r"(api[-_]key[= ])\S+", r"\1...", " ".join(["t1", *sys.argv[1:]]))


def _names(systems: str) -> list[str]:
    names = [name.strip() for name in systems.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"--systems takes different names, such as {DEFAULT_SYSTEMS}; got {systems!r}")
    for name in names:
        known = name in (*_ASKING, "bm25") or name.startswith("st:") or _refining(name)
        if not known:
            kinds = f"{', '.join(_ASKING)}, rt:STEPS, rt:STEPS:mean, bm25 or st:MODEL"
            raise ValueError(f"there is no system {name!r}; it is {kinds}")
    return names


def _refining(name: str) -> dict[str, Any]:
    """The options of a system that refines; none of any other."""
    found = re.fullmatch(r"rt:([1-9]\d*)(?::(last|mean))?", name)
    return {"refine_steps": int(found[1]), "refine": found[2] or "last"} if found else {}


def _benchmark(folder: Path | None, split: str, bright: str | None, long: bool) -> Benchmark:
    from t1_vectorstore.evaluation.beir import read_beir
    from t1_vectorstore.evaluation.bright import read_bright

    if folder is None:
        raise ValueError("name a benchmark's folder, or your own judgements by --labels with --index")
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    if bright is not None:
        return read_bright(folder, bright, long=long)
    if long:
        raise ValueError("--long is BRIGHT's long track, and needs --bright TASK")
    return read_beir(folder, split)


def _index(benchmark: Benchmark, store: T1VectorStore) -> None:
    """Bring the index of a benchmark up to date: each document whole, as benchmarks have it."""
    from t1_vectorstore.chunking import Chunker

    with busy("indexing"):
        loaded = store.add(benchmark.documents(), chunker=Chunker(sys.maxsize))
    if loaded.failed:
        first = loaded.failures[0]
        note(f"{counted(loaded.failed, 'document')} cannot be indexed, such as {first.id!r}: {first.reason}")
    if loaded.truncated:
        note(f"of {counted(loaded.truncated, 'document')} the model read only the beginning")


def _system(name: str, store: T1VectorStore, benchmark: Benchmark) -> System:
    from t1_vectorstore.evaluation.systems import Bm25System, SentenceTransformerSystem, T1System

    kind, _, value = name.partition(":")
    if kind == "bm25":
        return Bm25System(_documents(benchmark, store))
    if kind == "st":
        return SentenceTransformerSystem(value, _documents(benchmark, store))
    if kind == "hybrid" and not store.collection.hybrid:
        raise ValueError("the index holds no words to rank by; make it with t1 index --hybrid, or leave hybrid out")
    return T1System(name, store, _refining(name) or _ASKING[kind], hybrid=kind == "hybrid")


def _documents(benchmark: Benchmark, store: T1VectorStore) -> Iterator[Document]:
    """What is ranked: the benchmark's documents, or the chunks of a user's index under their documents' ids."""
    from t1_vectorstore.types import Document

    if benchmark.read is not None:
        yield from benchmark.documents()
    else:
        for chunk in store.collection.scroll():
            yield Document(chunk.text, id=chunk.document_id)
