"""A deterministic backend without a model, for tests of the code around it.

Its states depend on every token and its position, so tests notice swapped texts or roles. Texts that share words have
similar states, so a search over them is meaningful. It proves nothing about a real model.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from t1_vectorstore.checkpoints.spec import NO_REFINING, CheckpointSpec, Decoding, Refining
from t1_vectorstore.forks import ForkSafeLock
from t1_vectorstore.types import ModelIdentity, OnTokens, Trajectory, Vectors

SPECIAL_TOKENS = ("<pad>", "<query>", "<document>", "<think>", "<emb_token>")

_FED_BACK = 1_000_000
"""Stands for a hidden state that is fed back; no tokenizer has such a token."""

SPEC = CheckpointSpec(
    query_prompt="<query>{text}<think>",
    query_prompt_no_think="<query>{text}",
    document_prompt="<document>{text}",
    decoding=Decoding(max_tokens=64),
)


def identity(dimension: int) -> ModelIdentity:
    """Return the identity that a collection records."""
    fields = json.dumps([SPEC.identity_fields("document"), dimension], sort_keys=True)
    return ModelIdentity("fake", hashlib.sha256(fields.encode()).hexdigest()[:16], dimension)


def byte_tokenizer() -> Tokenizer:
    """Create a tokenizer with the special tokens of ``SPEC``, then one token for each of the 256 bytes."""
    vocabulary = {
        token: index for index, token in enumerate([*SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet())])
    }
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


class FakeBackend:
    """Computes states as sums of hashed token groups. A thought is the prompt's text backwards."""

    refines = True
    max_positions: int | None = None

    def __init__(self, dimension: int = 64, *, emb_id: int = SPECIAL_TOKENS.index("<emb_token>")) -> None:
        """Choose the length of the states and the token that closes a thought."""
        if dimension < 2:
            raise ValueError(f"dimension must be at least 2, got {dimension!r}")
        self.dimension = dimension
        self.encoded = 0
        """Number of prompts passed to ``encode``, for tests that nothing is encoded twice."""
        self._emb_id = emb_id
        self._lock = ForkSafeLock()

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """Return a state for each prompt, float32 ``(n, dimension)``."""
        with self._lock:
            self.encoded += len(prompts)
        states = np.stack([self._state(prompt) for prompt in prompts])
        if on_done is not None:
            on_done(len(prompts))
        return states

    def think(
        self,
        prompts: Sequence[Sequence[int]],
        decoding: Decoding,
        *,
        deadline: float | None = None,
        refining: Refining = NO_REFINING,
        samples: int = 1,
        on_tokens: OnTokens | None = None,
    ) -> list[Trajectory]:
        """Return the prompt's ordinary tokens backwards, up to the budget; each further sample starts one later."""
        trajectories = []
        for index, (prompt, sample) in enumerate(product(prompts, range(samples))):
            text = [token for token in prompt if token >= len(SPECIAL_TOKENS)][::-1][sample:]
            late = deadline is not None and time.monotonic() >= deadline
            ids = [] if late else text[: decoding.max_tokens]
            for token in ids if on_tokens else []:
                on_tokens(index, [token])  # type: ignore[misc]
            stop = "deadline" if late else "budget" if len(ids) < len(text) else "emb_token"
            state = self._refined([*prompt, *ids, self._emb_id], refining)
            trajectories.append(Trajectory(ids, stop, state))  # type: ignore[arg-type]
        return trajectories

    def refine(self, prompts: Sequence[Sequence[int]], refining: Refining) -> Vectors:
        """Return states as if each refine step appended a token."""
        if not refining.steps:
            return self.encode(prompts)
        return np.stack([self._refined(prompt, refining) for prompt in prompts])

    def close(self) -> None:
        """Do nothing."""

    def _refined(self, ids: Sequence[int], refining: Refining) -> npt.NDArray[np.float32]:
        passes = np.stack([self._state([*ids, *[_FED_BACK] * step]) for step in range(refining.steps + 1)])
        return np.asarray(passes.mean(0) if refining.aggregate == "mean" else passes[-1], np.float32)

    def _state(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        groups = [tuple(ids[i : i + 4]) for i in range(max(1, len(ids) - 3))]
        content = np.sum([_direction(group, self.dimension) for group in groups], axis=0) / np.sqrt(len(groups))
        return np.asarray(content + 0.1 * _direction(tuple(ids), self.dimension), np.float32)


@lru_cache(maxsize=65_536)
def _direction(group: tuple[int, ...], dimension: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(hash(group) % 2**32).standard_normal(dimension)
