"""Objects that a forked process can use, such as a worker of gunicorn (``preload_app``) or of Celery.

A forked child has a copy of its parent's memory but none of its other threads. So a lock that one of these threads held
stays locked for ever, and connections and event loops that they served do not answer.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import Protocol
from weakref import WeakSet


class ForkAware(Protocol):
    """Something that has to be renewed in a forked child."""

    def after_fork(self) -> None:
        """Renew it; called in the child before anything else runs there."""
        ...


_aware: WeakSet[ForkAware] = WeakSet()


def renew_after_fork(thing: ForkAware) -> None:
    """Call ``thing.after_fork()`` in each process that is forked from this one, as long as ``thing`` exists."""
    _aware.add(thing)


class ForkSafeLock(AbstractContextManager[bool]):
    """A lock that is free in a forked child, whichever thread of the parent held it."""

    def __init__(self, *, reentrant: bool = False) -> None:
        """Create the lock; a thread that holds a ``reentrant`` one can take it again."""
        self._new = threading.RLock if reentrant else threading.Lock
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock by a free one."""
        self._lock = self._new()

    def __enter__(self) -> bool:
        """Take the lock, and wait for it if need be."""
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _renew() -> None:
    for thing in list(_aware):
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, where there is no fork
    os.register_at_fork(after_in_child=_renew)
