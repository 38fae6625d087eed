"""The point id of a chunk. Any string is a chunk id; Qdrant accepts UUIDs and unsigned 64-bit integers.

The mapping must never change: it decides where a chunk is stored, so that a rerun finds what it wrote before.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias

from t1_vectorstore.errors import InvalidText

PointId: TypeAlias = int | str
"""An engine's id of a point: an unsigned 64-bit integer, or a UUID in its canonical spelling."""

_NAMESPACE = uuid.UUID("6f0c4a5e-3a8b-5d0f-9b57-7431766563aa")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_INTEGER = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)


def point_id(chunk_id: str) -> PointId:
    """Return the point id of a chunk.

    Only the canonical spelling of a UUID (lower case, with hyphens) or of an integer (no sign, no leading zero) is used
    as it is. Every other string, other spellings of a UUID included, is hashed with uuid5, so that two ids that differ
    as strings are two points.

    Raises:
        TypeError: The id is not a string.
        InvalidText: The id is empty or cannot be encoded as UTF-8.
    """
    if not isinstance(chunk_id, str):
        raise TypeError(f"an id must be a string, not {type(chunk_id).__name__}: {chunk_id!r}; use str(id)")
    if not chunk_id:
        raise InvalidText("an id must not be empty; leave it out (None) to use the text's hash as the id")
    if _UUID.fullmatch(chunk_id):
        return chunk_id
    if _INTEGER.fullmatch(chunk_id) and (number := int(chunk_id)) < 2**64:
        return number
    try:
        return _uuid(chunk_id)
    except UnicodeEncodeError as error:
        raise InvalidText(f"the id {chunk_id!r} has a lone surrogate and cannot be encoded as UTF-8") from error


def page_start(written: str) -> PointId:
    """Return the point id that a page of chunks begins with, from its string.

    Raises:
        ValueError: It is not a point id.
    """
    if _UUID.fullmatch(written):
        return written
    if _INTEGER.fullmatch(written) and (number := int(written)) < 2**64:
        return number
    raise ValueError(f"a page cannot begin after {written!r:.100}; pass what the page before it returned")


def check_point_id(given: PointId) -> PointId:
    """Return a point id that comes from elsewhere, if it is one.

    Raises:
        ValueError: It is not one.
    """
    if isinstance(given, str):
        if not _UUID.fullmatch(given):
            raise ValueError(f"{given!r:.100} is not a point id: a UUID in lower case, or an integer")
    elif isinstance(given, bool) or not 0 <= given < 2**64:
        raise ValueError(f"{given!r:.100} is not a point id: integers are from 0 to 2**64 - 1")
    return given


def unique_ids(ids: Iterable[str]) -> list[str]:
    """Return each id once, in order; an invalid one is refused before anything is read or deleted."""
    if isinstance(ids, str | bytes):
        raise TypeError(f"ids is a list of strings, got the single {type(ids).__name__} {ids!r}; write [id]")
    once = list(dict.fromkeys(ids))
    for chunk_id in once:
        point_id(chunk_id)
    return once


@lru_cache(maxsize=4096)  # a load needs each id several times: to check, look up, write and verify
def _uuid(chunk_id: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, chunk_id))
