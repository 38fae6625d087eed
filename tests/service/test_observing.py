"""Metrics, spans and log lines of requests."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from t1_vectorstore import T1Embedder, T1VectorStore
from t1_vectorstore.server.keys import KeyFile, new_key
from t1_vectorstore.server.observing import JsonFormatter
from tests.service.conftest import Serve


def test_metrics_count_requests_tokens_and_chunks(client: TestClient) -> None:
    client.post("/v1/search", json={"query": "four"})
    client.post("/v1/search", json={"query": ""})
    client.post("/v1/documents", json={"documents": [{"text": "x"}]})
    client.post("/v1/embeddings", json={"input": "abc", "input_type": "query", "budget": 2})
    client.get("/nothing")
    metrics = client.get("/metrics").text
    for line in (
        't1_requests_total{route="/v1/search",status="200"} 1.0',
        't1_requests_total{route="/v1/search",status="400"} 1.0',
        't1_tokens_total{kind="thought"} 6.0',
        't1_tokens_total{kind="query"} 7.0',
        't1_thoughts_total{stop="budget"} 1.0',
        't1_stored_chunks_total{index="capitals"} 1.0',
        't1_request_seconds_count{route="/v1/search"} 2.0',
    ):
        assert line in metrics, line
    assert "nothing" not in metrics  # paths that anybody makes up are no labels


def test_refused_and_cached_requests_are_counted(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    secret, key = new_key("reads")
    KeyFile(keys=(key,)).write(file)
    embedder = T1Embedder.load(cache=tmp_path / "cache", truncation="allow")
    client = serve({}, embedders=[embedder], keys=file)
    allowed = {"Authorization": f"Bearer {secret}"}
    assert client.post("/v1/search", json={}).status_code == 401
    assert client.get("/v1/models/t1-mini").status_code == 401
    body = {"query": "four", "documents": ["one", "two"], "budget": 5}
    for _ in range(2):
        assert client.post("/v1/rerank", json=body, headers=allowed).status_code == 200
    metrics = client.get("/metrics", headers=allowed).text
    for line in (
        't1_requests_total{route="/v1/search",status="401"} 1.0',
        't1_requests_total{route="/v1/models/{name:path}",status="401"} 1.0',
        "t1_cached_queries_total 1.0",
    ):
        assert line in metrics, line
    assert 't1_tokens_total{kind="document"} 0.0' not in metrics


def test_spans_show_thinking_encoding_and_searching(serve: Serve) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    client = serve(tracer_provider=provider)

    def spans(route: str, **body: object) -> dict[str, dict[str, object]]:
        exporter.clear()
        trace = "0af7651916cd43dd8448eb211c80319c"
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        assert client.post(route, json=body, headers=headers).status_code == 200
        found = {span.name: span for span in exporter.get_finished_spans()}
        parent = found[f"POST {route}"]
        for name, span in found.items():
            assert f"{span.context.trace_id:x}".rjust(32, "0") == trace
            if name != parent.name:
                assert span.parent is not None
                assert span.parent.span_id == parent.context.span_id
                assert (span.end_time or 0) >= (span.start_time or 0) >= (parent.start_time or 0)
        assert "secret" not in str([span.to_json() for span in found.values()])
        return {name: dict(span.attributes or {}) for name, span in found.items()}

    thought = spans("/v1/search", query="secret", limit=2)
    assert thought["think"] == {"t1.thought_tokens": 6}
    assert thought["search"] == {"t1.index": "capitals", "t1.hits": 2}
    assert set(spans("/v1/search", query="secret", think=False)) == {"POST /v1/search", "encode", "search"}
    assert "think" in spans("/v1/search/stream", query="secret")
    encoded = spans("/v1/embeddings", input=["a secret", "b"], input_type="document")
    assert encoded["encode"]["t1.texts"] == 2


def test_log_lines_are_json() -> None:
    record = logging.LogRecord("a", logging.WARNING, "file", 1, "said %s", ("x",), None)
    record.fields = {"status": 200}
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["message"], line["status"]) == ("warning", "said x", 200)
    assert line["time"].endswith("Z")


def test_unexpected_errors_are_counted_and_say_nothing_of_texts(serve: Serve, store: T1VectorStore) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("a secret path")

    store.count = fail  # type: ignore[method-assign, assignment]
    client = serve()
    client = TestClient(client.app, base_url="http://localhost", raise_server_exceptions=False)
    answer = client.post("/v1/documents/count", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.json()["error"]["message"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert 't1_requests_total{route="/v1/documents/count",status="500"} 1.0' in client.get("/metrics").text


def test_an_unexpected_error_in_a_stream_is_its_last_event(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError("a secret path")

    monkeypatch.setattr("t1_vectorstore.server.routes.search.json_of_search", fail)
    answer = client.post("/v1/search/stream", json={"query": "Berlin"})
    *_, last = answer.text.strip().split("\n\n")
    assert last.startswith("event: error\n")
    assert answer.headers["x-request-id"] in last
    assert "secret" not in answer.text
    assert "a streamed answer failed" in caplog.text
