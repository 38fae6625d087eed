"""llama.cpp's own server as the remote backend: the contract of all backends, t1-mini, and servers that do not fit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.fake import byte_tokenizer
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.errors import BackendError, CheckpointError
from tests.backends.contract import BackendContract, cosines
from tests.backends.server_processes import ServerProcess, starting
from tests.llama_cpp_backend import server_binary

pytestmark = [pytest.mark.llama_cpp, pytest.mark.timeout(300)]

POOLING = ("--embeddings", "--pooling", "last")
SLOTS = ("--parallel", "4", "--ctx-size", "8192")
PRECISE = ("--flash-attn", "off", "--cache-type-k", "f32", "--cache-type-v", "f32")
"""A random model is so unsure that rounding in the cache changes its thoughts."""
TEXTS = ["The llama lives in the Andes.", "a <emb_token> in a text <|im_end|>", "Ünïcode: 北京, 🦙🦙", "long " * 200]
QUERIES = [
    *(
        "where do llamas live",
        "who wrote Faust?",
        "capital of the country where the inventor of the telephone was born",
    ),
    *("disease named after a town in Saxony", "a <emb_token> in a query", "🦙?"),
]

Start = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def start(llama_cpp: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start servers of a file, with flags. Skip the tests if the server is not built, unless llama.cpp is required."""
    binary = server_binary.cached()
    if binary is None:
        if os.environ.get("T1_REQUIRE_LLAMA_CPP") == "1":
            pytest.fail("llama-server is not built")
        pytest.skip("llama-server is not built; run make test-llama-cpp")
    logs = tmp_path_factory.mktemp("logs")
    with ExitStack() as stack:

        def start(file: Path, *flags: str) -> ServerProcess:
            command = [binary, "--model", file, "--threads", "1", *flags]
            log = logs / f"{len(list(logs.iterdir()))}.log"
            environment = {"LD_LIBRARY_PATH": str(server_binary.libraries())}
            server = stack.enter_context(starting(command, log, environment))
            server.wait(60)
            return server

        yield start


@pytest.fixture(scope="module")
def mini(llama_cpp: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from t1_vectorstore.export.writing import write_gguf

    file = tmp_path_factory.mktemp("mini") / "t1-mini.gguf"
    write_gguf(Checkpoint.load("t1-mini"), file, "f16")
    return file


@pytest.fixture(scope="module")
def server(start: Start, mini: Path) -> str:
    """One server for thoughts and vectors."""
    return start(mini, *POOLING).url


def load(model: Path | str, generate_url: str, embed_url: str | None = None, **options: Any) -> T1Embedder:
    engine_options = {"generate_url": generate_url, "embed_url": embed_url or generate_url, "api_key": "secret"}
    return T1Embedder.load(model, backend="remote", engine_options=engine_options | options)


@pytest.fixture(scope="module")
def served(llama_cpp: None, folder: Path) -> Path:
    """The contract's model as a file with a tokenizer that llama.cpp has: bytes; number 100 ends a text."""
    from t1_vectorstore.export import writing

    tokens = byte_tokenizer().get_vocab(with_added_tokens=True)
    special = {token for token in tokens if token.startswith("<") and len(token) > 1}
    names = sorted(tokens, key=tokens.__getitem__)
    fields = {"model": "gpt2", "pre": "gpt-2", "tokens": names, "merges": ["a b"], "eos_token_id": 100}
    fields["token_type"] = [3 if name in special else 1 for name in names]
    own = writing.tokenizer_fields

    def tokenizer_fields(*args: Any) -> dict[str, Any]:
        return own(*args) | {f"tokenizer.ggml.{key}": value for key, value in fields.items()}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writing, "tokenizer_fields", tokenizer_fields)
        writing.write_gguf(Checkpoint.load(folder), folder / "served.gguf", "f32")
    return folder / "served.gguf"


@pytest.fixture(scope="module")
def embedder(start: Start, file: Path, served: Path) -> Iterator[T1Embedder]:
    with load(file, start(served, *SLOTS, *PRECISE).url, start(served, *SLOTS, *PRECISE, *POOLING).url) as embedder:
        yield embedder


class TestLlamaServer(BackendContract):
    """The same assertions as for every other backend, on two servers."""

    def test_identity_does_not_depend_on_the_backend(self, embedder: T1Embedder, reference: T1Embedder) -> None:
        pytest.skip("a GGUF file is another model than the one it was made from")


@pytest.fixture(scope="module")
def pair(server: str, mini: Path) -> Iterator[tuple[T1Embedder, T1Embedder]]:
    """t1-mini on a server, and the same file in this process."""
    with load(mini, server) as remote, T1Embedder.load(mini) as local:
        yield remote, local


def test_one_server_for_both(pair: tuple[T1Embedder, T1Embedder]) -> None:
    remote, local = pair
    assert remote.identity == local.identity
    documents = (remote.embed_documents(TEXTS), local.embed_documents(TEXTS))
    assert cosines(*(result.vectors for result in documents)).min() >= 0.9999
    assert documents[0].tokens == documents[1].tokens


