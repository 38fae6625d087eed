"""A thought while it is generated, for who wants to read along."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from t1_vectorstore.types import OnTokens, QueryEmbedding


class _NobodyReads(Exception):
    """The pieces of a thought are not asked for any more."""


def stream(
    embed: Callable[[OnTokens], QueryEmbedding], decode: Callable[[Sequence[int]], str]
) -> Iterator[str | QueryEmbedding]:
    """Run ``embed`` in a thread, and hand out the thought as it grows.

    Args:
        embed: calls what it is given with each piece of the thought.
        decode: makes text of tokens that follow one another.

    Yields:
        Pieces of text that together are ``Thought.text``, then what ``embed`` returns.
    """
    arrived: SimpleQueue[Sequence[int] | None] = SimpleQueue()
    unread = threading.Event()

    def on_tokens(_: int, new: Sequence[int]) -> None:
        if unread.is_set():
            raise _NobodyReads
        arrived.put(new)

    with ThreadPoolExecutor(1, "t1-thought") as thread:
        done = thread.submit(embed, on_tokens)
        done.add_done_callback(lambda _: arrived.put(None))
        try:
            said, space = "", ""
            while (new := arrived.get()) is not None:
                # Space at either end is no part of a thought: it waits for what follows it.
                text = (space + decode(new)) if said else decode(new).lstrip()
                piece = text.rstrip()
                space = text[len(piece) :]
                if piece:
                    said += piece
                    yield piece
            embedding = done.result()
            whole = "".join(thought.text for thought in embedding.thoughts)
            if whole != said and whole.startswith(said):
                yield whole[len(said) :]  # the beginning of a character whose end the budget has cut off
            yield embedding
        finally:
            unread.set()
