"""The records that a collection stores about itself: its latest load, and when queries are thought about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from t1_vectorstore.engines import Engine, NoteName
from t1_vectorstore.errors import StoreError
from t1_vectorstore.types import Calibration, LoadRecord


class Notes:
    """The records of one collection."""

    def __init__(self, engine: Engine, location: str) -> None:
        """Read the calibration as it was when the collection was opened, since each adaptive search needs it."""
        self._engine, self._location = engine, location
        self.calibration = Calibration.from_json(engine.schema.notes.get("calibration"))

    @property
    def load(self) -> LoadRecord | None:
        """The record of the load that began last."""
        return LoadRecord.from_json(self._engine.read_note("load"))

    @contextmanager
    def loading(self, chunk_size: int, overlap: int) -> Iterator[None]:
        """Record a load; see ``Collection.loading``."""
        began = datetime.now(timezone.utc).isoformat()
        load = LoadRecord(chunk_size, overlap, began, finished=False)
        self._engine.write_note("load", load.to_json())
        yield
        if self.load == load:
            self._engine.write_note("load", replace(load, finished=True).to_json())

    def check_writable(self) -> None:
        """Check that records are stored at all.

        Raises:
            StoreError: Another package created the collection, and nothing of this one is written to it.
        """
        if not self._engine.schema.uid:
            raise StoreError(
                f"{self._location} was created by another package, and this one writes no settings to it; pass a "
                "think_threshold to searches instead"
            )

    def save_calibration(self, calibration: Calibration) -> None:
        """Store a calibration; errors as in ``check_writable``."""
        self.check_writable()
        self.write({"calibration": calibration.to_json()})

    def all(self, *, same_model: bool = True) -> dict[NoteName, Any]:
        """Return all records as JSON, for a copy of the collection with the vectors of the same or another model."""
        names: list[NoteName] = ["load", "calibration"] if same_model else ["load"]
        found = {name: self._engine.read_note(name) for name in names}
        return {name: record for name, record in found.items() if record is not None}

    def write(self, records: dict[NoteName, Any]) -> None:
        """Store records, such as those of another collection."""
        for name, record in records.items():
            self._engine.write_note(name, record)
        if "calibration" in records:
            self.calibration = Calibration.from_json(records["calibration"])
