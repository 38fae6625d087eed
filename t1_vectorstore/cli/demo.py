"""``t1 demo``: the bundled corpus, asked with and without thinking, side by side."""

from __future__ import annotations

import json
import shlex
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from t1_vectorstore.cli.console import one_line, output, styled
from t1_vectorstore.cli.model_flags import Model, ModelFlags
from t1_vectorstore.cli.progress import busy, load_bar
from t1_vectorstore.cli.search import describe
from t1_vectorstore.cli.stores import open_store

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from t1_vectorstore.types import SearchResult
    from t1_vectorstore.vectorstore import T1VectorStore

CORPUS = Path(__file__).with_name("demo_corpus.jsonl.gz")
QUERIES = Path(__file__).with_name("demo_queries.jsonl")
LIMIT, SHOWN = 10, 3
"""Hits in which the right document is looked for, and hits that are shown."""
WIDTH = 78


@dataclass(frozen=True)
class Question:
    """A demo query: how many facts it takes to answer, and the document that answers it."""

    query: str
    hops: int
    gold: str


@dataclass(frozen=True)
class Answer:
    """A result, and the rank of the right document in it: 1 is best, ``None`` not among the first ten."""

    result: SearchResult
    rank: int | None


def demo(
    to: Annotated[Path | None, typer.Option(help="Where to keep the index.  [default: nowhere, it is removed]")] = None,
    model: Model = None,
    queries: Annotated[int | None, typer.Option(help="Ask only the first so many queries of each length.")] = None,
) -> None:
    """Index 1,600 facts about countries, then ask what takes two to four of them to answer."""
    from t1_vectorstore.readers import read_jsonl, total_bytes

    questions = _questions(QUERIES, queries)
    console = output()
    with ExitStack() as stack:
        where = str(to) if to else stack.enter_context(tempfile.TemporaryDirectory(prefix="t1-demo-"))
        store = stack.enter_context(open_store(where, ModelFlags(model).parse(), create={}))
        with load_bar(total_bytes(CORPUS)) as bar:
            report = store.add(partial(read_jsonl, CORPUS, on_bytes=bar.read), on_progress=bar.show)
        console.print(
            styled(
                f"{report.documents:,} documents about countries, embedded by {store.embedder.identity.model} in "
                f"{report.seconds:.1f} s ({report.tokens / report.seconds:,.0f} tokens/s)."
            )
        )
        store.search(questions[0].query)  # the first call is slower than any after it
        answers = []
        for question in questions:
            with busy("thinking"):
                pair = _ask(store, question, think=True), _ask(store, question, think=False)
            _print(console, question, *pair)
            answers.append(pair)
    _conclude(console, answers)
    if to:
        command = shlex.join(["t1", "search", where, questions[0].query])
        console.print(styled(f"\nThe index is kept. Ask it yourself:\n  {command}"), soft_wrap=True)


def _questions(file: Path, most: int | None) -> list[Question]:
    questions = [Question(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    asked: dict[int, list[Question]] = {}
    for question in questions:
        asked.setdefault(question.hops, []).append(question)
    return [question for group in asked.values() for question in group[:most]]


def _ask(store: T1VectorStore, question: Question, *, think: bool) -> Answer:
    result = store.search(question.query, limit=LIMIT, think=think)
    ranks = [rank for rank, hit in enumerate(result.hits, 1) if hit.id == question.gold]
    return Answer(result, ranks[0] if ranks else None)


def _print(console: Console, question: Question, thinking: Answer, plain: Answer) -> None:
    console.print()
    console.rule(styled(f"{question.hops} facts to put together", "bold"), align="left", style="dim")
    console.print(styled(f"{question.query}?", "bold"), soft_wrap=False, width=WIDTH)
    for thought in thinking.result.thoughts:
        console.print(styled(f"“{one_line(thought.text)}”", "italic cyan"), soft_wrap=False, width=WIDTH)
        console.print(styled(f"{describe(thought)}", "dim"))
    console.print(_side_by_side(thinking, plain, question.gold), width=WIDTH, soft_wrap=False)


def _side_by_side(thinking: Answer, plain: Answer, gold: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), width=WIDTH, header_style="bold")
    for title, answer in (("thinking", thinking), ("without", plain)):
        table.add_column(styled(f"{title}, {answer.result.timings.total * 1000:.0f} ms"), ratio=1, no_wrap=True)
    for rank in range(SHOWN):
        table.add_row(_hit(thinking, rank, gold), _hit(plain, rank, gold))
    if max(thinking.rank or LIMIT, plain.rank or LIMIT) > SHOWN:
        table.add_row(_verdict(thinking, gold), _verdict(plain, gold))
    return table


def _hit(answer: Answer, rank: int, gold: str) -> Any:  # noqa: ANN401 - rich's Text
    if rank >= len(answer.result.hits):
        return ""
    hit = answer.result.hits[rank]
    right = hit.id == gold
    return styled(f"{'✓' if right else ' '} {hit.score:.2f} {one_line(hit.id)}", "green" if right else "")


def _verdict(answer: Answer, gold: str) -> Any:  # noqa: ANN401 - rich's Text
    if answer.rank is None:
        return styled(f"✗ missed {gold}", "red")
    return styled("" if answer.rank <= SHOWN else f"✗ at {answer.rank}: {gold}", "yellow")


def _conclude(console: Console, answers: Sequence[tuple[Answer, Answer]]) -> None:
    console.print()
    console.rule(styled("the right document came first", "bold"), align="left", style="dim")
    for title, column in (("thinking", 0), ("without", 1)):
        first = sum(pair[column].rank == 1 for pair in answers)
        took = statistics.median(pair[column].result.timings.total for pair in answers)
        console.print(styled(f"{title:<9} {first:>3} of {len(answers)}   median {took * 1000:.0f} ms a query"))
