"""The vLLM engine in this process: requests, failures, and options."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from t1_vectorstore import T1Embedder
from t1_vectorstore.checkpoints.spec import Decoding
from t1_vectorstore.errors import BackendError, CheckpointError
from tests.backends.contract import QUERIES, TEXTS, cosines
from tests.checkpoints import save_checkpoint
from tests.vllm_backend.conftest import ENGINE_OPTIONS

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("default"), pytest.mark.timeout(900)]

LOADING = "t1_vectorstore.backends.vllm.loading"


def load(folder: Path | str, **options: Any) -> T1Embedder:
    defaults = {"dtype": "float32", "backend": "vllm", "engine_options": ENGINE_OPTIONS}
    return T1Embedder.load(folder, **{**defaults, **options})


def test_the_second_request_of_a_thought_uses_the_prefix_cache(in_process: T1Embedder) -> None:
    backend = in_process._backend
    generator = backend._engine._generator  # type: ignore[attr-defined]
    [prompt] = in_process._prompter.queries(["why is the sky blue? " * 8], think=True)
    requests: list[tuple[int, int]] = []
    generate = generator.generate

    async def watched(*args: Any, **kwargs: Any) -> Any:
        async for output in generate(*args, **kwargs):
            if output.finished:
                requests.append((len(output.prompt_token_ids), output.num_cached_tokens))
            yield output

    generator.generate = watched
    try:
        [thought] = backend.think([prompt.ids], Decoding(max_tokens=40))
    finally:
        del generator.generate
    (length, _), (again, cached) = requests
    assert again == length + len(thought.ids) + 1
    assert cached >= length // 32 * 32 > 0


def test_a_deadline_aborts_every_thought_of_a_request(in_process: T1Embedder, reference: T1Embedder) -> None:
    """Three thoughts are one request, which is no longer running when their vectors are returned."""
    backend = in_process._backend
    generator = backend._engine._generator  # type: ignore[attr-defined]
    prompts = [prompt.ids for prompt in in_process._prompter.queries(QUERIES, think=True)]
    stops = [thought.stop for thought in reference._backend.think(prompts, Decoding(max_tokens=100))]
    endless = Decoding(max_tokens=1500, temperature=1.0, top_k=1)  # like greedy decoding, which allows one sample only
    requests = []
    generate = generator.generate

    def counted(*args: Any, **kwargs: Any) -> Any:
        requests.append(args[1].n)
        return generate(*args, **kwargs)

    generator.generate = counted
    try:
        prompt = prompts[stops.index("budget")]
        thoughts = backend.think([prompt], endless, samples=3, deadline=time.monotonic() + 0.03)
    finally:
        del generator.generate
    assert requests == [3, 1, 1, 1]
    assert [thought.stop for thought in thoughts] == ["deadline"] * 3
    assert generator.get_num_unfinished_requests() == 0


def test_aborted_requests_leave_no_states(in_process: T1Embedder) -> None:
    backend: Any = in_process._backend
    prompts = [prompt.ids for prompt in in_process._prompter.documents(TEXTS)]

    async def cancelled() -> None:
        task = asyncio.ensure_future(backend._engine.embed(prompts))
        while not task.done() and not backend._engine._generator.get_num_unfinished_requests():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    from t1_vectorstore.backends.vllm.engine import call_workers  # needs vLLM

    async def kept() -> list[str]:
        [[states]] = await call_workers(backend._engine._generator, "t1_kept")
        return list(states)

    backend._loop.run(cancelled())
    in_process.embed_documents(TEXTS[:2])
    assert backend._loop.run(kept()) == []


def test_a_prompt_computed_in_chunks(folder: Path, reference: T1Embedder, vllm: None) -> None:
    """With chunks of 64 tokens, the state of the last chunk counts. The engine's maximum length is respected, too."""
    options = {**ENGINE_OPTIONS, "max_num_batched_tokens": 64, "max_model_len": 600, "long_prefill_token_threshold": 48}
    embedder = load(folder, engine_options=options)
    try:
        vectors = embedder.embed_documents(TEXTS).vectors
        assert cosines(vectors, reference.embed_documents(TEXTS).vectors).min() >= 0.9999
        with pytest.raises(ValueError, match="the model accepts 599 tokens"):
            embedder.embed_query("why", budget=200)
    finally:
        embedder._backend.close()  # type: ignore[attr-defined]


