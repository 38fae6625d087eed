"""What is particular to llama.cpp: its cache, its errors, forks and memory."""

from __future__ import annotations

import multiprocessing
import shutil
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t1_vectorstore import T1Embedder
from t1_vectorstore.checkpoints.spec import Decoding
from t1_vectorstore.errors import BackendError, CheckpointError, OutOfMemoryWarning
from tests.backends.contract import QUERIES, SAMPLED, TEXTS, cosines

pytestmark = pytest.mark.llama_cpp


@pytest.fixture
def load(file: Path) -> Iterator[Any]:
    """Load the file, or another one; everything is closed at the end."""
    opened: list[T1Embedder] = []

    def load_one(other: Path = file, **options: Any) -> T1Embedder:
        opened.append(T1Embedder.load(other, **options))
        return opened[-1]

    yield load_one
    for embedder in opened:
        embedder.close()


@pytest.fixture
def decoded(embedder: T1Embedder, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """The number of inputs of each call of the model, and whether states were switched on."""
    from t1_vectorstore.backends.llama_cpp.library import Context

    calls: list[tuple[int, bool]] = []
    original = Context.decode

    def decode(self: Context, inputs: Any, *arguments: Any, states: bool = False) -> None:
        calls.append((len(inputs), states))
        original(self, inputs, *arguments, states=states)

    monkeypatch.setattr(Context, "decode", decode)
    return calls


def prompts_of(embedder: T1Embedder, queries: list[str] = QUERIES) -> list[list[int]]:
    return [prompt.ids for prompt in embedder._prompter.queries(queries, think=True)]


def test_a_closed_thought_takes_one_step_more(embedder: T1Embedder, decoded: list[tuple[int, bool]]) -> None:
    """One call for the prompt, one for each token but the last, and one for the emb token, with states."""
    for prompt in prompts_of(embedder):
        decoded.clear()
        [thought] = embedder._backend.think([prompt], Decoding(max_tokens=60))
        if thought.stop != "emb_token":
            continue
        assert decoded == [(len(prompt), False), *[(1, False)] * len(thought.ids), (1, True)]


def test_a_thought_cut_by_its_budget_takes_none(embedder: T1Embedder, decoded: list[tuple[int, bool]]) -> None:
    """Its last token and the emb token are fed together."""
    [prompt] = prompts_of(embedder, ["query number 1 " * 2])
    [thought] = embedder._backend.think([prompt], Decoding(max_tokens=1))
    assert thought.stop == "budget"
    assert decoded == [(len(prompt), False), (2, True)]


def test_documents_are_packed(embedder: T1Embedder, decoded: list[tuple[int, bool]]) -> None:
    """Batches are full of tokens of several documents; states are for their emb tokens only."""
    texts = [text for text in TEXTS if len(text) < 100]
    tokens = embedder.embed_documents(texts).tokens
    with_states = [count for count, states in decoded if states]
    assert sum(with_states) == len(texts)
    assert sum(count for count, _ in decoded) == tokens
    assert len(decoded) <= 2 * (tokens // 512 + 2)


def test_a_shared_prefix_is_read_once(embedder: T1Embedder, decoded: list[tuple[int, bool]]) -> None:
    instruction = "find the country that is meant by this sentence: "
    prompts = prompts_of(embedder, [f"{instruction}{query}" for query in QUERIES])
    thoughts = embedder._backend.think(prompts, Decoding(max_tokens=5))
    assert decoded[0][0] >= len(instruction)
    assert sum(count for count, _ in decoded[:2]) < sum(map(len, prompts)) - 10 * len(instruction)
    alone = [embedder._backend.think([prompt], Decoding(max_tokens=5))[0] for prompt in prompts]
    assert [thought.ids for thought in thoughts] == [thought.ids for thought in alone]
    assert cosines(np.stack([t.state for t in thoughts]), np.stack([t.state for t in alone])).min() >= 0.9999


def test_sampled_thoughts_equal_those_of_the_local_backend(load: Any, reference: T1Embedder) -> None:
    embedder = load(engine_options={"cache_type": "f32"})
    prompts = prompts_of(embedder)
    mine, expected = (one._backend.think(prompts, SAMPLED, samples=2) for one in (embedder, reference))
    assert [(list(t.ids), t.stop) for t in mine] == [(list(t.ids), t.stop) for t in expected]


def test_waiting_prompts_take_the_place_of_complete_thoughts(load: Any, reference: T1Embedder) -> None:
    """A cache for a few thoughts at a time completes many, of different lengths."""
    embedder = load(engine_options={"n_ctx": 600})
    prompts = prompts_of(embedder)
    mine, expected = (one._backend.think(prompts, Decoding(max_tokens=60)) for one in (embedder, reference))
    assert [list(t.ids) for t in mine] == [list(t.ids) for t in expected]
    assert embedder._backend._context.tokens == 768


def test_the_cache_grows_for_longer_texts(load: Any, reference: T1Embedder) -> None:
    embedder = load(batch_tokens=64)
    small = embedder._backend._context.tokens
    text = ["x" * 510]
    vector = embedder.embed_documents(text).vectors
    assert float(cosines(vector, reference.embed_documents(text).vectors)[0]) >= 0.9999
    assert embedder._backend._context.tokens >= 512 > small


def test_given_thoughts(embedder: T1Embedder, reference: T1Embedder) -> None:
    thoughts = [f"a thought about {query}" for query in QUERIES]
    vectors, expected = (
        np.stack([result.vector for result in one.embed_queries(QUERIES, thoughts=thoughts)])
        for one in (embedder, reference)
    )
    assert cosines(vectors, expected).min() >= 0.9999


def test_an_interrupted_call_leaves_nothing_behind(embedder: T1Embedder) -> None:
    prompts = prompts_of(embedder)
    before = embedder._backend.think(prompts, Decoding(max_tokens=20))

    def fail(index: int, _: object) -> None:
        raise KeyError(index)

    for _ in range(5):
        with pytest.raises(KeyError):
            embedder._backend.think(prompts, Decoding(max_tokens=20), on_tokens=fail)
    after = embedder._backend.think(prompts, Decoding(max_tokens=20))
    assert [list(t.ids) for t in after] == [list(t.ids) for t in before]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 2])
