"""Long nodes as several chunks: how they are stored, found and put together again.

A node is a document of the collection, under the node's id, so that a load replaces all of its chunks and a search
can group them. LlamaIndex's own documents are found by the metadata that it writes into each node.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from llama_index.core.schema import BaseNode

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.payload import NODE_CONTENT
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import BlankDocumentWarning, CollectionMismatch, external_stacklevel
from t1_vectorstore.indexing import Failure, chunker_for, load
from t1_vectorstore.indexing.chunk_documents import check_documents
from t1_vectorstore.indexing.chunking import DEFAULT_SIZE
from t1_vectorstore.llama_index.embedding import T1Embedding
from t1_vectorstore.llama_index.nodes import add_hidden, to_document, to_node
from t1_vectorstore.types import AllOf, Chunk, Document, DocumentIn, FilterLike, Hit

PASSAGE_KEY = "t1_passage"
"""Metadata key of the passage that was found, if ``passage_in_metadata`` is set."""
_SOURCE_KEY, _NO_SOURCE = "doc_id", "None"  # LlamaIndex's, of the document that a node is a part of


class NodeChunks:
    """Stores nodes as chunks, and returns them whole."""

    def __init__(self, embed_model: T1Embedding | T1Embedder, chunk: int) -> None:
        """Embed chunks of at most ``chunk`` characters, or ``True`` for the usual size. The model is not loaded yet."""
        self._embed_model = embed_model
        self._size = DEFAULT_SIZE if chunk is True else chunk
        self._checked: Collection | None = None

    def check(self, collection: Collection) -> None:
        """Refuse a collection with nodes that were added without ``chunk``.

        Raises:
            CollectionMismatch: Its first node was. Nodes of one document would be returned as one.
        """
        if collection is self._checked:
            return
        for stored in islice(collection.scroll(batch=1), 1):
            source = stored.metadata.get(_SOURCE_KEY)
            if NODE_CONTENT in stored.metadata and source == stored.document_id != stored.id:
                raise CollectionMismatch(
                    f"{collection.location} has nodes that were added without chunk=, such as {stored.id!r}; leave "
                    "chunk out, or index into a new collection"
                )
        self._checked = collection

    def add(self, collection: Collection, nodes: Iterable[BaseNode]) -> list[str]:
        """Embed and store nodes, and return their ids. A list is checked before anything is stored.

        Raises:
            ValueError: Nodes that cannot be stored; names the first.
        """
        model = self._embed_model
        embedder = model.embedder if isinstance(model, T1Embedding) else model
        chunker = chunker_for(embedder, size=self._size, keep_spaces=True)
        ids: list[str] = []
        blank: list[str] = []
        documents: Iterable[Document] = _documents(nodes, ids, blank)
        if isinstance(nodes, Sequence):
            documents = list(documents)
            if refused := check_documents(documents, chunker, collection):
                raise _failure(refused, len(ids), "nothing was stored")
        report = load(documents, embedder, collection, chunker=chunker, max_reported=None)
        if blank:
            if without := set(blank).difference(ids):
                collection.delete_documents(without)  # their earlier texts
            message = f"{len(blank)} nodes have no text, and were left out, such as {blank[0]!r}"
            warnings.warn(message, BlankDocumentWarning, stacklevel=external_stacklevel())
        if report.failures:
            raise _failure(report.failures, len(ids), "the others were")
        return ids

    def whole(self, collection: Collection, hits: Iterable[Hit]) -> list[BaseNode]:
        """Return the node of each hit."""
        found = list(hits)
        nodes = collection.get_documents({hit.document_id for hit in found})
        return [to_node(nodes.get(hit.document_id, hit)) for hit in found]

    def get(
        self, collection: Collection, node_ids: Sequence[str] | None, wanted: FilterLike | None, limit: int | None
    ) -> list[BaseNode]:
        """Return nodes that match a filter: all, or those of some ids, in that order; at most ``limit``."""
        if node_ids is None:
            names = list(islice(_different(collection.scroll(wanted)), limit))
        elif wanted is None:
            names = list(dict.fromkeys(node_ids))
        else:
            matching = set(_different(collection.scroll(AllOf([DocumentIn(node_ids), wanted]))))
            names = [name for name in dict.fromkeys(node_ids) if name in matching]
        nodes = collection.get_documents(names)
        return [to_node(nodes[name]) for name in islice((name for name in names if name in nodes), limit)]

    def delete_source(self, collection: Collection, ref_doc_id: str) -> None:
        """Delete the nodes of a document of LlamaIndex; a node without one is a document of its own."""
        if ref_doc_id != _NO_SOURCE:
            collection.delete(filter={_SOURCE_KEY: ref_doc_id})
        for name, node in collection.get_documents([ref_doc_id]).items():
            if node.metadata.get(_SOURCE_KEY, _NO_SOURCE) == _NO_SOURCE:
                collection.delete_documents([name])


def with_passage(node: BaseNode, hit: Hit, start: int) -> None:
    """Add the passage that was found to a node's metadata, hidden from LLMs and embedding models."""
    add_hidden(node, PASSAGE_KEY, {"text": hit.text, "start": start, "end": start + len(hit.text)})


def _documents(nodes: Iterable[BaseNode], ids: list[str], blank: list[str]) -> Iterator[Document]:
    """Convert nodes, and append the id of each to ``ids``; those without text go to ``blank`` and are left out."""
    for node in nodes:
        document = to_document(node)
        if document.text.strip():
            ids.append(node.node_id)
            yield document
        else:
            blank.append(node.node_id)


def _different(chunks: Iterable[Chunk]) -> Iterator[str]:
    """Return the ids of the chunks' documents, each once."""
    seen: set[str] = set()
    for chunk in chunks:
        if chunk.document_id not in seen:
            seen.add(chunk.document_id)
            yield chunk.document_id


def _failure(failures: Sequence[Failure], count: int, others: str) -> ValueError:
    first = failures[0]
    return ValueError(
        f"{len(failures)} of {count} nodes cannot be stored, {others}. The node {first.id!r}: {first.reason}"
    )
