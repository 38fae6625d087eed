"""Telling files apart without reading all of them: a 4B checkpoint is identified in a fraction of a second."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from t1_vectorstore.errors import CheckpointError

_WHOLE = 64 * 2**20  # bytes; files up to this size are read
_BLOCKS, _BLOCK = 16, 4096  # of each tensor of a larger one; a norm's weights fit into them


def file_digest(file: Path) -> bytes:
    """SHA-256 of a file; of a safetensors file above 64 MiB, of its header and of samples of every tensor.

    Any training changes samples in many tensors. A change to a few rows of one large matrix, made by hand, can lie
    between the samples.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            if size <= _WHOLE:
                return hashlib.sha256(stream.read()).digest()
            length = int.from_bytes(stream.read(8), "little")
            header = stream.read(length)
            digest = hashlib.sha256(str(size).encode() + header)
            for start, end in _tensors(header, 8 + length):
                for block in _sampled(stream, start, end):
                    digest.update(block)
            return digest.digest()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error


def _tensors(header: bytes, first: int) -> list[tuple[int, int]]:
    """Where each tensor begins and ends in the file, in order."""
    entries = json.loads(header)
    return sorted((first + a, first + b) for a, b in (e["data_offsets"] for k, e in entries.items() if k[:2] != "__"))


def _sampled(stream: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """The whole of a small tensor; of a larger one blocks at even distances, the first and the last among them."""
    if end - start <= _BLOCKS * _BLOCK:
        stream.seek(start)
        yield stream.read(end - start)
        return
    for block in range(_BLOCKS):
        stream.seek(start + block * (end - start - _BLOCK) // (_BLOCKS - 1))
        yield stream.read(_BLOCK)
