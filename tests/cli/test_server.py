"""The command with a Qdrant server."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from t1_vectorstore.cli.stores import key_for
from tests.collection.conftest import server_url

__all__ = ["server_url"]  # a fixture


@pytest.mark.server
def test_index_search_and_delete_on_a_server(run: Any, corpus: Any, server_url: str) -> None:
    where = ("--name", f"cli-{uuid.uuid4().hex}")
    corpus({"id": "a", "text": "Llamas live in the Andes."}, {"id": "b", "text": "Camels live in the desert."})
    run("index", "corpus.jsonl", "--to", server_url, *where)
    assert "2 chunks: 0 stored, 2 unchanged" in run("index", "corpus.jsonl", "--to", server_url, *where).stdout
    hits = json.loads(run("search", server_url, "llamas", "--json", *where).stdout)["hits"]
    assert {hit["id"] for hit in hits} == {"a", "b"}
    assert "engine      server" in run("info", server_url, *where).stdout
    assert run("delete", server_url, "--all", "--yes", *where).stdout == "2 chunks deleted\n"


def test_unreachable_server_is_a_one_line_error(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    error = run("info", "http://127.0.0.1:1", code=1).stderr
    assert "http://127.0.0.1:1 does not answer" in error
    assert len(error.splitlines()) == 1


def test_the_key_of_qdrant_is_not_sent_to_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "of Qdrant")
    assert key_for("http://host:6333", "of Qdrant") == "of Qdrant"
    assert key_for("t1+http://host:8321", "of Qdrant") is None  # then T1_API_KEY counts
    assert key_for("t1+http://host:8321", "of the service") == "of the service"
