"""The query path: generate thoughts, and turn hidden states into query vectors."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from t1_vectorstore.backends import Backend
from t1_vectorstore.checkpoints.spec import CheckpointSpec
from t1_vectorstore.embedding.cache import QueryCache
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.embedding.thinking import ThinkingPlan
from t1_vectorstore.errors import UnusableVector
from t1_vectorstore.types import OnTokens, QueryEmbedding, Thought, Truncated, Vectors


@dataclass(frozen=True)
class PreparedQueries:
    """Queries with their options and lengths checked, for which only the model has to be run.

    Attributes:
        prompter: The one that built the prompts.
        texts: The queries.
        prompts: Their prompts in token ids.
        plan: How they are thought about.
        given: Token ids of a given thought for each query, ending with the emb token; ``None`` to generate thoughts.
        truncated: Queries that were longer than the limit, by index.
        cache: Where thoughts and vectors are kept.
    """

    prompter: Prompter
    texts: Sequence[str]
    prompts: Sequence[Sequence[int]]
    plan: ThinkingPlan
    given: Sequence[Sequence[int]] | None
    truncated: Mapping[int, Truncated]
    cache: QueryCache | None = None

    def embed(self, backend: Backend, started: float, on_tokens: OnTokens | None = None) -> list[QueryEmbedding]:
        """Run the model; ``started`` is ``time.perf_counter()`` at the start of the call.

        Raises:
            UnusableVector: The model gave no finite vector for a query.
            BackendError: The model failed.
        """
        if not self.prompts:
            return []
        if self.cache is not None and self.given is None:
            return self._embed_new(self.cache, backend, started, on_tokens)
        if self.given is not None:
            sequences = [[*prompt, *ids] for prompt, ids in zip(self.prompts, self.given, strict=True)]
            vectors = to_vectors(backend.refine(sequences, self.plan.refining), self.prompter.spec, self.texts)
            thoughts = [[Thought(self.prompter.thought_text(ids), len(ids) - 1, "given")] for ids in self.given]
            of_thoughts: Sequence[Vectors | None] = list(vectors[:, None])
        elif self.plan.enabled:
            vectors, thoughts, of_thoughts = self._think(backend, on_tokens)
        else:
            vectors = to_vectors(backend.refine(self.prompts, self.plan.refining), self.prompter.spec, self.texts)
            thoughts, of_thoughts = [[] for _ in self.prompts], [None] * len(self.prompts)
        seconds = time.perf_counter() - started
        return [
            QueryEmbedding(text, vector, tuple(own), seconds, self.truncated.get(index), thought_vectors=each)
            for index, (text, vector, own, each) in enumerate(
                zip(self.texts, vectors, thoughts, of_thoughts, strict=True)
            )
        ]

    def _embed_new(
        self, cache: QueryCache, backend: Backend, started: float, on_tokens: OnTokens | None
    ) -> list[QueryEmbedding]:
        """Run the model for the queries that are not in the cache, and store what it gives."""
        keys = [cache.key(prompt, self.plan) for prompt in self.prompts]
        found = {key: entry for key in dict.fromkeys(keys) if (entry := cache.get(key)) is not None}
        new = [index for index, key in enumerate(keys) if key not in found]
        rest = replace(
            self,
            texts=[self.texts[index] for index in new],
            prompts=[self.prompts[index] for index in new],
            truncated={},
            cache=None,
        )
        samples = self.plan.samples

        def number(index: int, tokens: Sequence[int]) -> None:
            assert on_tokens is not None
            on_tokens(new[index // samples] * samples + index % samples, tokens)

        try:
            embedded = iter(rest.embed(backend, started, number if on_tokens else None))
        except UnusableVector as error:
            raise UnusableVector(str(error), [new[index] for index in error.indexes]) from error
        seconds = time.perf_counter() - started
        embeddings = []
        for index, (text, key) in enumerate(zip(self.texts, keys, strict=True)):
            if key in found:
                vector, thoughts, of_thoughts = found[key]
            else:
                one = next(embedded)
                vector, thoughts, of_thoughts = one.vector, list(one.thoughts), one.thought_vectors
                cache.put(key, vector, thoughts, of_thoughts)
            cut = self.truncated.get(index)
            embeddings.append(QueryEmbedding(text, vector, tuple(thoughts), seconds, cut, key in found, of_thoughts))
        return embeddings

    def _think(
        self, backend: Backend, on_tokens: OnTokens | None
    ) -> tuple[Vectors, list[list[Thought]], list[Vectors]]:
        """Return for each query its vector, its thoughts, and their vectors."""
        plan, samples, prompter = self.plan, self.plan.samples, self.prompter
        trajectories = backend.think(
            self.prompts,
            plan.decoding,
            deadline=None if plan.deadline is None else time.monotonic() + plan.deadline,
            refining=plan.refining,
            samples=samples,
            on_tokens=on_tokens,
        )
        thoughts = [Thought(prompter.thought_text(one.ids), len(one.ids), one.stop) for one in trajectories]
        vectors = to_vectors(np.stack([one.state for one in trajectories]), prompter.spec, self.texts)
        of_thoughts: Vectors = vectors.reshape(len(self.prompts), samples, -1)
        if samples > 1:
            vectors = to_vectors(of_thoughts.mean(1), prompter.spec, self.texts)
        return vectors, [thoughts[at : at + samples] for at in range(0, len(thoughts), samples)], list(of_thoughts)


def to_vectors(states: Vectors, spec: CheckpointSpec, texts: Sequence[str]) -> Vectors:
    """Truncate hidden states ``(n, hidden)`` to ``truncate_dim``, then normalise each row if the specification says so.

    Args:
        states: The same number of rows for each text, one text after the other.
        spec: The checkpoint's specification.
        texts: The texts, for the error.

    Raises:
        UnusableVector: A state that is not finite, or that is zero and must be normalised.
    """
    vectors = np.ascontiguousarray(states[:, : spec.truncate_dim], dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (spec.normalize & (lengths[:, 0] == 0)))
    if bad.size:
        indexes = list(dict.fromkeys((bad // (len(states) // len(texts))).tolist()))
        raise UnusableVector(
            f"the model gave no usable vector for text {indexes[0]}, {texts[indexes[0]]!r:.80} (norm "
            f"{lengths[bad[0], 0]}); in float16 or bfloat16 try dtype='float32'",
            indexes,
        )
    return vectors / lengths if spec.normalize else vectors
