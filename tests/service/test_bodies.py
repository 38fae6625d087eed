"""Bodies that are not what a request needs: each is refused with a sentence, and the service goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from t1_vectorstore import T1VectorStore

JSON = {"Content-Type": "application/json"}


def nested(depth: int) -> Any:
    value: Any = {"year": 1}
    for _ in range(depth):
        value = {"year": value}
    return value


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", JSON),
        (b"{", JSON),
        (b'{"query": "x"', JSON),
        (b'{"query": "\xff\xfe"}', JSON),
        (b"\x00\x01\x02", JSON),
        (b"null", JSON),
        (b'"query"', JSON),
        (b"[" * 100_000, JSON),
        (b'{"query": ' + b'{"query": ' * 5000 + b"1" + b"}" * 5001, JSON),
        (b'{"query": "x", "limit": ' + b"9" * 5000 + b"}", JSON),
        (b'{"query": "x", "limit": ' + b"9" * 4000 + b"}", JSON),
        (b'{"query": "x"}', {"Content-Type": "text/plain"}),
        (b'{"query": "x"}', {}),
        (b"query=x", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"--x\r\n", {"Content-Type": "multipart/form-data; boundary=x"}),
        (b'{"query": "x"}', {"Content-Type": "application/json; charset=utf-16"}),
        (b'{"query": "x"}', {**JSON, "Content-Encoding": "gzip"}),
    ],
)
def test_bodies_that_are_not_json_are_refused(client: TestClient, body: bytes, kind: dict[str, str]) -> None:
    answer = client.post("/v1/search", content=body, headers=kind)
    if body == b'{"query": "x"}' and kind.get("Content-Type", "").startswith("application/json"):
        assert answer.status_code in (200, 400, 415)  # such a header may be ignored
        return
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "filter",
    [
        nested(400),
        {"year": 10**30},
        {"year": {"gte": 10**30}},
        {"year": [10**30, "x"]},
        {"year": {"gte": None}},
        {"year": {"in": []}},
        {"": 1},
        {"\ud800": 1},
        {"year": "\ud800"},
        {"year": {"text": 3}},
        {"t1.id": "x"},
        {"a[].b": {"c": []}},
        {"must": [{"key": "x"}]},
        {"year": list(range(20_000))},
    ],
    ids=lambda value: str(value)[:30],
)
def test_odd_filters_are_answered_or_refused(client: TestClient, store: T1VectorStore, filter: Any) -> None:
    for route, body in (("/v1/search", {"query": "x"}), ("/v1/documents/list", {}), ("/v1/documents/count", {})):
        answer = client.post(route, content=json.dumps({**body, "filter": filter}), headers=JSON)
        assert answer.status_code in (200, 400), answer.text
    assert store.count() == 3


@pytest.mark.parametrize(
    "metadata",
    [nested(400), {"n": 10**30}, {"n": -(10**400)}, {"n": float("inf")}, {"": ""}, {"\ud800": 1}, {"a": ["\ud800"]}],
    ids=lambda value: str(value)[:30],
)
def test_odd_metadata_is_stored_or_refused(client: TestClient, store: T1VectorStore, metadata: Any) -> None:
    body = {"documents": [{"id": "odd", "text": "Odd.", "metadata": metadata}, {"id": "even", "text": "Even."}]}
    answer = client.post("/v1/documents", content=json.dumps(body), headers=JSON)
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert report["verified"] + report["failed"] == 2
    assert "even" in store.get(["even"])
    if report["verified"] == 2:
        assert client.get("/v1/documents", params={"id": "odd"}).json()["data"][0]["metadata"] == metadata


@pytest.mark.parametrize("params", [{"hnsw_ef": -1}, {"hnsw_ef": "x"}, {"exact": 3}, {"nothing": 1}, {"exact": True}])
def test_odd_search_params_are_answered_or_refused(client: TestClient, params: Any) -> None:
    answer = client.post("/v1/search", json={"query": "x", "search_params": params})
    assert answer.status_code in (200, 400), answer.text


def test_ten_thousand_inputs_are_refused(client: TestClient) -> None:
    body = {"input": ["x"] * 10_000, "model": "fake:document"}
    assert client.post("/v1/embeddings", json=body).json()["error"]["code"] == "invalid_value"
    ids = {"input": [[7]] * 10_000, "model": "fake:document", "tokenizer": "fake"}
    assert client.post("/v1/embeddings", json=ids).status_code == 400
    assert client.post("/v1/rerank", json={"query": "x", "documents": ["y"] * 10_000}).status_code == 400
    assert client.get("/v1/documents", params={"id": ["x"] * 1001}).status_code == 400


def test_markup_in_documents_and_queries_is_returned_as_text(client: TestClient) -> None:
    markup = "<script>alert(1)</script> <img src=x onerror=alert(1)>"
    client.post("/v1/documents", json={"documents": [{"id": markup, "text": markup, "metadata": {markup: markup}}]})
    answer = client.post("/v1/search", json={"query": markup})
    assert answer.headers["content-type"] == "application/json"
    assert markup in [hit["text"] for hit in answer.json()["hits"]]
    streamed = client.post("/v1/search/stream", json={"query": "a\n\nevent: result\ndata: {}\n\n"}).text
    assert streamed.count("\nevent: result") == 1


def test_limits_of_a_search(client: TestClient) -> None:
    for options, param in (({"explain": True, "limit": 51}, "limit"), ({"candidates": 20_000}, "candidates")):
        error = client.post("/v1/search", json={"query": "x", **options}).json()["error"]
        assert (error["code"], error["param"]) == ("too_many", param)
