"""The description of a collection, and its comparison with what the caller of ``open`` asks for."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeAlias, get_args

from pydantic import model_validator
from typing_extensions import Self

from t1_vectorstore.errors import CollectionMismatch, StoreError
from t1_vectorstore.keyword_options import Flag
from t1_vectorstore.options import CollectionOptions, Storage
from t1_vectorstore.types import IndexKind, ModelIdentity

_PLAIN_FORMAT, _HYBRID_FORMAT = 1, 2  # a version that reads only the first would write points without their words
MOVED_FORMAT = 3  # an embedded index whose files are not where earlier versions look for them
_NAMED_FORMAT = 4  # vectors with other names than those that earlier versions write
OWN_KEY = "t1"
"""Key of this package's own data, in a payload and in the metadata of a server's collection."""

DOCUMENT_PATH = f"{OWN_KEY}.document_id"
"""Payload path of a chunk's document id."""

INTEGERS_PATH = f"{OWN_KEY}.integers"
"""Payload path of the metadata's floats that are whole numbers, as integers: by the paths that they have in the
metadata. Qdrant does not find ``2.0`` in a list of integers."""

NoteName: TypeAlias = Literal["load", "calibration"]
"""Names of the records that are written after a collection's creation: the latest load, and when to think."""

CONTENT_KEY = "page_content"
METADATA_KEY = "metadata"
Words: TypeAlias = Literal["bm25", "other"]
VECTOR_NAME = ""
"""Name of the dense vector of a new collection."""
SPARSE_VECTOR_NAME = "bm25"
"""Name of the sparse vector of a new collection."""
_FIXED_OPTIONS = (
    "name",
    "content_key",
    "metadata_key",
    "hybrid",
    "vector_name",
    "sparse_vector_name",
    "indexes",
    "tenant",
    "storage",
)
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_SEGMENT = re.compile(r'("[^"]+"|[^".\[\]]+)((?:\[[0-9]*\])*)(?:\.(?=.)|$)', re.ASCII)


