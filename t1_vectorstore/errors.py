"""All exceptions of the package.

    T1Error                       anything this package could not do, with the reason and the remedy
    ├── MissingExtraError         an optional dependency is not installed (also an ImportError)
    ├── CheckpointError           a checkpoint folder or id is not a usable T1 model
    ├── BackendError              the model failed while running
    │   └── UnusableVector        it gave no finite vector for some of the texts (also a ValueError)
    ├── StoreError                the vector store failed
    │   ├── CollectionNotFound    there is no collection at that location
    │   ├── CollectionMismatch    the collection was made for another model, dimension or distance
    │   ├── CollectionLocked      the embedded index is open elsewhere
    │   ├── StoreUnavailable      the server did not answer, or the disk is full or read-only
    │   ├── WriteRefused          the server refused a point, which the message names
    │   └── WriteNotVerified      it is not certain that everything was stored
    ├── CorpusError               a source file cannot be read as documents (file and line)
    └── TrainingFailed            a training run cannot continue

Mistakes of the caller are not in this tree: a wrong value is a ``ValueError`` and a wrong type a ``TypeError``, raised
before any expensive or destructive work. Two of them have their own classes, because callers want to catch them:
``InvalidText`` and ``TextTooLong``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


class T1Error(Exception):
    """Base class: the message says what was wrong and what to do."""


class MissingExtraError(T1Error, ImportError):
    """An optional dependency is not installed; the message has the pip command."""

    def __init__(self, extra: str, needed_for: str) -> None:
        """Name the extra of this package, and the feature that needs it."""
        super().__init__(f"{needed_for} needs the {extra!r} extra: pip install 't1-vectorstore[{extra}]'")
        self.extra = extra
        self.needed_for = needed_for

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Pickle the two arguments, not the message."""
        return type(self), (self.extra, self.needed_for)


class CheckpointError(T1Error):
    """A checkpoint folder or id is not a usable T1 model."""


class BackendError(T1Error):
    """The model failed while running."""


class UnusableVector(BackendError, ValueError):
    """The model gave no finite vector for some of the texts; it gives one for others.

    Attributes:
        indexes: Positions of these texts in the call, in order.
    """

    def __init__(self, message: str, indexes: Sequence[int]) -> None:
        super().__init__(message)
        self.indexes = list(indexes)

    def __reduce__(self) -> tuple[type[UnusableVector], tuple[str, list[int]]]:
        """Pickle both arguments."""
        return type(self), (str(self), self.indexes)


class StoreError(T1Error):
    """The vector store failed."""


class CollectionNotFound(StoreError):
    """There is no collection at that location."""


class CollectionMismatch(StoreError):
    """The collection was made for another model, dimension or distance; the message names both."""


class CollectionLocked(StoreError):
    """Another process has the embedded index open, or this one has it open and must be alone."""


class StoreUnavailable(StoreError):
    """The server did not answer, or the disk is full or read-only."""


class _WriteError(StoreError):
    """A write failed. ``ids`` names the points concerned, if they are known."""

    def __init__(self, message: str, ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.ids = list(ids)


class WriteRefused(_WriteError):
    """The server refused a request; ``ids`` names the refused points, if it was about points."""


class WriteNotVerified(_WriteError):
    """The engine's answer does not prove that everything was stored; ``ids`` names the points in doubt, if known."""


class CorpusError(T1Error):
    """A source file cannot be read as documents; the message has the file and the line."""


class TrainingFailed(T1Error):
    """A training run cannot continue: its loss is not a finite number, or its folder belongs to another run."""


class InvalidText(ValueError):
    """A text that no model can embed: empty, or not encodable as UTF-8."""


class TextTooLong(ValueError):
    """A text longer than the checkpoint's limit, under the ``raise`` truncation policy."""


class OutOfMemoryWarning(RuntimeWarning):
    """Memory ran out; smaller batches are used from now on."""


class TruncationWarning(UserWarning):
    """A text is longer than the checkpoint's limit; its end was left out."""


class BlankDocumentWarning(UserWarning):
    """Documents without a word were left out; the message names one."""


class CacheWarning(UserWarning):
    """A cache on disk cannot be used, so that the model is run for each query."""


class FilterWarning(UserWarning):
    """A filter compares a field with numbers, and the points have only other values in that field."""


class UnknownIdWarning(UserWarning):
    """Documents that were to be deleted are not stored; the message names them."""


def external_stacklevel() -> int:
    """Return the ``stacklevel`` of a warning that points at the first frame outside this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("t1_vectorstore"):
        frame, level = frame.f_back, level + 1
    return level
