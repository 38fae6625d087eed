"""Threads that call a model take turns in running it for all of them, so no thread is needed beside the callers'.

A call is complete when whoever runs the model has completed it. If nobody does, the thread of the call runs the model:
it *leads*. It leads until its own call is complete, or has news, and then a waiting thread takes over. A thread is
given the news of its call, such as new tokens, while another one leads, so a slow caller delays only itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from t1_vectorstore.forks import ForkSafeLock


class Call:
    """A call of one thread.

    Attributes:
        finished: Whether it is complete, has failed, or was given up by its thread. Nothing more is computed for it.
        error: Why it has failed.
        thread: Identifier of its thread.
    """

    def __init__(self) -> None:
        self.finished = False
        self.error: Exception | None = None
        self.thread = threading.get_ident()
        self._waiting, self._woken = False, threading.Event()

    @property
    def has_news(self) -> bool:
        """Whether ``report`` has something to do."""
        return False

    def report(self) -> None:
        """Tell the caller the news, in its thread. An exception ends the call."""

    def fail(self, error: Exception) -> None:
        """End the call with an error."""
        self.error, self.finished = error, True


C = TypeVar("C", bound=Call)


class Turns(Generic[C]):
    """The calls that are under way, and the one whose thread leads.

    Attributes:
        calls: The calls in order of arrival.
    """

    def __init__(self) -> None:
        self.calls: list[C] = []
        self._lock = ForkSafeLock()
        self._leader: C | None = None

    def complete(self, call: C, lead: Callable[[C], None], rest: Callable[[], None]) -> None:
        """Wait until a call is complete, and run the model while nobody else does.

        Args:
            call: The call of this thread.
            lead: Function that runs the model for all calls until this one is finished or has news, and calls ``wake``
                for each other call that is.
            rest: Function that is called when no calls are left.

        Raises:
            Exception: The call's own error, or an exception of ``lead`` or ``Call.report``. It ends only this call.
        """
        with self._lock:
            self.calls.append(call)
        try:
            while not call.finished:
                if self._takes_lead(call):
                    lead(call)
                    self._pass_on(call)
                else:
                    call._woken.wait()
                    call._woken.clear()
                call.report()
            call.report()
        finally:
            call.finished = True
            with self._lock:
                self.calls.remove(call)
                if self._leader in (call, None) and not self.calls:
                    rest()
            self._pass_on(call)
        if call.error is not None:
            raise call.error

    def wake(self, call: C) -> None:
        """Wake the thread of a call that is finished or has news."""
        with self._lock:
            call._waiting = False
            call._woken.set()

    def move_to_end(self, calls: Sequence[C]) -> None:
        """Put calls behind the others."""
        with self._lock:
            moved = [call for call in self.calls if call in calls]
            self.calls = [call for call in self.calls if call not in calls] + moved

    def after_fork(self) -> None:
        """Keep only the calls of the thread that has forked, as there is no other one in the child."""
        self._leader = None
        self.calls = [call for call in self.calls if call.thread == threading.get_ident()]
        for call in self.calls:
            call._woken = threading.Event()

    def _takes_lead(self, call: C) -> bool:
        with self._lock:
            if self._leader is None:
                self._leader = call
            call._waiting = self._leader is not call
            return not call._waiting

    def _pass_on(self, call: C) -> None:
        """Stop leading, if this call's thread does, and wake a waiting thread if nobody leads."""
        with self._lock:
            if self._leader is call:
                self._leader = None
            if self._leader is None and (waiting := next((c for c in self.calls if c._waiting), None)) is not None:
                waiting._waiting = False
                waiting._woken.set()
