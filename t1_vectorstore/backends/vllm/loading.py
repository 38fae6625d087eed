"""Starting vLLM on a checkpoint."""

from __future__ import annotations

import dataclasses
import difflib
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pickle import PicklingError
from typing import Any

# A library does not report on its user's terminal, and vLLM's stream is standard output, where a program's results go.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")

import vllm
from vllm.config import PoolerConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM

from t1_vectorstore.backends.vllm.engine import VLLMEngine, call_workers
from t1_vectorstore.backends.vllm.event_loop import EventLoop
from t1_vectorstore.backends.vllm.generation import ServedBackend
from t1_vectorstore.backends.vllm.weights import check_weights
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.errors import CheckpointError, external_stacklevel
from t1_vectorstore.options import LoadingOptions

TESTED = ("0.32",)
"""The versions of vLLM on which the tests of this backend are run."""

_WORKER = "t1_vectorstore.backends.vllm.worker.StateKeeper"

_LAST = PoolerConfig(pooling_type="LAST")

_OURS = {
    "model": "the checkpoint is the first argument of load",
    "dtype": "dtype= is an argument of load",
    "trust_remote_code": "remote_code= is an argument of load",
    **dict.fromkeys(
        (
            *("tokenizer", "skip_tokenizer_init", "runner", "convert", "pooler_config"),
            *("worker_extension_cls", "scheduling_policy", "generation_config"),
        ),
        "the backend decides it",
    ),
}
"""Engine arguments that are no options, and why."""


def load(checkpoint: Checkpoint, options: LoadingOptions, *, stop_ids: Sequence[int]) -> ServedBackend:
    """Start vLLM on a checkpoint.

    Args:
        checkpoint: the folder and its specification.
        options: Number type and vLLM's engine arguments, such as ``tensor_parallel_size``. vLLM's ``auto`` computes with
            float32 weights in bfloat16.
        stop_ids: Tokens that end a thought, the emb token first.

    Raises:
        ValueError: an option that vLLM does not have or that is decided here, a value that it does not take, or a
            pooling layer other than the last.
        CheckpointError: a checkpoint that vLLM cannot serve, or of which weights are missing.
    """
    engine_options = options.engine_options or {}
    arguments = _arguments(checkpoint, max(stop_ids), options.dtype, options.remote_code, engine_options)
    if vllm.__version__.rpartition(".")[0] not in TESTED:
        warnings.warn(
            f"vLLM {vllm.__version__} is not among the versions that this backend is tested with: {', '.join(TESTED)}",
            stacklevel=external_stacklevel(),
        )
    check_weights(checkpoint, remote_code=options.remote_code)
    loop = EventLoop()
    try:
        engine = loop.run(_start(arguments, stop_ids))
    except BaseException as error:
        loop.close()
        if not isinstance(error, Exception):
            raise
        raise CheckpointError(  # vLLM, and what carries its errors from process to process, raise anything
            f"vLLM {vllm.__version__} does not start with {checkpoint.path} and {engine_options}: "
            f"{' '.join(str(error).split()) or type(error).__name__}. {_remedy(error)}"
        ) from error
    backend = ServedBackend(engine, loop, stop_ids=stop_ids, max_positions=engine.max_positions)
    try:
        checkpoint.check_lengths(engine.max_positions)
    except (ValueError, CheckpointError):
        backend.close()
        raise
    return backend


async def _start(arguments: Mapping[str, Any], stop_ids: Sequence[int]) -> VLLMEngine:
    """One engine; two where its workers cannot keep states. Whatever fails, what was started is ended."""
    with ExitStack() as started:

        def start(**own: Any) -> AsyncLLM:  # noqa: ANN401
            engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**{**arguments, **own}))
            started.callback(engine.shutdown)
            return engine

        generator, pooler = start(worker_extension_cls=_WORKER), None
        try:
            await call_workers(generator, "t1_install")
        except Exception as error:  # noqa: BLE001 # vLLM's workers raise whatever their version raises
            started.close()
            warnings.warn(
                f"vLLM {vllm.__version__} does not let its workers keep hidden states ({error}), so a second engine "
                "gives the vectors: the weights are in memory twice, and each engine has half of the rest",
                stacklevel=external_stacklevel(),
            )
            half = {"gpu_memory_utilization": arguments.get("gpu_memory_utilization", 0.9) / 2}
            generator = start(**half)
            try:
                pooler = start(**half, runner="pooling", convert="embed", pooler_config=_LAST)
            except Exception as second:
                raise RuntimeError(
                    f"the second engine, which was to give the vectors, failed beside the first: {second}"
                ) from second
        engine = VLLMEngine(generator, pooler, stop_ids=stop_ids)
        started.pop_all()
        return engine


def _remedy(error: Exception) -> str:
    """What to do about a start that failed."""
    if isinstance(error, PicklingError) or "pickle" in str(error):
        return (
            "The engine is a process of its own, to which the engine_options are sent: leave out what cannot be "
            "pickled, such as locks, open files and connections."
        )
    return (
        "What its processes say is above, on stderr; VLLM_LOGGING_LEVEL=INFO lets them say more. A script must load it "
        "under `if __name__ == '__main__':`, since they import it."
    )


def _arguments(
    checkpoint: Checkpoint, highest: int, dtype: str, remote_code: bool, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The engine's arguments, after everything that can be refused without starting it."""
    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for name in options:
        if name in _OURS:
            raise ValueError(f"engine_options[{name!r}] cannot be set: {_OURS[name]}")
        if name not in known:
            close = difflib.get_close_matches(name, known)
            raise ValueError(f"vLLM {vllm.__version__} has no engine argument {name!r}; close to it are {close}")
    if checkpoint.spec.pooling_layer != -1:
        raise ValueError(
            f"pooling_layer={checkpoint.spec.pooling_layer}, but vLLM gives only the last layer's states; "
            "use backend='transformers'"
        )
    vocabulary = checkpoint.config.get("text_config", checkpoint.config).get("vocab_size", 0)
    if highest >= vocabulary:
        raise CheckpointError(
            f"the tokenizer's special tokens go up to {highest}, but the model in {checkpoint.path} has only "
            f"{vocabulary} embeddings: tokenizer and weights do not belong together"
        )
    defaults: dict[str, Any] = {"max_model_len": -1, "disable_log_stats": True}  # -1: what there is memory for
    if current_platform.is_cpu():
        defaults["block_size"] = 32  # of its own it takes 128 tokens, and caches no prefix that is shorter
    return {
        **defaults,
        **options,
        "model": str(checkpoint.path),
        "dtype": dtype,
        "trust_remote_code": remote_code,
        "skip_tokenizer_init": True,
        "scheduling_policy": "priority",
        "generation_config": "vllm",
    }
