"""Runs the model for one query while its caller reads the thought, or may give up on it.

A model that generates in another thread is stopped by its ``on_tokens``, which raises an exception at the next token.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

from t1_vectorstore.types import OnTokens, QueryEmbedding

Embed: TypeAlias = Callable[[OnTokens], QueryEmbedding]
"""Runs the model for a query; it may call its argument from another thread."""
T = TypeVar("T")
Decode: TypeAlias = Callable[[Sequence[int]], str]
"""Returns the text of the tokens that follow those of the call before."""


def stream(embed: Embed, decode: Decode) -> Generator[str | QueryEmbedding, None, None]:
    """Run the model in a thread, and yield the first thought while it is generated.

    Closing the iterator stops the model, and waits until it has stopped.

    Yields:
        Pieces of text that together are ``Thought.text``, then the embedding.
    """
    pieces = _Pieces(decode)
    arrived: SimpleQueue[Sequence[int] | None] = SimpleQueue()
    stopping = _Stopping(arrived.put)
    with ThreadPoolExecutor(1, "t1-thought") as thread:
        running = thread.submit(embed, stopping)
        running.add_done_callback(lambda _: arrived.put(None))
        try:
            while (new := arrived.get()) is not None:
                if piece := pieces.add(new):
                    yield piece
            embedding = running.result()
            if piece := pieces.rest(embedding):
                yield piece
            yield embedding
        finally:
            stopping.requested.set()


async def astream(embed: Embed, decode: Decode) -> AsyncGenerator[str | QueryEmbedding, None]:
    """``stream`` for an event loop. Closing the iterator, or cancelling its task, stops the model at its next token."""
    pieces = _Pieces(decode)
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[Sequence[int] | None] = asyncio.Queue()
    stopping = _Stopping(lambda new: loop.call_soon_threadsafe(arrived.put_nowait, new))
    running = asyncio.ensure_future(asyncio.to_thread(embed, stopping))

    def end(task: asyncio.Future[QueryEmbedding]) -> None:
        arrived.put_nowait(None)
        if not task.cancelled():
            task.exception()  # otherwise asyncio logs an error that nobody awaits, since the iterator was closed

    running.add_done_callback(end)
    try:
        while (new := await arrived.get()) is not None:
            if piece := pieces.add(new):
                yield piece
        embedding = await running
        if piece := pieces.rest(embedding):
            yield piece
        yield embedding
    finally:
        stopping.requested.set()
        running.cancel()


async def run_until_cancelled(embed: Callable[[OnTokens], T]) -> T:
    """Run the model in a thread. Cancelling the task stops the model at its next token."""
    stopping = _Stopping()
    try:
        return await asyncio.to_thread(embed, stopping)
    finally:
        stopping.requested.set()


class _ThoughtStopped(Exception):
    """The caller has given up on the thought."""


class _Stopping:
    """An ``on_tokens`` that ends the call once this is requested.

    Attributes:
        requested: Set it to stop the model at its next token.
    """

    def __init__(self, put: Callable[[Sequence[int]], object] | None = None) -> None:
        """Pass the tokens of the first thought on to ``put``."""
        self.requested = threading.Event()
        self._put = put

    def __call__(self, index: int, new: Sequence[int]) -> None:
        if self.requested.is_set():
            raise _ThoughtStopped
        if self._put is not None and index == 0:
            self._put(new)


class _Pieces:
    """Turns the tokens of a thought into pieces of its text.

    White space at the ends is not part of the thought, so it is held back until text follows.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._yielded, self._space = "", ""

    def add(self, new: Sequence[int]) -> str:
        """Return the text of new tokens; it may be empty."""
        text = (self._space + self._decode(new)) if self._yielded else self._decode(new).lstrip()
        piece = text.rstrip()
        self._space = text[len(piece) :]
        self._yielded += piece
        return piece

    def rest(self, embedding: QueryEmbedding) -> str:
        """Return what is left of the thought at its end: the first bytes of a character that the budget cut in two."""
        whole = embedding.thoughts[0].text if embedding.thoughts else ""
        return whole[len(self._yielded) :] if whole.startswith(self._yielded) else ""
