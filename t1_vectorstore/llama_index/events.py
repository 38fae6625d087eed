"""Thoughts as events of LlamaIndex's instrumentation, within the span of their query."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.base import BaseEvent  # type: ignore[attr-defined]

from t1_vectorstore.types import Thought

_dispatcher = get_dispatcher(__name__)


class T1ThoughtEvent(BaseEvent):
    """A thought about a query was generated.

    Attributes:
        query: The query.
        thoughts: The thoughts behind the query's vector.
        seconds: Wall time of thinking and embedding.
    """

    query: str
    thoughts: tuple[Thought, ...]
    seconds: float

    @classmethod
    def class_name(cls) -> str:
        """Return the name by which handlers recognise the event."""
        return "T1ThoughtEvent"


def dispatch_thought(query: str, thoughts: Sequence[Thought], seconds: float) -> None:
    """Dispatch the event, unless there is no thought."""
    if thoughts:
        _dispatcher.event(T1ThoughtEvent(query=query, thoughts=tuple(thoughts), seconds=seconds))
