"""``t1 snapshot``, ``t1 restore`` and ``t1 pull``: an index in one file, and back; a server's in a folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from t1_vectorstore.cli.console import counted, note, output, print_json, styled
from t1_vectorstore.cli.options import ApiKey, Json, Name, Where
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.cli.stores import open_collection

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="Of the snapshot, such as index.tar.gz.")]


def snapshot(
    where: Where,
    file: File,
    overwrite: Overwrite = False,
    name: Name = "t1",
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Save an index in one file, with the proof of what it holds."""
    from t1_vectorstore.maintenance import snapshots

    with open_collection(where, name=name, api_key=api_key) as collection, busy("saving"):
        header = snapshots.snapshot(collection, file, overwrite=overwrite, api_key=api_key)
    if header.digest is None:
        note("the index was written to meanwhile: the snapshot is whole, but cannot be compared point by point")
    if json:
        print_json({**asdict(header), "file": str(file), "file_bytes": file.stat().st_size})
        return
    size = f"{file.stat().st_size / 2**20:,.1f} MiB"
    output().print(styled(f"{counted(header.points, 'chunk')} of {where} saved\n{file} ({size})"))


def restore(
    file: File,
    where: Where,
    overwrite: Overwrite = False,
    name: Annotated[str | None, typer.Option(help="The collection's name.  [default: as it was]")] = None,
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Make an index of a snapshot, and prove that it is what was saved."""
    from t1_vectorstore.maintenance import snapshots

    with busy("restoring"):
        header = snapshots.restore(file, where, name=name, overwrite=overwrite, api_key=api_key)
    if json:
        print_json(asdict(header))
        return
    how = "proven to be what was saved" if header.digest else "its files are what was saved"
    output().print(styled(f"{counted(header.points, 'chunk')} restored, {how}\n{where}"))


def pull(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of a Qdrant server.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new index folder.")],
    overwrite: Overwrite = False,
    name: Name = "t1",
    api_key: ApiKey = None,
    json: Json = False,
) -> None:
    """Copy a server's index into a folder, which needs no server."""
    from t1_vectorstore.maintenance import snapshots

    with open_collection(url, name=name, api_key=api_key) as collection, busy("pulling"):
        proof = snapshots.pull(collection, folder, overwrite=overwrite, api_key=api_key)
    if json:
        print_json(asdict(proof))
        return
    output().print(styled(f"{counted(proof.points, 'chunk')} copied, and proven to be the same\n{folder}"))
