"""A progress bar, where one is wanted."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from typing_extensions import Self

from t1_vectorstore.errors import MissingExtraError


class ProgressBar:
    """A bar on standard error, or nothing at all."""

    def __init__(self, *, shown: bool, total: int | None = None) -> None:
        """Begin; ``total`` is how many texts there are, where that is known.

        Raises:
            MissingExtraError: a bar is wanted, and tqdm, which comes with the ``local`` extra, is not installed.
        """
        self._bar: Any = None
        if shown:
            try:
                from tqdm import tqdm  # type: ignore[import-untyped]
            except ModuleNotFoundError as error:
                raise MissingExtraError("local", "show_progress=True") from error
            self._bar = tqdm(total=total, desc="embedding", unit="text")

    def by(self, more: int) -> None:
        """So many more texts are done."""
        if self._bar is not None:
            self._bar.update(more)

    def to(self, done: int) -> None:
        """So many texts are done in all."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def __enter__(self) -> Self:
        """Close at the end of a ``with`` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
