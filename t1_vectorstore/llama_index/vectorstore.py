"""``T1QdrantVectorStore``: a collection as LlamaIndex's vector store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from typing import Any

from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from pydantic import Field, PrivateAttr
from typing_extensions import Self

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.payload import NODE_CONTENT
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.llama_index.embedding import T1Embedding
from t1_vectorstore.llama_index.filters import to_filter
from t1_vectorstore.llama_index.nodes import to_node, to_point
from t1_vectorstore.llama_index.queries import to_search_options
from t1_vectorstore.options import CollectionOptions, Text, set_options, takes_options
from t1_vectorstore.types import AllOf, Hit, IdIn, NoneOf, Point


class OpenOptions(CollectionOptions):
    """The collection's options, of which LlamaIndex calls ``name`` ``collection_name``."""

    name: Text = Field(default="t1", min_length=1, alias="collection_name")
    """Name of the collection."""


class T1QdrantVectorStore(BasePydanticVectorStore):
    """Stores nodes in a Qdrant collection on any engine: a folder, memory or a server. Thread-safe.

    A node's id is any string; adding a node whose id exists replaces it. ``similarities`` are cosines in [-1, 1].

    Attributes:
        location: Where the collection is.
        collection_name: Name of the collection.
    """

    stores_text: bool = True
    location: str
    collection_name: str
    _collection: Collection = PrivateAttr()

    def __init__(self, collection: Collection) -> None:
        """Use an open collection. Call ``open`` instead to open one."""
        super().__init__(stores_text=True, location=collection.location, collection_name=collection.name)  # type: ignore[call-arg]
        self._collection = collection

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
            embed_model: The model. A collection with another model's vectors is refused. It is not loaded for this.
            options: Keyword arguments: ``collection_name``, and the other fields of
                ``CollectionOptions``. With ``adopt=True`` and ``metadata_key=""``,
                collections of llama-index-vector-stores-qdrant can be opened, unless they are hybrid.

        Raises:
            CollectionMismatch: The collection holds another model's vectors, or was created with other options.
            StoreError: It cannot be opened; see ``Collection.open``.
        """
        if not isinstance(embed_model, T1Embedding | T1Embedder):
            raise TypeError(f"embed_model must be a T1Embedding or a T1Embedder, got {type(embed_model).__name__}")
        given = set_options(options, CollectionOptions)
        return cls(Collection.open(location, identity=embed_model.identity, **given))

    @property
    def client(self) -> Collection:
        """The collection."""
        return self._collection

    def add(self, nodes: Sequence[BaseNode], **kwargs: object) -> list[str]:
        """Store nodes that have embeddings, in batches; any iterable is accepted.

        Returns:
            The ids of the nodes. All of them are stored and verified then.

        Raises:
            ValueError: A node without an embedding, or one that cannot be stored. Batches stored before stay.
            StoreError: The engine failed.
        """
        _refuse(kwargs)
        ids: list[str] = []

        def points() -> Iterator[Point]:
            for node in nodes:
                point = to_point(node, whole=not self._collection.metadata_key)
                ids.append(point.chunk.id)
                yield point

        self._collection.upsert(points())
        return ids

    def delete(self, ref_doc_id: str, **delete_kwargs: object) -> None:
        """Delete a document with all its nodes. A node without a source document is a document of its own."""
        _refuse(delete_kwargs)
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
        elif filters is None:
            self._collection.delete(node_ids)
        else:
            self._collection.delete([node.node_id for node in self.get_nodes(node_ids, filters)])

    def clear(self) -> None:
        """Delete every node; the collection stays."""
        self._collection.delete([chunk.id for chunk in self._collection.scroll()])

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return nodes with their embeddings: all, or those of some ids, in that order, that match a filter."""
        wanted = to_filter(filters)
        if node_ids is None:
            return [to_node(point.chunk, point.vector) for point in self._collection.scroll(wanted, with_vectors=True)]
        among = AllOf([IdIn(node_ids), wanted])
        found = {point.chunk.id: point for point in self._collection.scroll(among, with_vectors=True)}
        return [to_node(found[id_].chunk, found[id_].vector) for id_ in dict.fromkeys(node_ids) if id_ in found]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:  # noqa: ANN401
        """Return the nodes nearest to a vector, best first.

        The modes are ``default``; ``hybrid``, which also searches for the words of ``query_str`` in a hybrid collection
        (``sparse_top_k`` candidates from each ranking, ``hybrid_top_k`` nodes in the result); and ``mmr``, which
        chooses nodes that are also unlike each other. ``similarities`` are cosines in every mode.

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
        vector, options = to_search_options(query, **kwargs)
        return _result(self._collection.search(vector, **options))

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
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """``get_nodes`` in a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:  # noqa: ANN401
        """``query`` without blocking the event loop; against a server it needs no thread either."""
        vector, options = to_search_options(query, **kwargs)
        return _result(await self._collection.asearch(vector, **options))

    def close(self) -> None:
        """Release the folder or the connection."""
        self._collection.close()

    def __enter__(self) -> Self:
        """Close at the end of a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(f"{self!r} holds an open collection and cannot be pickled; open it in the other process")


def _result(hits: Sequence[Hit]) -> VectorStoreQueryResult:
    return VectorStoreQueryResult(
        nodes=[to_node(hit) for hit in hits],
        similarities=[hit.score for hit in hits],
        ids=[hit.id for hit in hits],
    )


def _refuse(kwargs: dict[str, object]) -> None:
    """Refuse LlamaIndex's further keyword arguments, which would otherwise be ignored."""
    if kwargs:
        raise TypeError(f"unknown option {next(iter(kwargs))!r}; this store has no such option")
