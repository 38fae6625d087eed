"""Read bytes and lines from a file (plain or gzipped) or from standard input; problems are ``CorpusError``."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from t1_vectorstore.errors import CorpusError

OnError = Callable[[CorpusError], None]
"""Called with each error. If it returns, reading continues with the next line or file."""

OnBytes = Callable[[int], None]
"""Called with the number of bytes, as they are on disk, that were read since the last call."""

STDIN = Path("-")
"""Stands for standard input."""

_BOM = "\ufeff"
_MARKS = {  # UTF-32 first, whose mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SAMPLE = 4096
"""Number of bytes by which an encoding is recognised."""
_READ_ERRORS = (OSError, EOFError, zlib.error)


def raise_error(error: CorpusError) -> None:
    """Stop at the first error: the default of ``on_error``."""
    raise error


def warn(skipped: CorpusError) -> None:
    """Warn about a skipped file: the default of ``on_skip``."""
    warnings.warn(f"skipped {skipped}", stacklevel=2)


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

    def __init__(
        self,
        path: Path,
        on_error: OnError,
        on_bytes: OnBytes = ignore_bytes,
        *,
        encoding: str | None = None,
        skip: int = 0,
    ) -> None:
        """Read a file.

        Args:
            path: The file.
            on_error: Called if the file cannot be read, which ends the iteration.
            on_bytes: Called with the number of bytes read since the last call.
            encoding: Encoding of the text. Default: UTF-8, or UTF-16 if the file begins like that.
            skip: Number of lines at the beginning that are not yielded.
        """
        self.number = 0
        self._path = path
        self._on_error = on_error
        self._on_bytes = on_bytes
        self._decode_error: CorpusError | None = None
        self._encoding = encoding
        self._skip = skip

    def __iter__(self) -> Iterator[str]:
        offset = 0
        for line in self._raw_lines():
            self.number += 1
            if isinstance(line, str):
                if self.number > self._skip:
                    yield line.removeprefix(_BOM) if self.number == 1 else line
                continue
            if self.number > self._skip:
                try:
                    text = decode(line, f"{self._path}:{self.number}", offset, encoding=self._encoding)
                except CorpusError as error:
                    self._decode_error = self._decode_error or error
                    text = line.decode(self._encoding or "utf-8", errors="replace").replace("\0", "\ufffd")
                yield text.removeprefix(_BOM) if self.number == 1 else text
            offset += len(line)

    def take_error(self) -> CorpusError | None:
        """Return the error of the first line since the last call that is not UTF-8, or None."""
        error, self._decode_error = self._decode_error, None
        return error

    def _raw_lines(self) -> Iterator[bytes | str]:
        """Yield the lines in bytes; those of UTF-16 and UTF-32, which do not end with a byte, decoded."""
        try:
            file = _open(self._path)
        except OSError as error:
            self._on_error(_unreadable(self._path, error))
            return
        reported = 0
        with file:
            if self._encoding is None and self._path != STDIN:
                with suppress(*_READ_ERRORS):  # the next read reports them
                    self._encoding = find_encoding(file.peek(_SAMPLE))  # type: ignore[attr-defined]
            if re.match("utf[-_]?(16|32)", self._encoding or "", re.IGNORECASE):
                yield from self._wide_lines(file)
                return
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

    def _wide_lines(self, file: IO[bytes]) -> Iterator[str]:
        try:
            with io.TextIOWrapper(file, self._encoding, newline="") as text:
                yield from text
        except (*_READ_ERRORS, UnicodeError) as error:
            self._on_error(_unreadable(self._path, error))
        if self._path != STDIN:
            self._on_bytes(self._path.stat().st_size)


def decode(data: bytes, where: str, offset: int = 0, *, encoding: str | None = None) -> str:
    """Decode text, and drop a byte order mark at the start of the file.

    Args:
        data: Bytes to decode.
        where: Place that is named in the error.
        offset: Position of ``data`` in the file in bytes.
        encoding: Encoding of the text. Default: UTF-8.

    Raises:
        CorpusError: The bytes are not in the encoding; the message has the offset in the file of the first invalid one.
    """
    if offset == 0 and encoding is None and data.startswith(codecs.BOM_UTF8):
        offset = len(codecs.BOM_UTF8)
        data = data[offset:]
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        problem = f"byte 0x{data[error.start]:02x} at offset {offset + error.start} ({error.reason})"
        remedy = "convert the file to UTF-8 first, or name its encoding (--encoding cp1252, for example)"
        raise CorpusError(f"{where}: not {encoding or 'UTF-8'}: {problem}; {remedy}") from None
    if "\0" in text:
        at = text.index("\0")
        raise CorpusError(f"{where}: character {offset + at} is NUL: this is not a text, or has another encoding")
    return text


def decode_file(data: bytes, where: str, encoding: str | None = None) -> str:
    """Decode a whole file, whose encoding is found out if it is not given; see ``decode`` and ``find_encoding``."""
    encoding = encoding or find_encoding(data)
    return decode(data, where, encoding=encoding).removeprefix(_BOM)


def find_encoding(data: bytes) -> str | None:
    """Return UTF-16 or UTF-32 if the first bytes of a file show it, and else ``None``, which stands for UTF-8.

    A byte order mark decides. Without one, Latin text in UTF-16 has a zero in every second byte, which no text in UTF-8
    has. Text in other scripts without a byte order mark is not recognised, and an error where it is not UTF-8.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return encoding
    start = data[:_SAMPLE]
    for zeros, others, encoding in ((start[1::2], start[::2], "utf-16-le"), (start[::2], start[1::2], "utf-16-be")):
        if len(start) > 1 and zeros.count(0) > 0.6 * len(zeros) and others.count(0) < 0.1 * len(others):
            return encoding
    return None


def _is_gzipped(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _open(path: Path) -> IO[bytes]:
    if path == STDIN:
        return sys.stdin.buffer
    return gzip.open(path, "rb") if _is_gzipped(path) else path.open("rb")  # type: ignore[return-value]


def _unreadable(path: Path, error: Exception) -> CorpusError:
    return CorpusError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")
