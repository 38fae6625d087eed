"""``t1 train``, ``t1 add-token`` and ``t1 data``: a T1 of one's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from t1_vectorstore.cli.console import note, output, styled

data = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make training data from your own documents.")

Out = Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")]
Seed = Annotated[int, typer.Option(min=0, help="Of all choices.")]


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a bundled recipe.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="The training data, as t1 data makes it.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The run's folder; an interrupted run goes on from there.")],
    seed: Annotated[int | None, typer.Option(min=0, help="In place of the recipe's.")] = None,
) -> None:
    """Train a T1 by a recipe: supervised thoughts, contrastive vectors, GRPO."""
    from t1_vectorstore.training.configs import read_recipe
    from t1_vectorstore.training.run import train as run

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
    from t1_vectorstore.training.add_token import add_token as add

    spec = add(model, out, emb_token=token, max_thought_tokens=thought_tokens)
    output().print(
        styled(f"{out} has the token {spec.emb_token}. Its prompts are in {out / 't1_config.json'}: read them.")
    )


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
    from t1_vectorstore.training.own_data import Endpoint, build

    asked = Endpoint(endpoint, chat_model, api_key)
    counts = build(
        source, out, asked, calls=calls, queries=queries, at_once=at_once, found_within=found_within, seed=seed
    )
    print_counts(counts, out)


@data.command()
def join(
    out: Out,
    sources: Annotated[list[str], typer.Argument(metavar="NAME=FOLDER...", help="Data folders, each with a name.")],
) -> None:
    """Make one folder of several, for one model: parts and splits get their source's name, as in factbook-hop2."""
    from t1_vectorstore.training.join_data import build

    pairs = [source.partition("=") for source in sources]
    if wrong := [source for source, (_, _, folder) in zip(sources, pairs, strict=True) if not folder]:
        raise ValueError(f"expected NAME=FOLDER, got {wrong[0]!r}")
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise ValueError(f"two sources have the same name: {', '.join(sources)}")
    print_counts(build({name: Path(folder) for name, _, folder in pairs}, empty_folder(out)), out)


def empty_folder(out: Path) -> Path:
    """A folder that is still to be filled: what lies in another one would be taken for splits of the new data."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not an empty folder: give another one, or remove it")
    return out


def print_counts(counts: Mapping[str, int], out: Path) -> None:
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