def test_forked_processes(load: Any, threads: int) -> None:
    """A child computes what its parent does, also if another thread of the parent was computing at the fork."""
    embedder = load(threads=threads)
    expected = embedder.embed_documents(TEXTS[:4]).vectors
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            embedder.embed_documents(TEXTS)

    busy = threading.Thread(target=work)
    busy.start()
    context = multiprocessing.get_context("fork")
    answers: Any = context.Queue()
    child = context.Process(target=lambda: answers.put(embedder.embed_documents(TEXTS[:4]).vectors))
    try:
        child.start()
        vectors = answers.get(timeout=60)
        child.join(60)
    finally:
        stop.set()
        busy.join()
    assert child.exitcode == 0
    assert cosines(vectors, expected).min() >= 0.9999


def test_closed(load: Any) -> None:
    embedder = load()
    embedder.close()
    embedder.close()
    with pytest.raises(BackendError, match="the model has been closed; load it again"):
        embedder.embed_documents(["text"])


def test_files_that_are_damaged_after_their_header_was_read(file: Path, tmp_path: Path) -> None:
    """Checkpoints are checked before; these are llama.cpp's own messages."""
    from t1_vectorstore.backends.llama_cpp.library import Model
    from t1_vectorstore.backends.llama_cpp.limits import EngineOptions

    content = file.read_bytes()
    newer = content[:4] + struct.pack("<I", 9) + content[8:]
    for broken, words in (
        (content[: len(content) // 2], "is damaged or was not downloaded completely"),
        (content[:1000], "is damaged or was not downloaded completely"),
        (newer, "version.* Update llama-cpp-python"),
    ):
        (tmp_path / "broken.gguf").write_bytes(broken)
        with pytest.raises(CheckpointError, match=rf"llama\.cpp cannot load .*broken\.gguf: .*{words}"):
            Model(tmp_path / "broken.gguf", EngineOptions())


def test_an_unknown_architecture(load: Any, file: Path, tmp_path: Path) -> None:
    unknown = tmp_path / "unknown.gguf"
    unknown.write_bytes(file.read_bytes().replace(b"qwen3", b"qwen9"))
    with pytest.raises(CheckpointError, match=r"unknown model architecture: 'qwen9'. A newer llama-cpp-python"):
        load(unknown)


def test_a_file_that_is_written_to_while_it_is_in_use(load: Any, file: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(file, tmp_path / "copy.gguf"))
    embedder = load(copy)
    copy.rename(tmp_path / "old.gguf")  # how a model is replaced
    shutil.copy(file, copy)
    embedder.embed_documents(["text"])
    with (tmp_path / "old.gguf").open("r+b") as opened:
        opened.write(b"GGUF")
    with pytest.raises(BackendError, match=r"copy\.gguf was changed while it was in use"):
        embedder.embed_documents(["text"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_context": 5}, "there is no field 'n_context'; did you mean 'n_ctx'"),
        ({"n_ctx": 5}, "n_ctx: .* greater than or equal to 256"),
        ({"cache_type": "q4_0", "flash_attn": False}, "cache_type='q4_0' needs flash attention"),
        ({"n_seq_max": 1000}, "n_seq_max: .* less than 256"),
    ],
)
def test_engine_options_are_checked_before_the_file_is_looked_for(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"engine_options of backend='llama-cpp': .*{words}"):
        T1Embedder.load("none.gguf", engine_options=options)


@pytest.mark.parametrize("options", [{"cache_type": "q8_0"}, {"flash_attn": True}, {"mmap": False}, {"mlock": True}])
def test_engine_options(load: Any, reference: T1Embedder, options: dict[str, Any]) -> None:
    vectors = load(engine_options=options).embed_documents(TEXTS).vectors
    assert cosines(vectors, reference.embed_documents(TEXTS).vectors).min() >= 0.99


def test_a_context_shorter_than_the_texts(load: Any) -> None:
    with pytest.raises(CheckpointError, match=r"max_document_tokens=512, but .* accepts only 256 tokens"):
        load(engine_options={"n_ctx": 256})
    with pytest.raises(ValueError, match="a budget of 300 tokens do not fit: the model accepts 600 tokens"):
        load(engine_options={"n_ctx": 600}).embed_queries(["text"], budget=300)


def test_less_memory_than_the_cache_needs(load: Any, reference: T1Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer thoughts run at a time, with the same results. A text that does not fit is refused, but not the next."""
    from t1_vectorstore.backends.llama_cpp import backend

    limit, tried = 512, []

    class LimitedContext(backend.Context):
        def __init__(self, *arguments: Any, tokens: int, **options: Any) -> None:
            tried.append(tokens)
            if tokens > limit:
                raise BackendError(f"no cache of {tokens} tokens")
            super().__init__(*arguments, tokens=tokens, **options)

    monkeypatch.setattr(backend, "Context", LimitedContext)
    few = load(batch_tokens=256, engine_options={"cache_type": "f32"})
    queries = [f"{query} {number}" for number in range(12) for query in QUERIES]
    with pytest.warns(OutOfMemoryWarning, match=r"no cache of \d+ tokens\. Continuing with \d+ tokens"):
        found = few.embed_queries(queries, budget=20)
    expected = reference.embed_queries(queries, budget=20)
    assert [one.thoughts for one in found] == [one.thoughts for one in expected]
    assert tried[-1] <= limit < tried[-2]

    with pytest.raises(BackendError, match=r"no cache of \d+ tokens"):
        few.embed_queries(QUERIES[:1], budget=520)
    assert few.embed_documents(TEXTS[:1]).vectors.shape == (1, few.dimension)


def test_nothing_is_printed(load: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load().embed_queries(QUERIES, budget=3)
    assert capfd.readouterr() == ("", "")
