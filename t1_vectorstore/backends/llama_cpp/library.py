"""The border to llama.cpp: a model and its contexts in Python, with errors instead of logged messages.

Only this module calls the library, by the functions of its C interface as llama-cpp-python declares them.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
import numpy.typing as npt

from t1_vectorstore.backends.llama_cpp.limits import EngineOptions
from t1_vectorstore.errors import BackendError, CheckpointError, MissingExtraError

try:
    import llama_cpp as lib
except ModuleNotFoundError as error:
    if error.name != "llama_cpp":
        raise BackendError(f"llama-cpp-python is installed but lacks {error.name!r}: {error}") from error
    raise MissingExtraError("llama-cpp", "the llama.cpp backend") from error
except (ImportError, OSError, RuntimeError) as error:
    raise BackendError(
        f"llama-cpp-python is installed but cannot be imported: {error}. Build it for this machine: pip install "
        "--force-reinstall --no-cache-dir --no-binary llama-cpp-python llama-cpp-python"
    ) from error

States = npt.NDArray[np.float32]

_ERROR, _CONTINUED = 4, 5
"""Numbers of ``ggml_log_level``."""

_CACHE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8}
"""Numbers of ``ggml_type``."""

QUANTIZATIONS = (
    *("q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0", "q4_k_m", "q4_k_s", "q4_1", "q4_0", "iq4_nl", "iq4_xs"),
    *("q3_k_l", "q3_k_m", "q3_k_s", "q2_k"),
)
"""llama.cpp's quantisations that need no data to be calibrated with, by their names in lower case."""

_CPU_ROWS = 128
"""Tokens that a CPU computes at once; llama.cpp splits larger batches."""

_NO_ROOM = 1
"""Return value of ``llama_decode``."""


class _Log(threading.local):
    """Messages of errors while this thread is in the library; ``None`` outside."""

    lines: list[str] | None = None
    failed = False


_log = _Log()
_others_callback = lib.llama_log_callback()
_others_data = ctypes.c_void_p()


@lib.llama_log_callback  # type: ignore[untyped-decorator]
def _on_message(level: int, text: bytes, _: object) -> None:
    if level != _CONTINUED:
        _log.failed = level == _ERROR
    if not _log.failed:
        return
    if _log.lines is not None:
        _log.lines.append(text.decode("utf-8", "replace"))
    elif _others_callback:  # another user of the library
        _others_callback(level, text, _others_data)


lib.llama_log_get(ctypes.byref(_others_callback), ctypes.byref(_others_data))
lib.llama_log_set(_on_message, None)
lib.llama_backend_init()


@contextmanager
def _messages() -> Iterator[list[str]]:
    """Collect the messages of errors, which the library would print, while it is called."""
    lines: list[str] = []
    before, _log.lines, _log.failed = _log.lines, lines, False
    try:
        yield lines
    finally:
        _log.lines = before


def _joined(lines: Sequence[str]) -> str:
    """Return the messages in one line, without the names of functions and what each failure ends with."""
    texts = [
        line.strip().partition(": ")[2].removeprefix("error loading model: ") for line in "".join(lines).splitlines()
    ]
    found = dict.fromkeys(text for text in texts if text and text != "failed to load model")
    return "; ".join(found) or "it gives no reason"


class Model:
    """Weights in memory. They are freed by ``close``, or with the object.

    Attributes:
        hidden: Length of the hidden states.
        vocabulary: Number of token embeddings.
        shares_prefixes: Whether a sequence can start with a copy of another one's first tokens.
        on_gpu: Whether a GPU computes.
    """

    def __init__(self, file: Path, options: EngineOptions) -> None:
        """Load a file.

        Raises:
            CheckpointError: llama.cpp cannot load it.
        """
        self.file = file
        self.options = options
        parameters = lib.llama_model_default_params()
        self.on_gpu = bool(options.n_gpu_layers and lib.llama_supports_gpu_offload())
        parameters.n_gpu_layers = options.n_gpu_layers if self.on_gpu else 0
        parameters.main_gpu = options.main_gpu
        parameters.use_extra_bufts = options.repack
        parameters.load_mode = options.mmap * lib.LLAMA_LOAD_MODE_MMAP + options.mlock * lib.LLAMA_LOAD_MODE_MLOCK
        # The open file is the one that is mapped, whatever is at its path later.
        descriptor = os.open(file, os.O_RDONLY)
        self._close_file = finalize(self, os.close, descriptor)
        self._descriptor, self._stamp = descriptor, _stamp(descriptor)
        with _messages() as lines:
            self.pointer = lib.llama_model_load_from_file(os.fsencode(file), parameters)
        if not self.pointer:
            raise CheckpointError(f"llama.cpp cannot load {file}: {_joined(lines)}. {_remedy(_joined(lines))}")
        self._free = finalize(self, lib.llama_model_free, self.pointer)
        self.hidden: int = lib.llama_model_n_embd(self.pointer)
        self.vocabulary: int = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.pointer))
        self.trained_positions: int = lib.llama_model_n_ctx_train(self.pointer)
        self.shares_prefixes = not (
            lib.llama_model_is_recurrent(self.pointer) or lib.llama_model_is_hybrid(self.pointer)
        )

    def check_unchanged(self) -> None:
        """Check that nobody has written to the file, whose content is mapped.

        Raises:
            BackendError: Somebody has.
        """
        if self.options.mmap and _stamp(self._descriptor) != self._stamp:
            raise BackendError(
                f"{self.file} was changed while it was in use, so the weights in memory are no longer those that were "
                "loaded: load it again. To update a model, write a new file and rename it"
            )

    def close(self) -> None:
        """Free the weights."""
        self._free()
        self._close_file()


