"""Export a checkpoint to a GGUF file, and check the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from t1_vectorstore.backends.llama_cpp.library import QUANTIZATIONS, quantize
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.folder import CheckpointFolder
from t1_vectorstore.checkpoints.gguf import SUFFIX
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.export.verification import Comparison, compare
from t1_vectorstore.export.writing import NUMBER_TYPES, lossless_type, write_gguf
from t1_vectorstore.options import ModelOptions

KINDS = (*NUMBER_TYPES, *QUANTIZATIONS)
"""Number types of the matrices in a file, from the most to the least precise."""
MIN_COSINE = {"f32": 0.9999, "f16": 0.9999, "bf16": 0.999, "q8_0": 0.99}
"""Smallest cosine with the original, on the sample, at which a file is kept, by its number type."""
MIN_QUANTISED_COSINE = 0.8
"""The same for all other number types. A smaller one means that the file is useless, or the conversion wrong."""
DEFAULT_BUDGET = 64


@dataclass(frozen=True)
class ExportReport:
    """A file that was exported.

    Attributes:
        file: The file.
        size: Its size in bytes.
        comparison: How its vectors and thoughts compare with the original's.
    """

    file: Path
    size: int
    comparison: Comparison


def export_gguf(
    options: ModelOptions,
    out: Path,
    *,
    quant: str = "q8_0",
    budget: int = DEFAULT_BUDGET,
    min_cosine: float | None = None,
    on_step: Callable[[str], None] = lambda _: None,
) -> ExportReport:
    """Write a checkpoint as a GGUF file, and compare the file with the checkpoint.

    The file has the weights, the tokenizer, the chat template and the specification. It gets its name only after it has
    been compared: a file that exists was complete.

    Args:
        options: The checkpoint, a folder or a hub id, and overrides of its specification.
        out: File to write.
        quant: Number type of the matrices, one of ``KINDS``.
        budget: Maximum length in tokens of the thoughts that are compared.
        min_cosine: Smallest cosine with the original at which the file is kept. Default: by number type.
        on_step: Called with what is done next.

    Raises:
        ValueError: An unknown number type, or a name that does not end with ``.gguf``.
        FileExistsError: The file exists.
        CheckpointError: Something in the checkpoint that is not exported, or an export that differs from it by more
            than ``min_cosine``. No file is left.
        MissingExtraError: llama.cpp, or what runs the original, is not installed.
    """
    if quant not in KINDS:
        raise ValueError(f"no number type {quant!r}; there are {', '.join(KINDS)}")
    if out.suffix != SUFFIX:
        raise ValueError(f"the file must end with {SUFFIX}, got {str(out)!r}")
    if out.exists():
        raise FileExistsError(f"{out} exists: choose another name, or remove it")
    checkpoint = Checkpoint.from_options(options)
    if not isinstance(checkpoint.files, CheckpointFolder):
        raise CheckpointError(f"{checkpoint.name} is a GGUF file already; export its original, which lost nothing")
    least = MIN_COSINE.get(quant, MIN_QUANTISED_COSINE) if min_cosine is None else min_cosine
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.stem}-", dir=out.parent) as temporary:
        written = Path(temporary) / f"{quant}{SUFFIX}"
        on_step("converting")
        with checkpoint.in_folder() as complete:
            if quant in NUMBER_TYPES:
                write_gguf(complete, written, quant)
            else:
                whole = Path(temporary) / f"whole{SUFFIX}"
                write_gguf(complete, whole, lossless_type(complete))
        if quant not in NUMBER_TYPES:
            on_step(f"quantising to {quant}")
            quantize(whole, written, quant)
            whole.unlink()
        on_step("comparing with the original")
        exact = options.model_copy(update={"device": "cpu", "dtype": "float32"})
        with T1Embedder.from_options(exact, checkpoint) as original, T1Embedder.load(written) as exported:
            comparison = compare(original, exported, budget=budget)
        if comparison.least < least:
            raise CheckpointError(
                f"the export differs from {checkpoint.name}: the cosine with its vectors is {comparison.least:.4f} for "
                f"some text, and {least} is the smallest for {quant}. No file was written; choose a number type with "
                "more bits, or give a smaller min_cosine (--min-cosine)"
            )
        written.rename(out)
    return ExportReport(out, out.stat().st_size, comparison)
