"""Documents over HTTP: stored, read, listed, counted and deleted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from t1_vectorstore import T1Embedder, T1VectorStore
from t1_vectorstore.server.answers import AddAnswer, ChunksAnswer
from tests.service.conftest import Serve


def test_documents_are_stored_read_and_deleted(client: TestClient, store: T1VectorStore) -> None:
    new = [{"id": "paris", "text": "Paris is the capital of France.", "metadata": {"tags": ["a"]}}, {"text": " "}]
    report = client.post("/v1/documents", json={"documents": new}).json()
    assert (report["verified"], report["failed"], report["complete"]) == (1, 1, False)
    assert "white space" in report["failures"][0]["reason"]
    assert set(report) >= set(AddAnswer.__dataclass_fields__)
    answer = client.get("/v1/documents", params={"id": ["paris", "rome", "oslo"]}).json()
    ChunksAnswer.model_validate(answer)
    assert [chunk["id"] for chunk in answer["data"]] == ["paris", "oslo"]
    assert answer["data"][0]["metadata"] == {"tags": ["a"]}
    assert answer["missing"] == ["rome"]
    assert client.post("/v1/documents/count", json={"filter": {"tags": "a"}}).json() == {"count": 1}
    assert client.post("/v1/documents/delete", json={"ids": ["paris", "rome"]}).json() == {
        "deleted": 1,
        "unknown": ["rome"],
    }
    assert client.post("/v1/documents/delete", json={"filter": {"year": 1814}}).json()["deleted"] == 1
    assert store.count() == 2


def test_a_long_document_is_cut_and_read_whole(client: TestClient) -> None:
    text = " ".join(f"Sentence {number}." for number in range(100))
    body = {"documents": [{"id": "long", "text": text}], "chunk_size": 200, "overlap": 20}
    assert client.post("/v1/documents", json=body).json()["chunks"] > 5
    parts = client.get("/v1/documents", params={"id": "long"}).json()["data"]
    assert [part["index"] for part in parts] == list(range(len(parts)))
    assert all(part["text"] == text[part["start"] : part["end"]] for part in parts)


def test_a_size_that_is_not_given_is_that_of_the_latest_load(client: TestClient, store: T1VectorStore) -> None:
    with store.collection.loading(chunk_size=100, overlap=0):
        pass
    body = {"documents": [{"id": "long", "text": "word " * 100}], "overlap": 10}
    assert client.post("/v1/documents", json=body).json()["chunks"] == 6
    lengths = [len(chunk.text) for chunk in store.scroll(filter={}) if chunk.document_id == "long"]
    assert max(lengths) <= 100


def test_pages_list_every_chunk_once(client: TestClient, store: T1VectorStore) -> None:
    client.post("/v1/documents", json={"documents": [{"id": str(n), "text": f"Number {n}."} for n in range(20)]})
    found: list[str] = []
    after = None
    while True:
        page = client.post("/v1/documents/list", json={"limit": 7, "after": after}).json()
        assert len(page["data"]) <= 7
        found += [chunk["id"] for chunk in page["data"]]
        if (after := page["next"]) is None:
            break
    assert found == [chunk.id for chunk in store.scroll()]
    assert len(found) == 23
    listed = client.post("/v1/documents/list", json={"filter": {"country": "Peru"}}).json()
    assert [chunk["id"] for chunk in listed["data"]] == ["lima"]


@pytest.mark.parametrize(
    ("route", "body", "said"),
    [
        ("", {"documents": []}, "documents is empty"),
        ("", {"documents": [{"text": "x"}] * 1001}, "1001 documents, and one request may have 1000"),
        ("", {"documents": [{"text": 3}]}, "documents.0.text"),
        ("", {"documents": [{"text": "x", "txt": 3}]}, "txt"),
        ("", {"documents": [{"text": "x"}], "chunk_size": 10, "overlap": 9}, "overlap"),
        ("/list", {"limit": 5000}, "limit must be less than or equal to 1000"),
        ("/list", {"after": "nowhere"}, "cannot begin after 'nowhere'"),
        ("/delete", {}, "either ids or a filter"),
        ("/delete", {"ids": [], "filter": {}}, "either ids or a filter"),
        ("/delete", {"ids": []}, "ids is empty"),
        ("/delete", {"filter": {}}, "would delete every point"),
        ("/count", {"filter": {"a": {"b": {"c": 1}}}}, "filter"),
    ],
)
def test_wrong_requests_change_nothing(
    client: TestClient, store: T1VectorStore, route: str, body: Any, said: str
) -> None:
    answer = client.post(f"/v1/documents{route}", json=body)
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]["message"]
    assert store.count() == 3


def test_documents_that_cannot_be_stored_are_listed(client: TestClient) -> None:
    documents = [
        {"id": "nan", "text": "x", "metadata": {"n": float("nan")}},
        {"id": "\ud800", "text": "y"},
        {"id": "z", "text": "a lone \ud800"},
        {"id": "", "text": "empty id"},
        {"id": "good", "text": "Good."},
    ]
    report = client.post(
        "/v1/documents", content=json.dumps({"documents": documents}), headers={"content-type": "application/json"}
    )
    assert report.status_code in (200, 400), report.text
    if report.status_code == 200:
        assert report.json()["stored"] == 1


def test_an_index_is_chosen_by_name(serve: Serve, store: T1VectorStore, fake: T1Embedder) -> None:
    with T1VectorStore.open(":memory:", fake) as second:
        client = serve({"first": store, "second": second})
        assert [index["name"] for index in client.get("/v1/indexes").json()["data"]] == ["first", "second"]
        body = {"documents": [{"text": "Only here."}]}
        assert client.post("/v1/documents", json=body).json()["error"]["code"] == "index_missing"
        assert client.post("/v1/documents", json={**body, "index": "second"}).json()["stored"] == 1
        assert client.post("/v1/documents/count", json={"index": "second"}).json() == {"count": 1}
        assert store.count() == 3
        assert client.post("/v1/documents/count", json={"index": "third"}).status_code == 404


def test_an_index_that_is_read_only_refuses_writes(serve: Serve, store: T1VectorStore, fake: T1Embedder) -> None:
    with T1VectorStore.open(store.collection.location, fake, read_only=True) as copy:
        client = serve({"copy": copy})
        [index] = client.get("/v1/indexes").json()["data"]
        assert (index["points"], index["writable"]) == (3, False)
        for route, body in (("", {"documents": [{"text": "x"}]}), ("/delete", {"ids": ["oslo"]})):
            answer = client.post(f"/v1/documents{route}", json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "read_only")
