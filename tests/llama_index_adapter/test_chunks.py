"""A store that cuts long nodes into chunks, and returns whole nodes; on every engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import BaseNode, Document, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import ExactMatchFilter, MetadataFilters, VectorStoreQuery
from qdrant_client import QdrantClient

from t1_vectorstore.errors import BlankDocumentWarning, CollectionMismatch
from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore, T1Retriever
from tests.collection.conftest import Place

FJORDS = "Fjords and mountains of the north."
TEXT = (
    "\n\n  " + "Ships sail to the south. \n\t" * 40 + f"\r\n\r\n{FJORDS}\n\n" + "Trains run to the west.  " * 40 + "\n"
)
NORWAY = MetadataFilters(filters=[ExactMatchFilter(key="country", value="Norway")])


def node(name: str, text: str, source: str | None = None, **metadata: str) -> TextNode:
    relationships = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=source)} if source else {}
    return TextNode(id_=name, text=text, metadata=metadata, relationships=relationships, start_char_idx=7)


LONG = node("long", TEXT, "atlas", country="Norway")
LONG_TOO = node("long too", TEXT.replace(FJORDS, "Wheat and wine of the plains."), "atlas", country="France")
SHORT = node("short", "Paris sleeps.", country="Norway")


def query(embedding: T1Embedding, text: str, **options: object) -> VectorStoreQuery:
    return VectorStoreQuery(query_embedding=embedding.get_query_embedding(text), query_str=text, **options)


def names(nodes: list[BaseNode]) -> list[str]:
    return [each.node_id for each in nodes]


@pytest.fixture
def chunked(place: Place, embedding: T1Embedding) -> Iterator[T1QdrantVectorStore]:
    """A store with chunks of at most 200 characters."""
    with T1QdrantVectorStore(place.open(identity=embedding.identity), embed_model=embedding, chunk=200) as store:
        assert store.add([LONG, LONG_TOO, SHORT]) == ["long", "long too", "short"]
        yield store


def test_a_long_node_is_found_once_and_as_it_was_added(chunked: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    assert chunked.collection.count() > 15
    for mode in ("default", "mmr"):
        found = chunked.query(query(embedding, FJORDS, similarity_top_k=5, mode=mode))
        assert found.ids[0] == "long"
        assert found.nodes[0] == LONG
        assert sorted(found.ids) == sorted(names(found.nodes)) == ["long", "long too", "short"]
        assert len(found.similarities) == 3
    [only] = chunked.query(query(embedding, FJORDS, similarity_top_k=5, node_ids=["long too"])).nodes
    assert only == LONG_TOO
    assert sorted(chunked.query(query(embedding, FJORDS, similarity_top_k=5, filters=NORWAY)).ids) == ["long", "short"]
    assert sorted(chunked.query(query(embedding, FJORDS, similarity_top_k=5, doc_ids=["atlas"])).ids) == [
        "long",
        "long too",
    ]


async def test_an_asynchronous_query_returns_the_same_nodes(
    chunked: T1QdrantVectorStore, embedding: T1Embedding
) -> None:
    wanted = query(embedding, FJORDS, similarity_top_k=3)
    assert await chunked.aquery(wanted) == chunked.query(wanted)
    retriever = T1Retriever(chunked, embedding, similarity_top_k=1)
    assert (await retriever.aretrieve(FJORDS))[0].node == retriever.retrieve(FJORDS)[0].node == LONG


def test_the_passage_is_in_the_metadata_on_request(chunked: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    [retrieved] = T1Retriever(chunked, embedding, similarity_top_k=1, passage_in_metadata=True).retrieve(FJORDS)
    [queried] = chunked.query(query(embedding, FJORDS), passage_in_metadata=True).nodes
    for found in (retrieved.node, queried):
        passage = found.metadata["t1_passage"]
        assert found.text == TEXT
        assert TEXT[passage["start"] : passage["end"]] == passage["text"]
        assert FJORDS in passage["text"]
        assert len(passage["text"]) < 250
        assert "t1_passage" in found.excluded_llm_metadata_keys


def test_nodes_are_read_replaced_and_deleted_by_their_own_ids(chunked: T1QdrantVectorStore) -> None:
    assert chunked.get_nodes(["short", "nobody", "long"]) == [SHORT, LONG]
    assert sorted(names(chunked.get_nodes())) == ["long", "long too", "short"]
    assert len(chunked.get_nodes(limit=2)) == 2
    assert chunked.get_nodes(["long too", "long"], NORWAY) == [LONG]
    assert chunked.get_nodes([], NORWAY) == []
    shorter = node("long", TEXT[:500], "atlas")
    chunked.add([shorter])
    assert chunked.get_nodes(["long"]) == [shorter]
    chunked.delete_nodes(["long too", "short"], NORWAY)
    assert sorted(names(chunked.get_nodes())) == ["long", "long too"]
    chunked.delete_nodes(["long"])
    assert names(chunked.get_nodes()) == ["long too"]
    chunked.delete_nodes(["long too"])
    assert chunked.collection.count() == 0


def test_a_document_is_deleted_with_all_chunks_of_its_nodes(chunked: T1QdrantVectorStore) -> None:
    chunked.delete("long")  # the id of a node that is a part of another document
    chunked.delete("None")
    assert len(chunked.get_nodes()) == 3
    chunked.delete("atlas")
    assert chunked.get_nodes() == [SHORT]
    chunked.delete("short")
    assert chunked.collection.count() == 0


def test_an_index_over_a_client_finds_whole_documents(embedding: T1Embedding) -> None:
    client = QdrantClient(":memory:")
    store = T1QdrantVectorStore("docs", client=client, embed_model=embedding, chunk=200)
    document = Document(id_="atlas", text=TEXT, metadata={"country": "Norway"})
    store.add([document])
    index = VectorStoreIndex.from_vector_store(store, embed_model=embedding)
    stored, _ = client.scroll("docs", limit=100)
    assert len(stored) > 8
    assert not [point for point in stored if FJORDS in point.payload["_node_content"]]  # the text is stored once
    [found] = index.as_retriever(similarity_top_k=2).retrieve(FJORDS)
    assert found.node.text == TEXT
    assert isinstance(found.node, Document)
    assert found.node.hash == document.hash
    again = T1QdrantVectorStore("docs", client=client, embed_model=embedding, chunk=200)
    assert again.get_nodes(["atlas"])[0].text == TEXT
    index.delete_ref_doc("atlas")
    assert store.collection.count() == 0


def test_opened_with_chunk_a_folder_returns_whole_nodes(
    tmp_path_factory: pytest.TempPathFactory, embedding: T1Embedding
) -> None:
    folder = tmp_path_factory.mktemp("chunks")
    with T1QdrantVectorStore.open(folder, embedding, chunk=True, hybrid=True) as store:
        store.add(iter([LONG, SHORT]))
    with T1QdrantVectorStore.open(folder, embedding, chunk=True) as store:
        for mode in ("hybrid", "sparse"):
            assert store.query(query(embedding, FJORDS, mode=mode)).nodes == [LONG]


def test_a_bad_node_of_a_list_is_refused_before_anything_is_stored(chunked: T1QdrantVectorStore) -> None:
    before = chunked.collection.count()
    with pytest.raises(ValueError, match=r"nothing was stored.*'new'.*another document"):
        chunked.add([node("new", "One."), node("new", "Two.")])
    assert chunked.collection.count() == before


def test_nodes_without_text_are_left_out_with_a_warning(chunked: T1QdrantVectorStore) -> None:
    with pytest.warns(BlankDocumentWarning, match=r"1 nodes have no text.*'blank'"):
        assert chunked.add([node("blank", " \n"), node("new", "One.")]) == ["new"]
    with pytest.warns(BlankDocumentWarning):
        chunked.add([node("new", "One."), node("new", " ")])
    assert [found.get_content() for found in chunked.get_nodes(["new"])] == ["One."]


def test_chunk_needs_the_model() -> None:
    with pytest.raises(ValueError, match=r"chunk=True needs embed_model="):
        T1QdrantVectorStore("docs", client=QdrantClient(":memory:"), chunk=True)


def test_chunk_refuses_what_it_cannot_regroup(quick: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    part = node("part", "One.", "atlas")
    part.embedding = embedding.get_text_embedding("One.")
    quick.add([part])
    with pytest.raises(CollectionMismatch, match=r"added without chunk=, such as 'part'"):
        T1QdrantVectorStore(quick.collection, embed_model=embedding, chunk=True)
    quick.clear()
    store = T1QdrantVectorStore(quick.collection, embed_model=embedding, chunk=True)
    with pytest.raises(ValueError, match="one node of each document"):
        store.query(query(embedding, FJORDS), group=True)
    with pytest.raises(ValueError, match="one node of each document"):
        T1Retriever(store, embedding, group=True)