def test_two_engines_if_the_workers_cannot_keep_states(
    folder: Path, reference: T1Embedder, vllm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{LOADING}._WORKER", "tests.vllm_backend.broken_worker.UnknownRunner")
    with pytest.warns(UserWarning, match="the weights are in memory twice"):
        embedder = load(folder)
    try:
        results = embedder.embed_queries(QUERIES, budget=20)
        expected = reference.embed_queries(QUERIES, budget=20)
        assert [r.thoughts for r in results] == [e.thoughts for e in expected]
        assert all(float(r.vector @ e.vector) >= 0.9999 for r, e in zip(results, expected, strict=True))
        vectors = embedder.embed_documents(TEXTS).vectors
        assert cosines(vectors, reference.embed_documents(TEXTS).vectors).min() >= 0.9999
    finally:
        embedder._backend.close()  # type: ignore[attr-defined]


def test_the_first_engine_is_stopped_if_the_second_does_not_start(
    folder: Path, vllm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{LOADING}._WORKER", "tests.vllm_backend.broken_worker.UnknownRunner")
    monkeypatch.setattr(f"{LOADING}._LAST", {"pooling_type": "MOST"})
    message = "the second engine, for the vectors, failed beside the first: .*MOST"
    others = set(multiprocessing.active_children())
    with pytest.warns(UserWarning, match="in memory twice"), pytest.raises(CheckpointError, match=message):
        load(folder)
    for process in set(multiprocessing.active_children()) - others:
        process.join(120)  # the first engine's processes are ending, which takes a while on a busy machine
        assert not process.is_alive()


def test_options_that_cannot_be_pickled(folder: Path, vllm: None) -> None:
    options = {**ENGINE_OPTIONS, "additional_config": {"lock": threading.Lock()}}
    with pytest.raises(CheckpointError, match=r"cannot pickle '_thread\.lock'.*leave out what cannot be pickled"):
        load(folder, engine_options=options)


def test_error_in_a_worker(in_process: T1Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It arrives as an error of a general type, and the engine can still be used."""
    engine = in_process._backend._engine  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        take = engine._states._take
        patch.setattr(engine._states, "_take", lambda wanted, _: take(wanted, 3))
        with pytest.raises(BackendError, match=r"vLLM failed: \w+: .*collective_rpc.*VLLM_LOGGING_LEVEL"):
            in_process.embed_documents(["a"])
    in_process.embed_documents(["a"])


def test_engine_that_dies(vllm: None, tmp_path: Path) -> None:
    """vLLM loads this checkpoint but cannot run it: its attention on CPUs does not support heads of size 16."""
    embedder = load(save_checkpoint(tmp_path, hidden=64))
    for _ in range(2):
        with pytest.raises(BackendError, match=r"the vLLM engine has died.*Load the embedder again"):
            embedder.embed_documents(["a"])
    embedder._backend.close()  # type: ignore[attr-defined]


def test_an_untested_version_warns(folder: Path, vllm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm.__version__", "0.99.1")
    monkeypatch.setattr(f"{LOADING}._start", _refuse)
    warned = pytest.warns(UserWarning, match=r"vLLM 0\.99\.1 is not among the versions .*: 0\.32")
    with warned, pytest.raises(CheckpointError):
        load(folder)


async def _refuse(*_: Any) -> Any:
    raise RuntimeError("not started")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"engine_options": {"tensor_paralel_size": 2}}, ValueError, r"no engine argument .*\['tensor_parallel_size'"),
        ({"engine_options": {"model": "x"}}, ValueError, "cannot be set: the checkpoint is the first argument of load"),
        ({"engine_options": {"dtype": "half"}}, ValueError, "cannot be set: dtype= is an argument of load"),
        ({"engine_options": {"runner": "pooling"}}, ValueError, "cannot be set: the backend sets it"),
        ({"overrides": {"pooling_layer": 1}}, ValueError, "return only the last layer's states"),
        ({"device": "cuda"}, ValueError, "device='cuda' is for backend='transformers'"),
        ({"batch_tokens": 100}, ValueError, "batch_tokens=100 is for backend='transformers'"),
        ({"dtype": "int3"}, ValueError, "dtype must be 'auto', 'float32', .* got 'int3'"),
        ({"engine_options": {"block_size": "wide"}}, CheckpointError, "does not start with .*block_size"),
    ],
)
def test_invalid_options(
    folder: Path, vllm: None, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load(folder, **options)


def test_vocabulary_without_the_emb_token(folder: Path, vllm: None, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    tokenizer = Tokenizer.from_file(str(other / "tokenizer.json"))
    tokenizer.add_special_tokens(["<vec>"])
    tokenizer.save(str(other / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="has only 261 embeddings: tokenizer and weights do not belong together"):
        load(other, overrides={"emb_token": "<vec>"})


def test_missing_weights(folder: Path, vllm: None, tmp_path: Path) -> None:
    """vLLM 0.32 itself does not notice that weights of a linear layer are missing."""
    partial = shutil.copytree(folder, tmp_path / "partial")
    weights = load_file(partial / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks weights .*layers\.1\.mlp\.down_proj"):
        load(partial)
    (partial / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        load(partial)


def test_unknown_architecture(folder: Path, vllm: None, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "architectures": ["Abacus"], "model_type": "abacus"}))
    with pytest.raises(CheckpointError, match=r"does not start with .*abacus"):
        load(other)
