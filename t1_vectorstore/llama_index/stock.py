"""The arguments of LlamaIndex's own ``QdrantVectorStore``, translated into this package's options.

What has the same meaning here is accepted under its name there. What this package decides by itself is accepted and
changes nothing, such as ``batch_size``. What cannot be done is refused, and the error says what to write instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from pydantic import Field, model_validator
from typing_extensions import Self

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines.given_clients import create_index, drop, find_names, sync_client
from t1_vectorstore.errors import CollectionMismatch, CollectionNotFound
from t1_vectorstore.keyword_options import Flag, Integer
from t1_vectorstore.options import ChunkOptions, Storage
from t1_vectorstore.types import ModelIdentity

DENSE_NAME = "text-dense"
SPARSE_NAMES = ("text-sparse-new", "text-sparse")
"""LlamaIndex's names of the sparse vector: that of new collections, then that of older versions."""
_OWN_WORDS = (None, "Qdrant/bm25")
_DOC_ID = "doc_id"
_KINDS = ("keyword", "integer", "float", "bool", "datetime")

SparseFunction = Callable[[list[str]], tuple[Sequence[Sequence[int]], Sequence[Sequence[float]]]]
"""LlamaIndex's encoder of words: the indices and the values of each text."""


class MissingCollection(CollectionNotFound, ValueError):
    """There is no collection yet. It is also a ``ValueError``, as the client library raises in local mode."""


