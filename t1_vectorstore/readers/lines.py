"""Bytes of a file, plain or gzipped, or of standard input; whatever is wrong with them is a ``CorpusError``."""

from __future__ import annotations

import codecs
import gzip
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from t1_vectorstore.errors import CorpusError

OnError = Callable[[CorpusError], None]
"""Takes what could not be read; reading then goes on behind it. Raising from it ends the reading."""

OnBytes = Callable[[int], None]
"""Told how many more bytes of the sources, as they lie on the disk, have been read."""

STDIN = Path("-")
"""Stands for standard input."""

_UNREADABLE = (OSError, EOFError, zlib.error)


def raise_error(error: CorpusError) -> None:
    """What is done about broken files and lines by default: the first one ends the reading."""
    raise error


def warn(skipped: CorpusError) -> None:
    """What is done about files of no known kind by default."""
    warnings.warn(str(skipped), stacklevel=2)


def ignore_bytes(more: int) -> None:
    """What is done about the bytes read by default."""


def kind(path: Path) -> str:
    """The suffix that says what a file holds, lower case: ``.txt`` for both ``a.TXT`` and ``a.txt.gz``."""
    return (Path(path.stem) if _gzipped(path) else path).suffix.lower()


def read_bytes(path: Path) -> bytes:
    """The whole content of a file.

    Raises:
        CorpusError: it cannot be read.
    """
    try:
        with _open(path) as file:
            return file.read()
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


class Lines:
    """The lines of a file, decoded one at a time, line ends kept.

    A line that is not UTF-8 is yielded with replacement characters, and held against the reader until ``take_error`` is
    called: a CSV row may span lines, so only its reader knows what is lost with one.

    Attributes:
        number: of the line yielded last, from 1.
    """

    def __init__(self, path: Path, on_error: OnError, on_bytes: OnBytes = ignore_bytes) -> None:
        """Read ``path``; ``on_error`` is called if it cannot be opened or breaks off, and the lines then end."""
        self.number = 0
        self._path = path
        self._on_error = on_error
        self._on_bytes = on_bytes
        self._wrong: CorpusError | None = None

    def __iter__(self) -> Iterator[str]:
        """Yield line after line; the file is open only meanwhile."""
        offset = 0
        for line in self._bytes():
            self.number += 1
            try:
                yield decode(line, f"{self._path}:{self.number}", offset)
            except CorpusError as error:
                self._wrong = self._wrong or error
                yield line.decode(errors="replace")
            offset += len(line)

    def take_error(self) -> CorpusError | None:
        """The first line since the last call that was not UTF-8, or None."""
        error, self._wrong = self._wrong, None
        return error

    def _bytes(self) -> Iterator[bytes]:
        try:
            file = _open(self._path)
        except OSError as error:
            self._on_error(_unreadable(self._path, error))
            return
        told = 0
        with file:
            while True:
                try:
                    line = file.readline()
                except _UNREADABLE as error:
                    self._on_error(_unreadable(self._path, error))
                    return
                # a gzipped file is counted by what was taken from the disk
                reached = file.fileobj.tell() if isinstance(file, gzip.GzipFile) else told + len(line)
                self._on_bytes(reached - told)
                told = reached
                if not line:
                    return
                yield line


def decode(data: bytes, where: str, offset: int = 0) -> str:
    """UTF-8, with or without a byte order mark at the start of the file.

    Args:
        data: the bytes.
        where: file, or file and line, for the message.
        offset: position of ``data`` in its file, in bytes.

    Raises:
        CorpusError: the bytes are not UTF-8; the message has the offset of the first wrong one in the file.
    """
    if offset == 0 and data.startswith(codecs.BOM_UTF8):
        offset = len(codecs.BOM_UTF8)
        data = data[offset:]
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        wrong = f"byte 0x{data[error.start]:02x} at offset {offset + error.start} ({error.reason})"
        raise CorpusError(f"{where}: not UTF-8: {wrong}; convert the file to UTF-8 first") from None


def _gzipped(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _open(path: Path) -> IO[bytes]:
    if path == STDIN:
        return sys.stdin.buffer
    return gzip.open(path, "rb") if _gzipped(path) else path.open("rb")  # type: ignore[return-value]


def _unreadable(path: Path, error: Exception) -> CorpusError:
    return CorpusError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")