def _stamp(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _remedy(reason: str) -> str:
    """Return what to do about a file that is not loaded."""
    if "architecture" in reason:
        return "A newer llama-cpp-python may know it: pip install -U llama-cpp-python"
    if "version" in reason:
        return (
            "Update llama-cpp-python (pip install -U llama-cpp-python), or write the file again with `t1 export gguf`"
        )
    if any(part in reason for part in ("not within", "corrupted", "incomplete", "read", "magic", "reach")):
        return "The file is damaged or was not downloaded completely: fetch or export it again"
    if any(part in reason for part in ("alloc", "memory")):
        return "Free some memory, choose a smaller quantisation, or fewer n_gpu_layers"
    return "Export it again, or use another quantisation"


class Context:
    """A key-value cache with the buffers to compute in. Not thread-safe.

    Attributes:
        tokens: Number of tokens that it holds.
        sequences: Number of sequences that it holds.
        batch: Maximum number of tokens in a call of ``decode``.
    """

    def __init__(self, model: Model, *, tokens: int, sequences: int, batch: int, threads: int) -> None:
        """Allocate the memory.

        Raises:
            BackendError: There is not enough.
        """
        self._model, self._options = model, model.options
        self.sequences, self.outputs = sequences, 2 * sequences  # a thought may have two inputs in a step
        self.batch = max(min(batch, tokens), self.outputs)
        parameters = lib.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max = max(tokens, self.batch), sequences
        parameters.n_batch = self.batch
        # The buffers of a forward pass have this many rows. On a CPU more rows need more memory, and are not faster.
        parameters.n_ubatch = self.batch if model.on_gpu else min(self.batch, _CPU_ROWS)
        parameters.n_outputs_max = self.outputs  # memory for their logits
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.kv_unified = True  # sequences of any length share the cache, and a prefix is in it once
        parameters.pooling_type = lib.LLAMA_POOLING_TYPE_NONE
        parameters.type_k = parameters.type_v = _CACHE_TYPES[model.options.cache_type]
        if (flash := model.options.flash_attention(on_gpu=model.on_gpu)) is not None:
            parameters.flash_attn_type = int(flash)
        with _messages() as lines:
            self._pointer = lib.llama_init_from_model(model.pointer, parameters)
        if not self._pointer:
            raise BackendError(
                f"llama.cpp has no key-value cache of {tokens} tokens for {model.file}: {_joined(lines)}. Free some "
                "memory, or lower engine_options n_ctx, n_seq_max or batch_tokens"
            )
        self._free = finalize(self, lib.llama_free, self._pointer)
        self.tokens: int = lib.llama_n_ctx(self._pointer)
        self._memory = lib.llama_get_memory(self._pointer)
        self._rows = _Rows(self.batch)
        self._count = 0  # outputs of the last call

    def set_threads(self, threads: int) -> None:
        """Set the number of CPU threads."""
        lib.llama_set_n_threads(self._pointer, threads, threads)

    def decode(
        self,
        inputs: Sequence[int] | States,
        positions: Sequence[int],
        sequences: Sequence[int],
        outputs: Sequence[bool] | bool,
        *,
        states: bool = False,
    ) -> None:
        """Run the model on one batch.

        Args:
            inputs: Token ids, or states ``(n, hidden)`` in the place of their embeddings.
            positions: Position of each input in its sequence.
            sequences: Number of each input's sequence.
            outputs: Which inputs have an output.
            states: Whether the outputs are needed as states, besides the logits. Then all inputs have an output.

        Raises:
            BackendError: llama.cpp failed.
        """
        rows = self._rows
        count = rows.fill(inputs, positions, sequences, outputs)
        # The library ends the process if there are more.
        assert (count if states else int(rows.outputs[:count].sum())) <= self.outputs
        lib.llama_set_embeddings(self._pointer, states)
        with _messages() as lines:
            code = lib.llama_decode(self._pointer, rows.batch)
        if code:
            raise BackendError(self._failure(code, count, _joined(lines)))
        self._count = int(rows.outputs[:count].sum())

    def logits(self) -> States:
        """Return the logits of the last call's outputs, ``(outputs, vocabulary)``; valid until the next call."""
        return self._array(lib.llama_get_logits(self._pointer), self._model.vocabulary)

    def states(self) -> States:
        """Return the last layer's states after the final norm, ``(outputs, hidden)``; valid until the next call."""
        return self._array(lib.llama_get_embeddings(self._pointer), self._model.hidden)

    def copy(self, source: int, target: int, length: int) -> None:
        """Let a sequence start with the first tokens of another one, without computing or storing them again."""
        lib.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def remove(self, sequence: int) -> None:
        """Free the cache's part of a sequence."""
        lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def clear(self) -> None:
        """Free all sequences."""
        lib.llama_memory_clear(self._memory, False)

    def close(self) -> None:
        """Free the memory."""
        self._free()

    def _array(self, pointer: Any, width: int) -> States:  # noqa: ANN401
        values: States = np.ctypeslib.as_array(pointer, (self._count, width))
        return values

    def _failure(self, code: int, count: int, reason: str) -> str:
        if code == _NO_ROOM:
            return f"llama.cpp's key-value cache of {self.tokens} tokens has no room for {count} more"
        if "alloc" in reason or "memory" in reason or "buffer" in reason:
            return (
                f"out of memory in a batch of {count} tokens: {reason}. Free some memory, or lower batch_tokens or "
                "engine_options n_ctx"
            )
        return f"llama.cpp failed on a batch of {count} tokens (code {code}): {reason}"


class _Rows:
    """The arrays of a batch, allocated once."""

    def __init__(self, size: int) -> None:
        self.tokens, self.positions, self.sequences = np.zeros((3, size), np.int32)
        self.outputs = np.zeros(size, np.int8)
        self._ones = np.ones(size, np.int32)
        # Each input has a list of its sequences, with one item.
        self._lists = (self.sequences.ctypes.data + 4 * np.arange(size)).astype(np.uintp)
        self._states: States | None = None
        self.batch = lib.llama_batch(
            pos=_pointer(self.positions, ctypes.c_int32),
            n_seq_id=_pointer(self._ones, ctypes.c_int32),
            seq_id=ctypes.cast(self._lists.ctypes.data, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=_pointer(self.outputs, ctypes.c_int8),
        )

    def fill(
        self,
        inputs: Sequence[int] | States,
        positions: Sequence[int],
        sequences: Sequence[int],
        outputs: Sequence[bool] | bool,
    ) -> int:
        """Set the first rows, and return their number."""
        count = len(inputs)
        self.positions[:count], self.sequences[:count], self.outputs[:count] = positions, sequences, outputs
        if isinstance(inputs, np.ndarray):
            self._states = np.ascontiguousarray(inputs, np.float32)
            self.batch.token, self.batch.embd = None, _pointer(self._states, ctypes.c_float)
        else:
            self.tokens[:count] = inputs
            self.batch.token, self.batch.embd = _pointer(self.tokens, ctypes.c_int32), None
        self.batch.n_tokens = count
        return count


def _pointer(array: npt.NDArray[Any], kind: Any) -> Any:  # noqa: ANN401
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))


def quantize(source: Path, target: Path, kind: str) -> None:
    """Write a quantised copy of a file.

    A matrix whose rows do not fit a kind gets a larger one, as llama.cpp chooses.

    Args:
        source: A file whose matrices are not quantised.
        target: File to write.
        kind: One of ``QUANTIZATIONS``.

    Raises:
        BackendError: llama.cpp fails.
    """
    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype = getattr(lib, f"LLAMA_FTYPE_MOSTLY_{kind.upper()}")
    with _messages() as lines:
        failed = lib.llama_model_quantize(os.fsencode(source), os.fsencode(target), parameters)
    if failed:
        raise BackendError(f"llama.cpp cannot quantise {source} to {kind}: {_joined(lines)}")
