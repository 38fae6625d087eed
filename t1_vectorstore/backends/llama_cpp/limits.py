"""The engine's options, and what llama.cpp cannot do. Imports neither numpy nor llama.cpp, so checks cost nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.spec import one_line

MAX_SEQUENCES = 256
"""The largest number of sequences in a context, which llama.cpp is compiled with."""

_QUANTISED = ("q8_0", "q4_0")
"""Number types of the key-value cache that only flash attention computes with."""


class EngineOptions(BaseModel):
    """The ``engine_options`` of ``backend="llama-cpp"``. The names are llama.cpp's where it has one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_ctx: int | None = Field(default=None, ge=256)
    """Maximum number of tokens in the key-value cache, over all texts that are processed at the same time. The cache
    grows up to it when it is needed. Default: 4,096, or one sequence of the longest length that the model accepts."""
    n_seq_max: int = Field(default=32, ge=1, lt=MAX_SEQUENCES)
    """Maximum number of texts in a batch: documents, or thoughts that are generated at the same time."""
    n_gpu_layers: int = Field(default=-1, ge=-1)
    """Number of layers on the GPU, if llama.cpp was built for one; -1 for all."""
    main_gpu: int = Field(default=0, ge=0)
    """Number of the GPU that is used."""
    mmap: bool = True
    """Map the file instead of reading it, so that processes share it in memory."""
    mlock: bool = False
    """Keep the weights from being swapped out."""
    cache_type: Literal["f32", "f16", "q8_0", "q4_0"] = "f16"
    """Number type of the key-value cache. The quantised ones need less memory, and change thoughts a little."""
    flash_attn: bool | None = None
    """Use flash attention. Default: on a GPU, llama.cpp's choice. On a CPU only where the cache is quantised, since it
    computes there in float16."""
    repack: bool = True
    """Rearrange quantised weights for this CPU when they are loaded. It is faster, and those weights are then in memory
    of this process instead of shared with others."""

    @model_validator(mode="after")
    def _check_attention(self) -> Self:
        if self.flash_attn is False and self.cache_type in _QUANTISED:
            raise ValueError(f"cache_type={self.cache_type!r} needs flash attention; leave flash_attn=False out")
        return self

    def flash_attention(self, *, on_gpu: bool) -> bool | None:
        """Return whether flash attention is used; ``None`` if llama.cpp chooses."""
        if self.flash_attn is not None or on_gpu:
            return self.flash_attn
        return self.cache_type in _QUANTISED

    @classmethod
    def read(cls, options: Mapping[str, Any] | None) -> Self:
        """Read an embedder's ``engine_options``.

        Raises:
            ValueError: An unknown field, or a value that a field does not accept.
        """
        try:
            return cls.model_validate(dict(options or {}))
        except ValidationError as error:
            raise ValueError(f"engine_options of backend='llama-cpp': {one_line(error, cls.model_fields)}") from None


def check_model(checkpoint: Checkpoint) -> None:
    """Check that llama.cpp can give the vectors of a model.

    Raises:
        ValueError: Its vectors are of an inner layer.
    """
    if checkpoint.spec.pooling_layer not in (-1, checkpoint.layers):
        raise ValueError(
            f"pooling_layer={checkpoint.spec.pooling_layer}, but llama.cpp returns only the last layer's states; use "
            "backend='transformers' with a checkpoint folder"
        )
