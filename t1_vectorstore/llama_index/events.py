"""How a thought reaches those who listen: as an event of LlamaIndex's instrumentation, within the span of its query."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.base import BaseEvent  # type: ignore[attr-defined]

from t1_vectorstore.types import Thought

_dispatcher = get_dispatcher(__name__)


class T1ThoughtEvent(BaseEvent):
    """A query was thought about.

    Attributes:
        query: what was asked.
        thoughts: the reasoning behind the query's vector, and how it ended.
        seconds: wall time of thinking and embedding.
    """

    query: str
    thoughts: tuple[Thought, ...]
    seconds: float

    @classmethod
    def class_name(cls) -> str:
        """The name under which handlers know it."""
        return "T1ThoughtEvent"


def dispatch_thought(query: str, thoughts: Sequence[Thought], seconds: float) -> None:
    """Dispatch the event, unless there was no thought."""
    if thoughts:
        _dispatcher.event(T1ThoughtEvent(query=query, thoughts=tuple(thoughts), seconds=seconds))
