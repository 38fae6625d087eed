"""The ``t1`` command: the only place that prints or exits.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage, 130
interrupted, by a key or by SIGTERM. What is heavy (the model, the engines) is imported by the command that needs it.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from t1_vectorstore import __version__
from t1_vectorstore.cli.demo import demo
from t1_vectorstore.cli.errors import Commands
from t1_vectorstore.cli.evaluate import evaluate
from t1_vectorstore.cli.index import index
from t1_vectorstore.cli.manage import delete, info, optimize
from t1_vectorstore.cli.reindex import reindex
from t1_vectorstore.cli.search import search
from t1_vectorstore.cli.snapshots import pull, restore, snapshot
from t1_vectorstore.cli.train import add_token, data, train
from t1_vectorstore.cli.tune import tune
from t1_vectorstore.cli.verify import verify

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, index, search, info, delete, verify, reindex, snapshot, restore, pull, optimize):
    app.command()(command)
app.command("eval")(evaluate)
app.command()(tune)
app.command()(train)
app.command()(add_token)
app.add_typer(data, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"t1-vectorstore {__version__}")
        raise typer.Exit


@app.callback()
def t1(
    debug: Annotated[bool, typer.Option("--debug", envvar="T1_DEBUG", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """T1 thinks before it embeds: index documents, search them, and see the thought behind each answer."""


def main() -> None:
    """Run the command of this process."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # what a terminal cannot show
    # As Ctrl-C does: what is under way is ended and tidied up. A container's first process would not even end without.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
