"""The payload of a point: how a chunk is checked and converted before it is written, and read back.

    {"page_content": text, "metadata": {...}, "t1": {"id", "document_id", "start", "end", "index", "content_hash"}}

The first two keys are those of langchain-qdrant, so that each package can read the other's points. A point without the
third was written by another package: the point's id is its id, and its text is the whole document.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from t1_vectorstore.collection.conditions import FLOATS_NOT_INDEXED
from t1_vectorstore.collection.words import WordEncoder
from t1_vectorstore.engines import OWN_KEY, Engine, Row, Schema
from t1_vectorstore.engines.ids import check_point_id, point_id
from t1_vectorstore.engines.schema import INTEGERS_PATH, values_at
from t1_vectorstore.errors import CollectionMismatch
from t1_vectorstore.metadata import INT64, check_text, short_repr, to_json
from t1_vectorstore.types import Chunk, Hit, Point, Vector

OWN_FIELDS = (OWN_KEY,)
"""The payload paths that a chunk has beside its text and metadata."""
HASH_FIELDS = (f"{OWN_KEY}.id", f"{OWN_KEY}.content_hash")
"""The payload paths that ``stored_id`` and ``stored_hash`` need."""
NODE_CONTENT = "_node_content"
"""Payload key under which llama-index-vector-stores-qdrant writes a node as JSON."""
_INTEGERS_KEY = INTEGERS_PATH.removeprefix(f"{OWN_KEY}.")
_SHORT, _LONG = 1e-100, 1e100
_LENGTH_TOLERANCE = 1e-3
"""The squares of a vector with a length in between neither vanish nor overflow."""
_NUMBER_BYTES = 12  # approximate size of a float in JSON
_OVERHEAD = 200  # approximate size of the rest of a point in JSON


class PointState(NamedTuple):
    """What a collection stores at the point of an id.

    Attributes:
        id: Id of the stored chunk. It is another one than the id looked up if both fall on the same point.
        content_hash: The chunk's ``content_hash`` as it was written; ``None`` if another package wrote it.
    """

    id: str
    content_hash: str | None


def to_row(point: Point, schema: Schema, words: WordEncoder | None) -> Row:
    """Check a point and convert it to a row; ``words`` encodes its text if the collection stores words.

    Raises:
        TypeError: Something has the wrong type.
        ValueError: The vector, the metadata, or the text (``InvalidText``) cannot be stored; names id and value.
    """
    if not isinstance(point, Point):
        raise TypeError(f"a collection stores Point(chunk, vector), got {type(point).__name__}: {short_repr(point)}")
    chunk = point.chunk
    payload = to_payload(chunk, schema)
    payload[OWN_KEY] = {
        "id": chunk.id,
        "document_id": chunk.document_id,
        "start": chunk.start,
        "end": chunk.end,
        "index": chunk.index,
        "content_hash": chunk.content_hash,
    }
    if integers := _whole_floats(payload[schema.metadata_key] if schema.metadata_key else payload):
        payload[OWN_KEY][_INTEGERS_KEY] = integers
    vector = to_vector(point.vector, schema.identity.dimension, _name(chunk))
    terms = words.document(chunk.text) if words else None
    numbers = len(vector) + (2 * len(terms.indices) if terms else 0)
    size = len(json.dumps(payload, ensure_ascii=False).encode()) + _NUMBER_BYTES * numbers + _OVERHEAD
    return Row(point_id(chunk.id), payload, vector, size, terms)


def to_payload(chunk: Chunk, schema: Schema) -> dict[str, Any]:
    """Check a chunk and return its payload, without this package's own key.

    Raises:
        TypeError: Something has the wrong type.
        ValueError: The id, the metadata, or the text (``InvalidText``) cannot be stored; names id and value.
    """
    point_id(chunk.id)
    name = _name(chunk)
    for text in (chunk.text, chunk.id, chunk.document_id):
        check_text(text, name)
    if not isinstance(chunk.metadata, Mapping):
        raise TypeError(f"{name} has metadata of type {type(chunk.metadata).__name__}; it must be a mapping")
    metadata = to_json(chunk.metadata, name)
    _check_indexed(metadata, schema, name)
    rest = {schema.metadata_key: metadata} if schema.metadata_key else metadata
    if taken := [key for key in (schema.content_key, OWN_KEY) if key in rest]:
        raise ValueError(f"{name} has metadata under {taken[0]!r}, a key of the payload itself; rename it")
    return {**rest, schema.content_key: chunk.text}


def _check_indexed(metadata: Mapping[str, Any], schema: Schema, name: str) -> None:
    """Refuse numbers that the index of their field does not contain: no range would find them, on some engines."""
    for key, kind in schema.indexes.items():
        for value in values_at(metadata, key) if kind in FLOATS_NOT_INDEXED else ():
            if isinstance(value, float) or (kind == "datetime" and type(value) is int):
                wanted = "an integer" if kind == "integer" else "an ISO 8601 date"
                raise ValueError(
                    f"{name} has {value!r} in {key!r}, which is indexed as {kind}, so a range would not find it; give "
                    f"{wanted}, or create the collection with another kind of index for {key!r}"
                )


def _whole_floats(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return the floats of JSON that are whole, as 64-bit integers at the same paths; ``None`` if there are none."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and -INT64 <= value < INT64 else None
    if isinstance(value, dict):
        return {key: found for key, item in value.items() if (found := _whole_floats(item)) is not None} or None
    if isinstance(value, list):
        items = [_whole_floats(item) for item in value]
        return items if any(item is not None for item in items) else None
    return None


def to_vector(given: object, dimension: int, name: str) -> Vector:
    """Return a vector as float32 of unit length; ``name`` names its owner in errors.

    It is normalised in double precision, in which very long and very short vectors neither overflow nor vanish.

    Raises:
        TypeError: The values are not numbers.
        ValueError: Another dimension, a value that is not finite, or only zeros.
    """
    vector = np.asarray(given)
    if vector.dtype.kind not in "fiu":
        raise TypeError(f"{name} has a vector of {vector.dtype}; it must be an array of real numbers")
    if vector.shape != (dimension,):
        raise ValueError(
            f"{name} has a vector of shape {vector.shape}; this collection holds vectors of {dimension} dimensions"
        )
    if not dimension:  # a collection of sparse vectors only
        return vector.astype(np.float32)
    exact = vector.astype(np.float64)
    with np.errstate(over="ignore"):
        length = math.sqrt(float(exact @ exact))
    if not _SHORT < length < _LONG:
        largest = float(np.abs(exact).max())
        if not math.isfinite(largest):
            position = int(np.flatnonzero(~np.isfinite(exact))[0])
            raise ValueError(
                f"{name} has {exact[position]} at position {position} of its vector; every value must be finite"
            )
        if largest == 0.0:
            raise ValueError(f"{name} has a vector of zeros, which has no direction and so no cosine")
        exact /= largest
        length = math.sqrt(float(exact @ exact))
    return (exact / length).astype(np.float32)


def check_row(row: Row, schema: Schema) -> Row:
    """Return a row that another process has made of a point, after checking what an engine would not.

    Raises:
        ValueError: Its id, vector or terms cannot be stored.
    """
    name = f"the point {check_point_id(row.id)!r}"
    if row.vector is None:
        raise ValueError(f"{name} has no vector")
    to_vector(row.vector, schema.identity.dimension, name)
    length = float(np.linalg.norm(row.vector.astype(np.float64)))
    if schema.has_dense and abs(length - 1) > _LENGTH_TOLERANCE:
        raise ValueError(f"{name} has a vector of length {length}; it must be of length 1")
    if row.sparse is not None and not schema.hybrid:
        raise ValueError(f"{name} has terms, and this collection stores none")
    if row.sparse is not None and not np.isfinite(row.sparse.values).all():
        raise ValueError(f"{name} has terms whose weights are not finite")
    return row


def to_chunk(row: Row, schema: Schema) -> Chunk:
    """Return the chunk of a row; of another package's row, as much of a chunk as it has."""
    own, text = _own(row), _text(row.payload, schema)
    if schema.metadata_key:
        metadata = row.payload.get(schema.metadata_key)
    else:
        metadata = {key: value for key, value in row.payload.items() if key not in (schema.content_key, OWN_KEY)}
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


