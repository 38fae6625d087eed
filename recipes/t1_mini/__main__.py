"""``python -m recipes.t1_mini COMMAND``: write the training data of t1-mini, and the files of ``t1 demo``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from recipes.t1_mini import demo as demo_files
from recipes.t1_mini import diseases as disease_data
from recipes.t1_mini import entailmentbank as entailmentbank_data
from recipes.t1_mini import factbook as factbook_data
from recipes.t1_mini import wordnet as wordnet_data
from t1_vectorstore.cli.commands import CommandGroup
from t1_vectorstore.cli.train import Out, Seed, empty_folder, print_counts

app = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)

Source = Annotated[Path, typer.Argument(metavar="SOURCE", exists=True, help="File or folder with the source data.")]
Queries = Annotated[int, typer.Option(min=4, help="Maximum number of queries in each evaluation split.")]


class Wording(str, Enum):
    """Templates of the Factbook queries."""

    plain = "plain"
    wide = "wide"


class QuestionThoughts(str, Enum):
    """Thoughts of the EntailmentBank examples."""

    hypothesis = "hypothesis"
    topics = "topics"
    facts = "facts"
    empty = "empty"
    none = "none"


class WordThoughts(str, Enum):
    """Thoughts of the WordNet examples."""

    empty = "empty"
    chain = "chain"
    definition = "definition"


@app.command()
def factbook(
    source: Source,
    out: Out,
    wording: Annotated[Wording, typer.Option(help="Three query templates for each facet, or hundreds.")] = (
        Wording.wide
    ),
    examples: Annotated[
        int, typer.Option(min=1, help="Number of examples with thoughts; wide wording adds a quarter in plain wording.")
    ] = 160_000,
    long: Annotated[
        int, typer.Option(min=0, help="Number of examples of five and six facts, without thoughts.")
    ] = 20_000,
    queries: Queries = 250,
    seed: Seed = 0,
) -> None:
    """Write chains of facts about countries.

    SOURCE is countries.jsonl.gz, the records of the World Factbook.
    """
    counts = factbook_data.build(
        source, empty_folder(out), wording=wording.value, examples=examples, long=long, queries=queries, seed=seed
    )
    print_counts(counts, out)


@app.command()
def diseases(
    source: Source,
    out: Out,
    examples: Annotated[int, typer.Option(min=1, help="Number of training examples.")] = 40_000,
    queries: Queries = 250,
    seed: Seed = 0,
) -> None:
    """Write chains of facts about diseases.

    SOURCE is a folder with facets.tsv.gz and HumanDO.tsv.gz of the Human Disease Ontology.
    """
    print_counts(disease_data.build(source, empty_folder(out), examples=examples, queries=queries, seed=seed), out)


@app.command()
def entailmentbank(
    source: Source,
    out: Out,
    thoughts: Annotated[QuestionThoughts, typer.Option(help="Content of the thoughts.")] = QuestionThoughts.topics,
    facts: Annotated[int, typer.Option(min=0, help="Number of shortened queries made from each fact.")] = 2,
    seed: Seed = 0,
) -> None:
    """Write science questions.

    SOURCE is a folder with corpus.jsonl, train.jsonl, queries.dev.jsonl and qrels.dev.tsv of EntailmentBank.
    """
    counts = entailmentbank_data.build(source, empty_folder(out), thoughts=thoughts.value, facts=facts, seed=seed)
    print_counts(counts, out)


@app.command()
def wordnet(
    source: Source,
    out: Out,
    thoughts: Annotated[
        WordThoughts, typer.Option(help="Content of the thoughts; an empty thought is closed at once.")
    ] = WordThoughts.empty,
    candidates: Annotated[int, typer.Option(min=10, help="Number of definitions in the benchmark OUT/unseen.")] = 4000,
    queries: Queries = 500,
    sentences: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of sentences among the training examples. [default: all]")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Write words and their definitions.

    SOURCE is synsets.jsonl.gz, made from Open English WordNet.
    """
    counts = wordnet_data.build(
        source,
        empty_folder(out),
        thoughts=thoughts.value,
        candidates=candidates,
        queries=queries,
        sentences=sentences,
        seed=seed,
    )
    print_counts(counts, out)


@app.command()
def demo(source: Source, out: Out) -> None:
    """Write the corpus and queries of t1 demo.

    SOURCE is countries.jsonl.gz, the records of the World Factbook.
    """
    print_counts(demo_files.build(source, out), out)


if __name__ == "__main__":
    app()