@pytest.mark.parametrize(
    "asked", [{}, {"budget": 2}, {"think": False}, {"thoughts": ["born in Edinburgh"] * len(QUERIES)}], ids=str
)
def test_closed_cut_and_given_thoughts(pair: tuple[T1Embedder, T1Embedder], asked: dict[str, Any]) -> None:
    remote, local = (embedder.embed_queries(QUERIES, **asked) for embedder in pair)
    assert [result.thoughts for result in remote] == [result.thoughts for result in local]
    assert min(float(r.vector @ e.vector) for r, e in zip(remote, local, strict=True)) >= 0.9999


def test_a_thought_goes_on_after_tokens_that_only_the_server_stops_at(start: Start, file: Path, served: Path) -> None:
    """A random model generates parts of characters, and ends that are none of the checkpoint's."""
    from t1_vectorstore.checkpoints.spec import Decoding

    url = start(served, *SLOTS, *PRECISE, *POOLING, "--temp", "0.1", "--repeat-penalty", "1.8").url
    with load(file, url) as remote, T1Embedder.load(file) as local:
        prompts = [[token] * 5 for token in range(3, 100, 7)]
        whole, expected = (embedder._backend.think(prompts, Decoding(max_tokens=80)) for embedder in (remote, local))
        assert [list(thought.ids) for thought in whole] == [list(thought.ids) for thought in expected]
        reported: dict[int, list[int]] = {index: [] for index in range(len(prompts))}
        remote._backend.think(
            prompts, Decoding(max_tokens=80), on_tokens=lambda index, new: reported[index].extend(new)
        )
        assert list(reported.values()) == [list(thought.ids) for thought in whole]


def test_servers_that_do_not_fit(start: Start, server: str, mini: Path, file: Path) -> None:
    averaging = start(mini, "--embeddings", "--pooling", "mean").url
    with pytest.raises(BackendError, match=rf"{averaging} does not pool by the last token: .* --pooling last"):
        load(mini, server, averaging)
    unpooled = start(mini, "--embeddings").url
    with pytest.raises(BackendError, match=r"answered 400: Pooling type 'none' .* was it started with --pooling last"):
        load(mini, server, unpooled)
    generating = start(mini, "--ctx-size", "256")
    with pytest.raises(BackendError, match=r"answered 501: .* does not support embeddings.*--pooling last if it is"):
        load(mini, server, generating.url)
    with pytest.raises(CheckpointError, match="accepts only 255 tokens"):
        load(mini, generating.url, server)
    with pytest.raises(
        BackendError, match=r"has a model of [\d,]+ bytes, but .*/model.gguf' has [\d,]+: the server has"
    ):
        load(file, server)
    with pytest.raises(
        BackendError, match=r"has a file without a tokenizer of llama.cpp's, .* load the GGUF file here"
    ):
        load(file, start(file, *POOLING).url)
    with pytest.raises(BackendError, match=r"answered 401: Invalid API Key; pass the server's api_key"):
        load(mini, server, api_key="wrong")
    with pytest.raises(BackendError, match=r"serves \[.*\], not 'other'; name one of them"):
        load(mini, server, generate_model="other")


def test_another_number_type_is_another_model(start: Start, server: str, mini: Path, tmp_path: Path) -> None:
    from t1_vectorstore.backends.llama_cpp.library import quantize

    small = tmp_path / "small.gguf"
    quantize(mini, small, "q8_0")
    with pytest.raises(
        BackendError, match=r"has a model of [\d,]+ bytes, but .*small.gguf' has [\d,]+: the server has"
    ):
        load(small, server)
    with pytest.raises(BackendError, match=r"has quantised weights \(Q8_0\), whose vectors are not those of 't1-mini'"):
        load("t1-mini", start(small, *POOLING).url)
    with load("t1-mini", server) as embedder:  # float16 has all of the original's bits
        assert embedder.identity == T1Embedder.load("t1-mini").identity


def test_a_server_that_goes_away(start: Start, mini: Path) -> None:
    server = start(mini, *POOLING)
    with load(mini, server.url, attempts=1) as embedder:
        server.stop()
        for embed in (lambda: embedder.embed_documents(["a"]), lambda: embedder.embed_query("why")):
            with pytest.raises(BackendError, match=rf"{server.url}/\S+ cannot be reached: .* is the server running"):
                embed()


def test_a_full_context_is_an_error_that_says_so(start: Start, mini: Path) -> None:
    """Without --parallel the slots share one context, which four long documents exceed."""
    with (
        load(mini, start(mini, *POOLING).url) as embedder,
        pytest.raises(BackendError, match=r"answered 500: Context size has been exceeded.*start it with --parallel N"),
    ):
        embedder._backend.encode([[token] * 900 for token in range(5, 25)])
