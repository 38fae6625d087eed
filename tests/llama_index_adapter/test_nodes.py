"""Nodes are returned as they were added, and points of other packages are returned as nodes."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import pytest
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)

from t1_vectorstore import Document as T1Document
from t1_vectorstore import T1VectorStore
from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore

RICH = TextNode(
    id_="any id: é/ü",
    text="Oslo is the capital of Norway.",
    metadata={"country": "Norway", "year": 2001, "tags": ["a", "b"], "deep": {"x": [1, None, True]}, "doc_id": "mine"},
    excluded_embed_metadata_keys=["year"],
    excluded_llm_metadata_keys=["tags"],
    relationships={
        NodeRelationship.SOURCE: RelatedNodeInfo(node_id="the document", metadata={"a": 1}, hash="x"),
        NodeRelationship.PREVIOUS: RelatedNodeInfo(node_id="before"),
        NodeRelationship.CHILD: [RelatedNodeInfo(node_id="c1"), RelatedNodeInfo(node_id="c2")],
    },
    metadata_template="{key}={value}",
    metadata_separator="; ",
    text_template="{metadata_str} | {content}",
    mimetype="text/markdown",
    start_char_idx=7,
    end_char_idx=37,
)
NODES: list[BaseNode] = [
    RICH,
    TextNode(id_="plain", text="wheat"),
    TextNode(id_="empty", text=""),
    Document(id_="document", text="a whole document", metadata={"file": "a.md"}, excluded_llm_metadata_keys=["file"]),
    Document(id_="resource", text_resource=MediaResource(text="read from a path", mimetype="text/html")),
    IndexNode(id_="index", text="a summary", index_id="another index"),
    ImageNode(id_="image", text="a caption", image="aGVsbG8=", image_mimetype="image/png"),
    ImageDocument(id_="image document", text="a caption", image_resource=MediaResource(url="http://localhost/a.png")),
    Node(id_="node", text_resource=MediaResource(text="words"), image_resource=MediaResource(data=b"aGVsbG8=")),
]


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.node_id)
def test_a_node_is_returned_as_it_was_added(quick: T1QdrantVectorStore, embedding: T1Embedding, node: BaseNode) -> None:
    given = node.model_copy(update={"embedding": embedding.get_text_embedding("a text")})
    before = given.model_dump()
    assert quick.add([given]) == [node.node_id]
    assert given.model_dump() == before
    [found] = quick.get_nodes([node.node_id])
    assert type(found) is type(node)
    assert found.embedding == pytest.approx(given.embedding, abs=1e-6)
    found.embedding = None
    assert found.model_dump() == {**before, "embedding": None}


def test_this_package_finds_text_metadata_and_document(quick: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    quick.add([RICH.model_copy(update={"embedding": embedding.get_text_embedding(RICH.text)})])
    t1 = T1VectorStore(embedding.embedder, quick.client)
    [hit] = t1.search("capital", filter={"country": "Norway", "tags": "b", "deep.x": 1}).hits
    assert (hit.id, hit.text, hit.document_id) == (RICH.node_id, RICH.text, "the document")
    assert (hit.start, hit.end) == (7, 37)
    assert t1.delete(["the document"]) == 1


def test_chunks_of_this_package_are_returned_as_text_nodes(quick: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    long = "\n\n".join(f"Paragraph {number} about the fjords of the north." for number in range(100))
    t1 = T1VectorStore(embedding.embedder, quick.client)
    report = t1.add([T1Document(long, id="fjords", metadata={"country": "Norway"})])
    nodes = quick.get_nodes()
    assert len(nodes) == report.stored > 1
    for node in nodes:
        assert isinstance(node, TextNode)
        assert node.ref_doc_id == "fjords"
        assert node.metadata == {"country": "Norway"}
        assert node.text == long[node.start_char_idx : node.end_char_idx]
    quick.delete("fjords")
    assert quick.get_nodes() == []


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"embedding": None}, ValueError, "the node 'a' has no embedding"),
        ({"embedding": [1.0] * 3}, ValueError, r"node 'a' has a vector of shape \(3,\); this collection holds .* 64"),
        ({"embedding": [float("nan")] * 64}, ValueError, "nan at position 0"),
        ({"embedding": [0.0] * 64}, ValueError, "vector of zeros"),
        ({"metadata": {"x": object()}}, TypeError, "the node 'a' has metadata.x = .* of type object"),
        ({"metadata": {"x": float("inf")}}, ValueError, "the node 'a' has metadata.x = inf"),
        ({"metadata": {"x": [float("nan")]}}, ValueError, r"the node 'a' has metadata\.x\[0\] = nan"),
        ({"metadata": {"x": 2**70}}, ValueError, "needs more than 64 bits"),
        ({"id_": ""}, ValueError, "id must not be empty"),
    ],
)
def test_invalid_nodes_are_refused_by_name(
    quick: T1QdrantVectorStore, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    node = TextNode(id_="a", text="words", embedding=[1.0] * 64).model_copy(update=changes)
    with pytest.raises(error, match=message):
        quick.add([node])
    assert quick.get_nodes() == []


def test_other_objects_than_nodes_are_refused(quick: T1QdrantVectorStore) -> None:
    with pytest.raises(TypeError, match="expected a node, got str"):
        quick.add(["text"])  # type: ignore[list-item]


def test_metadata_is_converted_as_in_every_other_store(store: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    when = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
    metadata = {"when": when, "path": PurePosixPath("a/b"), "price": Decimal("1.5"), "tags": {"y", "x"}}
    vector = embedding.get_text_embedding("a text")
    store.add([TextNode(id_="a", text="a text", metadata=metadata, embedding=vector)])
    [read] = store.get_nodes(["a"])
    assert read.metadata == {"when": when.isoformat(), "path": "a/b", "price": 1.5, "tags": ["x", "y"]}
    by_value: Any = {"when": {"eq": when, "gte": when}, "path": PurePosixPath("a/b"), "price": {"lte": Decimal("1.5")}}
    assert store.get_nodes(filters=by_value) == [read]
