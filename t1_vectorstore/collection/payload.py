"""What is written beside a vector, how it is checked before that, and how it is read back.

    {"page_content": text, "metadata": {...}, "t1": {"id", "document_id", "start", "end", "index", "content_hash"}}

The first two keys are langchain-qdrant's, so that each can read what the other wrote. A point without the third was
written by someone else: its own id is its id, and its text is the whole document.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from t1_vectorstore.collection.bm25 import document_terms
from t1_vectorstore.engines import OWN_KEY, Row, Schema
from t1_vectorstore.engines.ids import point_id
from t1_vectorstore.errors import InvalidText
from t1_vectorstore.types import Chunk, Hit, Point, Vector

MAX_DEPTH = 16
"""How deep metadata may nest. Protobuf ends at about 30 levels; beyond 127 a payload can be written but not read."""
PROOF_FIELDS = (f"{OWN_KEY}.id", f"{OWN_KEY}.content_hash")
"""The part of a payload that says which point it is and what is in it."""
_INT64 = 2**63
_SHORT, _LONG = 1e-100, 1e100
"""Vectors of a length in between have squares that neither vanish nor overflow."""
_NUMBER_BYTES = 12  # about what a float takes in JSON


def to_row(point: Point, schema: Schema) -> Row:
    """A checked row, ready to be written.

    Raises:
        TypeError: something is not of the type it must be.
        ValueError: the vector, the metadata, or the text (``InvalidText``) cannot be stored; names id and value.
    """
    if not isinstance(point, Point):
        raise TypeError(f"a collection stores Point(chunk, vector), got {type(point).__name__}: {_short(point)}")
    chunk = point.chunk
    payload, size = to_payload(chunk, schema)
    payload[OWN_KEY] = {
        "id": chunk.id,
        "document_id": chunk.document_id,
        "start": chunk.start,
        "end": chunk.end,
        "index": chunk.index,
        "content_hash": chunk.content_hash,
    }
    vector = to_vector(point.vector, schema.identity.dimension, _where(chunk))
    terms = document_terms(chunk.text) if schema.hybrid else None
    numbers = len(vector) + (2 * len(terms.indices) if terms else 0)
    return Row(point_id(chunk.id), payload, vector, size + _NUMBER_BYTES * numbers + 200, terms)


def to_payload(chunk: Chunk, schema: Schema) -> tuple[dict[str, Any], int]:
    """What is written beside a chunk's vector but for this package's own part; and about how many bytes that is.

    Raises:
        TypeError: something is not of the type it must be.
        ValueError: the id, the metadata, or the text (``InvalidText``) cannot be stored; names id and value.
    """
    point_id(chunk.id)
    where = _where(chunk)
    size = _check_text(chunk.text, where) + _check_text(chunk.id, where) + _check_text(chunk.document_id, where)
    if not isinstance(chunk.metadata, Mapping):
        raise TypeError(f"{where} has metadata of type {type(chunk.metadata).__name__}; it must be a mapping")
    metadata, metadata_size = _json(chunk.metadata, where, "metadata", 1)
    rest = {schema.metadata_key: metadata} if schema.metadata_key else metadata
    if taken := [key for key in (schema.content_key, OWN_KEY) if key in rest]:
        raise ValueError(f"{where} has metadata under {taken[0]!r}, a key of the payload itself; rename it")
    return {**rest, schema.content_key: chunk.text}, size + metadata_size


def to_vector(given: object, dimension: int, where: str) -> Vector:
    """A float32 vector of unit length; ``where`` names its owner in errors.

    Cosine does not see length, so it is taken out here, in double precision, where very long and very short vectors
    neither overflow nor vanish.

    Raises:
        TypeError: not numbers.
        ValueError: another dimension, a value that is not finite, or nothing but zeros.
    """
    vector = np.asarray(given)
    if vector.dtype.kind not in "fiu":
        raise TypeError(f"{where} has a vector of {vector.dtype}; it must be an array of real numbers")
    if vector.shape != (dimension,):
        raise ValueError(
            f"{where} has a vector of shape {vector.shape}; this collection holds vectors of {dimension} dimensions"
        )
    exact = vector.astype(np.float64)
    with np.errstate(over="ignore"):
        length = math.sqrt(float(exact @ exact))
    if _SHORT < length < _LONG:
        return (exact / length).astype(np.float32)
    largest = float(np.abs(exact).max())
    if not math.isfinite(largest):
        position = int(np.flatnonzero(~np.isfinite(exact))[0])
        raise ValueError(
            f"{where} has {exact[position]} at position {position} of its vector; every value must be finite"
        )
    if largest == 0.0:
        raise ValueError(f"{where} has a vector of zeros, which has no direction and so no cosine")
    exact /= largest
    return (exact / math.sqrt(float(exact @ exact))).astype(np.float32)


def to_chunk(row: Row, schema: Schema) -> Chunk:
    """The chunk that a row was made from, or the best reading of a row that someone else made."""
    own, text = _own(row), row.payload.get(schema.content_key)
    if schema.metadata_key:
        metadata = row.payload.get(schema.metadata_key)
    else:
        metadata = {key: value for key, value in row.payload.items() if key not in (schema.content_key, OWN_KEY)}
    text = text if isinstance(text, str) else ""
    chunk_id = str(own.get("id", row.id))
    return Chunk(
        id=chunk_id,
        document_id=str(own.get("document_id", chunk_id)),
        text=text,
        start=int(own.get("start", 0)),
        end=int(own.get("end", len(text))),
        index=int(own.get("index", 0)),
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def to_hit(score: float, row: Row, schema: Schema) -> Hit:
    """A row that was found.

    The engines sum in float32, and differently from call to call. Beyond six decimals a score is noise, which would
    carry a cosine out of [-1, 1], hide an exact duplicate from a threshold of 1, and shuffle equals.
    """
    chunk = to_chunk(row, schema)
    return Hit(
        id=chunk.id,
        score=min(1.0, max(-1.0, round(score, 6))),
        text=chunk.text,
        metadata=chunk.metadata,
        document_id=chunk.document_id,
        start=chunk.start,
        end=chunk.end,
    )


def stored_id(row: Row) -> str:
    """The id that the user gave."""
    return str(_own(row).get("id", row.id))


def stored_hash(row: Row) -> str | None:
    """The content hash that was written, if this package wrote the row."""
    found = _own(row).get("content_hash")
    return found if isinstance(found, str) else None


def _own(row: Row) -> Mapping[str, Any]:
    own = row.payload.get(OWN_KEY)
    return own if isinstance(own, dict) else {}


def _where(chunk: Chunk) -> str:
    return f"the point {_short(chunk.id)}"


def _check_text(text: object, where: str) -> int:
    """The length in bytes."""
    if not isinstance(text, str):
        raise TypeError(f"{where} has {type(text).__name__} where a string must be: {_short(text)}")
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidText(
            f"{where} holds the lone surrogate {text[error.start]!r} at character {error.start}, which UTF-8 cannot "
            "write; replace it, for example with text.encode('utf-8', 'replace').decode()"
        ) from error


def _json(value: object, where: str, path: str, depth: int) -> tuple[Any, int]:
    """The value in plain JSON types, and about its length in bytes."""
    if value is None or isinstance(value, bool):
        return value, 5
    if isinstance(value, str):
        return str.__str__(value), _check_text(value, f"{where} ({path})") + 2
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise ValueError(f"{where} has {path} = {value}, beyond 64 bits; store it as a string")
        return int(value), 20
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} has {path} = {value}, which JSON cannot write; use None")
        return float(value), 20
    if depth > MAX_DEPTH:
        raise ValueError(f"{where} has metadata nested deeper than {MAX_DEPTH} levels, at {path[:200]}")
    if isinstance(value, Mapping):
        return _object(value, where, path, depth)
    if isinstance(value, list | tuple):
        items = [_json(item, where, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
        return [item for item, _ in items], 2 + sum(size + 1 for _, size in items)
    raise TypeError(
        f"{where} has {path} = {_short(value)} of type {type(value).__name__}; metadata takes JSON only: strings, "
        "numbers, True, False, None, lists and mappings"
    )


def _object(value: Mapping[Any, Any], where: str, path: str, depth: int) -> tuple[dict[str, Any], int]:
    plain, size = {}, 2
    for key, item in value.items():
        if not isinstance(key, str):
            raise TypeError(f"{where} has the key {_short(key)} in {path}; keys must be strings")
        size += _check_text(key, f"{where} ({path})") + 4
        plain[str.__str__(key)], item_size = _json(item, where, f"{path}.{key}", depth + 1)
        size += item_size
    return plain, size


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text)} characters)"
