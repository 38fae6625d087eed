"""``t1 snapshot``, ``t1 restore`` and ``t1 pull``: an index as one file, and copies of indexes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from t1_vectorstore.cli.console import counted, note, print_json, print_text
from t1_vectorstore.cli.options import ApiKey, Json, Name, Where, storage_option
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.cli.stores import open_collection

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file or index.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="Snapshot file, such as index.tar.gz.")]


def snapshot(
    where: Where,
    file: File,
    overwrite: Overwrite = False,
    name: Name = "t1",
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Save an index to one file.

    The file also holds a digest of the contents, which restoring compares.
    """
    from t1_vectorstore.maintenance import snapshots

    with open_collection(where, name=name, api_key=api_key) as collection, busy("saving"):
        header = snapshots.snapshot(collection, file, overwrite=overwrite, api_key=api_key)
    if header.digest is None:
        note("the index was written to meanwhile: the snapshot is complete, but cannot be compared point by point")
    if json:
        print_json({**asdict(header), "file": str(file), "file_bytes": file.stat().st_size})
    else:
        size = f"{file.stat().st_size / 2**20:,.1f} MiB"
        print_text(f"{counted(header.points, 'chunk')} of {where} saved\n{file} ({size})")


def restore(
    file: File,
    where: Where,
    overwrite: Overwrite = False,
    name: Annotated[
        str | None, storage_option(help="Name of the collection.  [default: its name in the snapshot]")
    ] = None,
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Restore an index from a snapshot, and check it."""
    from t1_vectorstore.maintenance import snapshots

    with busy("restoring"):
        header = snapshots.restore(file, where, name=name, overwrite=overwrite, api_key=api_key)
    if json:
        print_json(asdict(header))
    else:
        check = "all points equal the saved ones" if header.digest else "its files equal the saved ones"
        print_text(f"{counted(header.points, 'chunk')} restored, {check}\n{where}")


def pull(
    url: Annotated[str, typer.Argument(metavar="URL", help="URL of a Qdrant server.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the new index.")],
    overwrite: Overwrite = False,
    name: Name = "t1",
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Copy a server's index to a folder, and check it.

    An index folder is searched without a server.
    """
    from t1_vectorstore.maintenance import snapshots

    with open_collection(url, name=name, api_key=api_key) as collection, busy("pulling"):
        digest = snapshots.pull(collection, folder, overwrite=overwrite, api_key=api_key)
    if json:
        print_json(asdict(digest))
    else:
        print_text(f"{counted(digest.points, 'chunk')} copied, all equal to the server's\n{folder}")
