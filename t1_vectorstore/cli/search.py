"""``t1 search``: a query in, its thought and the hits out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from t1_vectorstore.cli import prompt
from t1_vectorstore.cli.cache import cache_folder
from t1_vectorstore.cli.commands import FAILED
from t1_vectorstore.cli.console import note, one_line, print_indented, print_json, stdout_console, styled
from t1_vectorstore.cli.options import (
    FILTER_HELP,
    Adopt,
    ApiKey,
    Cache,
    CompatibleWith,
    Json,
    ModelFlags,
    Name,
    ReadOnly,
    Where,
    output_option,
    parse_filters,
    search_option,
    takes_flags,
)
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.cli.stores import note_unknown_fields, open_store
from t1_vectorstore.types import Combination

if TYPE_CHECKING:
    from t1_vectorstore.types import Explanation, SearchResult, ThinkDecision, Thought

SNIPPET_LENGTH = 300
"""Maximum number of characters of a hit's text or metadata that are printed."""
SHOWN_EFFECTS = 3
"""Maximum number of sentences whose effects are printed, unless whole texts are."""

thinking_option = partial(typer.Option, rich_help_panel="Thinking")


@takes_flags
def search(
    where: Where,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERY",
            help="The query; after -- it may begin with a dash. Without it, queries are read line by line.",
            show_default=False,
        ),
    ] = None,
    *,
    limit: Annotated[int, search_option(min=1, help="Maximum number of hits.")] = 5,
    min_score: Annotated[float | None, search_option(min=-1, max=1, help="Minimum cosine similarity of a hit.")] = None,
    filter: Annotated[list[str] | None, search_option(metavar="KEY=VALUE", help=f"Restrict to {FILTER_HELP}")] = None,
    hybrid: Annotated[
        bool | None,
        search_option("--hybrid/--no-hybrid", help="Also search by words.  [default: if the index stores them]"),
    ] = None,
    vector_weight: Annotated[
        float | None,
        search_option(
            min=0, max=1, help="Weight of the vector against the words: 1 is vector only.  [default: equal weights]"
        ),
    ] = None,
    diverse: Annotated[
        float | None,
        search_option(min=0, max=1, help="Prefer hits that differ from each other: 0 is relevance only."),
    ] = None,
    group: Annotated[bool, search_option("--group", help="Return only the best chunk of each document.")] = False,
    think: Annotated[
        bool | None,
        thinking_option("--think/--no-think", help="Whether to generate a thought.  [default: the model's]"),
    ] = None,
    think_auto: Annotated[
        bool, thinking_option("--think-auto", help="Think only if the hits without a thought are unsure.")
    ] = False,
    think_threshold: Annotated[
        float | None,
        thinking_option(
            min=0,
            max=1,
            help="For --think-auto: how unsure they must be, from 0 (always think) to 1 (never).  [default: the "
            "index's, see t1 calibrate]",
        ),
    ] = None,
    budget: Annotated[int | None, thinking_option(min=0, help="Maximum thought length in tokens.")] = None,
    samples: Annotated[int | None, thinking_option(min=1, help="Number of sampled thoughts.")] = None,
    combine: Annotated[
        Combination, thinking_option(help="For several samples: one search with their mean, or one each, fused (rrf).")
    ] = "mean",
    refine_steps: Annotated[
        int | None,
        thinking_option(
            metavar="STEPS", help="Number of passes in hidden space after the thought.  [default: the model's]"
        ),
    ] = None,
    instruction: Annotated[
        str | None,
        thinking_option(help="What to find for the query, if the model's prompt has an instruction.", metavar="TEXT"),
    ] = None,
    cache: Cache = True,
    explain: Annotated[
        bool,
        search_option(
            "--explain",
            help="Show for each hit which sentences pull it up, its rank without thinking, and its best sentence.",
        ),
    ] = False,
    name: Name = "t1",
    adopt: Adopt = False,
    compatible_with: CompatibleWith = None,
    api_key: ApiKey = None,
    read_only: ReadOnly = False,
    model_flags: ModelFlags,
    full: Annotated[bool, output_option("--full", help="Print whole texts.")] = False,
    json: Json = False,
) -> None:
    """Think about a query, then search an index.

    Without a query, a prompt keeps the model loaded and answers one query a line; :help lists its commands.
    """
    from t1_vectorstore.collection.filters import compile_filter
    from t1_vectorstore.embedding.prompts import check_texts

    # Mistakes are refused before the model is loaded.
    mode = _thinking_mode(think, think_auto, think_threshold)
    parsed_filter = parse_filters(filter)
    query = " ".join(words) if words else None  # also without quotes
    if query is not None:
        check_texts([query], "query")
    compile_filter(parsed_filter, "metadata")
    kept = {"cache": cache_folder() if cache else None, "lazy": True}
    options = model_flags.parse(refine_steps=refine_steps).model_copy(update=kept)
    ranking: dict[str, Any] = {
        "score_threshold": min_score,
        "hybrid": hybrid,
        "vector_weight": vector_weight,
        "diversity": diverse,
        "group": group,
        "explain": explain,
        "instruction": instruction,
        "budget": budget,
        "samples": samples,
        "combine": combine,
        "refine_steps": refine_steps,
    }
    if think_threshold is not None:
        ranking["think_threshold"] = think_threshold
    where_from: dict[str, Any] = {"name": name, "adopt": adopt, "api_key": api_key, "read_only": read_only}
    with open_store(where, options, **where_from, compatible_with=compatible_with) as store:

        def answer(query: str, **changing: Any) -> None:  # noqa: ANN401 - limit, filter and think
            check_texts([query], "query")
            with busy("thinking"):
                result = store.search(query, **ranking, **changing)
            if not result.hits:
                note_unknown_fields(store.collection, changing["filter"])
            if json:
                print_json({**asdict(result), "timings": {**asdict(result.timings), "total": result.timings.total}})
                return
            if result.truncated:
                note(
                    f"note: the query has {result.truncated.total_tokens} tokens, and the model did not read the last "
                    f"{result.truncated.dropped_tokens}"
                )
            by_words = store.collection.hybrid if hybrid is None else hybrid
            _print(result, None if full else SNIPPET_LENGTH, hybrid=by_words)

        if query is not None:
            answer(query, limit=limit, filter=parsed_filter, think=mode)
        elif prompt.run(answer, limit=limit, filter=parsed_filter, think=mode):
            raise typer.Exit(FAILED)