class StockOptions(ChunkOptions):
    """The arguments of LlamaIndex's own store, and ``embed_model``, ``adopt`` and ``chunk``."""

    embed_model: Any = None
    """The ``T1Embedding`` or ``T1Embedder`` whose vectors the collection holds. It is recorded in a new collection, and
    a collection of another model is refused. Without it, nothing is recorded or checked, as in LlamaIndex's store."""
    adopt: Flag = False
    """With ``embed_model``: accept a collection that does not record its model."""
    api_key: str | None = Field(default=None, repr=False)
    """API key of the server at ``url``."""
    batch_size: Integer = Field(default=64, ge=1)
    """No effect: batches are made by size."""
    parallel: Integer = Field(default=1, ge=1)
    """No effect: one process writes."""
    max_retries: Integer = Field(default=3, ge=0)
    """No effect: transient errors are retried for 30 seconds."""
    client_kwargs: dict[str, Any] | None = Field(default=None, repr=False)
    """Further arguments of the ``QdrantClient`` for ``url``."""
    dense_config: Any = None
    """A ``VectorParams``: cosine distance, ``on_disk``, and ``m`` and ``ef_construct`` of its ``hnsw_config``."""
    sparse_config: Any = None
    """Refused: the words have an index in memory, with the modifier IDF."""
    quantization_config: Any = None
    """A ``ScalarQuantization`` of int8, or a ``BinaryQuantization``."""
    enable_hybrid: Flag = False
    """Store the words of the nodes, for the query modes ``hybrid``, ``sparse`` and ``text_search``."""
    fastembed_sparse_model: str | None = None
    """``Qdrant/bm25``: this package's own BM25 terms, without FastEmbed."""
    sparse_doc_fn: Any = None
    """Encoder of the nodes' words, with ``sparse_query_fn``. Default: this package's BM25 terms."""
    sparse_query_fn: Any = None
    """Encoder of the words of queries."""
    hybrid_fusion_fn: Any = None
    """Function of two results that combines them in the mode ``hybrid``; ``similarities`` of the result by words are 1,
    1/2, 1/3, ... Default: reciprocal rank fusion."""
    index_doc_id: Flag = True
    """Index the document ids of the nodes."""
    text_key: str | None = "text"
    """Payload key of the text in points that have no node."""
    dense_vector_name: str | None = None
    """Name of the dense vector. Default: that of the existing collection; ``text-dense`` in a new hybrid one."""
    sparse_vector_name: str | None = None
    """Name of the sparse vector. Default: that of the existing collection, or ``text-sparse-new``."""
    shard_number: Integer | None = Field(default=None, ge=1)
    """Number of shards of a new collection."""
    sharding_method: Any = None
    """Refused, except ``auto``."""
    shard_key_selector_fn: Any = None
    """Refused."""
    shard_keys: Any = None
    """Refused."""
    replication_factor: Integer | None = Field(default=None, ge=1)
    """Number of servers that hold each shard."""
    write_consistency_factor: Integer | None = Field(default=None, ge=1)
    """Number of replicas that must have a write before it is acknowledged."""
    payload_indexes: list[dict[str, Any]] | None = None
    """Fields to index, each with ``field_name`` and ``field_schema``; those that an existing collection lacks are
    created."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse what cannot be done, with what to write instead."""
        if self.chunk is not False and self.embed_model is None:
            raise ValueError(f"chunk={self.chunk!r} needs embed_model=, since the store embeds the chunks by itself")
        if self.sharding_method not in (None, "auto") or self.shard_keys or self.shard_key_selector_fn:
            raise ValueError(
                "a store has one shard key here: T1QdrantVectorStore.open(url, embed_model, collection_name=..., "
                "storage=Storage(shard_keys=('a', 'b')), shard_key='a')"
            )
        if self.sparse_config is not None:
            raise ValueError("sparse_config: the words are indexed in memory with the modifier IDF; leave it out")
        if (self.sparse_doc_fn is None) != (self.sparse_query_fn is None):
            raise ValueError("give both sparse_doc_fn and sparse_query_fn, or none: both must encode alike")
        if self.fastembed_sparse_model not in _OWN_WORDS and self.sparse_doc_fn is None:
            raise ValueError(
                f"fastembed_sparse_model={self.fastembed_sparse_model!r} is not run here; give its encoder as "
                "sparse_doc_fn and sparse_query_fn: "
                "llama_index.vector_stores.qdrant.utils.fastembed_sparse_encoder(model_name=...)"
            )
        for index in self.payload_indexes or []:
            if not {"field_name", "field_schema"} <= index.keys():
                raise ValueError(f"a payload index has 'field_name' and 'field_schema', got {index!r}")
        self.storage()
        return self

    @property
    def hybrid(self) -> bool:
        """Whether a new collection stores the words."""
        return self.enable_hybrid or self.fastembed_sparse_model is not None or self.sparse_doc_fn is not None

    @property
    def identity(self) -> ModelIdentity | None:
        """The model of ``embed_model``."""
        identity = getattr(self.embed_model, "identity", None)
        if self.embed_model is not None and not isinstance(identity, ModelIdentity):
            raise TypeError(f"embed_model must be a T1Embedding or a T1Embedder, got {type(self.embed_model).__name__}")
        return identity

    def encoder(self) -> Any:  # noqa: ANN401 - an encoder, or None
        """Return the encoder of the words, if it was given."""
        return _Functions(self.sparse_doc_fn, self.sparse_query_fn) if self.sparse_doc_fn is not None else None

    def storage(self) -> Storage | None:
        """Return how a new collection stores its points; ``None`` for the engine's choice."""
        dense, chosen = _as_json(self.dense_config), {}
        if str(dense.pop("distance", "Cosine")) != "Cosine":
            raise ValueError(
                f"dense_config has the distance {self.dense_config.distance}; a T1 collection has cosine: leave "
                "dense_config out"
            )
        dense.pop("size", None)  # the nodes' own
        graph = dense.pop("hnsw_config", {})
        chosen = {name: graph.pop(name) for name in ("m", "ef_construct") if name in graph}
        chosen |= {"on_disk": dense.pop("on_disk")} if "on_disk" in dense else {}
        quantization = _as_json(self.quantization_config) or dense.pop("quantization_config", {})
        if left := [*dense, *graph]:
            raise ValueError(f"dense_config has {left[0]!r}, which this store does not set; leave it out")
        if "scalar" in quantization and quantization["scalar"].get("type") == "int8":
            chosen["quantization"] = "int8"
        elif "binary" in quantization:
            chosen["quantization"] = "binary"
        elif quantization:
            raise ValueError(
                f"quantization_config has {', '.join(quantization)}; this store has ScalarQuantization of int8 and "
                "BinaryQuantization"
            )
        for name, value in (
            ("shards", self.shard_number),
            ("replicas", self.replication_factor),
            ("write_consistency", self.write_consistency_factor),
        ):
            if value is not None:
                chosen[name] = value
        return Storage(**chosen) if chosen else None

    def indexes(self) -> dict[str, Any]:
        """Return the kinds of the payload indexes that a collection's description can have."""
        kinds = {_DOC_ID: "keyword"} if self.index_doc_id else {}
        for index in self.payload_indexes or []:
            kind = getattr(index["field_schema"], "value", index["field_schema"])
            if kind in _KINDS:
                kinds[index["field_name"]] = kind
        return kinds


