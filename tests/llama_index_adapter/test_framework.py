"""The adapter inside LlamaIndex's indexes, ingestion pipelines, query engines and chat engines, without sockets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from llama_index.core import Settings, StorageContext, VectorStoreIndex
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.ingestion import DocstoreStrategy, IngestionCache, IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import Document
from llama_index.core.storage.docstore import SimpleDocumentStore

from t1_vectorstore import T1Embedder
from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore, T1Retriever, T1ThoughtEvent
from tests.collection.conftest import Place

DOCUMENTS = [
    Document(id_="norway", text="Oslo is the capital of Norway. Norway sells gas.", metadata={"country": "Norway"}),
    Document(id_="france", text="Paris is the capital of France.", metadata={"country": "France"}),
    Document(id_="wheat", text="Wheat grows in the fields of France.", metadata={"country": "France"}),
]
QUESTION = "what is grown in the country that Oslo rules"


@pytest.fixture
def index(store: T1QdrantVectorStore, embedding: T1Embedding) -> VectorStoreIndex:
    context = StorageContext.from_defaults(vector_store=store)
    return VectorStoreIndex.from_documents(DOCUMENTS, storage_context=context, embed_model=embedding)


def backend_reads(embedding: T1Embedding) -> int:
    reads: int = embedding.embedder._backend.encoded  # type: ignore[attr-defined]
    return reads


def test_an_index_can_be_built_queried_and_opened_again(
    index: VectorStoreIndex, store: T1QdrantVectorStore, embedding: T1Embedding, thoughts: list[T1ThoughtEvent]
) -> None:
    again = VectorStoreIndex.from_vector_store(store, embedding)
    vector = np.array(embedding.get_query_embedding("capital of France"))
    for opened in (index, again):
        found = opened.as_retriever(similarity_top_k=2).retrieve("capital of France")
        assert [scored.node_id for scored in found] == [hit.id for hit in store.client.search(vector, limit=2)]
    assert [event.query for event in thoughts] == ["capital of France"] * 3
    answer = again.as_query_engine(llm=MockLLM(), similarity_top_k=3).query("What does Norway sell?")
    assert "Norway sells gas." in str(answer)
    assert len(answer.source_nodes) == 3


def test_it_can_be_the_default_embedding_model(
    quick: T1QdrantVectorStore, embedding: T1Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "_embed_model", None)
    Settings.embed_model = embedding
    index = VectorStoreIndex.from_vector_store(quick)
    index.insert(DOCUMENTS[0])
    assert len(index.as_retriever().retrieve("Norway")) == 1


async def test_documents_of_an_index_can_be_changed(index: VectorStoreIndex, store: T1QdrantVectorStore) -> None:
    index.delete_ref_doc("wheat")
    await index.adelete_ref_doc("france")
    assert [node.ref_doc_id for node in store.get_nodes()] == ["norway"]
    index.insert(DOCUMENTS[1])
    index.update_ref_doc(Document(id_="norway", text="Bergen lies in Norway."))
    await index.ainsert(DOCUMENTS[2])
    assert sorted(node.get_content() for node in store.get_nodes()) == sorted(
        ["Bergen lies in Norway.", DOCUMENTS[1].text, DOCUMENTS[2].text]
    )
    [found] = await index.as_retriever(similarity_top_k=1).aretrieve("Bergen")
    assert found.score is not None


async def test_a_query_engine_with_the_retriever(
    index: VectorStoreIndex, store: T1QdrantVectorStore, embedding: T1Embedding, thoughts: list[T1ThoughtEvent]
) -> None:
    retriever = T1Retriever(store, embedding, similarity_top_k=2, thought_in_metadata=True)
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    for answer in (engine.query("capital of France"), await engine.aquery("capital of France")):
        assert "capital" in str(answer)
        assert "ecnarF" not in str(answer), "the thought is in the prompt"
        assert answer.source_nodes[0].metadata["t1_thought"] == "ecnarF fo latipac"
    assert len(thoughts) == 2


async def test_chat_engines(index: VectorStoreIndex, store: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    retriever = T1Retriever(store, embedding, similarity_top_k=2)
    for kind in (ContextChatEngine, CondensePlusContextChatEngine):
        memory = ChatMemoryBuffer.from_defaults(token_limit=1000)  # the default one is a database that is never closed
        engine = kind.from_defaults(retriever=retriever, llm=MockLLM(max_tokens=5), memory=memory)
        first = engine.chat("What is the capital of France?")
        assert len(first.source_nodes) == 2
        assert (await engine.achat("And what grows there?")).source_nodes
        assert len(engine.chat_history) == 4
    memory = ChatMemoryBuffer.from_defaults(token_limit=1000)
    chat = index.as_chat_engine(llm=MockLLM(), chat_mode="context", memory=memory)
    assert chat.chat("What is the capital of France?").source_nodes


def pipeline(embedding: T1Embedding, store: T1QdrantVectorStore, cache: IngestionCache) -> IngestionPipeline:
    splitter = SentenceSplitter(chunk_size=64, chunk_overlap=0)
    return IngestionPipeline(transformations=[splitter, embedding], vector_store=store, cache=cache)


async def test_a_pipeline_with_a_cache(store: T1QdrantVectorStore, embedding: T1Embedding, tmp_path: Path) -> None:
    first = pipeline(embedding, store, IngestionCache())
    assert len(first.run(documents=DOCUMENTS)) == 3
    reads = backend_reads(embedding)
    assert reads == 3
    first.persist(str(tmp_path))
    second = pipeline(embedding, store, IngestionCache.from_persist_path(str(tmp_path / "llama_cache")))
    assert len(await second.arun(documents=DOCUMENTS)) == 3
    assert backend_reads(embedding) == reads, "cached nodes are not encoded again"
    assert len(store.get_nodes()) == 3, "and not stored twice"
    assert {node.ref_doc_id for node in store.get_nodes()} == {"norway", "france", "wheat"}


def test_the_cache_of_a_pipeline_distinguishes_models(quick: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    first = pipeline(embedding, quick, IngestionCache())
    first.run(documents=DOCUMENTS)
    other = T1Embedding.from_embedder(T1Embedder.fake(32))
    with T1QdrantVectorStore.open(":memory:", other).client as collection:
        pipeline(other, T1QdrantVectorStore(collection), first.cache).run(documents=DOCUMENTS)
        assert backend_reads(other) == 3
        assert collection.count() == 3


def test_a_pipeline_with_a_docstore_updates_the_store(store: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    running = IngestionPipeline(
        transformations=[SentenceSplitter(chunk_size=64, chunk_overlap=0), embedding],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )
    running.run(documents=DOCUMENTS)
    changed = Document(id_="norway", text="Bergen lies in Norway.")
    running.run(documents=[changed, DOCUMENTS[1]])
    assert sorted(node.get_content() for node in store.get_nodes()) == [changed.text, DOCUMENTS[1].text]


@pytest.fixture(scope="module", params=["t1-mini", "tiny"])
def real(request: pytest.FixtureRequest) -> T1Embedding:
    name = "t1-mini" if request.param == "t1-mini" else str(request.getfixturevalue("tiny"))
    return T1Embedding(model_name=name, dtype="float32", budget=48)


@pytest.fixture
def real_store(place: Place, real: T1Embedding) -> T1QdrantVectorStore:
    return T1QdrantVectorStore(place.open(identity=real.identity))


def test_with_a_real_model(real_store: T1QdrantVectorStore, real: T1Embedding, thoughts: list[T1ThoughtEvent]) -> None:
    pipeline(real, real_store, IngestionCache()).run(documents=DOCUMENTS)
    index = VectorStoreIndex.from_vector_store(real_store, real)
    answer = index.as_query_engine(llm=MockLLM(), similarity_top_k=3).query(QUESTION)
    assert len(answer.source_nodes) == 3
    found = T1Retriever(real_store, real, similarity_top_k=3).retrieve(QUESTION)
    assert [scored.node_id for scored in found] == [scored.node_id for scored in answer.source_nodes]
    assert len(thoughts) == 2
    assert thoughts[0].thoughts == thoughts[1].thoughts
    assert thoughts[0].thoughts[0].tokens > 0
