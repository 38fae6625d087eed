"""Read and write the tensors of safetensors files with numpy, which has no bfloat16 of its own.

The format: https://huggingface.co/docs/safetensors/index#format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t1_vectorstore.errors import CheckpointError

Floats = NDArray[np.float32]

NUMBER_TYPES = {"F32": ("<f4", "f32"), "F16": ("<f2", "f16"), "BF16": ("<u2", "bf16")}
"""Number types of safetensors files: numpy's, and the one of a GGUF file that loses nothing."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a safetensors file.

    Attributes:
        file: The file.
        name: The tensor's name.
        kind: Its number type, as the format names it.
        shape: Its shape.
        start: Position of its first byte in the file.
    """

    file: Path
    name: str
    kind: str
    shape: tuple[int, ...]
    start: int

    def read(self) -> Floats:
        """Return the tensor as float32."""
        kind, _ = NUMBER_TYPES[self.kind]
        raw: NDArray[Any] = np.memmap(self.file, kind, "r", self.start, self.shape)
        if self.kind == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(raw, np.float32)


def read_tensors(file: Path) -> Iterator[StoredTensor]:
    """Yield the tensors of a safetensors file, without their values.

    Raises:
        CheckpointError: The file is damaged or truncated, or has a number type other than ``NUMBER_TYPES``.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if 8 + length > size:
                raise ValueError(f"its header does not end within {size:,} bytes")
            entries = json.loads(stream.read(length))
        for name, entry in entries.items():
            if name == "__metadata__":
                continue
            if entry["dtype"] not in NUMBER_TYPES:
                raise CheckpointError(f"{file}: {name} has the type {entry['dtype']}; quantised weights are not read")
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            if end > size:
                raise ValueError(f"its tensor {name!r} ends at byte {end:,} of {size:,}")
            yield StoredTensor(file, name, entry["dtype"], tuple(entry["shape"]), start)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error


def write_tensors(file: Path, shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], Floats]) -> None:
    """Write a safetensors file in float32, with one tensor in memory at a time.

    Args:
        file: File to write.
        shapes: Shapes of the tensors by name.
        read: Returns a tensor.
    """
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * prod(shape)
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of eight bytes
    with file.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        for name in shapes:
            stream.write(np.ascontiguousarray(read(name), "<f4").data)
