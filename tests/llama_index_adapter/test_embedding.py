"""``T1Embedding``: roles, fields, loading on first use, and serialisation."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import MockEmbedding
from llama_index.core.schema import Document, MetadataMode, TextNode
from llama_index.core.storage.kvstore import SimpleKVStore

from t1_vectorstore import T1Embedder
from t1_vectorstore.errors import CheckpointError, InvalidText
from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore, T1ThoughtEvent
from tests.backends.stub_vllm import stub_vllm


def test_queries_and_documents_take_different_paths(embedding: T1Embedding) -> None:
    text = "Oslo is the capital of Norway."
    fake = T1Embedder.fake()
    query, document = embedding.get_query_embedding(text), embedding.get_text_embedding(text)
    assert query == fake.embed_query(text).vector.tolist()
    assert document == fake.embed_documents([text]).vectors[0].tolist()
    assert query != document
    assert {type(value) for value in query + document} == {float}
    assert embedding.get_text_embedding_batch([text, "wheat"])[0] == document
    assert embedding([TextNode(text=text)])[0].embedding == document


async def test_asynchronous_methods_return_the_same(embedding: T1Embedding) -> None:
    texts = [f"text {number}" for number in range(100)]
    assert await embedding.aget_query_embedding("a") == embedding.get_query_embedding("a")
    assert await embedding.aget_text_embedding("a") == embedding.get_text_embedding("a")
    assert await embedding.aget_text_embedding_batch(texts) == embedding.get_text_embedding_batch(texts)


async def test_a_query_dispatches_its_thought(embedding: T1Embedding, thoughts: list[T1ThoughtEvent]) -> None:
    embedding.get_query_embedding("north wind")
    await embedding.aget_query_embedding("south wind")
    assert [(event.query, event.thoughts[0].text) for event in thoughts] == [
        ("north wind", "dniw htron"),
        ("south wind", "dniw htuos"),
    ]
    assert thoughts[0].model_dump()["class_name"] == "T1ThoughtEvent"
    embedding.think = False
    embedding.get_query_embedding("west wind")
    embedding.get_text_embedding("east wind")
    assert len(thoughts) == 2


def test_thinking_options_are_fields(embedding: T1Embedding) -> None:
    embedding.budget = 3
    [thought] = embedding.embed_query("north wind").thoughts
    assert (thought.text, thought.stop) == ("dni", "budget")
    embedding.refine_steps, embedding.refine = 2, "last"
    expected = T1Embedder.fake().embed_query("north wind", budget=3, refine_steps=2, refine="last")
    assert embedding.get_query_embedding("north wind") == expected.vector.tolist()
    wrong = {"budget": -1, "deadline": 0.0, "think": "perhaps", "refine_steps": 65, "refine": "max"}
    for field, value in wrong.items():
        message = f"^{field} must be .*, got {value!r}$"
        with pytest.raises(ValueError, match=message):
            setattr(embedding, field, value)
        with pytest.raises(ValueError, match=message):
            T1Embedding.from_embedder(T1Embedder.fake(), **{field: value})


def test_an_embeddings_cache_is_refused_since_it_would_mix_roles(embedding: T1Embedding, tiny: Path) -> None:
    with pytest.raises(ValueError, match="a query would be answered with the vector of a document"):
        T1Embedding(model_name=str(tiny), embeddings_cache=SimpleKVStore())
    with pytest.raises(ValueError, match="a query would be answered with the vector of a document"):
        embedding.embeddings_cache = SimpleKVStore()
    assert embedding.embeddings_cache is None


async def test_the_mean_of_several_phrasings_is_normalised(embedding: T1Embedding) -> None:
    phrasings = ["north wind", "a storm from the pole"]
    mean = embedding.get_agg_embedding_from_queries(phrasings)
    assert math.hypot(*mean) == pytest.approx(1)
    assert mean == await embedding.aget_agg_embedding_from_queries(phrasings)
    plain = np.mean([embedding.get_query_embedding(phrasing) for phrasing in phrasings], axis=0)
    assert np.linalg.norm(plain) < 0.99
    assert np.allclose(mean, plain / np.linalg.norm(plain))
    assert embedding.get_agg_embedding_from_queries(phrasings, lambda vectors: vectors[1]) == (
        embedding.get_query_embedding(phrasings[1])
    )
    with pytest.raises(ValueError, match="0 query vectors have no mean direction"):
        embedding.get_agg_embedding_from_queries([])


def test_the_model_is_identified_at_once_and_loaded_once_on_first_use(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Any] = []
    load = T1Embedder.from_options
    monkeypatch.setattr(T1Embedder, "from_options", lambda options: loads.append(options) or load(options))
    embedding = T1Embedding(model_name=str(tiny), dtype="float32")
    copied = copy.deepcopy(embedding)
    assert (embedding.dimension, len(embedding.fingerprint)) == (64, 16)
    assert loads == []
    workers = [threading.Thread(target=embedding.get_text_embedding, args=["a"]) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(copied.get_text_embedding("a")) == 64
    assert len(loads) == 1
    assert embedding.embedder.identity == embedding.identity


def test_it_can_be_saved_and_restored(tiny: Path) -> None:
    embedding = T1Embedding(model_name=tiny, dtype="float32", budget=8, overrides={"truncate_dim": 16})
    vector = embedding.get_text_embedding("a")
    for again in (
        T1Embedding.from_dict(embedding.to_dict()),
        T1Embedding.from_json(embedding.to_json()),
        pickle.loads(pickle.dumps(embedding)),
    ):
        assert again.to_dict() == embedding.to_dict()
        assert again.get_text_embedding("a") == vector
        assert again.budget == 8


def test_a_model_in_memory_is_not_pickled(embedding: T1Embedding) -> None:
    with pytest.raises(
        TypeError, match=r"created by from_embedder cannot be pickled.* create it with the model.s name"
    ):
        pickle.dumps(embedding)
    assert copy.deepcopy(embedding).get_text_embedding("a") == embedding.get_text_embedding("a")


def test_a_checkpoint_that_changed_under_the_same_name_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    saved = T1Embedding(model_name=str(folder)).to_dict()
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="not the model that this T1Embedding was created for"):
        T1Embedding.from_dict(saved).get_text_embedding("a")


def test_fields_that_determine_the_model_cannot_be_changed(embedding: T1Embedding) -> None:
    for field in ("model_name", "fingerprint", "dimension", "overrides", "revision", "device"):
        with pytest.raises(AttributeError, match=f"{field} is fixed, .* create a new T1Embedding to change it"):
            setattr(embedding, field, None)


def test_serialised_objects_and_errors_contain_no_secrets(tiny: Path) -> None:
    for secret in ({"token": "hf-secret"}, {"backend": "remote", "engine_options": {"api_key": "hf-secret"}}):
        embedding = T1Embedding(model_name=str(tiny), **secret)
        assert "hf-secret" not in f"{embedding!r} {embedding.to_dict()} {embedding.to_payload()} {embedding.to_json()}"
    with pytest.raises(ValueError, match="give one of them") as raised:
        T1Embedding(model_name=str(tiny), token="hf-secret", device="cpu", devices=["cpu"])
    assert "hf-secret" not in str(raised.value)


@pytest.mark.enable_socket
def test_other_backends_can_run_the_model(tiny: Path, tmp_path: Path) -> None:
    """With the fingerprint, a remote model needs no weights here."""
    local = T1Embedder.load(tiny, dtype="float32")
    light = shutil.copytree(tiny, tmp_path / "light")
    (light / "model.safetensors").unlink()
    with stub_vllm(local) as stub:
        options = {"generate_url": stub.url, "embed_url": stub.url, "fingerprint": local.identity.fingerprint}
        embedding = T1Embedding(model_name=light, backend="remote", engine_options=options, budget=4)
        vector = embedding.get_query_embedding("a")
        assert vector == pytest.approx(local.embed_query("a", budget=4).vector.tolist(), abs=1e-4)
        embedding.embedder.close()
    with pytest.raises(ValueError, match="give one of them"):
        T1Embedding(model_name=tiny, device="cpu", devices=["cpu", "cpu"], threads=1).get_text_embedding("a")


def test_unknown_names_and_empty_texts_are_refused(embedding: T1Embedding, tiny: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint 'nowhere'"):
        T1Embedding(model_name="nowhere")
    with pytest.raises(TypeError, match="unknown option 'modelname'; did you mean 'model_name'"):
        T1Embedding(modelname="t1-mini")
    with pytest.raises(InvalidText, match="the query is only white space"):
        embedding.get_query_embedding(" ")
    with pytest.raises(InvalidText, match="document text 1 is empty"):
        embedding.get_text_embedding_batch(["a", ""])


async def test_the_model_does_not_block_the_event_loop(slow: T1Embedding) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await slow.aget_query_embedding("a")
    asking = ticks
    await slow.aget_text_embedding("a")
    ticking.cancel()
    assert asking >= 5
    assert ticks - asking >= 5


def test_other_embedding_models_are_refused() -> None:
    with pytest.raises(TypeError, match="embed_model must be a T1Embedding or a T1Embedder, got MockEmbedding"):
        T1QdrantVectorStore.open(":memory:", MockEmbedding(embed_dim=8))  # type: ignore[arg-type]


def test_the_splitter_makes_nodes_that_the_model_reads_as_a_whole() -> None:
    embedding = T1Embedding(model_name="t1-mini")
    text = " ".join(f"Sentence {number} is about oil, steel and 12,345 cars in Oslo." for number in range(400))
    splitter = embedding.splitter(chunk_size=200, chunk_overlap=20)
    nodes = splitter.get_nodes_from_documents([Document(text=text, metadata={"title": "A long report"})])
    assert embedding.embedder.excess_tokens(text) > 0
    assert len(nodes) > 10
    assert [embedding.embedder.excess_tokens(node.get_content(MetadataMode.EMBED)) for node in nodes] == [0] * len(
        nodes
    )
    assert max(len(embedding.embedder.token_ids(node.get_content(MetadataMode.EMBED))) for node in nodes) <= 200
    with pytest.raises(ValueError, match=r"chunk_size=100000 is more than the .* tokens that 't1-mini' reads"):
        embedding.splitter(100_000)
