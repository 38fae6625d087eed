"""Load a GGUF file with llama.cpp."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from t1_vectorstore.backends.llama_cpp.backend import LlamaCppBackend
from t1_vectorstore.backends.llama_cpp.library import Model
from t1_vectorstore.backends.llama_cpp.limits import EngineOptions, check_model
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.gguf import GGUFFile
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.options import LoadingOptions

_SMALL = 384
"""Models with hidden states up to this length run on one thread, as in the local backend."""


def load(checkpoint: Checkpoint, options: LoadingOptions, *, stop_ids: Sequence[int]) -> LlamaCppBackend:
    """Load a checkpoint's weights.

    Args:
        checkpoint: The file and its specification.
        options: Batch size, threads and engine options.
        stop_ids: Tokens that end a thought, the emb token first.

    Raises:
        CheckpointError: A file that llama.cpp cannot load, or that has no embedding for the emb token.
        ValueError: An engine option or a pooling layer that llama.cpp does not have.
        BackendError: There is not enough memory.
    """
    engine = EngineOptions.read(options.engine_options)
    check_model(checkpoint)
    model = Model(checkpoint.path, engine)
    try:
        if isinstance(checkpoint.files, GGUFFile):
            checkpoint.files.check_unchanged()  # what was read of it before belongs to these weights
        if max(stop_ids) >= model.vocabulary:
            raise CheckpointError(
                f"the tokenizer's {checkpoint.spec.emb_token!r} is token {stop_ids[0]}, but the model in "
                f"{checkpoint.path} has only {model.vocabulary} embeddings: tokenizer and weights do not belong "
                "together"
            )
        limits = [limit for limit in (engine.n_ctx, model.trained_positions) if limit]
        return LlamaCppBackend(
            model,
            stop_ids=stop_ids,
            max_positions=min(limits, default=None),
            batch_tokens=options.batch_tokens,
            threads=options.threads or default_threads(model.hidden),
        )
    except BaseException:
        model.close()
        raise


def default_threads(hidden: int) -> int:
    """Return the number of threads for a model: one if it is small, else one for each core, as ``OMP_NUM_THREADS``."""
    if hidden <= _SMALL:
        return 1
    if (given := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
        return int(given) or 1
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    # Two threads of one core would wait for the same arithmetic units.
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text(encoding="ascii") if siblings.is_file() else cpu)
    return len(cores)
