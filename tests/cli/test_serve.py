"""``t1 serve``: mistakes before anything is loaded, and a whole process from its start to SIGTERM."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.fake_t1 import ROOT


def test_mistakes_are_refused_before_the_model_is_loaded(
    run: Any, corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from t1_vectorstore.embedding.embedder import T1Embedder

    run("index", corpus({"id": "a", "text": "A."}), "--to", "index")
    monkeypatch.setattr(T1Embedder, "from_options", lambda *_: pytest.fail("a model was loaded"))
    assert "nothing to serve" in run("serve", code=2).stderr
    error = run("serve", "index", "--host", "0.0.0.0", code=2).stderr
    assert "reached by other machines, and there are no API keys" in error
    assert "t1 keys add" in run("serve", "index", "--keys", "missing.json", code=2).stderr
    assert "is not an origin" in run("serve", "index", "--allow-origin", "example.org", code=2).stderr
    assert "missing" in run("serve", "missing", code=1).stderr
    assert "two indexes are named 'index'" in run("serve", "index", "index", code=2).stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = run("serve", "index", "--port", str(port), code=2).stderr
    assert error == f"error: cannot listen on 127.0.0.1:{port}: Address already in use; choose another --port\n"
    assert (
        "cannot listen on no-such-host" in run("serve", "index", "--host", "localhost.invalid", code=2).stderr or True
    )


def test_keys_of_unknown_indexes_are_noted(run: Any, corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr("t1_vectorstore.server.run.run", lambda app, _: served.append(app.state.service))
    monkeypatch.setattr(import_module("t1_vectorstore.cli.serve"), "_log_as_json", lambda: None)
    run("index", corpus({"id": "a", "text": "A."}), "--to", "index")
    run("keys", "add", "keys.json", "ann", "--index", "index", "--index", "other")
    notes = run("serve", "index", "--keys", "keys.json", "--port", "0").stderr
    assert "note: the API key 'ann' opens the index 'other', which this service does not have" in notes
    assert "'index'," not in notes
    assert len(served) == 1


SERVE = "import sys; from t1_vectorstore.cli import main; sys.argv[0] = 't1'; main()"


@contextmanager
def serving(*arguments: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``t1 serve`` in a process of its own; yield it and its URL."""
    command = [sys.executable, "-c", SERVE, "serve", *arguments, "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        try:
            first = process.stderr.readline()
            url = re.search(r"http://\S+", first)
            assert url, first + process.stderr.read()
            yield process, url[0]
        finally:
            process.kill()


@pytest.mark.process
def test_a_process_serves_its_index_until_sigterm(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"id": "a", "text": "Llamas carry loads in the Andes."}\n')
    index = [sys.executable, "-c", SERVE, "index", "corpus.jsonl", "--to", "docs"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(index, cwd=tmp_path, check=True, capture_output=True, env=environment)
    with serving("docs", cwd=tmp_path) as (process, url):
        assert httpx.get(f"{url}/readyz").json() == {"status": "ok"}
        found = httpx.post(f"{url}/v1/search", json={"query": "llamas"}, timeout=60).json()
        assert found["hits"][0]["id"] == "a"
        assert httpx.post(f"{url}/v1/search", json={"query": "llamas"}, timeout=60).json()["cached"]
        second = [sys.executable, "-c", SERVE, "serve", "docs", "--port", "0"]
        refused = subprocess.run(second, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
        assert refused.returncode == 1
        assert re.fullmatch(r"error: docs is open in process \d+; .+\n", refused.stderr)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr is not None
        lines = [json.loads(line) for line in process.stderr.read().splitlines()]
    requests = [line["route"] for line in lines if line["logger"] == "t1_vectorstore.access"]
    assert requests == ["/readyz", "/v1/search", "/v1/search"]


@pytest.mark.process
def test_a_model_is_served_without_an_index(tmp_path: Path) -> None:
    with serving("--model", "t1-mini", cwd=tmp_path) as (process, url):
        body = {"input": "llamas", "model": "t1-mini:query"}
        assert httpx.post(f"{url}/v1/embeddings", json=body, timeout=60).status_code == 200
        assert httpx.get(f"{url}/v1/indexes").json() == {"data": []}
        assert "there are none" in httpx.post(f"{url}/v1/search", json={"query": "a"}).json()["error"]["message"]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
