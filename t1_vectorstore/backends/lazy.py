"""A backend that is loaded by the first call that needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from t1_vectorstore.backends.base import Backend
from t1_vectorstore.checkpoints.spec import NO_REFINING, Decoding, Refining
from t1_vectorstore.forks import ForkSafeLock
from t1_vectorstore.types import OnTokens, Trajectory, Vectors


class LazyBackend(Backend):
    """Loads another backend on first use. Errors of loading are raised then, each time until it succeeds."""

    def __init__(self, load: Callable[[], Backend], *, refines: bool) -> None:
        """Wait for the first call.

        Args:
            load: Loads the backend.
            refines: Whether it can feed hidden states back to the model.
        """
        self.refines = refines
        self._load = load
        self._loaded: Backend | None = None
        self._lock = ForkSafeLock()

    @property
    def max_positions(self) -> int | None:  # type: ignore[override] # it becomes known
        """Longest sequence that the backend accepts, in tokens; ``None`` until it is loaded."""
        return None if self._loaded is None else self._loaded.max_positions

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """Load the backend, and call it."""
        return self._get().encode(prompts, on_done=on_done)

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
        """Load the backend, and call it."""
        return self._get().think(
            prompts, decoding, deadline=deadline, refining=refining, samples=samples, on_tokens=on_tokens
        )

    def refine(self, prompts: Sequence[Sequence[int]], refining: Refining) -> Vectors:
        """Load the backend, and call it."""
        return self._get().refine(prompts, refining)

    def close(self) -> None:
        """Close the backend, if it was loaded."""
        if self._loaded is not None:
            self._loaded.close()

    def _get(self) -> Backend:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded
