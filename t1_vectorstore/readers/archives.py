"""Unpack zip archives, file by file."""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers.lines import OnError, content_suffix

MAX_MEMBER = 256 * 2**20
"""Largest file in an archive that is read, in bytes unpacked; a small archive can hold a file that fills any memory."""
_ERRORS = (BadZipFile, OSError, RuntimeError, NotImplementedError, zlib.error)  # RuntimeError: it needs a password


def unpack(path: Path, suffixes: Collection[str], on_error: OnError, on_skip: OnError) -> Iterator[tuple[str, Path]]:
    """Yield the path of each file in an archive, and where it is unpacked until the next one is requested.

    A file is unpacked under a name of its own, wherever its path in the archive leads. Hidden files are left out.

    Args:
        path: The archive.
        suffixes: Suffixes of the files to unpack.
        on_error: Called with each file that cannot be unpacked.
        on_skip: Called with each file of another kind.
    """
    try:
        archive = ZipFile(path)
    except (BadZipFile, OSError) as error:
        on_error(CorpusError(f"{path}: cannot be read as a zip archive: {error}"))
        return
    with archive, TemporaryDirectory(prefix="t1-") as temporary:
        if not archive.infolist():
            on_error(CorpusError(f"{path}: an archive without files"))
        for member in sorted(archive.infolist(), key=lambda member: member.filename):
            name = PurePosixPath(member.filename)
            if member.is_dir() or any(part == "__MACOSX" or re.match(r"\.[^.]", part) for part in name.parts):
                continue
            where, file = f"{path}/{name}", Path(temporary) / f"file{''.join(name.suffixes[-2:])}"
            if content_suffix(file) not in suffixes:
                on_skip(CorpusError(f"{where}: a file of this kind is not read from an archive"))
            elif member.file_size > MAX_MEMBER:
                on_error(CorpusError(f"{where}: too large to be unpacked ({member.file_size:,} bytes)"))
            else:
                try:
                    file.write_bytes(archive.read(member))
                except _ERRORS as error:
                    on_error(CorpusError(f"{where}: cannot be unpacked: {error}"))
                    continue
                yield str(name), file
                file.unlink()
