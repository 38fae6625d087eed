"""Reading the records of the data sources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers.lines import Lines, raise_error


def read_records(path: Path, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Read JSON Lines, plain or gzipped.

    Raises:
        CorpusError: A line is not a JSON object with all of ``fields``; the message names the line.
    """
    lines = Lines(path, raise_error)
    for line in lines:
        try:
            row = json.loads(line)
            if missing := [field for field in fields if field not in row]:
                raise ValueError(f"no field {missing[0]!r}")
        except (ValueError, TypeError) as error:
            raise CorpusError(f"{path}:{lines.number}: {error}") from None
        yield row


def is_held_out(name: str, one_in: int) -> bool:
    """Return whether a record is one of those that are held out, chosen by a hash of its id."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % one_in == 0
