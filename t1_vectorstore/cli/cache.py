"""``t1 cache``: the thoughts and vectors of earlier searches."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from t1_vectorstore.cli.commands import Command
from t1_vectorstore.cli.console import print_json, print_text
from t1_vectorstore.cli.options import Json

if TYPE_CHECKING:
    from t1_vectorstore.disk_cache import DiskCache

cache = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Show or clear the cache of thoughts.")


def cache_folder() -> Path:
    """Return the folder of the command's cache: ``T1_CACHE_DIR``, or one in the user's folder of caches."""
    if folder := os.environ.get("T1_CACHE_DIR"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "t1-vectorstore"


@cache.command(cls=Command)
def info(json: Json = False) -> None:
    """Show where the cache is, its size, and how often it had the answer."""
    facts = _open().info()
    if json:
        print_json(asdict(facts))
        return
    lookups = facts.hits + facts.misses
    rate = f"{facts.hits:,} of {lookups:,} lookups found an entry" + (
        f" ({facts.hits / lookups:.0%})" if lookups else ""
    )
    print_text(f"{facts.file}\n{facts.entries:,} entries, {facts.bytes / 1e6:.1f} MB\n{rate}")


@cache.command(cls=Command)
def clear() -> None:
    """Delete all entries."""
    print_text(f"{_open().clear():,} entries deleted")


def _open() -> DiskCache:
    from t1_vectorstore.disk_cache import DiskCache
    from t1_vectorstore.options import ModelOptions

    return DiskCache(cache_folder(), ModelOptions().cache_size)
