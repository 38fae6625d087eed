"""The routes of rows and tokens refuse what only a broken or hostile client sends, and keys keep to their indexes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from t1_vectorstore import T1VectorStore
from t1_vectorstore.server.keys import KeyFile, new_key
from tests.service.conftest import Serve

VECTOR = {"shape": [1], "float32": "AACAPw=="}


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("indexes/capitals/count", {"filter": {"must": "x"}}, "not a filter in Qdrant's JSON"),
        ("indexes/capitals/count", {"filter": {"must": [{"key": 1}]}}, "not a filter in Qdrant's JSON"),
        ("indexes/capitals/count", {"filter": {"unknown": 1}}, "not a filter in Qdrant's JSON"),
        ("indexes/capitals/page", {"limit": 10, "filter": {"must": [{"has_id": {}}]}}, "not a filter"),
        ("indexes/capitals/page", {"limit": 10, "after": "x"}, "is not a point id"),
        ("indexes/capitals/read", {"ids": [-1]}, "is not a point id"),
        ("indexes/capitals/nearest", {"query": {"vector": VECTOR, "limit": 1}}, "the index has 16 dimensions"),
        ("indexes/capitals/nearest", {"query": {"vector": VECTOR, "limit": 1, "x": 1}}, "not a query to an engine"),
        ("indexes/capitals/write", {"rows": [{}]}, "not a row"),
        (
            "indexes/capitals/write",
            {"rows": [{"id": 1, "payload": {}, "vector": VECTOR, "size": 1, "sparse": None}]},
            "16 dimensions",
        ),
        ("indexes/capitals/note", {"name": "load", "record": {"x": 1}}, "not a record of 'load'"),
        ("models/fake/encode", {"prompts": [[10**9]]}, "there is no token 1000000000"),
        ("models/fake/encode", {"prompts": []}, "prompts is empty"),
        ("models/fake/think", {"prompts": [[1]], "decoding": {}, "refining": {}, "samples": 99}, "samples=99"),
    ],
)
def test_what_no_client_of_this_package_sends_is_refused(
    client: TestClient, path: str, body: dict[str, Any], message: str
) -> None:
    answer = client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]["message"]


def test_keys_keep_to_their_indexes_and_scopes(serve: Serve, store: T1VectorStore, tmp_path: Path) -> None:
    secret, reader = new_key("reader", indexes=["capitals"])
    (tmp_path / "keys.json").write_text(KeyFile(keys=(reader,)).model_dump_json())
    with T1VectorStore.open(tmp_path / "other", store.embedder) as other:
        client = serve({"capitals": store, "other": other}, keys=tmp_path / "keys.json")
        client.headers["Authorization"] = f"Bearer {secret}"
        assert client.get("/v1/indexes/capitals").json()["writable"] is False
        assert client.get("/v1/indexes/other").status_code == 404
        assert client.post("/v1/indexes/other/count", json={}).status_code == 404
        for action, body in (
            ("write", {"rows": [{"id": 1}]}),
            ("erase", {"ids": [1]}),
            ("note", {"name": "load", "record": {}}),
        ):
            answer = client.post(f"/v1/indexes/capitals/{action}", json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_missing")
        del client.headers["Authorization"]
        for path in ("/v1/indexes/capitals", "/v1/models/fake/checkpoint"):
            assert client.get(path).status_code == 401
