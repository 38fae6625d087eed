"""Read bytes and lines from a file (plain or gzipped) or from standard input; problems are ``CorpusError``."""

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
"""Called with each error. If it returns, reading continues with the next line or file."""

OnBytes = Callable[[int], None]
"""Called with the number of bytes, as they are on disk, that were read since the last call."""

STDIN = Path("-")
"""Stands for standard input."""

_READ_ERRORS = (OSError, EOFError, zlib.error)


def raise_error(error: CorpusError) -> None:
    """Stop at the first error: the default of ``on_error``."""
    raise error


def warn(skipped: CorpusError) -> None:
    """Warn about a skipped file: the default of ``on_skip``."""
    warnings.warn(str(skipped), stacklevel=2)


def ignore_bytes(count: int) -> None:
    """Do nothing: the default of ``on_bytes``."""


def corpus_error(error: Exception, where: str) -> CorpusError:
    """Return the error as a ``CorpusError`` that names the place."""
    return error if isinstance(error, CorpusError) else CorpusError(f"{where}: {error}")


def content_suffix(path: Path) -> str:
    """Return the suffix of a file's format in lower case: ``.txt`` for both ``a.TXT`` and ``a.txt.gz``."""
    return (Path(path.stem) if _is_gzipped(path) else path).suffix.lower()


def read_bytes(path: Path) -> bytes:
    """Return the uncompressed content of a file.

    Raises:
        CorpusError: The file cannot be read.
    """
    try:
        with _open(path) as file:
            return file.read()
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from error


class Lines:
    """Iterator over the decoded lines of a file, with their line ends. The file is open only while it is iterated.

    A line that is not UTF-8 is yielded with replacement characters, and its error is kept for ``take_error``: a CSV row
    may span several lines, so only the caller knows which record the error belongs to.

    Attributes:
        number: Number of the last line, from 1.
    """

    def __init__(self, path: Path, on_error: OnError, on_bytes: OnBytes = ignore_bytes) -> None:
        """Read ``path``; ``on_error`` is called if the file cannot be read, which ends the iteration."""
        self.number = 0
        self._path = path
        self._on_error = on_error
        self._on_bytes = on_bytes
        self._decode_error: CorpusError | None = None

    def __iter__(self) -> Iterator[str]:
        offset = 0
        for line in self._raw_lines():
            self.number += 1
            try:
                yield decode(line, f"{self._path}:{self.number}", offset)
            except CorpusError as error:
                self._decode_error = self._decode_error or error
                yield line.decode(errors="replace")
            offset += len(line)

    def take_error(self) -> CorpusError | None:
        """Return the error of the first line since the last call that is not UTF-8, or None."""
        error, self._decode_error = self._decode_error, None
        return error

    def _raw_lines(self) -> Iterator[bytes]:
        try:
            file = _open(self._path)
        except OSError as error:
            self._on_error(_unreadable(self._path, error))
            return
        reported = 0
        with file:
            while True:
                try:
                    line = file.readline()
                except _READ_ERRORS as error:
                    self._on_error(_unreadable(self._path, error))
                    return
                # The position in a gzipped file is that of the compressed bytes.
                position = file.fileobj.tell() if isinstance(file, gzip.GzipFile) else reported + len(line)
                self._on_bytes(position - reported)
                reported = position
                if not line:
                    return
                yield line


def decode(data: bytes, where: str, offset: int = 0) -> str:
    """Decode UTF-8, and drop a byte order mark at the start of the file.

    Args:
        data: Bytes to decode.
        where: File, or file and line, for the error message.
        offset: Position of ``data`` in the file in bytes.

    Raises:
        CorpusError: The bytes are not UTF-8. The message has the offset in the file of the first invalid byte.
    """
    if offset == 0 and data.startswith(codecs.BOM_UTF8):
        offset = len(codecs.BOM_UTF8)
        data = data[offset:]
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        problem = f"byte 0x{data[error.start]:02x} at offset {offset + error.start} ({error.reason})"
        raise CorpusError(f"{where}: not UTF-8: {problem}; convert the file to UTF-8 first") from None


def _is_gzipped(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _open(path: Path) -> IO[bytes]:
    if path == STDIN:
        return sys.stdin.buffer
    return gzip.open(path, "rb") if _is_gzipped(path) else path.open("rb")  # type: ignore[return-value]


def _unreadable(path: Path, error: Exception) -> CorpusError:
    return CorpusError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")
