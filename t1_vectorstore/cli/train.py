"""``t1 train``, ``t1 add-token`` and ``t1 data``: train a T1 model of your own."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from t1_vectorstore.cli.commands import Command
from t1_vectorstore.cli.console import note, print_text

data = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Create training data from your documents.")
chat_option = partial(typer.Option, rich_help_panel="Chat model")

Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed.")]


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="YAML file, or name of a bundled recipe.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Training data, as t1 data writes it.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the run; an interrupted run continues from there.")
    ],
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed, instead of the recipe's.")] = None,
) -> None:
    """Train a T1 model from a recipe.

    A recipe has stages: supervised learning of thoughts, contrastive learning of vectors, and GRPO.
    """
    from t1_vectorstore.training.configs import read_recipe
    from t1_vectorstore.training.run import train as run

    config = read_recipe(recipe, seed=seed)
    with _show_training_log():
        model = run(config, data, out)
    print_text(f"The model is in {model}; try t1 eval {data} --split dev --model {model}", wrap=False)


def add_token(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A causal language model: a folder, a hub id, or a GGUF file.")
    ],
    out: Out,
    token: Annotated[str, typer.Option(help="Token whose hidden state becomes the vector.")] = "<emb_token>",
    thought_tokens: Annotated[int, typer.Option(min=1, help="Maximum thought length in tokens.")] = 512,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Text whose token embeddings initialise the new token. [default: an end token]"
        ),
    ] = None,
) -> None:
    """Prepare a language model for training as T1.

    Adds the emb token to a plain language model, and a t1_config.json.
    """
    from t1_vectorstore.training.add_token import add_token as add

    spec = add(model, out, emb_token=token, max_thought_tokens=thought_tokens, start=start)
    print_text(f"{out} has the token {spec.emb_token}. Its prompts are in {out / 't1_config.json'}: read them.")


@data.command(cls=Command)
def own(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Your documents, as t1 index takes them.")],
    out: Out,
    endpoint: Annotated[str, chat_option(metavar="URL", help="URL of an OpenAI-compatible server, up to /v1.")],
    chat_model: Annotated[str, chat_option(help="Name of the chat model on that server.")],
    api_key: Annotated[
        str | None, chat_option(envvar="OPENAI_API_KEY", help="API key of the server.", show_envvar=True)
    ] = None,
    calls: Annotated[
        int, chat_option(min=1, help="Maximum number of calls, including those whose answers OUT already has.")
    ] = 200,
    at_once: Annotated[int, chat_option(min=1, help="Number of concurrent calls.")] = 4,
    queries: Annotated[int, typer.Option(min=1, help="Number of queries to request in a call.")] = 4,
    found_within: Annotated[
        int,
        typer.Option(
            min=0,
            help="Drop a thought with which BM25 finds no relevant document among this number of best hits; 0 keeps "
            "all.",
        ),
    ] = 10,
    seed: Seed = 0,
) -> None:
    """Create queries and thoughts with a chat model.

    The chat model reads your documents and writes queries with thoughts. Its provider may charge for the calls.
    """
    from t1_vectorstore.training.own_data import Endpoint, build

    server = Endpoint(endpoint, chat_model, api_key)
    counts = build(
        source, out, server, calls=calls, queries=queries, at_once=at_once, found_within=found_within, seed=seed
    )
    print_counts(counts, out)


@data.command(cls=Command)
def join(
    out: Out,
    sources: Annotated[list[str], typer.Argument(metavar="NAME=FOLDER...", help="Data folders, each with a name.")],
) -> None:
    """Join data folders, to train one model on all.

    Parts and splits are named after their source, such as factbook-hop2.
    """
    from t1_vectorstore.training.join_data import build

    pairs = [source.partition("=") for source in sources]
    if wrong := [source for source, (_, _, folder) in zip(sources, pairs, strict=True) if not folder]:
        raise ValueError(f"expected NAME=FOLDER, got {wrong[0]!r}")
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise ValueError(f"two sources have the same name: {', '.join(sources)}")
    print_counts(build({name: Path(folder) for name, _, folder in pairs}, empty_folder(out)), out)


@data.command(cls=Command)
def think(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Training data, as t1 data writes it.")],
    out: Out,
    model: Annotated[str, typer.Option(metavar="MODEL", help="The model: a folder, or a hub id.")],
    part: Annotated[
        list[str] | None,
        typer.Option(help="Part of the data to think about; repeat it for several. [default: all with a thought]"),
    ] = None,
    queries: Annotated[int | None, typer.Option(min=1, help="Maximum number of queries.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Number of thoughts about each query.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, help="Sampling temperature.")] = 0.0,
    seed: Seed = 0,
) -> None:
    """Add thoughts that a model generates.

    A recipe with own_thought_share trains a model to embed queries with its own thoughts, which may be wrong. The same
    command again continues an interrupted one.
    """
    from t1_vectorstore.embedding.embedder import T1Embedder
    from t1_vectorstore.training.think_data import build

    kept = out.with_name(f"{out.name}.thoughts")
    empty_folder(out)
    with (
        _show_training_log(),
        T1Embedder.load(model, overrides={"decoding": {"temperature": temperature}}, cache=kept) as embedder,
    ):
        counts = build(source, out, embedder, parts=part or (), queries=queries, samples=samples, seed=seed)
    shutil.rmtree(kept, ignore_errors=True)
    print_counts(counts, out)


def empty_folder(out: Path) -> Path:
    """Return ``out`` after refusing a folder with files, which would be read as splits of the new data."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not an empty folder: give another one, or remove it")
    return out


def print_counts(counts: Mapping[str, int], out: Path) -> None:
    """Print the number of records in each part of new training data."""
    lines = [f"{count:>9,}  {name}" for name, count in counts.items()]
    print_text("\n".join([*lines, f"in {out}"]))


@contextmanager
def _show_training_log() -> Iterator[None]:
    """Print what training logs on standard error."""
    handler = _NoteHandler()
    logger = logging.getLogger("t1_vectorstore.training")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _NoteHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())
