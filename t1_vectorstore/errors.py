"""The whole error family, in one place.

    T1Error                       anything this package could not do, with the reason and the remedy
    ├── MissingExtraError         an optional dependency is not installed (also an ImportError)
    ├── CheckpointError           a checkpoint folder or id that is not a usable T1
    ├── BackendError              the model failed while running
    ├── StoreError                the vector store could not do it
    │   ├── CollectionNotFound    nothing to open at that location
    │   ├── CollectionMismatch    the collection was made by another model, dimension or distance
    │   ├── CollectionLocked      another process has the embedded index open
    │   ├── StoreUnavailable      the server did not answer, or the disk is full or read-only
    │   ├── WriteRefused          the server does not take a point, which is named
    │   └── WriteNotVerified      the engine's answer does not prove that everything was stored
    ├── CorpusError               a source file that cannot be read as documents (file and line)
    └── TrainingFailed            a training run that cannot go on

Caller mistakes are not in this tree: a wrong value is a ``ValueError`` and a wrong type a ``TypeError``, raised
before any expensive or destructive work. Two of them have names of their own because callers want to catch them:
``InvalidText`` and ``TextTooLong``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


class T1Error(Exception):
    """Anything this package could not do; the message says what was wrong and what to do."""


class MissingExtraError(T1Error, ImportError):
    """An optional dependency is needed and not installed."""

    def __init__(self, extra: str, needed_for: str) -> None:
        """Name the extra and what it is needed for; the message carries the pip line."""
        super().__init__(f"{needed_for} needs the {extra!r} extra: pip install 't1-vectorstore[{extra}]'")
        self.extra = extra
        self.needed_for = needed_for

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Pickle by the two arguments, not by the message."""
        return type(self), (self.extra, self.needed_for)


class CheckpointError(T1Error):
    """A checkpoint folder or id that is not a usable T1."""


class BackendError(T1Error):
    """The model failed while running."""


class StoreError(T1Error):
    """The vector store could not do what was asked."""


class CollectionNotFound(StoreError):
    """There is no collection at that location."""


class CollectionMismatch(StoreError):
    """The collection was made by another model, dimension or distance; the message names both."""


class CollectionLocked(StoreError):
    """Another process has the embedded index open."""


class StoreUnavailable(StoreError):
    """The server did not answer, or the disk is full or read-only."""


class WriteRefused(StoreError):
    """The server does not take what it was given; ``ids`` are the points it is about, if it is about some."""

    def __init__(self, message: str, ids: Sequence[str] = ()) -> None:
        """Say what is refused, and why."""
        super().__init__(message)
        self.ids = list(ids)


class WriteNotVerified(StoreError):
    """The engine's answer does not prove that everything was stored; ``ids`` are the points in doubt, if known."""

    def __init__(self, message: str, ids: Sequence[str] = ()) -> None:
        """Say what is in doubt."""
        super().__init__(message)
        self.ids = list(ids)


class CorpusError(T1Error):
    """A source file that cannot be read as documents; the message has the file and the line."""


class TrainingFailed(T1Error):
    """A run that cannot go on: its loss is not a number any more, or its folder belongs to another run."""


class InvalidText(ValueError):
    """A text that no model can embed: empty, or not encodable as UTF-8."""


class TextTooLong(ValueError):
    """A text longer than the checkpoint's limit, under the ``raise`` truncation policy."""


class TruncationWarning(UserWarning):
    """A text is longer than the checkpoint's limit; its end was left out."""


def external_stacklevel() -> int:
    """The ``stacklevel`` with which a warning issued by the caller points at the first frame outside this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("t1_vectorstore"):
        frame, level = frame.f_back, level + 1
    return level
