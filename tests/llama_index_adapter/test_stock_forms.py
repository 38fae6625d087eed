"""The store takes the arguments of LlamaIndex's own Qdrant store, and does what they say or refuses them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import MagicMock

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from t1_vectorstore import T1Embedder
from t1_vectorstore.errors import CollectionMismatch, CollectionNotFound, UnusableVector
from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore, T1Retriever
from tests.unusable import MARK, overflowing_embedder

IDS = [f"{number}" * 8 + "-1111-1111-1111-111111111111" for number in range(3)]
SOURCE = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="book")}


def nodes(**more: Any) -> list[TextNode]:
    """Return three nodes: east, north, and between; the first two are of one document."""
    places = [("oil and gas", [1.0, 0.0]), ("steel and cars", [0.0, 1.0]), ("oil paintings", [1.0, 1.0])]
    return [
        TextNode(
            text=text,
            id_=IDS[number],
            embedding=at,
            metadata={"number": number, "kind": text.split()[0], **more},
            relationships=SOURCE if number < 2 else {},
        )
        for number, (text, at) in enumerate(places)
    ]


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    yield client
    client.close()


@pytest.fixture
def filled(client: QdrantClient) -> T1QdrantVectorStore:
    store = T1QdrantVectorStore("docs", client)
    store.add(nodes())
    return store


@pytest.fixture
def hybrid(client: QdrantClient) -> T1QdrantVectorStore:
    store = T1QdrantVectorStore("docs", client, enable_hybrid=True, fastembed_sparse_model="Qdrant/bm25")
    store.add(nodes())
    return store


def found(store: T1QdrantVectorStore, *, kwargs: Any = None, **query: Any) -> list[int]:
    """Return the numbers of the nodes that a query finds."""
    asked = VectorStoreQuery(**{"query_embedding": [1.0, 0.1], "similarity_top_k": 3, **query})
    result = store.query(asked, **(kwargs or {}))
    return [node.metadata["number"] for node in result.nodes or []]


def test_nodes_are_stored_in_the_given_client(client: QdrantClient, filled: T1QdrantVectorStore) -> None:
    assert filled.client is client
    assert client.count("docs").count == 3
    assert [node.embedding is not None for node in filled.get_nodes(IDS)] == [True] * 3
    assert len(filled.get_nodes(limit=2)) == 2
    assert found(filled) == [0, 2, 1]
    filled.close()
    assert client.count("docs").count == 3, "the client stays the caller's"
    assert found(T1QdrantVectorStore(collection_name="docs", client=client)) == [0, 2, 1]


def test_the_stock_store_reads_what_is_written_here(client: QdrantClient, filled: T1QdrantVectorStore) -> None:
    qdrant = pytest.importorskip("llama_index.vector_stores.qdrant")
    stock = qdrant.QdrantVectorStore("docs", client=client)
    result = stock.query(VectorStoreQuery(query_embedding=[1.0, 0.1], similarity_top_k=3))
    assert [node.get_content() for node in result.nodes] == ["oil and gas", "oil paintings", "steel and cars"]
    assert result.nodes[0].metadata == {"number": 0, "kind": "oil"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("enable_hybrid", [False, True])
def test_collections_of_the_stock_store_are_read(client: QdrantClient, enable_hybrid: bool) -> None:
    qdrant = pytest.importorskip("llama_index.vector_stores.qdrant")

    def words(texts: Sequence[str]) -> Any:
        return [[len(text)] for text in texts], [[1.0] for _ in texts]

    functions = {"sparse_doc_fn": words, "sparse_query_fn": words} if enable_hybrid else {}
    qdrant.QdrantVectorStore("docs", client=client, enable_hybrid=enable_hybrid, **functions).add(nodes())
    store = T1QdrantVectorStore("docs", client=client, enable_hybrid=enable_hybrid, **functions)
    assert found(store) == [0, 2, 1]
    assert store.dense_vector_name == ("text-dense" if enable_hybrid else "")
    assert store.sparse_vector_name == "text-sparse-new"
    if enable_hybrid:
        store.add([TextNode(id_="new", text="x" * 40, embedding=[0.0, 1.0], metadata={"number": 9})])
        sparse = VectorStoreQueryMode.SPARSE
        assert found(store, mode=sparse, query_str="y" * 40) == [9]
    else:
        assert [node.node_id for node in store.get_nodes([IDS[0]])] == [IDS[0]]
        store.delete("book")
        assert len(store.get_nodes()) == 1


def test_a_cleared_collection_is_gone_until_nodes_are_added(client: QdrantClient, filled: T1QdrantVectorStore) -> None:
    filled.clear()
    assert not client.collection_exists("docs")
    for error in (ValueError, CollectionNotFound):
        with pytest.raises(error, match="Collection docs not found; it is created when nodes are added"):
            filled.get_nodes()
    filled.add([TextNode(id_="a", text="a", embedding=[1.0, 0.0, 0.0])])
    assert len(filled.get_nodes()) == 1
    assert filled.add([]) == []


async def test_an_asynchronous_client_alone_is_enough() -> None:
    aclient = AsyncQdrantClient(":memory:")
    dense = {"text-dense": models.VectorParams(size=2, distance=models.Distance.COSINE)}
    await aclient.create_collection("docs", vectors_config=dense)
    point = models.PointStruct(id=IDS[0], vector={"text-dense": [1.0, 0.0]}, payload={"text": "hello", "number": 7})
    await aclient.upsert("docs", [point])
    store = T1QdrantVectorStore("docs", aclient=aclient)
    assert store.aclient is aclient
    result = await store.aquery(VectorStoreQuery(query_embedding=[1.0, 0.0], similarity_top_k=1))
    assert result.nodes is not None
    assert (result.nodes[0].get_content(), result.nodes[0].metadata) == ("hello", {"number": 7})
    await store.async_add(nodes())
    assert (await aclient.count("docs")).count == 3, "one id was there"
    await store.adelete_nodes(IDS)
    assert await store.aget_nodes() == []
    await store.aclear()
    assert not await aclient.collection_exists("docs")


async def test_new_collections_through_an_asynchronous_client() -> None:
    aclient = AsyncQdrantClient(":memory:")
    await T1QdrantVectorStore("docs", aclient=aclient).async_add(nodes())
    assert (await aclient.count("docs")).count == 3
    assert len(await T1QdrantVectorStore("docs", aclient=aclient).aget_nodes()) == 3


def test_query_modes_by_words(hybrid: T1QdrantVectorStore) -> None:
    for mode in (VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH):
        assert found(hybrid, mode=mode, query_str="steel") == [1]
        result = hybrid.query(VectorStoreQuery(query_str="cars", similarity_top_k=2, mode=mode))
        assert result.ids == [IDS[1]]
        assert result.similarities == [0.0], "there is no query vector"
        with pytest.raises(ValueError, match=r"needs its words: set query_str"):
            found(hybrid, mode=mode)


def test_alpha_is_the_weight_of_the_vector(hybrid: T1QdrantVectorStore) -> None:
    mode = VectorStoreQueryMode.HYBRID
    assert found(hybrid, mode=mode, query_str="steel", alpha=0)[0] == 1
    assert found(hybrid, mode=mode, query_str="steel", alpha=1) == [0, 2, 1]
    assert len(found(hybrid, mode=mode, query_str="steel", similarity_top_k=1, sparse_top_k=1, hybrid_top_k=2)) == 2
    assert found(hybrid) == [0, 2, 1], "the mode default is by the vector"


def test_hybrid_results_are_fused_by_the_given_function(client: QdrantClient) -> None:
    calls: list[Any] = []

    def fuse(dense_result: Any, sparse_result: Any, **numbers: Any) -> Any:
        calls.append((dense_result.ids, sparse_result.ids, sparse_result.similarities, numbers))
        return sparse_result

    store = T1QdrantVectorStore("docs", client, enable_hybrid=True, hybrid_fusion_fn=fuse)
    store.add(nodes())
    mode = VectorStoreQueryMode.HYBRID
    assert found(store, mode=mode, query_str="cars", similarity_top_k=1, hybrid_top_k=2, alpha=0) == [1]
    assert calls == [([IDS[0]], [IDS[1]], [1.0], {"alpha": 0, "top_k": 2})]


def test_modes_that_need_words_are_refused_without_them(filled: T1QdrantVectorStore) -> None:
    for mode in ("hybrid", "sparse", "text_search"):
        with pytest.raises(ValueError, match=rf"mode '{mode}' needs the words .* create it with enable_hybrid=True"):
            found(filled, mode=VectorStoreQueryMode(mode), query_str="oil")
    store = T1QdrantVectorStore("docs", filled.client, enable_hybrid=True)
    with pytest.raises(CollectionMismatch, match="stores no words; leave enable_hybrid out"):
        found(store)


def test_diversity_with_a_number_of_candidates(filled: T1QdrantVectorStore) -> None:
    mode, kwargs = VectorStoreQueryMode.MMR, {"mmr_threshold": 0.1, "mmr_prefetch_k": 2}
    assert found(filled, mode=mode, similarity_top_k=2, kwargs=kwargs) == [0, 2]
    assert found(filled, mode=mode, similarity_top_k=2, kwargs={"mmr_threshold": 0.1}) == [0, 1]
    with pytest.raises(ValueError, match="mmr_prefetch_k=2 is for the query mode 'mmr'"):
        found(filled, kwargs={"mmr_prefetch_k": 2})


@pytest.mark.parametrize("layout", ["flat", "nested"])
def test_bare_keys_of_qdrant_filters_are_metadata_fields(
    client: QdrantClient, embedding: T1Embedding, layout: str
) -> None:
    if layout == "flat":
        store, at = T1QdrantVectorStore("docs", client), {}
    else:
        store = T1QdrantVectorStore.open(client, embedding, collection_name="docs")  # type: ignore[arg-type]
        at = {"embedding": [1.0] * 64}
    store.add([node.model_copy(update=at) for node in nodes()])
    query = {"query_embedding": at["embedding"]} if at else {}
    key = models.FieldCondition(key="kind", match=models.MatchValue(value="oil"))
    small = models.FieldCondition(key="number", range=models.Range(lt=1))
    for filter, expected in (
        (models.Filter(must=[key]), {0, 2}),
        (models.Filter(must=[models.Filter(should=[key])], must_not=[small]), {2}),
    ):
        assert set(found(store, kwargs={"qdrant_filters": filter}, **query)) == expected
    by_key = MetadataFilters(filters=[MetadataFilter(key="kind", value="oil,iron", operator=FilterOperator.IN)])
    assert set(found(store, filters=by_key, **query)) == {0, 2}


def test_points_of_the_client_become_nodes(filled: T1QdrantVectorStore) -> None:
    points = filled.client.query_points("docs", query=[1.0, 0.0], limit=1, with_vectors=True).points
    result = filled.parse_to_query_result(points)
    assert result.ids == [IDS[0]]
    assert result.nodes[0].get_content() == "oil and gas"  # type: ignore[index]
    assert result.similarities == [pytest.approx(1.0)]
    foreign = models.PointStruct(id=1, vector={"text-dense": [1, 2]}, payload={"text": "hello", "a": 1})
    filled.dense_vector_name = "text-dense"
    [node] = filled.parse_to_query_result([foreign]).nodes or []
    assert (node.get_content(), node.metadata, node.embedding) == ("hello", {"a": 1}, [1, 2])


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        (["text-sparse"], None, "text-sparse"),
        (["text-sparse-new"], None, "text-sparse-new"),
        (["mine", "text-sparse-new"], "mine", "mine"),
    ],
)
def test_the_sparse_vector_of_an_existing_collection_is_found(
    names: list[str], given: str | None, expected: str
) -> None:
    client = MagicMock(spec=QdrantClient)
    client.collection_exists.return_value = True
    params = client.get_collection.return_value.config.params
    params.vectors, params.sparse_vectors = {"text-dense": object()}, {name: object() for name in names}
    assert T1QdrantVectorStore("docs", client=client, sparse_vector_name=given).sparse_vector_name == expected


def test_the_model_is_recorded_and_checked_if_it_is_given(client: QdrantClient, embedding: T1Embedding) -> None:
    store = T1QdrantVectorStore("docs", client=client, embed_model=embedding)
    documents = [Document(text="oil"), Document(text="steel")]
    context = StorageContext.from_defaults(vector_store=store)
    VectorStoreIndex.from_documents(documents, storage_context=context, embed_model=embedding)
    assert len(T1Retriever(store, embedding).retrieve("oil")) == 2
    other = T1Embedding.from_embedder(T1Embedder.fake(32))
    with pytest.raises(CollectionMismatch, match="which cannot be mixed"):
        T1QdrantVectorStore("docs", client=client, embed_model=other).get_nodes()
    unrecorded = T1QdrantVectorStore("others", client=client)
    unrecorded.add([TextNode(id_="a", text="a", embedding=[1.0] * 64)])
    with pytest.raises(CollectionMismatch, match="adopt=True"):
        T1QdrantVectorStore("others", client=client, embed_model=embedding).get_nodes()
    adopted = T1QdrantVectorStore("others", client=client, embed_model=embedding, adopt=True)
    assert len(T1Retriever(adopted, embedding).retrieve("a")) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard_keys": [1], "sharding_method": "custom"}, r"shard_key='a'"),
        ({"sparse_doc_fn": len}, "give both sparse_doc_fn and sparse_query_fn"),
        ({"fastembed_sparse_model": "prithivida/Splade_PP_en_v1"}, r"fastembed_sparse_encoder\(model_name=\.\.\.\)"),
        ({"dense_config": models.VectorParams(size=2, distance=models.Distance.DOT)}, "a T1 collection has cosine"),
        ({"payload_indexes": [{"field": "a"}]}, "'field_name' and 'field_schema'"),
        ({"sparse_config": models.SparseVectorParams()}, "leave it out"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_to_write_instead(
    client: QdrantClient, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        T1QdrantVectorStore("docs", client=client, **options)


def test_a_store_needs_a_client_or_a_url(client: QdrantClient) -> None:
    with pytest.raises(ValueError, match=r"give client=QdrantClient\(\.\.\.\), aclient= or url=.*open\(folder"):
        T1QdrantVectorStore("docs")
    with pytest.raises(TypeError, match="unknown option 'text_keys'; did you mean 'text_key'"):
        T1QdrantVectorStore("docs", client, text_keys="x")
    store = T1QdrantVectorStore("docs", client=client, batch_size=8, parallel=4, max_retries=1, index_doc_id=False)
    store.add(nodes())
    with pytest.raises(TypeError, match="one shard key"):
        store.add(nodes(), shard_identifier=1)


def test_nothing_of_a_list_is_stored_if_one_node_cannot_be(filled: T1QdrantVectorStore) -> None:
    good = [TextNode(id_=f"n{number}", text="a", embedding=[1.0, 0.0]) for number in range(600)]
    bad = TextNode(id_="bad", text="b", embedding=[float("nan"), 0.0])
    with pytest.raises(ValueError, match="the node 'bad' has nan at position 0"):
        filled.add([*good, bad])
    assert len(filled.get_nodes()) == 3


async def test_a_node_without_a_finite_vector_is_named() -> None:
    embedding = T1Embedding.from_embedder(overflowing_embedder())
    given = [TextNode(id_="good", text="fine"), TextNode(id_="bad", text=f"not fine{MARK}")]
    with pytest.raises(UnusableVector, match="the nodes 'bad'") as raised:
        IngestionPipeline(transformations=[embedding]).run(nodes=given)
    assert raised.value.indexes == [1]
    with pytest.raises(UnusableVector, match="the nodes 'bad'"):
        await embedding.acall(given)
    with pytest.raises(UnusableVector, match="'not fine"):
        VectorStoreIndex(given, embed_model=embedding)


@pytest.mark.server
def test_a_url_and_payload_indexes(server_url: str, fresh_name: str, admin: QdrantClient) -> None:
    indexes = [
        {"field_name": "kind", "field_schema": models.PayloadSchemaType.KEYWORD},
        {"field_name": "number", "field_schema": models.PayloadSchemaType.INTEGER},
    ]
    dense = models.VectorParams(size=2, distance=models.Distance.COSINE, on_disk=True)
    options: dict[str, Any] = {"url": server_url, "payload_indexes": indexes, "dense_config": dense}
    store = T1QdrantVectorStore(fresh_name, **options)
    store.add(nodes())
    info = admin.get_collection(fresh_name)
    assert {"kind", "number", "doc_id"} <= set(info.payload_schema)
    assert info.config.params.vectors.on_disk
    later = [{"field_name": "place", "field_schema": models.PayloadSchemaType.GEO}]
    assert len(T1QdrantVectorStore(fresh_name, url=server_url, payload_indexes=later).get_nodes()) == 3
    assert "place" in admin.get_collection(fresh_name).payload_schema
    store.clear()
    assert not admin.collection_exists(fresh_name)
    store.close()


@pytest.mark.server
async def test_an_asynchronous_client_of_a_server(server_url: str, fresh_name: str, admin: QdrantClient) -> None:
    aclient = AsyncQdrantClient(server_url, check_compatibility=False)
    store = T1QdrantVectorStore(fresh_name, aclient=aclient)
    await store.async_add(nodes())
    assert admin.count(fresh_name).count == 3
    assert (await store.aquery(VectorStoreQuery(query_embedding=[1.0, 0.1], similarity_top_k=1))).ids == [IDS[0]]
    store.close()
    await aclient.close()
