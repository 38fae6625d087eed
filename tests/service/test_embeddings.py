"""``/v1/embeddings`` and ``/v1/rerank``: the library's vectors, by clients that know only OpenAI's interface."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from langchain_openai import OpenAIEmbeddings
from llama_index.embeddings.openai import OpenAIEmbedding
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

from t1_vectorstore import T1Embedder
from t1_vectorstore.server.answers import EmbeddingsAnswer, RerankAnswer
from tests.service.conftest import Serve
from tests.service.live import Live, live

TEXTS = ["Llamas carry loads in the Andes.", "Camels live in deserts.", "A ferry crosses the lake."]
QUERY = "Which animals carry loads?"
CLIENT: dict[str, Any] = {"api_key": "none", "max_retries": 0}


@pytest.fixture(scope="module")
def service(mini: T1Embedder) -> Iterator[Live]:
    with live({}, embedders=[mini]) as running:
        yield running


@pytest.fixture
def openai(service: Live) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{service.url}/v1", **CLIENT) as client:
        yield client


@pytest.mark.parametrize("form", ["float", "base64"])
def test_the_openai_client_gets_the_vectors_of_the_library(openai: OpenAI, mini: T1Embedder, form: Any) -> None:
    answer = openai.embeddings.create(model="t1-mini:document", input=TEXTS, encoding_format=form)
    vectors = [item.embedding for item in answer.data]
    if form == "base64":
        vectors = [np.frombuffer(base64.b64decode(str(vector)), "<f4").tolist() for vector in vectors]
    expected = mini.embed_documents(TEXTS)
    np.testing.assert_array_equal(np.array(vectors, np.float32), expected.vectors)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == expected.tokens
    query = openai.embeddings.create(model="t1-mini", input=QUERY, extra_body={"input_type": "query", "budget": 30})
    embedding = mini.embed_query(QUERY, budget=30)
    np.testing.assert_array_equal(np.array(query.data[0].embedding, np.float32), embedding.vector)
    thought = embedding.thoughts[0]
    assert query.data[0].thoughts == [{"text": thought.text, "tokens": thought.tokens, "stop": thought.stop}]  # type: ignore[attr-defined]
    assert query.usage.total_tokens == query.usage.prompt_tokens + thought.tokens


async def test_the_asynchronous_client_gets_the_same(service: Live, mini: T1Embedder) -> None:
    async with AsyncOpenAI(base_url=f"{service.url}/v1", **CLIENT) as client:
        answer = await client.embeddings.create(model="t1-mini:query", input=QUERY)
        models = [model.id async for model in client.models.list()]
    np.testing.assert_array_equal(np.array(answer.data[0].embedding, np.float32), mini.embed_query(QUERY).vector)
    assert models == ["t1-mini", "t1-mini:query", "t1-mini:document"]


def test_langchain_gets_the_same(service: Live, mini: T1Embedder) -> None:
    shared: dict[str, Any] = {"base_url": f"{service.url}/v1", "api_key": "none", "check_embedding_ctx_length": False}
    documents = OpenAIEmbeddings(model="t1-mini:document", **shared).embed_documents(TEXTS)
    np.testing.assert_array_equal(np.array(documents, np.float32), mini.embed_documents(TEXTS).vectors)
    query = OpenAIEmbeddings(model="t1-mini:query", **shared).embed_query(QUERY)
    np.testing.assert_array_equal(np.array(query, np.float32), mini.embed_query(QUERY).vector)


async def test_llama_index_gets_the_same(service: Live, mini: T1Embedder) -> None:
    shared: dict[str, Any] = {"api_base": f"{service.url}/v1", "api_key": "none", "max_retries": 0}
    documents = OpenAIEmbedding(model_name="t1-mini:document", **shared)
    found = documents.get_text_embedding_batch(TEXTS)
    np.testing.assert_array_equal(np.array(found, np.float32), mini.embed_documents(TEXTS).vectors)
    expected = mini.embed_query(QUERY).vector
    async with httpx.AsyncClient() as http:  # its own one would stay open
        queries = OpenAIEmbedding(model_name="t1-mini:query", async_http_client=http, **shared)
        np.testing.assert_array_equal(np.array(queries.get_query_embedding(QUERY), np.float32), expected)
        np.testing.assert_array_equal(np.array(await queries.aget_query_embedding(QUERY), np.float32), expected)


def test_a_role_is_never_guessed(openai: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="'t1-mini:query' or 't1-mini:document'"):
        openai.embeddings.create(model="t1-mini", input=QUERY)
    with pytest.raises(BadRequestError, match="leave one of them out"):
        openai.embeddings.create(model="t1-mini:query", input=QUERY, extra_body={"input_type": "document"})
    with pytest.raises(NotFoundError, match="no model 'text-embedding-3-small'; there are 't1-mini'"):
        openai.embeddings.create(model="text-embedding-3-small", input=QUERY)


def test_token_ids_are_taken_only_of_the_own_tokenizer(openai: OpenAI, mini: T1Embedder) -> None:
    ids = [mini.token_ids(text) for text in TEXTS]
    with pytest.raises(BadRequestError, match="check_embedding_ctx_length=False"):
        openai.embeddings.create(model="t1-mini:document", input=ids)
    with pytest.raises(BadRequestError, match="the token ids are of 'cl100k_base'"):
        openai.embeddings.create(model="t1-mini:document", input=ids, extra_body={"tokenizer": "cl100k_base"})
    own = {"tokenizer": "t1-mini"}
    expected = mini.embed_documents([mini.text_of(each) for each in ids]).vectors
    for given, rows in ((ids, expected), (ids[1], expected[1:2])):
        answer = openai.embeddings.create(model="t1-mini:document", input=given, extra_body=own)
        np.testing.assert_array_equal(np.array([item.embedding for item in answer.data], np.float32), rows)
    for wrong in ([10**9], [-1], [2**70]):
        with pytest.raises(BadRequestError, match="there is no token"):
            openai.embeddings.create(model="t1-mini:document", input=wrong, extra_body=own)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"input": []}, "input must be a text"),
        ({"input": [[]]}, "input must be a text"),
        ({"input": ["a", 3]}, "one item is 3"),
        ({"input": ["a", [3]]}, "one item is [3]"),
        ({"input": {"text": "a"}}, "input must be a text"),
        ({"input": None}, "input must be a text"),
        ({"input": [True]}, "one item is True"),
        ({"input": ""}, "empty"),
        ({"input": ["a", " "]}, "only white space"),
        ({"input": ["a"] * 2049}, "2049 texts, and one request may have 2048"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "dimensions": 8}, "dimensions=8, and the vectors of 'fake' may have 16"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "budget": 3}, "budget is for queries"),
        ({"input": "a", "thoughts": ["b"]}, "thoughts is for queries"),
    ],
)
def test_wrong_embeddings_are_refused(client: TestClient, body: dict[str, Any], said: str) -> None:
    answer = client.post("/v1/embeddings", json={"model": "fake:document", **body})
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]["message"]


def test_vectors_are_shortened_as_the_checkpoint_allows(serve: Serve) -> None:
    embedder = T1Embedder.fake(16)
    embedder._prompter.spec = embedder.spec.model_copy(update={"matryoshka_dims": (4, 8)})
    client = serve(embedders=[embedder], stores={})
    body = {"input": "a text", "model": "fake:document"}
    whole = client.post("/v1/embeddings", json={**body, "dimensions": 16}).json()["data"][0]["embedding"]
    short = client.post("/v1/embeddings", json={**body, "dimensions": 4}).json()["data"][0]["embedding"]
    np.testing.assert_allclose(short, np.array(whole[:4]) / np.linalg.norm(whole[:4]), rtol=1e-5)
    wrong = client.post("/v1/embeddings", json={**body, "dimensions": 5}).json()["error"]
    assert (wrong["param"], "may have 4, 8, 16" in wrong["message"]) == ("dimensions", True)


def test_truncated_texts_are_named(client: TestClient) -> None:
    texts = ["short", "long " * 200, *["x"] * 300, "long " * 300]
    answer = client.post("/v1/embeddings", json={"model": "fake:document", "input": texts}).json()
    EmbeddingsAnswer.model_validate(answer)
    assert [cut["index"] for cut in answer["truncated"]] == [1, 302]
    query = client.post("/v1/embeddings", json={"model": "fake:query", "input": texts[:2]}).json()
    assert [cut["index"] for cut in query["truncated"]] == [1]
    refused = client.post("/v1/embeddings", json={"model": "fake:query", "input": texts[1], "truncation": "raise"})
    assert refused.json()["error"]["code"] == "text_too_long"


def test_rerank_sorts_by_cosine(client: TestClient, fake: T1Embedder) -> None:
    body = {"query": QUERY, "documents": TEXTS, "top_n": 2, "return_documents": True, "budget": 5}
    answer = client.post("/v1/rerank", json=body).json()
    RerankAnswer.model_validate(answer)
    scores = fake.embed_documents(TEXTS).vectors @ fake.embed_query(QUERY, budget=5).vector
    best = np.argsort(-scores)[:2].tolist()
    assert [result["index"] for result in answer["results"]] == best
    assert [result["relevance_score"] for result in answer["results"]] == pytest.approx(scores[best], abs=1e-5)
    assert answer["results"][0]["document"] == {"text": TEXTS[best[0]]}
    assert answer["thoughts"][0]["tokens"] == 5
    assert client.post("/v1/rerank", json={"query": "x", "documents": []}).status_code == 400


def test_one_model_is_described(client: TestClient) -> None:
    listed = client.get("/v1/models").json()["data"]
    for model in listed:
        assert client.get(f"/v1/models/{model['id']}").json() == model
    answer = client.get("/v1/models/gpt")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
