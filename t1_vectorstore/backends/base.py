"""The interface between T1 and the backends that run its model. It is in token ids; texts stay in the embedder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from t1_vectorstore.checkpoints.spec import NO_REFINING, Decoding, Refining
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.types import OnTokens, Trajectory, Vectors


class Backend(Protocol):
    """Runs a model for an embedder. Implementations can be called from several threads."""

    refines: bool
    """Whether it can feed hidden states back to the model."""
    max_positions: int | None
    """Longest sequence that it accepts, in tokens, emb token included; ``None`` if only the model's limit counts."""

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """Return the hidden state at each prompt's last token, float32 ``(n, hidden)``, in order.

        Args:
            prompts: Token ids, each ending with the emb token.
            on_done: Called with the number of prompts finished since the last call. Some backends call it from another
                thread.
        """
        ...

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
        """Generate thoughts for each prompt, and the hidden state at the emb token that closes each, in order.

        Args:
            prompts: Token ids up to where the thought begins.
            decoding: Budget and sampling.
            deadline: ``time.monotonic()`` at which unfinished thoughts are closed.
            refining: Passes in hidden space that follow the emb token.
            samples: Number of thoughts for each prompt; they are returned one after the other. The first equals the
                only one of ``samples=1``; each has its own random numbers.
            on_tokens: Called with a thought's index and its new tokens; tokens are never taken back. An exception that
                it raises ends the call. Some backends call it from another thread.

        Raises:
            ValueError: This backend cannot refine.
        """
        ...

    def refine(self, prompts: Sequence[Sequence[int]], refining: Refining) -> Vectors:
        """Encode prompts, then refine their states by passes in hidden space; float32 ``(n, hidden)``, in order.

        Args:
            prompts: Token ids, each ending with the emb token.
            refining: Passes that follow it.

        Raises:
            ValueError: This backend cannot refine.
        """
        ...

    def close(self) -> None:
        """Stop the processes or connections that the backend started."""
        ...


def prompt_seed(decoding: Decoding, prompt: Sequence[int]) -> int:
    """Return the seed of a prompt's first thought; it depends on nothing else. Each further thought adds one."""
    return hash((decoding.seed, tuple(prompt))) % 2**62


def missing_weights(folder: Path, names: Sequence[str]) -> CheckpointError:
    """Return the error for a checkpoint without some of its model's weights."""
    return CheckpointError(f"{folder} lacks weights that its config.json asks for: {names[:3]} ({len(names)} in all)")
