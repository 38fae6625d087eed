"""``t1 train``, ``t1 add-token`` and ``t1 data``: a T1 of one's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from t1_vectorstore.cli.console import note, output, styled

data = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Make training data, of public sources or your own."
)

Source = Annotated[Path, typer.Argument(metavar="SOURCE", help="The source's file or folder.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")]
Seed = Annotated[int, typer.Option(min=0, help="Of all choices.")]
Queries = Annotated[int, typer.Option(min=4, help="Of each evaluation split, at most.")]


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a bundled recipe.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="The training data, as t1 data makes it.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The run's folder; an interrupted run goes on from there.")],
    seed: Annotated[int | None, typer.Option(min=0, help="In place of the recipe's.")] = None,
) -> None:
    """Train a T1 by a recipe: supervised thoughts, contrastive vectors, GRPO."""
    from t1_vectorstore.training.configs import read_recipe
    from t1_vectorstore.training.running import train as run

    wanted = read_recipe(recipe, seed=seed)
    with _telling():
        model = run(wanted, data, out)
    output().print(styled(f"The model is in {model}; try t1 eval {data} --split dev --model {model}"), soft_wrap=True)


def add_token(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A causal language model: a folder or a hub id.")],
    out: Out,
    token: Annotated[str, typer.Option(help="The token whose hidden state will be the vector.")] = "<emb_token>",
    thought_tokens: Annotated[int, typer.Option(min=1, help="Budget of a thought.")] = 512,
) -> None:
    """Give a plain language model the emb token and a t1_config.json, so that it can be trained."""
    from t1_vectorstore.training.tokens import add_token as add

    spec = add(model, out, emb_token=token, max_thought_tokens=thought_tokens)
    output().print(
        styled(f"{out} has the token {spec.emb_token}. Its prompts are in {out / 't1_config.json'}: read them.")
    )


class Wordings(str, Enum):
    """How the Factbook's questions are worded."""

    plain = "plain"
    wide = "wide"


@data.command()
def factbook(
    source: Source,
    out: Out,
    wording: Annotated[Wordings, typer.Option(help="Three of each thing, or hundreds.")] = Wordings.wide,
    examples: Annotated[
        int, typer.Option(min=1, help="To draw, with thoughts; a quarter more in plain wording.")
    ] = 160_000,
    long: Annotated[int, typer.Option(min=0, help="To draw of five and six facts, without thoughts.")] = 20_000,
    queries: Queries = 250,
    seed: Seed = 0,
) -> None:
    """Chains of facts about countries (SOURCE: countries.jsonl.gz)."""
    from t1_vectorstore.training.sources.factbook import build

    _tell(
        build(source, _fresh(out), wording=wording.value, examples=examples, long=long, queries=queries, seed=seed), out
    )


@data.command()
def diseases(
    source: Source,
    out: Out,
    examples: Annotated[int, typer.Option(min=1, help="To draw.")] = 40_000,
    queries: Queries = 250,
    seed: Seed = 0,
) -> None:
    """Chains from signs to a disease and what is known of it (SOURCE: the folder of the ontology's tables)."""
    from t1_vectorstore.training.sources.diseases import build

    _tell(build(source, _fresh(out), examples=examples, queries=queries, seed=seed), out)


class ThoughtKind(str, Enum):
    """What EntailmentBank's thoughts are."""

    hypothesis = "hypothesis"
    topics = "topics"
    facts = "facts"
    empty = "empty"
    none = "none"


@data.command()
def entailmentbank(
    source: Source,
    out: Out,
    thoughts: Annotated[ThoughtKind, typer.Option(help="What the thoughts are.")] = ThoughtKind.topics,
    facts: Annotated[int, typer.Option(min=0, help="Shortened queries made of each fact.")] = 2,
    seed: Seed = 0,
) -> None:
    """Science questions and the facts that explain the answer (SOURCE: the folder of EntailmentBank's files)."""
    from t1_vectorstore.training.sources.entailmentbank import build

    _tell(build(source, _fresh(out), thoughts=thoughts.value, facts=facts, seed=seed), out)


class WordThoughts(str, Enum):
    """What WordNet's thoughts are."""

    empty = "empty"
    chain = "chain"


@data.command()
def wordnet(
    source: Source,
    out: Out,
    thoughts: Annotated[
        WordThoughts, typer.Option(help="What the thoughts are; empty ones are closed at once.")
    ] = WordThoughts.empty,
    candidates: Annotated[int, typer.Option(min=10, help="Definitions of the benchmark in OUT/unseen.")] = 4000,
    queries: Queries = 500,
    seed: Seed = 0,
) -> None:
    """Words in use and their definitions (SOURCE: synsets.jsonl.gz)."""
    from t1_vectorstore.training.sources.wordnet import build

    _tell(build(source, _fresh(out), thoughts=thoughts.value, candidates=candidates, queries=queries, seed=seed), out)


@data.command()
def own(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Your documents, as t1 index takes them.")],
    out: Out,
    endpoint: Annotated[str, typer.Option(metavar="URL", help="An OpenAI-compatible server, up to /v1.")],
    chat_model: Annotated[str, typer.Option(help="The chat model's name there.")],
    calls: Annotated[int, typer.Option(min=1, help="Budget, with all that OUT has answers of.")] = 200,
    queries: Annotated[int, typer.Option(min=1, help="To ask for in a call.")] = 4,
    at_once: Annotated[int, typer.Option(min=1, help="Calls at the same time.")] = 4,
    found_within: Annotated[
        int,
        typer.Option(
            min=0, help="Drop a thought by which BM25 has no right document among the first so many; 0 keeps all."
        ),
    ] = 10,
    seed: Seed = 0,
    api_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", help="Of the server.", show_envvar=True)
    ] = None,
) -> None:
    """Queries with thoughts, made of your own documents by a chat model, which you pay for."""
    from t1_vectorstore.training.sources.own import Endpoint, build

    asked = Endpoint(endpoint, chat_model, api_key)
    counts = build(
        source, out, asked, calls=calls, queries=queries, at_once=at_once, found_within=found_within, seed=seed
    )
    _tell(counts, out)


@data.command()
def join(
    out: Out,
    sources: Annotated[list[str], typer.Argument(metavar="NAME=FOLDER...", help="Data folders, each with a name.")],
) -> None:
    """Make one folder of several, for one model: parts and splits get their source's name, as in factbook-hop2."""
    from t1_vectorstore.training.sources.joined import build

    pairs = [source.partition("=") for source in sources]
    if wrong := [source for source, (_, _, folder) in zip(sources, pairs, strict=True) if not folder]:
        raise ValueError(f"expected NAME=FOLDER, got {wrong[0]!r}")
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise ValueError(f"two sources have the same name: {', '.join(sources)}")
    _tell(build({name: Path(folder) for name, _, folder in pairs}, _fresh(out)), out)


def _fresh(out: Path) -> Path:
    """A folder that is still to be filled: what lies in another one would be taken for splits of the new data."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not an empty folder: give another one, or remove it")
    return out


def _tell(counts: Mapping[str, int], out: Path) -> None:
    lines = [f"{count:>9,}  {name}" for name, count in counts.items()]
    output().print(styled("\n".join([*lines, f"in {out}"])))


@contextmanager
def _telling() -> Iterator[None]:
    """Show what training logs, on standard error."""
    handler = _Notes()
    logger = logging.getLogger("t1_vectorstore.training")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())
