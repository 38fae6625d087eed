"""``t1 keys``: the API keys of the service."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated

import typer

from t1_vectorstore.cli.commands import Command
from t1_vectorstore.cli.console import note, print_json, print_text

keys = typer.Typer(help="Manage the API keys of t1 serve.", no_args_is_help=True, rich_markup_mode=None)

File = Annotated[Path, typer.Argument(metavar="FILE", help="File with the hashes of the keys.")]
KeyName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key, which appears in logs.")]


@keys.command(cls=Command)
def add(
    file: File,
    name: KeyName,
    *,
    write: Annotated[bool, typer.Option("--write", help="Let the key also add and delete documents.")] = False,
    index: Annotated[list[str] | None, typer.Option(help="Index that the key opens; repeat it. Default: all.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until the key expires. Default: never.")] = None,
) -> None:
    """Create a key and print it. It is shown only now: the file holds its hash."""
    from t1_vectorstore.server.keys import changing_keys, new_key

    expires = None if days is None else datetime.now(timezone.utc) + timedelta(days=days)
    secret, entry = new_key(name, scopes=["read", "write"] if write else ["read"], indexes=index, expires=expires)
    with changing_keys(file, create=True) as known:
        if any(key.name == name for key in known):
            raise ValueError(f"{file} has a key {name!r} already; revoke it first, or choose another name")
        known.append(entry)
    note("the key is not stored and not shown again:")
    print_text(secret, wrap=False)


@keys.command("list", cls=Command)
def list_keys(file: File, *, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the keys: names, scopes, indexes and expiry."""
    from t1_vectorstore.server.keys import KeyFile

    entries = [key.model_dump(mode="json", exclude={"sha256"}) for key in KeyFile.read(file).keys]
    if json:
        print_json(entries)
        return
    for entry in entries:
        indexes = "all indexes" if entry["indexes"] is None else ", ".join(sorted(entry["indexes"]))
        expires = "never expires" if entry["expires"] is None else f"expires {entry['expires'][:10]}"
        print_text(f"{entry['name']}  {'+'.join(sorted(entry['scopes']))}  {indexes}  {expires}")


@keys.command(cls=Command)
def revoke(file: File, name: KeyName) -> None:
    """Remove a key. Running services refuse it at once."""
    from t1_vectorstore.server.keys import changing_keys

    with changing_keys(file) as known:
        left = [key for key in known if key.name != name]
        if len(left) == len(known):
            raise ValueError(f"{file} has no key {name!r}; t1 keys list {file} shows them")
        known[:] = left
    note(f"revoked {name}")