def whole_document(chunks: Sequence[Chunk]) -> Chunk:
    """Return a document as a single chunk, from its chunks, in any order; missing characters become spaces."""
    text = ""
    for chunk in sorted(chunks, key=lambda each: each.start):
        text = text.ljust(chunk.start)
        text += chunk.text[len(text) - chunk.start :]
    first = chunks[0]
    return Chunk(first.document_id, first.document_id, text, 0, len(text), 0, first.metadata)


def to_hit(score: float, row: Row, schema: Schema) -> Hit:
    """Return the hit of a row.

    The engines add in float32, and in another order from call to call. Scores are rounded to six decimals:
    further ones are noise. With them a cosine could leave [-1, 1], a duplicate could miss a threshold of 1, and equal
    hits could change places.
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
    """Return the id that the user gave."""
    return str(_own(row).get("id", row.id))


def stored_hash(row: Row) -> str | None:
    """Return the content hash that was written; ``None`` if another package wrote the row."""
    found = _own(row).get("content_hash")
    return found if isinstance(found, str) else None


def adopted_schema(engine: Engine, location: str, *, keys_given: bool) -> Schema:
    """Return the schema of a collection of another package, with the payload keys that its points have.

    LlamaIndex's points are recognised, unless keys were given: their whole payload is the metadata.

    Raises:
        CollectionMismatch: The points have other keys, so that every text would be read as empty.
    """
    schema = engine.schema
    if schema.uid:  # created by this package
        return schema
    rows, _ = engine.page(None, limit=1, after=None)
    payload = rows[0].payload if rows else {}
    if NODE_CONTENT in payload and not keys_given:
        return replace(schema, metadata_key="", content_key="text")  # the key that LlamaIndex reads without a node
    keys = (schema.content_key, schema.metadata_key)
    if all(keys) and payload and not payload.keys() & set(keys):
        raise CollectionMismatch(
            f"the payload of the points in {location} has neither {keys[0]!r} nor {keys[1]!r}, but "
            f"{', '.join(map(repr, payload))}; give the keys of text and metadata as content_key= and "
            "metadata_key= (metadata_key='' if the whole payload is the metadata)"
        )
    return schema


def _text(payload: Mapping[str, Any], schema: Schema) -> str:
    """Return the text of a point; LlamaIndex stores it inside a JSON string."""
    text = payload.get(schema.content_key)
    if not isinstance(text, str) and isinstance(node := payload.get(NODE_CONTENT), str):
        try:
            text = json.loads(node).get("text")
        except (ValueError, AttributeError):
            text = None
    return text if isinstance(text, str) else ""


def _own(row: Row) -> Mapping[str, Any]:
    own = row.payload.get(OWN_KEY)
    return own if isinstance(own, dict) else {}


def _name(chunk: Chunk) -> str:
    return f"the point {short_repr(chunk.id)}"
