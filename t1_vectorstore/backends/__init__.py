"""The seam between T1 and whatever runs its model: two verbs, in token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from t1_vectorstore.checkpoint import Checkpoint, Decoding
from t1_vectorstore.errors import MissingExtraError
from t1_vectorstore.types import Trajectory, Vectors


class Backend(Protocol):
    """What an embedder needs of a model. Implementations are safe to call from several threads."""

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """The hidden state at each prompt's last token, float32 ``(n, hidden)``, in order.

        Args:
            prompts: token ids, each ending with the emb token.
            on_done: told how many prompts were finished since the last time.
        """
        ...

    def think(
        self, prompts: Sequence[Sequence[int]], decoding: Decoding, *, deadline: float | None = None
    ) -> list[Trajectory]:
        """Generate a thought for each prompt, and the hidden state at the emb token that closes it, in order.

        Args:
            prompts: token ids up to where the thought begins.
            decoding: budget and sampling.
            deadline: ``time.monotonic()`` after which thoughts are closed as they stand.
        """
        ...


def load_transformers(
    checkpoint: Checkpoint,
    *,
    emb_id: int,
    stop_ids: Sequence[int],
    device: str = "auto",
    dtype: str = "auto",
    batch_tokens: int | None = None,
    threads: int | None = None,
    remote_code: bool = False,
) -> Backend:
    """Load the local backend, and torch only now.

    Raises:
        MissingExtraError: torch or transformers is not installed.
    """
    try:
        from t1_vectorstore.backends.transformers import TransformersBackend
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("torch", "transformers", "safetensors"):
            raise MissingExtraError("local", "the transformers backend") from error
        raise
    return TransformersBackend(
        checkpoint,
        emb_id=emb_id,
        stop_ids=stop_ids,
        device=device,
        dtype=dtype,
        batch_tokens=batch_tokens,
        threads=threads,
        remote_code=remote_code,
    )
