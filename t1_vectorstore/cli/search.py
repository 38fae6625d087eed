"""``t1 search``: a query in, its thought and the hits out."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from t1_vectorstore.cli.console import indented, note, one_line, output, print_json, styled
from t1_vectorstore.cli.model_flags import ModelFlags, takes_model_flags
from t1_vectorstore.cli.options import ApiKey, Filters, Json, Name, Where, parse_filters
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.cli.stores import open_store

if TYPE_CHECKING:
    from t1_vectorstore.types import Hit, SearchResult, Thought

SNIPPET = 300
"""Characters of a hit that are shown."""


@takes_model_flags
def search(
    where: Where,
    query: Annotated[str, typer.Argument(help="What you want to know.")],
    think: Annotated[
        bool | None, typer.Option("--think/--no-think", help="Whether to think first.  [default: the model's]")
    ] = None,
    budget: Annotated[int | None, typer.Option(min=0, help="Tokens of the thought at most.")] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="How many thoughts, if they are sampled; the vector is their mean.")
    ] = None,
    refine_steps: Annotated[
        int | None,
        typer.Option(metavar="STEPS", help="Passes in hidden space after the thought.  [default: the model's]"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Hits at most.")] = 5,
    min_score: Annotated[float | None, typer.Option(help="The lowest cosine similarity to show.")] = None,
    filter: Filters = None,
    hybrid: Annotated[
        bool | None, typer.Option("--hybrid/--no-hybrid", help="Search by words, too.  [default: if the index can]")
    ] = None,
    vector_weight: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="The vector's share beside the words': 1 is vector only.  [default: the same]"),
    ] = None,
    diverse: Annotated[
        float | None, typer.Option(min=0, max=1, help="Choose hits unlike each other: 0 is relevance only.")
    ] = None,
    group: Annotated[bool, typer.Option("--group", help="Of each document only its best chunk.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show whole texts.")] = False,
    *,
    model_flags: ModelFlags,
    name: Name = "t1",
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Think about a query, then find the documents nearest to it."""
    from t1_vectorstore.collection.filters import compile_filter
    from t1_vectorstore.embedding.prompts import check_texts

    wanted = parse_filters(filter)
    check_texts([query], "query")
    compile_filter(wanted, "metadata")  # refused before the model is loaded
    options = model_flags.parse(refine_steps=refine_steps)
    with open_store(where, options, name=name, api_key=api_key) as store, busy("thinking"):
        result = store.search(
            query,
            limit=limit,
            filter=wanted,
            score_threshold=min_score,
            hybrid=hybrid,
            vector_weight=vector_weight,
            diversity=diverse,
            group=group,
            think=think,
            budget=budget,
            samples=samples,
            refine_steps=refine_steps,
        )
    if json:
        print_json({**asdict(result), "timings": {**asdict(result.timings), "total": result.timings.total}})
        return
    if result.truncated:
        note(
            f"note: the query has {result.truncated.total_tokens} tokens, and the model read all but the last "
            f"{result.truncated.dropped_tokens}"
        )
    _print(result, None if full else SNIPPET)


def _print(result: SearchResult, most: int | None) -> None:
    console = output()
    for thought in result.thoughts:
        how = styled(f"{describe(thought)}, {result.timings.embed:.2f} s", "dim")
        console.print(styled("thought  ", "bold"), how, sep="")
        indented(console, one_line(thought.text), "italic cyan")
    for rank, hit in enumerate(result.hits, 1):
        if rank > 1 or result.thoughts:
            console.print()
        console.print(styled(f"{rank:>2}  {hit.score:.3f}  ", "bold"), styled(one_line(hit.id), "bold cyan"), sep="")
        indented(console, hit.text.strip() if most is None else one_line(hit.text, most))
        if hit.metadata:
            indented(console, _facts(hit), "dim")
    if not result.hits:
        console.print(styled("nothing found"))


def describe(thought: Thought) -> str:
    """How long a thought is and how it ended."""
    return f"{thought.tokens} tokens{f', cut by the {thought.stop}' if thought.cut else ''}"


def _facts(hit: Hit) -> str:
    return one_line("  ".join(f"{key}={value}" for key, value in hit.metadata.items()), SNIPPET)
