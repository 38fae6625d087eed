"""What is in a text without being text: embedded files, and blobs such as minified scripts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers.lines import OnError

_DATA_URI = re.compile(
    r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*"
    r"(?:;base64,[A-Za-z0-9+/=%_-]*(?:\s*\n\s*[A-Za-z0-9+/=]{60,})*"  # also broken into lines
    r"|,[^\s\"'()<>]{200,})"  # or written in percent codes
)
_RUN = re.compile(r"[!-~]{1000,}")
"""A thousand ASCII characters without white space: no language writes such words, and no address is so long."""


@dataclass(slots=True)
class Blobs:
    """Leaves embedded files and blobs out of the texts of one source, and counts them.

    Attributes:
        count: Number of parts that were left out.
        characters: Number of their characters.
    """

    count: int = 0
    characters: int = 0

    def without(self, text: str) -> str:
        """Return a text without data URIs (images, fonts) and without long runs of characters that are no words."""
        for pattern in (_DATA_URI, _RUN):
            text = pattern.sub(self._leave_out, text)
        return text

    def report(self, path: Path, on_skip: OnError) -> None:
        """Report what was left out of a file, if anything was."""
        if self.count:
            parts = "1 embedded file or blob" if self.count == 1 else f"{self.count} embedded files or blobs"
            on_skip(CorpusError(f"{path}: left out {parts} of {self.characters:,} characters, which are no text"))

    def _leave_out(self, match: re.Match[str]) -> str:
        self.count += 1
        self.characters += len(match[0])
        return ""
