"""``T1QdrantVectorStore``: a collection as LlamaIndex's vector store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, overload

from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from pydantic import Field, PrivateAttr
from typing_extensions import Self

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.payload import NODE_CONTENT, to_vector
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.engines import location_name
from t1_vectorstore.engines.given_clients import async_client, connect
from t1_vectorstore.keyword_options import Text, set_options, takes_options
from t1_vectorstore.llama_index.embedding import T1Embedding
from t1_vectorstore.llama_index.filters import to_filter
from t1_vectorstore.llama_index.node_chunks import NodeChunks, with_passage
from t1_vectorstore.llama_index.nodes import EXPLANATION_KEY, add_hidden, to_node, to_point
from t1_vectorstore.llama_index.queries import QueryKwargs, to_search_options
from t1_vectorstore.llama_index.stock import StockCollection, StockOptions
from t1_vectorstore.options import ChunkOptions, CollectionOptions
from t1_vectorstore.types import AllOf, Chunk, Hit, IdIn, NoneOf, Point
from t1_vectorstore.vectorstore import StoreOptions, T1VectorStore

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient


class OpenOptions(ChunkOptions, StoreOptions):
    """``chunk``, and the collection's options, of which LlamaIndex calls ``name`` ``collection_name``."""

    name: Text = Field(default="t1", min_length=1, alias="collection_name")
    """Name of the collection."""


