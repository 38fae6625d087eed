"""``t1 demo``: queries on the bundled corpus, with and without thinking, side by side."""

from __future__ import annotations

import json
import shlex
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from t1_vectorstore.cli.console import one_line, print_text, stdout_console, styled
from t1_vectorstore.cli.options import ModelFlags, model_option
from t1_vectorstore.cli.progress import busy, load_bar
from t1_vectorstore.cli.search import describe_thought
from t1_vectorstore.cli.stores import open_store
from t1_vectorstore.model_names import DEFAULT_MODEL

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from t1_vectorstore.types import SearchResult
    from t1_vectorstore.vectorstore import T1VectorStore

CORPUS = Path(__file__).with_name("demo_corpus.jsonl.gz")
QUERIES = Path(__file__).with_name("demo_queries.jsonl")
SEARCHED, SHOWN = 10, 3
"""Number of hits that are searched for the right document, and number of hits that are printed."""
WIDTH = 78


@dataclass(frozen=True)
class Question:
    """A demo query, the number of facts that it combines, and the id of the document that answers it."""

    query: str
    hops: int
    gold: str


@dataclass(frozen=True)
class Answer:
    """A result, and the rank of the right document in it from 1; ``None`` if it is not found."""

    result: SearchResult
    rank: int | None


def demo(
    to: Annotated[
        Path | None, typer.Option(help="Folder to keep the index in.  [default: none, the index is deleted]")
    ] = None,
    queries: Annotated[
        int | None, typer.Option(min=1, help="Number of queries for each number of facts.  [default: all]")
    ] = None,
    model: Annotated[str, model_option(help="A model's name, a checkpoint folder, or a hub id.")] = DEFAULT_MODEL,
) -> None:
    """Try T1 on 1,843 facts about countries.

    Indexes the facts, then answers queries that combine two to four of them, with and without thinking.
    """
    from t1_vectorstore.readers import read_jsonl, total_bytes

    questions = _read_questions(queries)
    console = stdout_console()
    with ExitStack() as stack:
        where = str(to) if to else stack.enter_context(tempfile.TemporaryDirectory(prefix="t1-demo-"))
        store = stack.enter_context(open_store(where, ModelFlags(model).parse(), create={}))
        with load_bar(total_bytes(CORPUS)) as bar:
            report = store.add(partial(read_jsonl, CORPUS, on_bytes=bar.read), on_progress=bar.show)
        speed = f" in {report.seconds:.1f} s ({report.tokens / report.seconds:,.0f} tokens/s)"
        print_text(
            f"{report.documents:,} documents about countries, embedded by {store.embedder.identity.model}"
            f"{speed if report.stored else ' (already indexed)'}."
        )
        store.search(questions[0].query)  # warm-up: the first call is slower than later ones
        answers = []
        for question in questions:
            with busy("thinking"):
                pair = _ask(store, question, think=True), _ask(store, question, think=False)
            _print(console, question, *pair)
            answers.append(pair)
    _print_totals(console, answers)
    if to:
        command = shlex.join(["t1", "search", where, questions[0].query])
        print_text(f"\nThe index is kept. Search it yourself:\n  {command}", wrap=False)


def _read_questions(count: int | None) -> list[Question]:
    """Read the first ``count`` questions for each number of facts."""
    by_hops: dict[int, list[Question]] = {}
    for line in QUERIES.read_text(encoding="utf-8").splitlines():
        question = Question(**json.loads(line))
        by_hops.setdefault(question.hops, []).append(question)
    return [question for group in by_hops.values() for question in group[:count]]


def _ask(store: T1VectorStore, question: Question, *, think: bool) -> Answer:
    result = store.search(question.query, limit=SEARCHED, think=think)
    ranks = [rank for rank, hit in enumerate(result.hits, 1) if hit.id == question.gold]
    return Answer(result, ranks[0] if ranks else None)


def _print(console: Console, question: Question, thinking: Answer, plain: Answer) -> None:
    console.print()
    console.rule(styled(f"{question.hops} facts to combine", "bold"), align="left", style="dim")
    console.print(styled(f"{question.query}?", "bold"), soft_wrap=False, width=WIDTH)
    for thought in thinking.result.thoughts:
        console.print(styled(f"“{one_line(thought.text)}”", "italic cyan"), soft_wrap=False, width=WIDTH)
        console.print(styled(describe_thought(thought), "dim"))
    console.print(_side_by_side(thinking, plain, question.gold), width=WIDTH, soft_wrap=False)


def _side_by_side(thinking: Answer, plain: Answer, gold: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), width=WIDTH, header_style="bold")
    for title, answer in (("thinking", thinking), ("without", plain)):
        table.add_column(styled(f"{title}, {answer.result.timings.total * 1000:.0f} ms"), ratio=1, no_wrap=True)
    for row in zip_longest(_cells(thinking, gold), _cells(plain, gold), fillvalue=""):
        table.add_row(*row)
    return table


def _cells(answer: Answer, gold: str) -> Iterator[Text]:
    """Yield the printed hits and, if the right document is not among them, where it is."""
    for hit in answer.result.hits[:SHOWN]:
        mark, style = ("✓", "green") if hit.id == gold else (" ", "")
        yield styled(f"{mark} {hit.score:.2f} {one_line(hit.id)}", style)
    if answer.rank is None:
        yield styled(f"✗ missed {gold}", "red")
    elif answer.rank > SHOWN:
        yield styled(f"✗ at {answer.rank}: {gold}", "yellow")


def _print_totals(console: Console, answers: Sequence[tuple[Answer, Answer]]) -> None:
    console.print()
    console.rule(styled("the right document came first", "bold"), align="left", style="dim")
    for title, column in (("thinking", 0), ("without", 1)):
        first = sum(pair[column].rank == 1 for pair in answers)
        seconds = statistics.median(pair[column].result.timings.total for pair in answers)
        print_text(f"{title:<9} {first:>3} of {len(answers)}   median {seconds * 1000:.0f} ms per query")
