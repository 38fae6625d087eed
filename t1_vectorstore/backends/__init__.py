"""The seam between T1 and whatever runs its model: three verbs, in token ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from t1_vectorstore.backends.options import LOCAL
from t1_vectorstore.checkpoint import Checkpoint, Decoding
from t1_vectorstore.errors import BackendError, MissingExtraError
from t1_vectorstore.specification import UNREFINED, Refining
from t1_vectorstore.thinking import refuse_refining
from t1_vectorstore.types import BackendName, OnTokens, Trajectory, Vectors


class Backend(Protocol):
    """What an embedder needs of a model. Implementations are safe to call from several threads."""

    refines: bool
    """Whether it can feed hidden states back to the model."""

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """The hidden state at each prompt's last token, float32 ``(n, hidden)``, in order.

        Args:
            prompts: token ids, each ending with the emb token.
            on_done: told how many prompts were finished since the last time.
        """
        ...

    def think(
        self,
        prompts: Sequence[Sequence[int]],
        decoding: Decoding,
        *,
        deadline: float | None = None,
        refining: Refining = UNREFINED,
        samples: int = 1,
        on_tokens: OnTokens | None = None,
    ) -> list[Trajectory]:
        """Generate thoughts for each prompt, and the hidden state at the emb token that closes each, in order.

        Args:
            prompts: token ids up to where the thought begins.
            decoding: budget and sampling.
            deadline: ``time.monotonic()`` after which thoughts are closed as they stand.
            refining: passes in hidden space that follow the emb token.
            samples: how many thoughts for each prompt; they come one after the other. The first is the one that comes
                alone, and each has random numbers of its own.
            on_tokens: told which of the thoughts has grown, and by what; none of that is taken back. What it raises
                ends the call.

        Raises:
            ValueError: this backend cannot refine.
        """
        ...

    def refine(self, prompts: Sequence[Sequence[int]], refining: Refining) -> Vectors:
        """What becomes of the states that ``encode`` gives, by passes in hidden space, float32 ``(n, hidden)``.

        Args:
            prompts: token ids, each ending with the emb token.
            refining: the passes that follow it.

        Raises:
            ValueError: this backend cannot refine.
        """
        ...

    def close(self) -> None:
        """End what runs beside this process; nothing where there is nothing."""
        ...


def load_backend(
    name: BackendName,
    checkpoint: Checkpoint,
    *,
    stop_ids: Sequence[int],
    dtype: str = "auto",
    remote_code: bool = False,
    engine_options: Mapping[str, Any] | None = None,
    **local: Any,  # noqa: ANN401
) -> Backend:
    """Load what runs a checkpoint's model, and heavy libraries only now.

    Args:
        name: which one; it and its options have passed :func:`~t1_vectorstore.backends.options.check_options`.
        checkpoint: the folder and its specification.
        stop_ids: the tokens that end a thought, the emb token first.
        dtype: of the weights.
        remote_code: run the checkpoint's own Python code.
        engine_options: for ``vllm`` and ``remote``.
        local: options that only ``transformers`` has; ``None`` and ``auto`` leave them open.

    Raises:
        MissingExtraError: what the backend needs is not installed.
        ValueError: a specification that the backend cannot follow.
    """
    if name == "transformers":
        return load_transformers(
            checkpoint, emb_id=stop_ids[0], stop_ids=stop_ids, dtype=dtype, remote_code=remote_code, **local
        )
    refuse_refining(checkpoint.spec.refining)
    if name == "vllm":
        return _vllm(checkpoint, stop_ids=stop_ids, dtype=dtype, remote_code=remote_code, options=engine_options or {})
    from t1_vectorstore.backends.remote import load

    return load(checkpoint, stop_ids=stop_ids, options=engine_options or {})


def load_transformers(
    checkpoint: Checkpoint,
    *,
    emb_id: int,
    stop_ids: Sequence[int],
    device: str = "auto",
    devices: Sequence[str] | None = None,
    sharing: int = 1,
    dtype: str = "auto",
    batch_tokens: int | None = None,
    threads: int | None = None,
    remote_code: bool = False,
) -> Backend:
    """Load the local backend, and torch only now; transformers only where the lean path is not proven.

    Args: those of :func:`t1_vectorstore.backends.local.load_local`, and
        devices: several, for documents, in place of ``device``.

    Raises:
        MissingExtraError: this model needs transformers, and it is not installed.
    """
    if devices is not None:
        from t1_vectorstore.backends.pool import DevicePool

        load = partial(load_transformers, checkpoint, emb_id=emb_id, stop_ids=stop_ids, dtype=dtype)
        load = partial(load, batch_tokens=batch_tokens, threads=threads, remote_code=remote_code)
        return DevicePool(load, devices)
    from t1_vectorstore.backends.local import load_local

    try:
        return load_local(
            checkpoint,
            emb_id=emb_id,
            stop_ids=stop_ids,
            device=device,
            dtype=dtype,
            batch_tokens=batch_tokens,
            threads=threads,
            sharing=sharing,
            remote_code=remote_code,
        )
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "transformers":
            raise MissingExtraError(*LOCAL) from error
        raise


def _vllm(checkpoint: Checkpoint, **options: Any) -> Backend:  # noqa: ANN401
    try:
        from t1_vectorstore.backends.vllm.loading import load
    except ModuleNotFoundError as error:
        raise BackendError(f"vLLM is installed but lacks {error.name!r}: {error}") from error
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendError(
            f"vLLM is installed but cannot be imported: {error}. On a CPU, uninstall torchvision, torchaudio and "
            "torchcodec, whose builds are for another torch"
        ) from error
    return load(checkpoint, **options)
