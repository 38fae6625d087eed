"""The command against a Qdrant server."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.collection.conftest import server_url

__all__ = ["server_url"]  # a fixture


@pytest.mark.server
def test_a_collection_on_a_server_from_first_to_last(run: Any, corpus: Any, server_url: str) -> None:
    where = ("--name", f"cli-{uuid.uuid4().hex}")
    corpus({"id": "a", "text": "Llamas live in the Andes."}, {"id": "b", "text": "Camels live in the desert."})
    run("index", "corpus.jsonl", "--to", server_url, *where)
    assert "2 chunks: 0 stored, 2 unchanged" in run("index", "corpus.jsonl", "--to", server_url, *where).stdout
    hits = json.loads(run("search", server_url, "llamas", "--json", *where).stdout)["hits"]
    assert {hit["id"] for hit in hits} == {"a", "b"}
    assert "engine      server" in run("info", server_url, *where).stdout
    assert run("delete", server_url, "--all", "--yes", *where).stdout == "2 chunks deleted\n"


def test_a_server_that_is_not_there_is_one_line(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    complaint = run("info", "http://127.0.0.1:1", code=1).stderr
    assert "http://127.0.0.1:1 does not answer" in complaint
    assert len(complaint.splitlines()) == 1
