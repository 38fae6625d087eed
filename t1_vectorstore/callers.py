"""Who called: a warning points at the line that can do something about it."""

from __future__ import annotations

import sys


def frames_to_the_caller() -> int:
    """How far up the stack the code lies that is not this package's: ``stacklevel`` for a warning raised right here."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("t1_vectorstore"):
        frame, level = frame.f_back, level + 1
    return level
