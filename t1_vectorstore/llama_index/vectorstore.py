"""``T1QdrantVectorStore``: a collection as LlamaIndex's vector store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from pydantic import PrivateAttr
from typing_extensions import Self, Unpack

from t1_vectorstore.embedder import T1Embedder
from t1_vectorstore.filters import AllOf, IdIn, NoneOf
from t1_vectorstore.llama_index.embedding import T1Embedding
from t1_vectorstore.llama_index.filters import to_filter
from t1_vectorstore.llama_index.nodes import NODE_CONTENT, to_node, to_point
from t1_vectorstore.llama_index.queries import Asked, to_searching
from t1_vectorstore.store import Collection
from t1_vectorstore.types import Hit, IndexKind, Point


class T1QdrantVectorStore(BasePydanticVectorStore):
    """Nodes in a Qdrant collection on any engine: a folder, memory or a server. Thread-safe.

    A node's id is any string; adding a node whose id exists replaces it. ``similarities`` are cosines in [-1, 1].

    Attributes:
        location: where the collection is.
        collection_name: its name.
    """

    stores_text: bool = True
    location: str
    collection_name: str
    _collection: Collection = PrivateAttr()

    def __init__(self, collection: Collection) -> None:
        """Use a collection that is open; ``open`` opens one."""
        super().__init__(stores_text=True, location=collection.location, collection_name=collection.name)  # type: ignore[call-arg]
        self._collection = collection

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex files it."""
        return "T1QdrantVectorStore"

    @classmethod
    def open(
        cls,
        location: str | os.PathLike[str],
        embed_model: T1Embedding | T1Embedder,
        *,
        collection_name: str = "t1",
        create: bool = True,
        adopt: bool = False,
        metadata_key: str | None = None,
        hybrid: bool | None = None,
        indexes: Mapping[str, IndexKind] | None = None,
        tenant: str | None = None,
        api_key: str | None = None,
    ) -> Self:
        """Open a collection for a model, and create it if it does not exist yet.

        ``Collection.open`` has more options; hand what it returns to ``T1QdrantVectorStore(...)``.

        Args:
            location: a folder, ``:memory:``, or the URL of a Qdrant server.
            embed_model: the model; a collection filled by another one is refused. It is not loaded for this.
            collection_name: the collection's name.
            create: whether to create it if need be.
            adopt: take a collection that does not say whose vectors it holds for one of this model.
            metadata_key: the payload's key of the metadata; ``""`` together with ``adopt`` opens a collection of
                llama-index-vector-stores-qdrant that holds one unnamed vector for each node, as it does unless hybrid.
            hybrid: whether to store the words of the texts beside the vectors, for the query mode ``hybrid``; fixed at
                creation. ``None``: as the collection has it, off for a new one.
            indexes: metadata fields to filter by, and what they hold, such as ``{"year": "integer"}``; likewise.
            tenant: the metadata field that says whose a node is; likewise.
            api_key: for a server.

        Raises:
            CollectionMismatch: the collection holds another model's vectors, or was made with other options.
            StoreError: it cannot be opened; see ``Collection.open``.
        """
        if not isinstance(embed_model, T1Embedding | T1Embedder):
            raise TypeError(f"embed_model is a T1Embedding or a T1Embedder, got {type(embed_model).__name__}")
        return cls(
            Collection.open(
                location,
                name=collection_name,
                identity=embed_model.identity,
                create=create,
                adopt=adopt,
                metadata_key=metadata_key,
                hybrid=hybrid,
                indexes=indexes,
                tenant=tenant,
                api_key=api_key,
            )
        )

    @property
    def client(self) -> Collection:
        """The collection."""
        return self._collection

    def add(self, nodes: Sequence[BaseNode], **kwargs: object) -> list[str]:
        """Store nodes that have their embeddings, batch by batch; any iterable will do.

        Returns:
            The ids, once everything is stored and was read back.

        Raises:
            ValueError: a node without an embedding, or one that cannot be stored; names it. What was stored before
                stays.
            StoreError: the engine failed.
        """
        _no_more(kwargs)
        ids: list[str] = []

        def points() -> Iterator[Point]:
            for node in nodes:
                point = to_point(node, whole=not self._collection.metadata_key)
                ids.append(point.chunk.id)
                yield point

        self._collection.upsert(points())
        return ids

    def delete(self, ref_doc_id: str, **delete_kwargs: object) -> None:
        """Delete a document with all its nodes; a node without a source document is one of its own."""
        _no_more(delete_kwargs)
        self._collection.delete_documents([ref_doc_id])
        if ref_doc_id != "None":  # as LlamaIndex writes of nodes without a source document
            by_its_store = NoneOf([{NODE_CONTENT: None}])
            self._collection.delete(filter=AllOf([{"doc_id": ref_doc_id}, by_its_store]))

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: object
    ) -> None:
        """Delete nodes by id, by filter, or those among the ids that pass the filter.

        Raises:
            ValueError: neither is given, or the filter restricts nothing; ``clear`` deletes everything.
        """
        _no_more(delete_kwargs)
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
        """Nodes with their embeddings: all, or those among some ids (in that order), or those that pass a filter."""
        wanted = to_filter(filters)
        if node_ids is None:
            return [to_node(point.chunk, point.vector) for point in self._collection.scroll(wanted, with_vectors=True)]
        among = AllOf([IdIn(node_ids), wanted])
        found = {point.chunk.id: point for point in self._collection.scroll(among, with_vectors=True)}
        return [to_node(found[id_].chunk, found[id_].vector) for id_ in dict.fromkeys(node_ids) if id_ in found]

    # the framework leaves open what may come beside a query; here it has names
    def query(self, query: VectorStoreQuery, **kwargs: Unpack[Asked]) -> VectorStoreQueryResult:  # type: ignore[override]
        """The nodes nearest to a vector, best first.

        Modes are ``default``; ``hybrid``, which also looks for the words of ``query_str`` in a collection that was made
        for it (``sparse_top_k`` candidates from each side, ``hybrid_top_k`` nodes in the end); and ``mmr``, which
        chooses nodes that are also unlike each other. ``similarities`` are cosines in every mode.

        Args:
            query: vector, mode, number of nodes, and what restricts them: ``filters``, ``node_ids``, and ``doc_ids``
                of documents that came in through LlamaIndex.
            kwargs: see ``Asked``; an index hands over its ``vector_store_kwargs``.

        Raises:
            TypeError: an option that does not exist.
            ValueError: no vector, a ``similarity_top_k`` below 1, a filter that cannot be used, an unknown mode.
        """
        vector, searching = to_searching(query, **kwargs)
        return _result(self._collection.search(vector, **searching))

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: object) -> list[str]:
        """``add`` in a thread: the event loop goes on."""
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

    async def aquery(  # type: ignore[override]
        self, query: VectorStoreQuery, **kwargs: Unpack[Asked]
    ) -> VectorStoreQueryResult:
        """``query`` without holding up the event loop; against a server without a thread, too."""
        vector, searching = to_searching(query, **kwargs)
        return _result(await self._collection.asearch(vector, **searching))

    def close(self) -> None:
        """Release the folder or the connection."""
        self._collection.close()

    def __enter__(self) -> Self:
        """Close at the end of a ``with`` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(f"{self!r} holds an open collection and cannot be pickled; open it where it is used")


def _result(hits: Sequence[Hit]) -> VectorStoreQueryResult:
    return VectorStoreQueryResult(
        nodes=[to_node(hit) for hit in hits],
        similarities=[hit.score for hit in hits],
        ids=[hit.id for hit in hits],
    )


def _no_more(kwargs: dict[str, object]) -> None:
    if kwargs:
        raise TypeError(f"this store does not know the option {next(iter(kwargs))!r}")
