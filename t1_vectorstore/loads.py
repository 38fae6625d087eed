"""What a collection remembers of the load that began last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LatestLoad:
    """How documents were cut, so that a rerun and a verification need not be told, and whether the load ended.

    Attributes:
        chunk_size: characters of a chunk at most.
        overlap: characters that a chunk repeats of the one before.
        began: when, ISO 8601 in UTC; to the microsecond, and so the load's name, too.
        finished: false while it is under way, and after it was cut off. What it could not store is not told here.
    """

    chunk_size: int
    overlap: int
    began: str
    finished: bool

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: object) -> LatestLoad | None:
        """Read what ``to_json`` wrote; ``None`` for anything else, since nothing depends on it that cannot be said."""
        if not isinstance(record, Mapping):
            return None
        try:
            size, overlap = int(record["chunk_size"]), int(record["overlap"])
            return cls(size, overlap, str(record["began"]), bool(record["finished"]))
        except (KeyError, TypeError, ValueError):
            return None
