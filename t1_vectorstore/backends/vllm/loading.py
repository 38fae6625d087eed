"""Start vLLM on a checkpoint."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from pickle import PicklingError
from typing import Any

# A library should not write to the terminal, least of all to standard output, vLLM's default.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")

import torch
import vllm
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM
from vllm.config import PoolerConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM

from t1_vectorstore.backends.base import missing_weights
from t1_vectorstore.backends.vllm.engine import VLLMEngine, call_workers
from t1_vectorstore.backends.vllm.event_loop import EventLoopThread
from t1_vectorstore.backends.vllm.generation import EngineBackend
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.errors import CheckpointError, external_stacklevel
from t1_vectorstore.options import LoadingOptions

TESTED = ("0.32",)
"""The versions of vLLM with which this backend is tested."""

_WORKER = "t1_vectorstore.backends.vllm.worker.StateKeeper"

_LAST = PoolerConfig(pooling_type="LAST")

_RESERVED = {
    "model": "the checkpoint is the first argument of load",
    "dtype": "dtype= is an argument of load",
    "trust_remote_code": "remote_code= is an argument of load",
    **dict.fromkeys(
        (
            *("tokenizer", "skip_tokenizer_init", "runner", "convert", "pooler_config"),
            *("worker_extension_cls", "scheduling_policy", "generation_config"),
        ),
        "the backend sets it",
    ),
}
"""Engine arguments that cannot be set as engine_options, and why."""


def load(checkpoint: Checkpoint, options: LoadingOptions, *, stop_ids: Sequence[int]) -> EngineBackend:
    """Start vLLM on a checkpoint.

    Args:
        checkpoint: The folder and its specification.
        options: Number type, and vLLM's engine arguments, such as ``tensor_parallel_size``. vLLM's ``auto`` computes in
            bfloat16 if the weights are float32.
        stop_ids: Tokens that end a thought, the emb token first.

    Raises:
        ValueError: An engine argument that vLLM does not have, or that the backend sets.
        CheckpointError: A checkpoint that vLLM cannot load, or that lacks weights.
    """
    engine_options = options.engine_options or {}
    arguments = _engine_arguments(checkpoint, max(stop_ids), options.dtype, options.remote_code, engine_options)
    if vllm.__version__.rpartition(".")[0] not in TESTED:
        warnings.warn(
            f"vLLM {vllm.__version__} is not among the versions that this backend is tested with: {', '.join(TESTED)}",
            stacklevel=external_stacklevel(),
        )
    _check_weights(checkpoint, remote_code=options.remote_code)
    loop = EventLoopThread()
    try:
        engine = loop.run(_start(arguments, stop_ids))
    except BaseException as error:
        loop.close()
        if not isinstance(error, Exception):
            raise
        raise CheckpointError(  # vLLM, and the code that sends errors between its processes, may raise anything
            f"vLLM {vllm.__version__} does not start with {checkpoint.path} and {engine_options}: "
            f"{' '.join(str(error).split()) or type(error).__name__}. {_remedy(error)}"
        ) from error
    return EngineBackend(engine, loop, stop_ids=stop_ids, max_positions=engine.max_positions)


async def _start(arguments: Mapping[str, Any], stop_ids: Sequence[int]) -> VLLMEngine:
    """Start one engine, or two if its workers cannot keep states. After a failure none is left running."""
    with ExitStack() as started:

        def start(**own: Any) -> AsyncLLM:  # noqa: ANN401
            engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**{**arguments, **own}))
            started.callback(engine.shutdown)
            return engine

        generator, pooler = start(worker_extension_cls=_WORKER), None
        try:
            await call_workers(generator, "t1_install")
        except Exception as error:  # noqa: BLE001 # its type depends on the version of vLLM
            started.close()
            warnings.warn(
                f"vLLM {vllm.__version__} does not let its workers keep hidden states ({error}), so a second engine "
                "computes the vectors: the weights are in memory twice, and each engine has half of the rest",
                stacklevel=external_stacklevel(),
            )
            half = {"gpu_memory_utilization": arguments.get("gpu_memory_utilization", 0.9) / 2}
            generator = start(**half)
            try:
                pooler = start(**half, runner="pooling", convert="embed", pooler_config=_LAST)
            except Exception as second:
                raise RuntimeError(f"the second engine, for the vectors, failed beside the first: {second}") from second
        engine = VLLMEngine(generator, pooler, stop_ids=stop_ids)
        started.pop_all()
        return engine


def _remedy(error: Exception) -> str:
    if isinstance(error, PicklingError) or "pickle" in str(error):
        return (
            "The engine_options are sent to the engine's process: leave out what cannot be pickled, such as locks and "
            "open files."
        )
    return (
        "Its processes' messages are above, on stderr; VLLM_LOGGING_LEVEL=INFO lets them say more. A script must load "
        "it under `if __name__ == '__main__':`, since they import the script."
    )


def _engine_arguments(
    checkpoint: Checkpoint, highest: int, dtype: str, remote_code: bool, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the engine's arguments, after all checks that do not need the engine."""
    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for name in options:
        if name in _RESERVED:
            raise ValueError(f"engine_options[{name!r}] cannot be set: {_RESERVED[name]}")
        if name not in known:
            close = difflib.get_close_matches(name, known)
            raise ValueError(f"vLLM {vllm.__version__} has no engine argument {name!r}; did you mean one of {close}?")
    vocabulary = checkpoint.config.get("text_config", checkpoint.config).get("vocab_size", 0)
    if highest >= vocabulary:
        raise CheckpointError(
            f"the tokenizer's special tokens go up to {highest}, but the model in {checkpoint.path} has only "
            f"{vocabulary} embeddings: tokenizer and weights do not belong together"
        )
    defaults: dict[str, Any] = {"max_model_len": -1, "disable_log_stats": True}  # -1: as much as there is memory for
    if current_platform.is_cpu():
        defaults["block_size"] = 32  # its own default is 128 tokens, and no shorter prefix is cached
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


def _check_weights(checkpoint: Checkpoint, *, remote_code: bool) -> None:
    """Check that each parameter that one layer's weights have is there for all layers.

    vLLM 0.32 does not check the weights of linear layers: a missing one keeps whatever was in memory, and the vectors
    mean nothing. This check does not depend on how a model family names its parameters. A model that transformers does
    not know is not checked.

    Raises:
        CheckpointError: Weights are missing, or a file cannot be read.
    """
    try:
        config = AutoConfig.from_pretrained(checkpoint.path, trust_remote_code=remote_code, local_files_only=True)
        with torch.device("meta"):  # names and shapes only, without memory
            loader: Any = AutoModelForCausalLM
            model = loader.from_config(config, trust_remote_code=remote_code)
    except (ValueError, KeyError, ImportError, AttributeError):
        return
    present = {name for file in checkpoint.path.glob("*.safetensors") for name in _tensor_names(file)}
    kinds = {_without_layer(name) for name in present}
    expected = [name for name, _ in model.named_parameters() if _without_layer(name) in kinds]
    if missing := sorted(set(expected) - present):
        raise missing_weights(checkpoint.path, missing)


def _tensor_names(file: Path) -> list[str]:
    try:
        with safe_open(file, framework="pt") as tensors:
            return list(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error


def _without_layer(name: str) -> str:
    """Replace the layer's number in a parameter's name."""
    return re.sub(r"\.\d+\.", ".#.", name)
