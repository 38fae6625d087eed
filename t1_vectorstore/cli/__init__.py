"""The ``t1`` command: the only module of the package that prints or exits.

Results go to standard output, everything else to standard error. Exit codes: 0 success, 1 failure, 2 a mistake in the
command, 130 interrupted by Ctrl-C or SIGTERM. Heavy modules (the model, the engines) are imported by the command that
needs them.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from t1_vectorstore import __version__
from t1_vectorstore.cli.cache import cache
from t1_vectorstore.cli.calibrate import calibrate
from t1_vectorstore.cli.commands import Command, CommandGroup
from t1_vectorstore.cli.demo import demo
from t1_vectorstore.cli.documents import delete, get, list_chunks
from t1_vectorstore.cli.evaluate import evaluate, tune
from t1_vectorstore.cli.export import export
from t1_vectorstore.cli.index import index
from t1_vectorstore.cli.keys import keys
from t1_vectorstore.cli.manage import info, optimize
from t1_vectorstore.cli.mcp import mcp
from t1_vectorstore.cli.reindex import reindex
from t1_vectorstore.cli.search import search
from t1_vectorstore.cli.serve import serve
from t1_vectorstore.cli.snapshots import pull, restore, snapshot
from t1_vectorstore.cli.train import add_token, data, train
from t1_vectorstore.cli.verify import verify

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
SECTIONS = {
    "Index and search": (demo, index, search, info, get, list_chunks, delete),
    "Serving": (serve, mcp),
    "Maintenance": (verify, reindex, snapshot, restore, pull, optimize),
    "Evaluation": (evaluate, tune, calibrate),
    "Training": (train, add_token),
}
for section, commands in SECTIONS.items():
    for command in commands:
        command_name = "eval" if command is evaluate else "list" if command is list_chunks else None
        app.command(command_name, cls=Command, rich_help_panel=section)(command)
app.add_typer(keys, name="keys", rich_help_panel="Serving")
app.add_typer(data, name="data", rich_help_panel="Training")
app.add_typer(cache, name="cache", rich_help_panel="Maintenance")
app.add_typer(export, name="export", rich_help_panel="Training")


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"t1-vectorstore {__version__}")
        raise typer.Exit


@app.callback()
def t1(
    debug: Annotated[bool, typer.Option("--debug", envvar="T1_DEBUG", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Index documents and search them with T1, which thinks before it embeds."""


def main() -> None:
    """Run the command of this process."""
    # Characters that the output encoding lacks are escaped instead of failing.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # SIGTERM works like Ctrl-C, so that the command cleans up. A container's first process would even ignore it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
