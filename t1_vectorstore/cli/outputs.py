"""Files that commands write, checked before any work: none of them replaces or changes a user's other files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path


def check_output(option: str, file: Path, sources: Sequence[Path] = ()) -> None:
    """Refuse a file that cannot be written, or that is one of the sources or inside one of them.

    Raises:
        ValueError: With the option, the file and the reason.
    """
    if str(file) == "-":
        raise ValueError(f"{option} - is not standard output; give the name of a file, such as {option} out.jsonl")
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise ValueError(f"{option} {file} cannot be written: it is a folder, or in a folder that does not exist")
    for source in sources:
        if source.exists() and file.exists() and source.samefile(file):
            raise ValueError(f"{option} {file} is one of the sources, and would be changed; write to another file")
        if source.is_dir() and file.resolve().is_relative_to(source.resolve()):
            raise ValueError(f"{option} {file} is inside the source {source}; write to a file outside of it")


def check_log(file: Path) -> None:
    """Refuse to append to a file that is no log of a load.

    Raises:
        ValueError: The first line of the file is not one that ``LoadLog`` writes.
    """
    if file.is_file() and (first := _first_line(file)):
        try:
            is_log = {"time", "event"} <= set(json.loads(first))
        except (ValueError, TypeError):
            is_log = False
        if not is_log:
            raise ValueError(f"--log {file} would be changed, and is not the log of a load; write to another file")


def check_report(file: Path) -> None:
    """Refuse to overwrite a file that is no HTML page.

    Raises:
        ValueError: The file exists and is not a writable HTML file.
    """
    if not file.exists():
        return
    if file.is_dir() or not os.access(file, os.W_OK):
        raise ValueError(f"--report {file} cannot be written: it is a folder or may not be written to")
    if file.is_file() and (first := _first_line(file)) and not first.lower().startswith(b"<!doctype html"):
        raise ValueError(f"--report {file} would be overwritten, and is not an earlier report; write to another file")


def _first_line(file: Path) -> bytes:
    with file.open("rb") as lines:
        return lines.readline()