def _thinking_mode(think: bool | None, auto: bool, threshold: float | None) -> bool | Literal["auto"] | None:
    """Return the option ``think`` for some flags."""
    if auto and think is not None:
        raise ValueError(f"--think-auto decides whether to think: leave --{'think' if think else 'no-think'} out")
    if threshold is not None and not auto:
        raise ValueError(f"--think-threshold {threshold:g} is for --think-auto: give that as well")
    return "auto" if auto else think


def _print(result: SearchResult, max_length: int | None, *, hybrid: bool) -> None:
    console = stdout_console()
    if result.decision is not None:
        console.print(styled(describe_decision(result.decision), "dim"), soft_wrap=False)
    for thought in result.thoughts:
        source = "cached" if result.cached else f"{result.timings.embed:.2f} s"
        details = styled(f"{describe_thought(thought)} ({source})", "dim")
        console.print(styled("thought  ", "bold"), details, sep="")
        if thought.text:
            print_indented(console, one_line(thought.text), "italic cyan")
    if hybrid and result.hits:
        console.print(styled("ranked by vector and words; the number is the cosine", "dim"))
    for rank, hit in enumerate(result.hits, 1):
        if rank > 1 or result.thoughts:
            console.print()
        console.print(styled(f"{rank:>2}  {hit.score:.3f}  ", "bold"), styled(one_line(hit.id), "bold cyan"), sep="")
        print_indented(console, hit.text.strip() if max_length is None else one_line(hit.text, max_length))
        if hit.metadata:
            metadata = "  ".join(f"{key}={value}" for key, value in hit.metadata.items())
            print_indented(console, one_line(metadata, SNIPPET_LENGTH), "dim")
        if hit.explanation is not None:
            for line in _describe_explanation(hit.explanation, None if max_length is None else SHOWN_EFFECTS):
                print_indented(console, line, "cyan")
    if not result.hits:
        console.print(styled("nothing found"))


def describe_decision(decision: ThinkDecision) -> str:
    """Return whether ``--think-auto`` thought, and why."""
    shown = f"score {decision.score:.2f}, threshold {decision.threshold:.2f}"
    return f"{'thought' if decision.thought else 'not thought'}: {decision.reason} ({shown})"


def _describe_explanation(explanation: Explanation, limit: int | None) -> Iterator[str]:
    """Yield lines that say what pulled a hit up, the strongest effects first; at most ``limit`` of them."""
    rank = explanation.rank_without_thinking
    if any(sentence.source == "thought" for sentence in explanation.sentences):
        place = "not among the candidates" if rank is None else f"rank {rank}"
        yield f" {explanation.score_without_thinking:.3f}  without thinking: {place}"
    for sentence in sorted(explanation.sentences, key=lambda sentence: -abs(sentence.effect))[:limit]:
        yield f"{sentence.effect:+.3f}  {sentence.source}: {one_line(sentence.text, SNIPPET_LENGTH)}"
    if (passage := explanation.passage) is not None:
        yield f" {passage.score:.3f}  best sentence: {one_line(passage.text, SNIPPET_LENGTH)}"


def describe_thought(thought: Thought) -> str:
    """Return the length of a thought and, if it is incomplete, the limit that ended it."""
    if not thought.tokens and not thought.cut:
        return "none: the model chose not to think"
    return f"{thought.tokens} tokens{f', cut by the {thought.stop}' if thought.cut else ''}"
