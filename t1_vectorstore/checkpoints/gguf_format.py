"""Read the header of a GGUF file: its metadata, and where its tensors are.

GGUF is llama.cpp's file format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. This reader needs no other
package, reads a vocabulary of 150,000 tokens in a fraction of a second, and never maps the file into memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from t1_vectorstore.checkpoints.fingerprint import FileState
from t1_vectorstore.errors import CheckpointError

VERSIONS = (2, 3)
"""Versions of the format that are read. They differ only in that files of version 3 may be big-endian."""

_MAGIC = b"GGUF"
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""How ``struct`` names the number types of the format, by their id."""
_STRING, _ARRAY = 8, 9

_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}
"""Tensor types by their id: name, number of values in a block, and size of a block in bytes."""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a file.

    Attributes:
        name: Its name, such as ``blk.0.attn_q.weight``.
        shape: Its shape, fastest dimension first: the reverse of torch's.
        kind: Name of its type, such as ``F16`` or ``Q4_K``.
        start: Position of its first byte in the file.
        end: Position after its last byte.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class GGUFHeader:
    """The header of a GGUF file.

    Attributes:
        file: The file.
        metadata: All metadata by key; arrays are lists.
        tensors: The tensors, in the order of the file.
        state: The file's size and time of change when the header was read.
    """

    file: Path
    metadata: Mapping[str, Any]
    tensors: tuple[TensorInfo, ...]
    state: FileState

    @classmethod
    def read(cls, file: Path) -> GGUFHeader:
        """Read a header, and check that the file holds all tensors that it names.

        Raises:
            CheckpointError: The file is not a GGUF file of a known version, or is truncated or damaged.
        """
        try:
            with file.open("rb", buffering=2**20) as stream:
                state = FileState.of(file)
                reader = _Reader(stream, file, state.size)
                tensor_count, metadata = reader.metadata()
                tensors = tuple(reader.tensors(tensor_count, metadata.get("general.alignment", 32)))
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read: {error}") from error
        for tensor in tensors:
            if tensor.end > state.size:
                raise _truncated(file, f"its tensor {tensor.name!r} ends at byte {tensor.end:,} of {state.size:,}")
        return cls(file, metadata, tensors, state)

    @cached_property
    def by_name(self) -> Mapping[str, TensorInfo]:
        """The tensors by name."""
        return {tensor.name: tensor for tensor in self.tensors}


class _Reader:
    """Reads a header value by value."""

    def __init__(self, stream: BinaryIO, file: Path, size: int) -> None:
        self._stream, self._file, self._size = stream, file, size

    def metadata(self) -> tuple[int, dict[str, Any]]:
        """Return the number of tensors, and the metadata."""
        if self._stream.read(4) != _MAGIC:
            raise CheckpointError(f"{self._file} is not a GGUF file: it does not begin with 'GGUF'")
        version = self._number("I")
        if version not in VERSIONS:
            raise CheckpointError(f"{self._file} {_unknown_version(version)}")
        tensor_count, count = self._number("Q"), self._number("Q")
        metadata: dict[str, Any] = {}
        for _ in range(count):
            key = self._text()
            metadata[key] = self._value(self._number("I"), key)
        return tensor_count, metadata

    def tensors(self, count: int, alignment: int) -> Iterator[TensorInfo]:
        """Yield the tensors; their data follows the header, at the next multiple of the alignment."""
        if not isinstance(alignment, int) or alignment < 1:
            raise CheckpointError(f"{self._file} is damaged: its general.alignment is {alignment!r}")
        rows: list[tuple[str, tuple[int, ...], int, int]] = []
        for _ in range(count):
            name, dimensions = self._text(), self._number("I")
            if dimensions > 4:
                raise CheckpointError(f"{self._file} is damaged: its tensor {name!r} has {dimensions} dimensions")
            shape = tuple(self._number("Q") for _ in range(dimensions))
            rows.append((name, shape, self._number("I"), self._number("Q")))
        first = -(-self._stream.tell() // alignment) * alignment
        for name, shape, type_id, offset in rows:
            if type_id not in _TYPES:
                raise CheckpointError(
                    f"{self._file} has the tensor {name!r} of the type {type_id}, which this version of the package "
                    "does not know; export it in another type, such as q8_0"
                )
            kind, block, size = _TYPES[type_id]
            yield TensorInfo(name, shape, kind, first + offset, first + offset + prod(shape) // block * size)

    def _value(self, kind: int, key: str) -> Any:  # noqa: ANN401 - any metadata
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            return self._array(key)
        if kind not in _NUMBERS:
            raise CheckpointError(f"{self._file} is damaged, or newer than this package: {key} has the type {kind}")
        return self._number(_NUMBERS[kind])

    def _array(self, key: str) -> list[Any]:
        kind, count = self._number("I"), self._number("Q")
        if kind in _NUMBERS:
            code = _NUMBERS[kind]
            return list(struct.unpack(f"<{count}{code}", self._take(count * struct.calcsize(f"<{code}"))))
        if kind != _STRING:  # the format allows arrays of arrays; no model has them
            raise CheckpointError(f"{self._file} is damaged: {key} is an array of the type {kind}")
        return [self._text() for _ in range(count)]

    def _text(self) -> str:
        try:
            return self._take(self._number("Q")).decode()
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{self._file} is damaged: a text in its header is not UTF-8") from error

    def _number(self, code: str) -> Any:  # noqa: ANN401 - a number or a bool
        return struct.unpack(f"<{code}", self._take(struct.calcsize(f"<{code}")))[0]

    def _take(self, count: int) -> bytes:
        data = self._stream.read(count) if count <= self._size else b""
        if len(data) != count:
            raise _truncated(self._file, f"its header does not end within {self._size:,} bytes")
        return data


def _unknown_version(version: int) -> str:
    swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
    if swapped in VERSIONS:
        return "is a big-endian GGUF file; llama.cpp's gguf_convert_endian.py converts it"
    remedy = "export it again with t1 export gguf" if version < min(VERSIONS) else "update t1-vectorstore and llama.cpp"
    return f"has version {version} of the GGUF format, and this package reads {VERSIONS[0]} and {VERSIONS[1]}; {remedy}"


def _truncated(file: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{file} is truncated or damaged: {reason}. Download or export it again")
