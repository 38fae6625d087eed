"""What a collection says about itself, and whether that is what the caller expects."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from t1_vectorstore.errors import CollectionMismatch, StoreError
from t1_vectorstore.types import ModelIdentity

FORMAT = 1
OWN_KEY = "t1"
"""The payload key, and the key in a server collection's metadata, under which this package keeps its own facts."""

CONTENT_KEY = "page_content"
METADATA_KEY = "metadata"
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Schema:
    """A collection's description, written once at its creation.

    Attributes:
        name: the collection's name.
        identity: the model whose vectors it holds.
        content_key: payload key of the text.
        metadata_key: payload key of the metadata; empty where the metadata is the rest of the payload, as
            llama-index-vector-stores-qdrant writes it.
        distance: always cosine today; written down so that a reader need not guess.
        uid: random; tells whether two connections see the same collection.
        format: version of this description and of the payload.
    """

    name: str
    identity: ModelIdentity
    content_key: str = CONTENT_KEY
    metadata_key: str = METADATA_KEY
    distance: str = "cosine"
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    format: int = FORMAT

    def __post_init__(self) -> None:
        """Refuse payload names that cannot stand in a filter's path or that clash."""
        keys = [self.content_key, *filter(None, [self.metadata_key]), OWN_KEY]
        for key in keys:
            if not isinstance(key, str) or not _PLAIN_KEY.fullmatch(key):
                raise ValueError(f"a payload key may hold letters, digits, '_' and '-' only, got {key!r}")
        if len(set(keys)) != len(keys):
            raise ValueError(f"content_key, metadata_key and the reserved {OWN_KEY!r} must differ, got {keys!r}")
        if self.identity.dimension < 1:
            raise ValueError(f"a vector needs at least one dimension, got {self.identity.dimension!r}")

    def to_json(self) -> dict[str, Any]:
        """A flat JSON object that a person can read."""
        record = asdict(self)
        identity = record.pop("identity")
        return {"format": record.pop("format"), "name": record.pop("name"), **identity, **record}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], where: str) -> Schema:
        """Read what ``to_json`` wrote; ``where`` names the place in errors.

        Raises:
            StoreError: the description is damaged, or from a later version of this package.
        """
        try:
            if record["format"] > FORMAT:
                raise StoreError(
                    f"{where} has format {record['format']}, this version reads up to {FORMAT}; upgrade t1-vectorstore"
                )
            identity = ModelIdentity(str(record["model"]), str(record["fingerprint"]), int(record["dimension"]))
            names = ("name", "content_key", "metadata_key", "distance", "uid")
            return cls(identity=identity, format=record["format"], **{name: str(record[name]) for name in names})
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{where} is damaged ({error!r}); restore it, or index again into a new place") from error


@dataclass(frozen=True, slots=True)
class Expected:
    """What the caller of ``open`` asks for; ``None`` means whatever the collection has."""

    name: str
    identity: ModelIdentity | None
    content_key: str | None
    metadata_key: str | None
    adopt: bool = False

    def new_schema(self) -> Schema:
        """The description of a collection to create; needs an identity."""
        if self.identity is None:
            raise ValueError("a collection can only be created for a model: pass its identity")
        return self.schema(self.identity)

    def schema(self, identity: ModelIdentity) -> Schema:
        """A description with the payload keys asked for: all that there is of a collection that has none of its own."""
        metadata_key = METADATA_KEY if self.metadata_key is None else self.metadata_key
        return Schema(self.name, identity, self.content_key or CONTENT_KEY, metadata_key)

    def reconcile(self, found: Schema, where: str) -> Schema:
        """The schema to work with: the one found, or its adoption.

        Raises:
            CollectionMismatch: the collection was made for something else; names both.
        """
        if found.distance != "cosine":
            raise CollectionMismatch(f"{where} measures by {found.distance}, not by cosine; use another collection")
        for wanted, has, what in (
            (self.name, found.name, "name"),
            (self.content_key, found.content_key, "content_key"),
            (self.metadata_key, found.metadata_key, "metadata_key"),
        ):
            if wanted is not None and wanted != has:
                raise CollectionMismatch(f"{where} was made with {what}={has!r} and is opened with {wanted!r}")
        if self.identity is None:
            return found
        ours, theirs = self.identity, found.identity
        if ours.dimension != theirs.dimension:
            raise CollectionMismatch(
                f"{where} holds vectors of {_named(theirs)}, which cannot be mixed with {_named(ours)}"
            )
        if not theirs.fingerprint:
            if not self.adopt:
                raise CollectionMismatch(
                    f"{where} does not say which model its vectors come from; if you know that it is {_named(ours)}, "
                    "open it with adopt=True"
                )
            return replace(found, identity=ours)
        if ours.fingerprint != theirs.fingerprint:
            raise CollectionMismatch(
                f"{where} holds vectors of {_named(theirs)}, which cannot be mixed with {_named(ours)}; open it with "
                "that model, or index into another place"
            )
        return found


def _named(identity: ModelIdentity) -> str:
    fingerprint = identity.fingerprint[:16] or "unknown"
    return f"model {identity.model!r} (fingerprint {fingerprint}, {identity.dimension} dimensions)"
