"""The query path: what can be refused is, then thoughts, their vectors, and what both make together."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import Self

from t1_vectorstore.backends import Backend
from t1_vectorstore.pooling import to_vectors
from t1_vectorstore.prompts import Prompt, Prompter, check_texts
from t1_vectorstore.streaming import stream
from t1_vectorstore.thinking import Thinking, ThinkingOptions, check_given, check_rows, plan
from t1_vectorstore.truncation import truncated
from t1_vectorstore.types import OnTokens, QueryEmbedding, Thought, Truncated, Truncation, Vectors


@dataclass(frozen=True)
class Queries:
    """Queries that are ready to be thought about.

    Attributes:
        texts: as they were asked.
        prompts: of each.
        decided: how much they are thought about.
        given: token ids of a thought for each, the emb token at its end, if they are not to be generated.
        cuts: by a query's index, how much of it did not fit.
    """

    texts: Sequence[str]
    prompts: Sequence[Prompt]
    decided: Thinking
    given: Sequence[Sequence[int]] | None
    cuts: Mapping[int, Truncated]

    @classmethod
    def prepare(
        cls,
        prompter: Prompter,
        texts: Iterable[str],
        given: Sequence[str] | None,
        options: ThinkingOptions,
        max_positions: int | None,
        policy: Truncation,
    ) -> Self:
        """Make the prompts, and refuse what cannot be.

        Args:
            prompter: makes the prompts.
            texts: the queries.
            given: a thought for each of them, if they are not to be generated.
            options: of thinking.
            max_positions: the longest sequence that the model takes, in tokens.
            policy: what happens to a query over the limit.

        Raises:
            InvalidText: a text that is empty or not encodable.
            TextTooLong: a query over the limit under the ``raise`` policy; a given thought the model has no room for.
            TypeError: an option that there is not, or of another type.
            ValueError: options that contradict each other or the checkpoint.
        """
        known = ThinkingOptions.__annotations__
        if unknown := sorted(set(options) - set(known)):
            raise TypeError(f"no such option: {', '.join(unknown)}; there are {', '.join(known)}")
        limits: dict[str, Any] = {name: value for name, value in options.items() if name != "task"}
        decided = plan(prompter.spec, max_positions=max_positions, **limits)
        texts = check_texts(texts, "query")
        if given is not None:
            given = check_given(given, len(texts), decided, options.get("budget"))
        prompts = prompter.queries(texts, think=decided.enabled, task=options.get("task"))
        ends = None if given is None else [prompter.thought_ids(words) for words in given]
        if ends is not None:
            rows = [[*prompt.ids, *end] for prompt, end in zip(prompts, ends, strict=True)]
            check_rows(rows, decided.refining, max_positions)
        cuts = truncated(prompts, "query", policy, prompter.spec)
        return cls(texts, prompts, decided, ends, {cut.index: cut for cut in cuts})

    def embed(
        self, backend: Backend, prompter: Prompter, started: float, on_tokens: OnTokens | None = None
    ) -> list[QueryEmbedding]:
        """Run the model.

        Args:
            backend: runs it.
            prompter: made the prompts.
            started: ``time.perf_counter()`` when the call began.
            on_tokens: told of the thoughts while they grow.

        Raises:
            BackendError: the model failed.
        """
        if not self.prompts:
            return []
        prompts = [prompt.ids for prompt in self.prompts]
        if self.given is not None:
            rows = [[*prompt, *end] for prompt, end in zip(prompts, self.given, strict=True)]
            vectors = to_vectors(backend.refine(rows, self.decided.refining), prompter.spec)
            thoughts = [[Thought(prompter.thought_text(end), len(end) - 1, "given")] for end in self.given]
        elif self.decided.enabled:
            vectors, thoughts = self._think(backend, prompter, prompts, on_tokens)
        else:
            vectors = to_vectors(backend.refine(prompts, self.decided.refining), prompter.spec)
            thoughts = [[] for _ in prompts]
        seconds = time.perf_counter() - started
        return [
            QueryEmbedding(text, vector, tuple(own), seconds, self.cuts.get(index))
            for index, (text, vector, own) in enumerate(zip(self.texts, vectors, thoughts, strict=True))
        ]

    def stream(self, backend: Backend, prompter: Prompter) -> Iterator[str | QueryEmbedding]:
        """Run the model for a single query, and hand out its thought as it grows; see :func:`streaming.stream`."""

        def embed(on_tokens: OnTokens) -> QueryEmbedding:
            [embedding] = self.embed(backend, prompter, time.perf_counter(), on_tokens)
            return embedding

        return stream(embed, prompter.thought_decoder())

    def _think(
        self, backend: Backend, prompter: Prompter, prompts: Sequence[Sequence[int]], on_tokens: OnTokens | None
    ) -> tuple[Vectors, list[list[Thought]]]:
        decided, each = self.decided, self.decided.samples
        found = backend.think(
            prompts,
            decided.decoding,
            deadline=None if decided.deadline is None else time.monotonic() + decided.deadline,
            refining=decided.refining,
            samples=each,
            on_tokens=on_tokens,
        )
        thoughts = [Thought(prompter.thought_text(one.ids), len(one.ids), one.stop) for one in found]
        vectors = to_vectors(np.stack([one.state for one in found]), prompter.spec)
        if each > 1:
            means: Vectors = vectors.reshape(len(self.prompts), each, -1).mean(1)
            vectors = to_vectors(means, prompter.spec)
        return vectors, [thoughts[at : at + each] for at in range(0, len(thoughts), each)]
