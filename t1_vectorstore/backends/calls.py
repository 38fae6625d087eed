"""The calls of the local backend: what each one still has to compute, and what it tells its caller."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from t1_vectorstore.backends.decoding import ThoughtState
from t1_vectorstore.backends.turns import Call
from t1_vectorstore.types import OnTokens


class ModelCall(Call):
    """A call that needs the model.

    Attributes:
        alone: Whether it shares no forward pass with other calls: one that it shared has failed, so the next error
            shows whether this call caused it.
    """

    alone = False


class EncodeCall(ModelCall):
    """Texts to encode.

    Attributes:
        prompts: The texts' tokens.
        left: Indices of the texts that are not encoded yet; the last one comes next. Longer texts come first.
        states: The state ``(hidden,)`` of each text.
        short: Whether the texts are few, so that they come before documents.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], on_done: Callable[[int], None] | None, *, short: bool) -> None:
        super().__init__()
        self.prompts, self.short = prompts, short
        self.left = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), -index))
        self.states: list[Any] = [None] * len(prompts)
        self._on_done, self._reported = on_done, 0

    def upcoming(self) -> Iterator[tuple[EncodeCall, int]]:
        """Yield the texts that are left, in order, with this call."""
        return ((self, index) for index in reversed(self.left))

    def add(self, index: int, state: Any) -> None:  # noqa: ANN401
        """Add the state of the next text."""
        self.states[index] = state
        self.left.pop()
        if not self.left:
            self.finished = True

    @property
    def has_news(self) -> bool:
        """Whether texts were encoded that ``on_done`` does not know of."""
        return self._on_done is not None and len(self.prompts) - len(self.left) > self._reported

    def report(self) -> None:
        """Call ``on_done`` with the number of texts since the last time."""
        done = len(self.prompts) - len(self.left)
        if self._on_done is not None and done > self._reported:
            new, self._reported = done - self._reported, done
            self._on_done(new)


class ThinkCall(ModelCall):
    """Thoughts to complete.

    Attributes:
        thoughts: The thoughts, in the order in which they are admitted.
        waiting: Those that are not in the running batch.
        active: Number of those that are.
    """

    def __init__(self, thoughts: Sequence[ThoughtState], on_tokens: OnTokens | None) -> None:
        super().__init__()
        self.thoughts = thoughts
        self._on_tokens = on_tokens
        self._counted = [0] * len(thoughts)
        self._news: deque[tuple[int, int]] = deque()
        self.requeue()

    def requeue(self) -> None:
        """Let all incomplete thoughts wait, as the running batch is gone. They keep their tokens."""
        incomplete = [thought for thought in self.thoughts if thought.state is None]
        for thought in incomplete:
            thought.restart()
        self.waiting, self.active = deque(incomplete), 0
        self.finished = self.finished or not incomplete

    def upcoming(self) -> Iterator[tuple[ThinkCall, ThoughtState]]:
        """Yield the waiting thoughts, in order, with this call."""
        return ((self, thought) for thought in self.waiting)

    def admit(self, thought: ThoughtState) -> None:
        """Count the first waiting thought as active."""
        assert self.waiting.popleft() is thought
        self.active += 1

    def collect(self, thought: ThoughtState) -> None:
        """Take the new tokens of an active thought, and count it if it is complete."""
        if self._on_tokens is not None:
            known = self._counted[thought.index]
            self._news.extend((thought.index, token) for token in thought.ids[known:])
            self._counted[thought.index] = len(thought.ids)
        if thought.state is not None:
            self.active -= 1
            self.finished = self.finished or not (self.active or self.waiting)

    @property
    def has_news(self) -> bool:
        """Whether there are tokens that ``on_tokens`` does not know of."""
        return bool(self._news)

    def report(self) -> None:
        """Call ``on_tokens`` with each new token."""
        while self._news and self._on_tokens is not None:
            index, token = self._news.popleft()
            self._on_tokens(index, [token])