class StockCollection:
    """A collection in a client, opened at its first use, and created by its first nodes. Thread-safe."""

    def __init__(self, name: str, client: Any, aclient: Any, options: StockOptions) -> None:  # noqa: ANN401 - of the library
        """Remember where the collection is. Nothing is read."""
        self.name = name
        self.options = options
        self.client = sync_client(aclient) if client is None else client
        self._lock = threading.Lock()
        self._opened: Collection | None = None
        self._identity = options.identity

    def names(self) -> tuple[str, str]:
        """Return the names of the dense and the sparse vector: those of an existing collection, or of a new one."""
        return self._chosen_names(find_names(self.client, self.name))

    def new_names(self) -> tuple[str, str]:
        """Return the names of the vectors of a new collection."""
        return self._chosen_names(None)

    def open(self) -> Collection:
        """Return the collection; if the model is known, it is created.

        Raises:
            MissingCollection: It does not exist.
        """
        return self.open_for(None if self._identity is None else self._identity.dimension)

    def open_for(self, dimension: int | None) -> Collection:
        """Return the collection, which is created for vectors of ``dimension``.

        Raises:
            MissingCollection: It does not exist, and there is no dimension.
        """
        with self._lock:
            if self._opened is None:
                found = find_names(self.client, self.name)
                self._opened = self._create(dimension) if found is None else self._open(found)
            return self._opened

    def drop(self) -> None:
        """Delete the collection. The next nodes create it again."""
        self.close()
        drop(self.client, self.name)

    def close(self) -> None:
        """Close the collection; the client stays open."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def create_payload_indexes(self) -> None:
        """Create the payload indexes of the options; those that exist are left as they are."""
        for index in self.options.payload_indexes or []:
            create_index(self.client, self.name, index["field_name"], index["field_schema"])

    def _open(self, found: Any) -> Collection:  # noqa: ANN401 - FoundNames
        options: dict[str, Any] = {}
        dense, sparse = self._chosen_names(found)
        encoder = self.options.encoder()
        if not found.recorded:  # LlamaIndex's own layout
            options = {"metadata_key": "", "content_key": self.options.text_key or "text", "vector_name": dense}
            if sparse in found.sparse:
                options["sparse_vector_name"] = sparse
        if encoder is not None:
            options["sparse_encoder"] = encoder
        opened = Collection.open(
            self.client, name=self.name, identity=self._identity, create=False, adopt=self.options.adopt, **options
        )
        if self.options.hybrid and not opened.schema.hybrid:
            opened.close()
            raise CollectionMismatch(
                f"the collection {self.name!r} stores no words; leave enable_hybrid out, or index into a new collection"
            )
        if opened.engine == "server":
            self.create_payload_indexes()
        return opened

    def _create(self, dimension: int | None) -> Collection:
        if dimension is None:
            raise MissingCollection(f"Collection {self.name} not found; it is created when nodes are added")
        options: dict[str, Any] = {"indexes": self.options.indexes(), "storage": self.options.storage()}
        dense, sparse = self._chosen_names(None)
        if self.options.hybrid:
            options |= {"hybrid": True, "sparse_vector_name": sparse, "sparse_encoder": self.options.encoder()}
        # Flat metadata is where LlamaIndex's store, and filters on bare keys, find it.
        identity = self._identity or ModelIdentity("(not recorded)", "", dimension)
        opened = Collection.open(
            self.client, name=self.name, identity=identity, adopt=True, metadata_key="", vector_name=dense, **options
        )
        if opened.engine == "server":
            self.create_payload_indexes()
        return opened

    def _chosen_names(self, found: Any) -> tuple[str, str]:  # noqa: ANN401 - FoundNames, or None
        dense, sparse = self.options.dense_vector_name, self.options.sparse_vector_name
        if found is None:
            return dense or (DENSE_NAME if self.options.hybrid else ""), sparse or SPARSE_NAMES[0]
        if dense is None or dense not in found.dense:
            dense = next((name for name in ("", DENSE_NAME) if name in found.dense), found.dense[0])
        if sparse is None or sparse not in found.sparse:
            known = [name for name in SPARSE_NAMES if name in found.sparse]
            sparse = [*known, *found.sparse, sparse or SPARSE_NAMES[0]][0]
        return dense, sparse


@dataclass(frozen=True, slots=True)
class _Functions:
    """LlamaIndex's two functions as one encoder of sparse vectors."""

    of_documents: SparseFunction
    of_queries: SparseFunction

    def embed_documents(self, texts: list[str]) -> list[Any]:
        indices, values = self.of_documents(texts)
        return [SimpleNamespace(indices=i, values=v) for i, v in zip(indices, values, strict=True)]

    def embed_query(self, text: str) -> Any:  # noqa: ANN401 - an object with indices and values
        indices, values = self.of_queries([text])
        return SimpleNamespace(indices=indices[0], values=values[0])


def _as_json(config: Any) -> dict[str, Any]:  # noqa: ANN401 - one of the library's models
    if config is None:
        return {}
    return dict(config) if isinstance(config, Mapping) else dict(config.model_dump(mode="json", exclude_none=True))
