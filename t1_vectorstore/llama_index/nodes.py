"""Converts LlamaIndex's nodes into points and back, without loss.

Text and metadata are stored where every reader of a collection finds them. The rest of the node (relationships,
offsets, excluded keys, templates) is stored in the metadata, under LlamaIndex's own keys ``_node_content`` and
``_node_type``.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    MetadataMode,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from t1_vectorstore.collection.payload import NODE_CONTENT
from t1_vectorstore.metadata import to_json
from t1_vectorstore.types import Chunk, Hit, Point, Vector
from t1_vectorstore.types import Document as T1Document

EXPLANATION_KEY = "t1_explanation"
"""Metadata key of a node's explanation, if ``explain`` is set: ``types.Explanation`` as JSON, where no prompt shows
it."""
_NODE_TYPE = "_node_type"
_DOCUMENTS = {kind.class_name(): kind for kind in (Document, ImageDocument)}  # LlamaIndex reads them as TextNode


def to_point(node: BaseNode, *, whole: bool = False) -> Point:
    """Convert a node with an embedding into a point.

    Args:
        node: The node.
        whole: Whether to store its text also where LlamaIndex's own Qdrant store looks for it.

    Raises:
        TypeError: Not a node, or metadata of a type that is not converted to JSON.
        ValueError: The node has no embedding, or metadata with a value that JSON does not have.
    """
    _check(node)
    if node.embedding is None:
        raise ValueError(
            f"the node {node.node_id!r} has no embedding; add it through a VectorStoreIndex or an IngestionPipeline, "
            "or set node.embedding"
        )
    metadata = _to_metadata(node, remove_text=isinstance(node, TextNode) and not whole)
    text = node.get_content(MetadataMode.NONE)
    start, end = getattr(node, "start_char_idx", None), getattr(node, "end_char_idx", None)
    chunk = Chunk(
        id=node.node_id,
        document_id=node.ref_doc_id or node.node_id,
        text=text,
        start=start or 0,
        end=len(text) if end is None else end,
        metadata=metadata,
    )
    return Point(chunk, np.asarray(node.embedding))


def to_document(node: BaseNode) -> T1Document:
    """Convert a node into a document of the node's id, to be cut into chunks. Its embedding is not used.

    Raises:
        TypeError: Not a node, or metadata of a type that is not converted to JSON.
        ValueError: Metadata with a value that JSON does not have.
    """
    _check(node)
    metadata = _to_metadata(node, remove_text=isinstance(node, TextNode))
    content = json.loads(metadata[NODE_CONTENT])
    # The chunks have the text. Its attributes, such as the path from which it was read, stay in each of them.
    for part in (content, content.get("text_resource") or {}):  # LlamaIndex's documents have it twice
        if part.get("text"):
            part["text"] = ""
    metadata[NODE_CONTENT] = json.dumps(content)
    return T1Document(node.get_content(MetadataMode.NONE), node.node_id, metadata)


def to_node(stored: Chunk | Hit, vector: Vector | None = None) -> BaseNode:
    """Convert a stored point into the node that was added; a point of another package becomes a ``TextNode``."""
    metadata = dict(stored.metadata)
    embedding = None if vector is None else vector.tolist()
    content = metadata.get(NODE_CONTENT)
    if not isinstance(content, str):
        return TextNode(
            id_=stored.id,
            text=stored.text,
            metadata=metadata,
            start_char_idx=stored.start,
            end_char_idx=stored.end,
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=stored.document_id)},
            embedding=embedding,
        )
    document = _DOCUMENTS.get(metadata.get(_NODE_TYPE, ""))
    node = document.from_json(content) if document else metadata_dict_to_node(metadata)
    if isinstance(node, TextNode) and not node.text:
        node.set_content(stored.text)
    elif isinstance(node, Node) and node.text_resource is not None and node.text_resource.text == "":
        node.text_resource.text = stored.text
    node.embedding = embedding
    return node


def add_hidden(node: BaseNode, key: str, value: Any) -> None:  # noqa: ANN401 - JSON
    """Add a value to a node's metadata, hidden from LLMs and embedding models."""
    node.metadata[key] = value
    node.excluded_llm_metadata_keys.append(key)
    node.excluded_embed_metadata_keys.append(key)


def _check(node: object) -> None:
    if not isinstance(node, BaseNode):
        raise TypeError(f"expected a node, got {type(node).__name__}: {node!r:.100}")


def _to_metadata(node: BaseNode, *, remove_text: bool) -> dict[str, Any]:
    """Return the metadata and the rest of a node as JSON."""
    # LlamaIndex would convert values in its own way, and replace NaN and infinity by null.
    converted = to_json(node.metadata, f"the node {node.node_id!r}")
    bare = node.model_copy(update={"embedding": None, "metadata": converted})
    # The text of other nodes stays: it has attributes, such as the path from which it was read.
    metadata: dict[str, Any] = node_to_metadata_dict(bare, remove_text=remove_text)
    return metadata