@dataclass(frozen=True, slots=True)
class Schema:
    """The description of a collection, written at its creation.

    Attributes:
        name: Name of the collection.
        identity: The model whose vectors it holds.
        content_key: Payload key of the text.
        metadata_key: Payload key of the metadata; empty if the rest of the payload is the metadata, as
            llama-index-vector-stores-qdrant writes it.
        distance: Always ``cosine``.
        hybrid: Whether the words of the texts are stored beside the vectors.
        words: What made these sparse vectors: this package's BM25 terms, or another encoder.
        vector_name: Name of the dense vector; empty if it has none.
        sparse_vector_name: Name of the sparse vector that stores the words.
        indexes: Kinds of the indexed metadata fields, by field.
        tenant: Metadata field that names the tenant of a point.
        storage: How the points are stored.
        by_document: Whether the document id of each chunk is indexed, so that the chunks of a document are found
            without reading every point. Collections of earlier versions have no such index, and get none when they are
            opened, which would have to wait for it.
        uid: Random id, by which two connections compare whether they lead to the same collection.
        notes: The records that were written later, as JSON, as they were when the description was read.
    """

    name: str
    identity: ModelIdentity
    content_key: str = CONTENT_KEY
    metadata_key: str = METADATA_KEY
    distance: str = "cosine"
    hybrid: bool = False
    words: Words = "bm25"
    vector_name: str = VECTOR_NAME
    sparse_vector_name: str = SPARSE_VECTOR_NAME
    indexes: Mapping[str, IndexKind] = field(default_factory=dict)
    tenant: str | None = None
    storage: Storage = field(default_factory=Storage)
    by_document: bool = False
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    notes: Mapping[NoteName, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse payload keys that clash or cannot be part of a filter's path."""
        keys = [self.content_key, *filter(None, [self.metadata_key]), OWN_KEY]
        for key in keys:
            if not isinstance(key, str) or not _PLAIN_KEY.fullmatch(key):
                raise ValueError(f"a payload key may have letters, digits, '_' and '-' only, got {key!r}")
        if len(set(keys)) != len(keys):
            raise ValueError(f"content_key, metadata_key and the reserved {OWN_KEY!r} must differ, got {keys!r}")
        if self.vector_name == self.sparse_vector_name:
            raise ValueError(f"vector_name and sparse_vector_name must differ, both are {self.vector_name!r}")
        if self.identity.dimension < 0:
            raise ValueError(f"a vector needs at least one dimension, got {self.identity.dimension!r}")
        check_indexes(self.indexes, self.tenant)

    @property
    def has_dense(self) -> bool:
        """Whether the points have a dense vector, and not only sparse ones."""
        return self.identity.dimension > 0

    @property
    def payload_indexes(self) -> dict[str, tuple[IndexKind, bool]]:
        """The indexes to create: by payload path the kind, and whether it is the tenant's."""
        fields: dict[str, IndexKind] = dict(self.indexes)
        if self.tenant is not None:
            fields[self.tenant] = "keyword"
        paths = {field_path(self.metadata_key, name): (kind, name == self.tenant) for name, kind in fields.items()}
        return {DOCUMENT_PATH: ("keyword", False), **paths} if self.by_document else paths

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        record = asdict(self)
        identity = record.pop("identity")
        record["storage"] = self.storage.changed()
        record |= record.pop("notes")
        version = _HYBRID_FORMAT if self.hybrid else _PLAIN_FORMAT
        if (self.vector_name, self.sparse_vector_name, self.words) != (VECTOR_NAME, SPARSE_VECTOR_NAME, "bm25"):
            version = _NAMED_FORMAT
        return {"format": version, "name": record.pop("name"), **identity, **record}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], where: str) -> Schema:
        """Read the result of ``to_json``; ``where`` names the place in errors.

        Raises:
            StoreError: The description is damaged, or was written by a later version of this package.
        """
        try:
            if record["format"] > _NAMED_FORMAT:
                raise StoreError(
                    f"{where} has format {record['format']}, this version reads up to {_NAMED_FORMAT}; "
                    "upgrade t1-vectorstore"
                )
            identity = ModelIdentity(str(record["model"]), str(record["fingerprint"]), int(record["dimension"]))
            names = ("name", "content_key", "metadata_key", "distance", "uid")
            return cls(
                identity=identity,
                hybrid=bool(record.get("hybrid", False)),
                words="other" if record.get("words", "bm25") == "other" else "bm25",
                vector_name=str(record.get("vector_name", VECTOR_NAME)),
                sparse_vector_name=str(record.get("sparse_vector_name", SPARSE_VECTOR_NAME)),
                indexes=dict(record.get("indexes", {})),
                tenant=record.get("tenant"),
                by_document=bool(record.get("by_document", False)),
                storage=Storage(**record.get("storage", {})),
                notes={note: record[note] for note in get_args(NoteName) if note in record},
                **{name: str(record[name]) for name in names},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{where} is damaged ({error!r}); restore it, or index again into a new place") from error


@dataclass(frozen=True, slots=True)
class Creation:
    """Arguments in Qdrant's own words, which come before what ``Storage`` says.

    Attributes:
        dense: Arguments of ``VectorParams``.
        sparse: Arguments of ``SparseVectorParams``.
        collection: Arguments of ``create_collection``.
    """

    dense: Mapping[str, Any] = field(default_factory=dict)
    sparse: Mapping[str, Any] = field(default_factory=dict)
    collection: Mapping[str, Any] = field(default_factory=dict)


class OpenOptions(CollectionOptions):
    """The options of ``Collection.open``; ``None`` accepts what an existing collection has."""

    identity: ModelIdentity | None = None
    """The model whose vectors the collection holds. ``None`` opens what exists, with the vectors of any model."""
    recreate: Flag = False
    """Delete the collection of that name first, with all its points, in memory or on a server."""
    creation: Creation | None = None
    """Further arguments with which a collection in memory or on a server is created."""

    @model_validator(mode="after")
    def _check_indexes(self) -> Self:
        """Refuse indexes that no collection can have, even if the collection exists."""
        check_indexes(self.indexes or {}, self.tenant)
        return self

    @property
    def may_create(self) -> bool:
        """Whether the collection is created if it does not exist."""
        return self.create and self.identity is not None and not self.read_only

    def new_schema(self) -> Schema:
        """Return the description of a collection to create; needs an identity."""
        assert self.identity is not None
        for option in ("sparse_vector_name", "sparse_encoder"):
            if (value := getattr(self, option)) is not None and not self.hybrid:
                raise ValueError(
                    f"{option}={value!r} is for a hybrid collection; also give hybrid=True, or leave it out"
                )
        if self.identity.dimension < (0 if self.hybrid else 1):  # with words, the points may have no dense vector
            raise ValueError(f"a vector needs at least one dimension, got {self.identity.dimension!r}")
        return replace(
            self.undescribed(self.identity),
            hybrid=bool(self.hybrid),
            words="bm25" if self.sparse_encoder in (None, "bm25") else "other",
            vector_name=VECTOR_NAME if self.vector_name is None else self.vector_name,
            sparse_vector_name=self.sparse_vector_name or SPARSE_VECTOR_NAME,
            indexes=dict(self.indexes or {}),
            tenant=self.tenant,
            storage=self.storage or Storage(),
            by_document=True,
        )

    def undescribed(self, identity: ModelIdentity) -> Schema:
        """Return the description of a collection that has none, with the requested payload keys."""
        metadata_key = METADATA_KEY if self.metadata_key is None else self.metadata_key
        return Schema(self.name, identity, self.content_key or CONTENT_KEY, metadata_key)

    def for_only(self, found: Schema) -> OpenOptions:
        """Return these options for a place with one collection, which the default name stands for, too."""
        default = CollectionOptions.model_fields["name"].default
        return self.model_copy(update={"name": found.name}) if self.name == default else self

    def reconcile(self, found: Schema, where: str) -> Schema:
        """Return the schema of a collection that is opened: the one found, with the model that adopts it if need be.

        Raises:
            CollectionMismatch: The collection was created with other options; the message names both.
        """
        if found.distance != "cosine":
            raise CollectionMismatch(f"{where} has the distance {found.distance}, not cosine; use another collection")
        for option in _FIXED_OPTIONS:
            wanted, has = getattr(self, option), getattr(found, option)
            if wanted is not None and wanted != has:
                raise CollectionMismatch(
                    f"{where} was created with {option}={has!r} and is opened with {wanted!r}; leave {option} out to "
                    "open it as it is, or create another collection"
                )
        if found.hybrid and found.words == "bm25" and self.sparse_encoder not in (None, "bm25"):
            raise CollectionMismatch(
                f"{where} stores BM25 terms, which another sparse_encoder cannot search; leave it out"
            )
        if found.hybrid and found.words == "other" and self.sparse_encoder == "bm25":
            raise CollectionMismatch(f"{where} stores the words of another sparse_encoder than 'bm25'; give that one")
        if found.hybrid and found.words == "other" and self.hybrid and self.sparse_encoder is None:
            raise CollectionMismatch(
                f"{where} has sparse vectors of another encoder; to search and write them, give that one as "
                "sparse_encoder= ('bm25' if they are this package's terms)"
            )
        shard_key, shard_keys = self.shard_key, list(found.storage.shard_keys)
        if shard_key is not None and found.uid and shard_key not in shard_keys:
            raise CollectionMismatch(f"{where} was created with {shard_keys=} and is opened with {shard_key=}")
        return found if self.identity is None else with_model(found, self.identity, where, adopt=self.adopt)


def with_model(found: Schema, identity: ModelIdentity, where: str, *, adopt: bool = False) -> Schema:
    """Check that a collection holds a model's vectors, and return its schema; with ``adopt`` it need not record it.

    Raises:
        CollectionMismatch: It holds another model's vectors; the message names both.
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
                "open it with adopt=True (--adopt)"
            )
        return replace(found, identity=identity)
    if identity.fingerprint != found.identity.fingerprint:
        raise CollectionMismatch(mixed)
    return found


def check_indexes(indexes: Mapping[str, IndexKind], tenant: str | None) -> None:
    """Refuse indexes that no engine can create.

    Raises:
        ValueError: An unknown kind, or a field that cannot be named in a filter.
        TypeError: A name that is not a string.
    """
    for name, kind in indexes.items():
        field_path("", name)
        if kind not in get_args(IndexKind):
            raise ValueError(f"the index of {name!r} must be {', '.join(get_args(IndexKind))}, got {kind!r}")
    if tenant is not None:
        field_path("", tenant)
        if (kind := indexes.get(tenant, "keyword")) != "keyword":
            raise ValueError(
                f"the tenant field {tenant!r} is indexed as keyword, and indexes has {kind!r} for it; leave that out"
            )


def field_path(metadata_key: str, key: object) -> str:
    """Return the payload path of a metadata field; names that Qdrant's path grammar does not allow bare are quoted.

    Raises:
        ValueError: The key is not a path.
        TypeError: The key is not a string.
    """
    if not isinstance(key, str):
        raise TypeError(f"a filter's key must be the name of a metadata field, got {key!r}")
    segments = [metadata_key] if metadata_key else []
    for name, brackets in _segments(key):
        segments.append((name if _PLAIN_KEY.fullmatch(name) else f'"{name}"') + brackets)
    return ".".join(segments)


def values_at(metadata: Mapping[str, Any], key: str) -> list[Any]:
    """Return the values that Qdrant finds at the path of a metadata field; those of a list are its elements."""
    found: list[Any] = [metadata]
    for name, brackets in _segments(key):
        found = [value[name] for value in found if isinstance(value, dict) and name in value]
        for index in brackets.removeprefix("[").removesuffix("]").split("][") if brackets else ():
            lists = [value for value in found if isinstance(value, list)]
            found = [each for value in lists for each in (value[int(index) :][:1] if index else value)]
    return [each for value in found for each in (value if isinstance(value, list) else [value])]


def _segments(key: str) -> Iterator[tuple[str, str]]:
    """Split the path of a metadata field into names, each with the brackets after it."""
    end = 0
    while match := _SEGMENT.match(key, end):
        yield match[1].strip('"'), match[2]
        end = match.end()
    if not key or end < len(key):
        raise ValueError(
            f"{key!r} is not the path of a metadata field; write names separated by dots, and quote names with dots"
        )


def _named(identity: ModelIdentity) -> str:
    fingerprint = identity.fingerprint[:16] or "unknown"
    return f"model {identity.model!r} (fingerprint {fingerprint}, {identity.dimension} dimensions)"