class T1QdrantVectorStore(BasePydanticVectorStore):
    """Stores nodes in a Qdrant collection on any engine: a folder, memory or a server. Thread-safe.

    A node's id is any string; adding a node whose id exists replaces it. ``similarities`` are cosines in [-1, 1].

    Attributes:
        location: Where the collection is.
        collection_name: Name of the collection.
        enable_hybrid: Whether a new collection stores the words of the nodes.
        text_key: Payload key of the text in points that have no node.
        dense_vector_name: Name of the dense vector; empty if it has none.
        sparse_vector_name: Name of the sparse vector of the words.
    """

    stores_text: bool = True
    location: str
    collection_name: str
    enable_hybrid: bool
    text_key: str
    dense_vector_name: str
    sparse_vector_name: str
    _opened: Collection | None = PrivateAttr(default=None)
    _stock: StockCollection | None = PrivateAttr(default=None)
    _chunks: NodeChunks | None = PrivateAttr(default=None)
    _aclient: Any = PrivateAttr(default=None)
    _owned: Any = PrivateAttr(default=None)
    _compatible: T1VectorStore | None = PrivateAttr(default=None)

    # Type checkers see these two forms: a collection, and the arguments of LlamaIndex's store.
    @overload
    def __init__(
        self,
        collection_name: Collection,
        *,
        embed_model: T1Embedding | T1Embedder | None = None,
        chunk: bool | int = False,
    ) -> None: ...
    @overload
    def __init__(
        self,
        collection_name: str,
        client: QdrantClient | None = None,
        aclient: AsyncQdrantClient | None = None,
        url: str | None = None,
        **options: Any,  # noqa: ANN401 - the fields of StockOptions
    ) -> None: ...
    @takes_options(StockOptions)  # type: ignore[misc,arg-type] # its types are in the overloads
    def __init__(
        self,
        collection_name: str | Collection,
        client: QdrantClient | None = None,
        aclient: AsyncQdrantClient | None = None,
        url: str | None = None,
        *,
        options: StockOptions,
    ) -> None:
        """Use a collection as LlamaIndex's own ``QdrantVectorStore`` does, with its arguments; see also ``open``.

        The collection is opened at its first use, and created by the first nodes.

        Args:
            collection_name: Name of the collection; or an open ``Collection``, with no further arguments than
                ``embed_model``, ``adopt`` and ``chunk``.
            client: A client of any mode, which stays the caller's. With ``aclient`` as well, it is used for everything.
            aclient: An asynchronous client, which stays the caller's.
            url: URL of a server, instead of a client.
            options: Keyword arguments, the fields of ``StockOptions``.

        Raises:
            ValueError: No client and no URL, or an argument that this store does not have; the message says what to
                write instead.
            TypeError: A further argument with an open ``Collection``.
            StoreError: The server cannot be reached.
        """
        chunks = NodeChunks(options.embed_model, options.chunk) if options.chunk is not False else None
        if isinstance(collection_name, Collection):
            opened = collection_name
            others = {name for name, value in (("client", client), ("aclient", aclient), ("url", url)) if value}
            others |= options.model_fields_set - {
                "embed_model",
                "adopt",
                "chunk",
                "batch_size",
                "parallel",
                "max_retries",
            }
            if others:
                raise TypeError(f"{min(others)} is an argument for a client; an open Collection has its own already")
            if options.identity is not None:
                opened.check_model(options.identity, adopt=options.adopt)
            if chunks is not None:
                chunks.check(opened)
            super().__init__(  # type: ignore[call-arg]
                location=opened.location,
                collection_name=opened.name,
                enable_hybrid=opened.hybrid,
                text_key=opened.schema.content_key,
                dense_vector_name=opened.schema.vector_name,
                sparse_vector_name=opened.schema.sparse_vector_name,
            )
            self._opened, self._chunks = opened, chunks
            return
        owned = None
        if client is None and aclient is None:
            if url is None:
                raise ValueError(
                    "give client=QdrantClient(...), aclient= or url=; for a folder, call "
                    "T1QdrantVectorStore.open(folder, embed_model, collection_name=...)"
                )
            client = owned = connect(url=url, api_key=options.api_key, **(options.client_kwargs or {}))
        stock = StockCollection(collection_name, client, aclient, options)
        # With an asynchronous client only, nothing is asked before the first call that is awaited.
        dense, sparse = stock.names() if client is not None else stock.new_names()
        super().__init__(  # type: ignore[call-arg]
            location=location_name(stock.client),
            collection_name=collection_name,
            enable_hybrid=options.hybrid,
            text_key=options.text_key or "text",
            dense_vector_name=dense,
            sparse_vector_name=sparse,
        )
        self._stock, self._aclient, self._owned, self._chunks = stock, aclient, owned, chunks

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex stores with a serialised object."""
        return "T1QdrantVectorStore"

    @classmethod
    @takes_options(OpenOptions)
    def open(
        cls, location: str | os.PathLike[str], embed_model: T1Embedding | T1Embedder, options: OpenOptions
    ) -> Self:
        """Open a collection for a model, and create it if it does not exist.

        Args:
            location: A folder (embedded engine), ``:memory:``, or the URL of a Qdrant server.
            embed_model: The model. A collection with another model's vectors is refused. It is not loaded for this,
                except with ``compatible_with``.
            options: Keyword arguments: ``collection_name``, ``chunk``, and the other fields of
                ``StoreOptions``. With ``compatible_with`` the collection is opened for reading only. With
                ``adopt=True`` and ``metadata_key=""``, collections of llama-index-vector-stores-qdrant can be opened,
                unless they are hybrid.

        Raises:
            CollectionMismatch: The collection holds another model's vectors, or was created with other options.
            ValueError: ``compatible_with`` names a model whose vectors the collection does not hold.
            StoreError: It cannot be opened; see ``Collection.open``.
        """
        if not isinstance(embed_model, T1Embedding | T1Embedder):
            raise TypeError(f"embed_model must be a T1Embedding or a T1Embedder, got {type(embed_model).__name__}")
        compatible = None
        if options.compatible_with is None:
            given = set_options(options, CollectionOptions)
            collection = Collection.open(location, identity=embed_model.identity, **given)
        else:
            # Read-only, since nodes bring vectors of the other model.
            given = set_options(options, StoreOptions) | {"read_only": True}
            embedder = embed_model if isinstance(embed_model, T1Embedder) else embed_model.embedder
            compatible = T1VectorStore.open(location, embedder, **given)
            collection = compatible.collection
        try:
            store = cls(collection)
            if options.chunk is not False:
                store._chunks = NodeChunks(embed_model, options.chunk)
                store._chunks.check(collection)
        except BaseException:
            collection.close()
            raise
        store._compatible = compatible
        return store

    def searched_with(self, embedder: T1Embedder) -> T1VectorStore:
        """Return the store together with a model: its own, or the one that was found compatible when it was opened.

        Raises:
            CollectionMismatch: The model is another one.
        """
        if self._compatible is not None and self._compatible.embedder.identity == embedder.identity:
            return self._compatible
        return T1VectorStore(embedder, self.collection)

    @property
    def collection(self) -> Collection:
        """The collection; one that was given by its name is opened at its first use.

        Raises:
            CollectionNotFound: It does not exist yet. The error is also a ``ValueError``.
        """
        return self._collection

    @property
    def client(self) -> Any:  # noqa: ANN401 - of two types
        """The ``QdrantClient``; the ``Collection`` of a store that was opened with ``open``."""
        return self._collection if self._stock is None else self._stock.client

    @property
    def aclient(self) -> Any:  # noqa: ANN401 - the library's
        """The ``AsyncQdrantClient`` that was given, or one of the same server; ``None`` without a server."""
        if self._aclient is None and self._stock is not None and self._collection.engine == "server":
            self._aclient = async_client(self._stock.client)
        return self._aclient

    @property
    def _collection(self) -> Collection:
        if self._stock is not None:
            opened = self._stock.open()
            if self._chunks is not None:
                self._chunks.check(opened)
            return opened
        assert self._opened is not None
        return self._opened

    def add(self, nodes: Sequence[BaseNode], **kwargs: object) -> list[str]:
        """Store nodes that have embeddings, in batches; any iterable is accepted.

        With ``chunk`` the store embeds the nodes' chunks by itself, without their metadata. The nodes need no
        embeddings then, and those they have are not used.

        Returns:
            The ids of the nodes. All of them are stored and verified then.

        Raises:
            ValueError: A node without an embedding, or one that cannot be stored; names it. Of a list, nothing is
                stored then; of another iterable, the batches before it. With ``chunk``, of another iterable all others
                are stored.
            StoreError: The engine failed.

        Warns:
            BlankDocumentWarning: With ``chunk``: nodes without a word, which are left out.
        """
        _refuse(kwargs)
        if self._chunks is not None:
            return self._chunks.add(self._collection, nodes)
        ids: list[str] = []
        first: list[BaseNode] = []
        if self._stock is not None:  # the first node's vector has the dimension of a new collection
            remaining = iter(nodes)
            first = list(islice(remaining, 1))
            if not first:
                return []
            collection = self._stock.open_for(len(to_point(first[0]).vector))
        else:
            remaining, collection = iter(nodes), self._collection
        whole = not collection.metadata_key
        if isinstance(nodes, Sequence):  # refused before anything is stored; a generator is checked batch by batch
            for node in nodes:
                point = to_point(node, whole=whole)
                collection.check(point.chunk)
                to_vector(point.vector, collection.identity.dimension, f"the node {node.node_id!r}")

        def points() -> Iterator[Point]:
            for node in chain(first, remaining):
                point = to_point(node, whole=whole)
                ids.append(point.chunk.id)
                yield point

        collection.upsert(points())
        return ids

    def delete(self, ref_doc_id: str, **delete_kwargs: object) -> None:
        """Delete a document with all its nodes. A node without a source document is a document of its own."""
        _refuse(delete_kwargs)
        if self._chunks is not None:
            self._chunks.delete_source(self._collection, ref_doc_id)
            return
        self._collection.delete_documents([ref_doc_id])
        if ref_doc_id != "None":  # LlamaIndex's own store writes this for nodes without a source document
            by_llama_index = NoneOf([{NODE_CONTENT: None}])
            self._collection.delete(filter=AllOf([{"doc_id": ref_doc_id}, by_llama_index]))

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: object
    ) -> None:
        """Delete nodes by id, by a filter, or by both: those of the ids that match the filter.

        Raises:
            ValueError: Neither ids nor filters, or filters that match everything; ``clear`` deletes everything.
        """
        _refuse(delete_kwargs)
        if node_ids is None and filters is None:
            raise ValueError("delete_nodes needs node_ids or filters; clear() deletes everything")
        if node_ids is None:
            self._collection.delete(filter=to_filter(filters) or {})
            return
        if filters is not None:
            node_ids = [node.node_id for node in self.get_nodes(node_ids, filters)]
        if self._chunks is not None:
            self._collection.delete_documents(node_ids)
        else:
            self._collection.delete(node_ids)

    def clear(self) -> None:
        """Delete every node. The collection stays; one that was given by its name is deleted, as LlamaIndex does."""
        if self._stock is not None:
            self._stock.drop()
            return
        self._collection.delete([chunk.id for chunk in self._collection.scroll()])

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, limit: int | None = None
    ) -> list[BaseNode]:
        """Return nodes with their embeddings: all, or those of some ids, in that order, that match a filter.

        ``limit`` is the maximum number of nodes. With ``chunk`` they have no embeddings, since a node has several.
        """
        wanted = to_filter(filters)
        if self._chunks is not None:
            return self._chunks.get(self._collection, node_ids, wanted, limit)
        if node_ids is None:
            found_points = islice(self._collection.scroll(wanted, with_vectors=True), limit)
            return [to_node(point.chunk, point.vector) for point in found_points]
        among = AllOf([IdIn(node_ids), wanted])
        found = {point.chunk.id: point for point in self._collection.scroll(among, with_vectors=True)}
        there = islice((id_ for id_ in dict.fromkeys(node_ids) if id_ in found), limit)
        return [to_node(found[id_].chunk, found[id_].vector) for id_ in there]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:  # noqa: ANN401
        """Return the nodes nearest to a vector, best first.

        The modes are ``default``; ``hybrid``, which also searches for the words of ``query_str`` in a hybrid collection
        (``sparse_top_k`` candidates from each ranking, ``hybrid_top_k`` nodes in the result); ``sparse`` and
        ``text_search``, which search for the words only; and ``mmr``, which chooses nodes that are also unlike each
        other. ``similarities`` are cosines in every mode; without a query vector they are 0.

        Args:
            query: Vector, mode, number of nodes, and restrictions: ``filters``, ``node_ids``, and ``doc_ids`` of
                documents that were added through LlamaIndex.
            kwargs: The fields of ``QueryKwargs``; an index passes its
                ``vector_store_kwargs``.

        Raises:
            TypeError: An unknown option, or a value of the wrong type.
            ValueError: No vector, an unknown mode, a filter that cannot be used, or a value that an option does not
                accept.
        """
        if (parts := self._parts(query)) is not None:
            dense, sparse, numbers = parts
            return self._fused(self.query(dense, **kwargs), self.query(sparse, **kwargs), numbers)
        collection = self._collection
        vector, options = self._search_options(query, collection, kwargs)
        hits = collection.search(vector, **options)
        nodes = self.to_nodes(hits, passages=QueryKwargs(**kwargs).passage_in_metadata)
        return self._result(nodes, hits, query)

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: object) -> list[str]:
        """``add`` in a thread."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: object) -> None:
        """``delete`` in a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: object
    ) -> None:
        """``delete_nodes`` in a thread."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    async def aclear(self) -> None:
        """``clear`` in a thread."""
        await asyncio.to_thread(self.clear)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, limit: int | None = None
    ) -> list[BaseNode]:
        """``get_nodes`` in a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters, limit)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:  # noqa: ANN401
        """``query`` without blocking the event loop; against a server it needs no thread either."""
        if (parts := self._parts(query)) is not None:
            dense, sparse, numbers = parts
            return self._fused(await self.aquery(dense, **kwargs), await self.aquery(sparse, **kwargs), numbers)
        collection = await asyncio.to_thread(lambda: self._collection)  # opened at its first use
        vector, options = self._search_options(query, collection, kwargs)
        hits = await collection.asearch(vector, **options)
        nodes = await self.ato_nodes(hits, passages=QueryKwargs(**kwargs).passage_in_metadata)
        return self._result(nodes, hits, query)

    def to_nodes(self, hits: Sequence[Hit], *, passages: bool = False) -> list[BaseNode]:
        """Convert hits into nodes; of a store with ``chunk``, into the whole nodes.

        Args:
            hits: Hits of ``collection``.
            passages: Add the passage that was found; see ``QueryKwargs.passage_in_metadata``.
        """
        nodes = [to_node(hit) for hit in hits] if self._chunks is None else self._chunks.whole(self._collection, hits)
        for node, hit in zip(nodes, hits, strict=True):
            if passages:
                with_passage(node, hit, hit.start if self._chunks is not None else 0)
            if hit.explanation is not None:
                add_hidden(node, EXPLANATION_KEY, hit.explanation.to_json())
        return nodes

    async def ato_nodes(self, hits: Sequence[Hit], *, passages: bool = False) -> list[BaseNode]:
        """``to_nodes``, in a thread if it reads nodes."""
        if self._chunks is None:
            return self.to_nodes(hits, passages=passages)
        return await asyncio.to_thread(self.to_nodes, hits, passages=passages)

    def grouped(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return search options with which each node is found once.

        Raises:
            ValueError: With ``chunk``: ``group``, which would return one node of each document.
        """
        if self._chunks is None:
            return options
        if options.get("group"):
            raise ValueError(
                "group=True returns one node of each document, and a store with chunk= groups chunks to nodes; leave "
                "group out, or chunk"
            )
        return {**options, "group": True}

    def parse_to_query_result(self, response: Sequence[Any]) -> VectorStoreQueryResult:
        """Convert points that the client library has returned, such as those of ``client.query_points``."""
        nodes, names = [], (self.dense_vector_name, "")
        for point in response:
            vector = point.vector
            if isinstance(vector, dict):
                vector = next((vector[name] for name in names if name in vector), None)
            payload = dict(point.payload or {})
            text = payload.pop(self.text_key, "")
            node = to_node(Chunk(str(point.id), str(point.id), text, 0, len(text), metadata=payload))
            node.embedding = vector
            nodes.append(node)
        similarities = [getattr(point, "score", 1.0) for point in response]
        return VectorStoreQueryResult(nodes=nodes, similarities=similarities, ids=[str(point.id) for point in response])

    def _search_options(
        self, query: VectorStoreQuery, collection: Collection, kwargs: dict[str, Any]
    ) -> tuple[list[float], dict[str, Any]]:
        vector, options = to_search_options(query, collection, chunks=self._chunks is not None, **kwargs)
        return vector, self.grouped(options)

    def _result(
        self, nodes: Sequence[BaseNode], hits: Sequence[Hit], query: VectorStoreQuery
    ) -> VectorStoreQueryResult:
        with_scores = query.query_embedding is not None
        return VectorStoreQueryResult(
            nodes=nodes,
            similarities=[hit.score if with_scores else 0.0 for hit in hits],
            ids=[hit.id if self._chunks is None else hit.document_id for hit in hits],
        )

    def _parts(self, query: VectorStoreQuery) -> tuple[VectorStoreQuery, VectorStoreQuery, dict[str, Any]] | None:
        """Return the two queries of a hybrid one whose results the caller's own function fuses."""
        if self._stock is None or self._stock.options.hybrid_fusion_fn is None or query.mode != "hybrid":
            return None
        dense = replace(query, mode=VectorStoreQueryMode.DEFAULT)
        sparse = replace(query, mode=VectorStoreQueryMode.SPARSE)
        alpha = 0.5 if query.alpha is None else query.alpha
        return dense, sparse, {"alpha": alpha, "top_k": query.hybrid_top_k or query.similarity_top_k}

    def _fused(
        self, dense: VectorStoreQueryResult, sparse: VectorStoreQueryResult, numbers: dict[str, Any]
    ) -> VectorStoreQueryResult:
        assert self._stock is not None
        # The function is to see the order by words, and similarities are cosines.
        by_rank = [1 / (rank + 1) for rank in range(len(sparse.nodes or []))]
        sparse = replace(sparse, similarities=by_rank)
        fused: VectorStoreQueryResult = self._stock.options.hybrid_fusion_fn(dense, sparse, **numbers)
        return fused

    # Methods of LlamaIndex's store that its subclasses call. Custom sharding is refused, so there are no shard keys.

    def _generate_shard_key_selector(self, shard_identifier: object) -> None:
        return None

    def _create_shard_keys(self) -> None:
        return None

    async def _acreate_shard_keys(self) -> None:
        return None

    def _create_payload_indexes(self) -> None:
        if self._stock is not None:
            self._stock.create_payload_indexes()

    async def _acreate_payload_indexes(self) -> None:
        await asyncio.to_thread(self._create_payload_indexes)

    def close(self) -> None:
        """Release the folder or the connection; a client of the caller stays open."""
        if self._stock is None:
            self._collection.close()
            return
        self._stock.close()
        if self._owned is not None:
            self._owned.close()

    def __enter__(self) -> Self:
        """Close at the end of a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(f"{self!r} holds an open collection and cannot be pickled; open it in the other process")


def _refuse(kwargs: dict[str, object]) -> None:
    """Refuse LlamaIndex's further keyword arguments, which would otherwise be ignored."""
    if "shard_identifier" in kwargs:
        raise TypeError("this store has one shard key, which T1QdrantVectorStore.open(..., shard_key=) chooses")
    if kwargs:
        raise TypeError(f"unknown option {next(iter(kwargs))!r}; this store has no such option")
