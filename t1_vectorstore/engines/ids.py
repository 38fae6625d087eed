"""Any string is an id; Qdrant knows only UUIDs and unsigned 64-bit integers. One fixed mapping between the two.

The mapping never changes: it decides where a document lies, so a rerun of an index finds what it wrote before.
"""

from __future__ import annotations

import re
import uuid
from functools import lru_cache
from typing import TypeAlias

from t1_vectorstore.errors import InvalidText

PointId: TypeAlias = int | str
"""What an engine files a point under: an unsigned 64-bit integer, or a UUID in its canonical spelling."""

_NAMESPACE = uuid.UUID("6f0c4a5e-3a8b-5d0f-9b57-7431766563aa")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_INTEGER = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)


def point_id(chunk_id: str) -> PointId:
    """The point that belongs to a chunk's id.

    Only the canonical spelling of a UUID (lower case, with hyphens) or of an integer (no sign, no leading zero) is
    taken as it is. Every other string, other spellings of a UUID included, is hashed with uuid5, so that two ids that
    differ as strings are two points.

    Raises:
        TypeError: the id is not a string.
        InvalidText: the id is empty or cannot be written as UTF-8.
    """
    if not isinstance(chunk_id, str):
        raise TypeError(f"an id must be a string, not {type(chunk_id).__name__}: {chunk_id!r}; use str(id)")
    if not chunk_id:
        raise InvalidText("an id must not be empty; leave it out (None) to have the text's hash as the id")
    if _UUID.fullmatch(chunk_id):
        return chunk_id
    if _INTEGER.fullmatch(chunk_id) and (number := int(chunk_id)) < 2**64:
        return number
    try:
        return _uuid(chunk_id)
    except UnicodeEncodeError as error:
        raise InvalidText(f"the id {chunk_id!r} holds a lone surrogate and cannot be written as UTF-8") from error


@lru_cache(maxsize=4096)  # a load asks for each id several times: to check, to look up, to write, to prove
def _uuid(chunk_id: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, chunk_id))
