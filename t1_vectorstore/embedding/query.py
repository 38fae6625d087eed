"""The query path: prepare prompts, generate thoughts, and turn hidden states into query vectors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
from typing_extensions import Self

from t1_vectorstore.backends import Backend
from t1_vectorstore.embedding.pooling import to_vectors
from t1_vectorstore.embedding.prompts import Prompt, Prompter, check_texts, check_truncation
from t1_vectorstore.embedding.thinking import (
    ThinkingPlan,
    check_given_thoughts,
    check_sequence_lengths,
    plan_thinking,
)
from t1_vectorstore.options import EmbedQueriesOptions
from t1_vectorstore.types import OnTokens, QueryEmbedding, Thought, Truncated, Truncation, Vectors


@dataclass(frozen=True)
class PreparedQueries:
    """Queries with their options and lengths checked, for which only the model has to be run.

    Attributes:
        texts: The queries.
        prompts: Their prompts.
        plan: How they are thought about.
        given: Token ids of a given thought for each query, ending with the emb token; ``None`` to generate thoughts.
        truncated: Queries that did not fit, by index.
    """

    texts: Sequence[str]
    prompts: Sequence[Prompt]
    plan: ThinkingPlan
    given: Sequence[Sequence[int]] | None
    truncated: Mapping[int, Truncated]

    @classmethod
    def prepare(
        cls,
        prompter: Prompter,
        texts: Iterable[str],
        options: EmbedQueriesOptions,
        max_positions: int | None,
        default_truncation: Truncation,
    ) -> Self:
        """Build the prompts, and refuse whatever can be refused without the model.

        Args:
            prompter: Builds the prompts.
            texts: The queries.
            options: The options of the call.
            max_positions: Longest sequence that the model accepts, in tokens.
            default_truncation: Truncation policy if the options name none.

        Raises:
            InvalidText: A text that is empty or not encodable.
            TextTooLong: A query over the limit under the ``raise`` policy, or one too long with its given thought.
            ValueError: Options that contradict each other or the checkpoint.
        """
        plan = plan_thinking(prompter.spec, options, max_positions)
        texts = check_texts(texts, "query")
        thoughts = options.thoughts
        if thoughts is not None:
            thoughts = check_given_thoughts(thoughts, len(texts), plan, options.budget)
        prompts = prompter.queries(texts, think=plan.enabled, task=options.task)
        given = None if thoughts is None else [prompter.thought_ids(thought) for thought in thoughts]
        if given is not None:
            sequences = [[*prompt.ids, *ids] for prompt, ids in zip(prompts, given, strict=True)]
            check_sequence_lengths(sequences, plan.refining, max_positions)
        truncated = check_truncation(prompts, "query", options.truncation or default_truncation, prompter.spec)
        return cls(texts, prompts, plan, given, {cut.index: cut for cut in truncated})

    def embed(
        self, backend: Backend, prompter: Prompter, started: float, on_tokens: OnTokens | None = None
    ) -> list[QueryEmbedding]:
        """Run the model.

        Args:
            backend: Runs the model.
            prompter: The one that built the prompts.
            started: ``time.perf_counter()`` at the start of the call.
            on_tokens: Called with the new tokens of the thoughts.

        Raises:
            BackendError: The model failed.
        """
        if not self.prompts:
            return []
        prompts = [prompt.ids for prompt in self.prompts]
        if self.given is not None:
            sequences = [[*prompt, *ids] for prompt, ids in zip(prompts, self.given, strict=True)]
            vectors = to_vectors(backend.refine(sequences, self.plan.refining), prompter.spec)
            thoughts = [[Thought(prompter.thought_text(ids), len(ids) - 1, "given")] for ids in self.given]
        elif self.plan.enabled:
            vectors, thoughts = self._think(backend, prompter, prompts, on_tokens)
        else:
            vectors = to_vectors(backend.refine(prompts, self.plan.refining), prompter.spec)
            thoughts = [[] for _ in prompts]
        seconds = time.perf_counter() - started
        return [
            QueryEmbedding(text, vector, tuple(own), seconds, self.truncated.get(index))
            for index, (text, vector, own) in enumerate(zip(self.texts, vectors, thoughts, strict=True))
        ]

    def stream(self, backend: Backend, prompter: Prompter) -> Iterator[str | QueryEmbedding]:
        """Run the model for a single query in a thread, and yield its thought while it is generated.

        Yields:
            Pieces of text that together are ``Thought.text``, then the embedding.
        """
        decode = prompter.thought_decoder()
        arrived: SimpleQueue[Sequence[int] | None] = SimpleQueue()
        abandoned = threading.Event()

        def on_tokens(_: int, new: Sequence[int]) -> None:
            if abandoned.is_set():
                raise _StreamAbandoned
            arrived.put(new)

        with ThreadPoolExecutor(1, "t1-thought") as thread:
            running = thread.submit(self.embed, backend, prompter, time.perf_counter(), on_tokens)
            running.add_done_callback(lambda _: arrived.put(None))
            try:
                yielded, space = "", ""
                while (new := arrived.get()) is not None:
                    # White space at either end is not part of the thought, so it is held back until text follows.
                    text = (space + decode(new)) if yielded else decode(new).lstrip()
                    piece = text.rstrip()
                    space = text[len(piece) :]
                    if piece:
                        yielded += piece
                        yield piece
                [embedding] = running.result()
                whole = "".join(thought.text for thought in embedding.thoughts)
                if whole != yielded and whole.startswith(yielded):
                    yield whole[len(yielded) :]  # the first bytes of a character that the budget cut in two
                yield embedding
            finally:
                abandoned.set()

    def _think(
        self, backend: Backend, prompter: Prompter, prompts: Sequence[Sequence[int]], on_tokens: OnTokens | None
    ) -> tuple[Vectors, list[list[Thought]]]:
        plan, samples = self.plan, self.plan.samples
        trajectories = backend.think(
            prompts,
            plan.decoding,
            deadline=None if plan.deadline is None else time.monotonic() + plan.deadline,
            refining=plan.refining,
            samples=samples,
            on_tokens=on_tokens,
        )
        thoughts = [Thought(prompter.thought_text(one.ids), len(one.ids), one.stop) for one in trajectories]
        vectors = to_vectors(np.stack([one.state for one in trajectories]), prompter.spec)
        if samples > 1:
            means: Vectors = vectors.reshape(len(self.prompts), samples, -1).mean(1)
            vectors = to_vectors(means, prompter.spec)
        return vectors, [thoughts[at : at + samples] for at in range(0, len(thoughts), samples)]


class _StreamAbandoned(Exception):
    """The caller of ``stream`` stopped reading."""
