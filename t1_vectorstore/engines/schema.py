"""What a collection says about itself, and whether that is what the caller expects."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

from t1_vectorstore.errors import CollectionMismatch, StoreError
from t1_vectorstore.options import CollectionOptions, Storage
from t1_vectorstore.types import IndexKind, LoadRecord, ModelIdentity

_PLAIN_FORMAT, _HYBRID_FORMAT = 1, 2  # a version that knows only the first would write points without their words
MOVED_FORMAT = 3  # of an embedded index whose files are not where earlier versions look
OWN_KEY = "t1"
"""The payload key, and the key in a server collection's metadata, under which this package keeps its own facts."""

DOCUMENT_PATH = f"{OWN_KEY}.document_id"
"""Where a payload says which document its chunk was cut from."""

LOAD_KEY = "load"
"""The description's key for the latest load."""

CONTENT_KEY = "page_content"
METADATA_KEY = "metadata"
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_SEGMENT = re.compile(r'("[^"]+"|[^".\[\]]+)((?:\[[0-9]*\])*)(?:\.(?=.)|$)', re.ASCII)


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
        hybrid: whether the words of the texts are stored beside the vectors.
        indexes: metadata fields that the engine indexes, and as what.
        tenant: the metadata field that says whose a point is, if each is somebody's.
        storage: how its points are kept.
        by_document: whether the document of each chunk is indexed, too, so that deleting documents need not read every
            point. Collections of an earlier version are not, and stay so: opening them must not make them wait.
        uid: random; tells whether two connections see the same collection.
        load: what is remembered of the latest load, as it was when this was read.
    """

    name: str
    identity: ModelIdentity
    content_key: str = CONTENT_KEY
    metadata_key: str = METADATA_KEY
    distance: str = "cosine"
    hybrid: bool = False
    indexes: Mapping[str, IndexKind] = field(default_factory=dict)
    tenant: str | None = None
    storage: Storage = field(default_factory=Storage)
    by_document: bool = False
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    load: LoadRecord | None = None

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
        check_indexes(self.indexes, self.tenant)

    @property
    def payload_indexes(self) -> dict[str, tuple[IndexKind, bool]]:
        """What the engine is to index: by payload path the kind, and whether it tells tenants apart."""
        fields: dict[str, IndexKind] = dict(self.indexes)
        if self.tenant is not None:
            fields[self.tenant] = "keyword"
        paths = {field_path(self.metadata_key, name): (kind, name == self.tenant) for name, kind in fields.items()}
        return {DOCUMENT_PATH: ("keyword", False), **paths} if self.by_document else paths

    def to_json(self) -> dict[str, Any]:
        """A JSON object that a person can read."""
        record = asdict(self)
        identity = record.pop("identity")
        record["storage"] = self.storage.changed()
        if self.load is None:
            del record[LOAD_KEY]
        version = _HYBRID_FORMAT if self.hybrid else _PLAIN_FORMAT
        return {"format": version, "name": record.pop("name"), **identity, **record}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], where: str) -> Schema:
        """Read what ``to_json`` wrote; ``where`` names the place in errors.

        Raises:
            StoreError: the description is damaged, or from a later version of this package.
        """
        try:
            if record["format"] > MOVED_FORMAT:
                raise StoreError(
                    f"{where} has format {record['format']}, this version reads up to {MOVED_FORMAT}; "
                    "upgrade t1-vectorstore"
                )
            identity = ModelIdentity(str(record["model"]), str(record["fingerprint"]), int(record["dimension"]))
            names = ("name", "content_key", "metadata_key", "distance", "uid")
            return cls(
                identity=identity,
                hybrid=bool(record.get("hybrid", False)),
                indexes=dict(record.get("indexes", {})),
                tenant=record.get("tenant"),
                by_document=bool(record.get("by_document", False)),
                storage=Storage(**record.get("storage", {})),
                load=LoadRecord.from_json(record.get(LOAD_KEY)),
                **{name: str(record[name]) for name in names},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{where} is damaged ({error!r}); restore it, or index again into a new place") from error


@dataclass(frozen=True, slots=True)
class Expected:
    """The collection that a caller of ``open`` asks for.

    Attributes:
        options: Options of the collection; ``None`` accepts what an existing collection has.
        identity: The model to be used; ``None`` accepts any, and creates nothing.
    """

    options: CollectionOptions
    identity: ModelIdentity | None

    def __post_init__(self) -> None:
        """Refuse indexes that no collection can have, even if the collection exists."""
        check_indexes(self.options.indexes or {}, self.options.tenant)

    @property
    def may_create(self) -> bool:
        """Whether the collection is created if it does not exist."""
        return self.options.create and self.identity is not None

    def new_schema(self) -> Schema:
        """The description of a collection to create; needs an identity."""
        if self.identity is None:
            raise ValueError("a collection can only be created for a model: pass its identity")
        return replace(
            self.schema(self.identity),
            hybrid=bool(self.options.hybrid),
            indexes=dict(self.options.indexes or {}),
            tenant=self.options.tenant,
            storage=self.options.storage or Storage(),
            by_document=True,
        )

    def schema(self, identity: ModelIdentity) -> Schema:
        """A description with the payload keys asked for: all that there is of a collection that has none of its own."""
        asked = self.options
        metadata_key = METADATA_KEY if asked.metadata_key is None else asked.metadata_key
        return Schema(asked.name, identity, asked.content_key or CONTENT_KEY, metadata_key)

    def reconcile(self, found: Schema, where: str) -> Schema:
        """The schema to work with: the one found, or its adoption.

        Raises:
            CollectionMismatch: the collection was made for something else; names both.
        """
        if found.distance != "cosine":
            raise CollectionMismatch(f"{where} measures by {found.distance}, not by cosine; use another collection")
        asked = self.options
        for what in ("name", "content_key", "metadata_key", "hybrid", "indexes", "tenant", "storage"):
            wanted, has = getattr(asked, what), getattr(found, what)
            if wanted is not None and wanted != has:
                raise CollectionMismatch(
                    f"{where} was made with {what}={has!r} and is opened with {wanted!r}; leave {what} out to take it "
                    "as it is, or make another one"
                )
        if asked.shard_key is not None and found.uid and asked.shard_key not in found.storage.shard_keys:
            made = list(found.storage.shard_keys)
            raise CollectionMismatch(f"{where} was made with shard_keys={made!r} and is opened for {asked.shard_key!r}")
        return found if self.identity is None else with_model(found, self.identity, where, adopt=asked.adopt)


def with_model(found: Schema, identity: ModelIdentity, where: str, *, adopt: bool = False) -> Schema:
    """Return the schema of a collection that is used with a model.

    Args:
        found: The collection's schema.
        identity: The model.
        where: Names the collection in errors.
        adopt: Accept a collection that does not record its model.

    Raises:
        CollectionMismatch: The collection holds another model's vectors; the message names both.
    """
    remedy = "open it with that model, index into another place, or rebuild it: t1 reindex --model MODEL"
    if identity.model == found.identity.model:
        remedy = (
            "its weights, or the preset or overrides it is loaded with, are not those of the index: give the same "
            "ones, index into another place, or rebuild it: t1 reindex --model MODEL"
        )
    mixed = (
        f"{where} holds vectors of {_named(found.identity)}, which cannot be mixed with {_named(identity)}; {remedy}"
    )
    if identity.dimension != found.identity.dimension:
        raise CollectionMismatch(mixed)
    if not found.identity.fingerprint:
        if not adopt:
            raise CollectionMismatch(
                f"{where} does not record which model made its vectors; if you know that it is {_named(identity)}, "
                "open it with adopt=True"
            )
        return replace(found, identity=identity)
    if identity.fingerprint != found.identity.fingerprint:
        raise CollectionMismatch(mixed)
    return found


def check_indexes(indexes: Mapping[str, IndexKind], tenant: str | None) -> None:
    """Refuse indexes that no engine can make.

    Raises:
        ValueError: a kind that does not exist, or a field that cannot be named in a filter.
        TypeError: a name that is no string.
    """
    for name, kind in indexes.items():
        field_path("", name)
        if kind not in get_args(IndexKind):
            raise ValueError(f"the index of {name!r} is one of {', '.join(get_args(IndexKind))}, got {kind!r}")
    if tenant is not None:
        field_path("", tenant)
        if (kind := indexes.get(tenant, "keyword")) != "keyword":
            raise ValueError(f"the tenant field {tenant!r} is indexed as keyword, and indexes says {kind!r}; drop that")


def field_path(metadata_key: str, key: object) -> str:
    """The payload path of a metadata field, with what Qdrant's path grammar does not allow bare in quotes.

    Raises:
        ValueError: the key is no path.
        TypeError: the key is no string.
    """
    if not isinstance(key, str):
        raise TypeError(f"a filter's key is the name of a metadata field, got {key!r}")
    segments, end = [metadata_key] if metadata_key else [], 0
    while end < len(key):
        match = _SEGMENT.match(key, end)
        if match is None:
            break
        name = match[1].strip('"')
        segments.append((name if _PLAIN_KEY.fullmatch(name) else f'"{name}"') + match[2])
        end = match.end()
    if not key or end < len(key):
        raise ValueError(f"{key!r} is no path to a metadata field: write names separated by dots, quoted if need be")
    return ".".join(segments)


def _named(identity: ModelIdentity) -> str:
    fingerprint = identity.fingerprint[:16] or "unknown"
    return f"model {identity.model!r} (fingerprint {fingerprint}, {identity.dimension} dimensions)"
