"""``python -m recipes.t1_small COMMAND``: write the training data of t1-small."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from recipes.t1_small import documentation as own_documentation
from recipes.t1_small import general as general_data
from recipes.t1_small import packages as package_texts
from recipes.t1_small import questions, thought_value
from t1_vectorstore.cli.commands import CommandGroup
from t1_vectorstore.cli.console import print_text
from t1_vectorstore.cli.train import Out, Seed, empty_folder, print_counts
from t1_vectorstore.embedding.embedder import T1Embedder

app = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)

JUDGE = "models/all-MiniLM-L6-v2"
"""Folder of the teacher, as in the recipes."""

Source = Annotated[Path, typer.Argument(metavar="SOURCE", exists=True, help="Folder with the source data.")]


class StepThoughts(str, Enum):
    """Thoughts of the StrategyQA examples."""

    steps = "steps"
    facts = "facts"
    none = "none"


class LawThoughts(str, Enum):
    """Thoughts of the e-CARE examples."""

    law = "law"
    none = "none"


@app.command()
def strategyqa(
    source: Source,
    out: Out,
    thoughts: Annotated[StepThoughts, typer.Option(help="Content of the thoughts.")] = StepThoughts.steps,
) -> None:
    """Write questions whose answer follows from several facts.

    SOURCE is a folder with the corpus, train and dev of StrategyQA.
    """
    print_counts(questions.build_strategyqa(source, empty_folder(out), thoughts=thoughts.value), out)


@app.command()
def ecare(
    source: Source,
    out: Out,
    thoughts: Annotated[LawThoughts, typer.Option(help="Content of the thoughts.")] = LawThoughts.law,
) -> None:
    """Write causes and effects, and the laws behind them.

    SOURCE is a folder with the corpus, train and dev of e-CARE.
    """
    print_counts(questions.build_ecare(source, empty_folder(out), thoughts=thoughts is LawThoughts.law), out)


@app.command()
def pubmedqa(source: Source, out: Out) -> None:
    """Write medical questions and abstracts, for evaluation.

    SOURCE is a folder with the corpus and dev of PubMedQA.
    """
    print_counts(questions.build_pubmedqa(source, empty_folder(out)), out)


@app.command()
def documentation(source: Source, out: Out) -> None:
    """Write questions about this project's documentation, for evaluation.

    SOURCE is the folder docs of this repository.
    """
    print_counts(own_documentation.build(source, empty_folder(out)), out)


@app.command()
def general(
    source: Source,
    out: Out,
    paragraphs: Annotated[int, typer.Option(min=2, help="Maximum number of paragraphs of each source.")] = 6000,
    seed: Seed = 0,
) -> None:
    """Write headings and paragraphs of general English.

    SOURCE is a folder with factbook/countries.jsonl.gz and diseases/facets.tsv.gz.
    """
    countries, diseases = source / "factbook" / "countries.jsonl.gz", source / "diseases" / "facets.tsv.gz"
    counts = general_data.build(countries, diseases, empty_folder(out), paragraphs=paragraphs, seed=seed)
    print_counts(counts, out)


@app.command()
def packages(
    source: Source,
    out: Out,
    passages: Annotated[int, typer.Option(min=2, help="Maximum number of passages.")] = 12000,
    seed: Seed = 0,
) -> None:
    """Write passages of the documentation of installed Python packages.

    SOURCE is a folder site-packages.
    """
    print_counts(package_texts.build(source, empty_folder(out), passages=passages, seed=seed), out)


@app.command()
def thoughts(
    source: Source,
    model: Annotated[str, typer.Option(help="Model that thinks: a folder, or its name.")] = "t1-small",
    judge: Annotated[str, typer.Option(help="Model of sentence-transformers that compares thoughts.")] = JUDGE,
    split: Annotated[str, typer.Option(help="Split whose right thoughts are known.")] = "dev",
    samples: Annotated[int, typer.Option(min=2, help="Number of thoughts of each query.")] = 5,
    temperature: Annotated[float, typer.Option(min=0.01, help="Sampling temperature.")] = 0.7,
) -> None:
    """Measure what thoughts are worth, right ones and the model's own.

    SOURCE is a data folder with right thoughts, such as data/ecare.
    """
    with T1Embedder.load(model, overrides={"decoding": {"temperature": temperature}}, truncation="allow") as embedder:
        print_text(thought_value.report(source, split, embedder, judge, samples=samples), wrap=False)


if __name__ == "__main__":
    app()
