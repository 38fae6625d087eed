"""What is particular to vLLM in this process."""

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


def test_the_second_request_of_a_thought_finds_its_prefix_in_the_cache(in_process: T1Embedder) -> None:
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
    """Three thoughts are one request; nothing of it is under way when their vectors are there."""
    backend = in_process._backend
    generator = backend._engine._generator  # type: ignore[attr-defined]
    prompts = [prompt.ids for prompt in in_process._prompter.queries(QUERIES, think=True)]
    ends = [thought.stop for thought in reference._backend.think(prompts, Decoding(max_tokens=100))]
    endless = Decoding(max_tokens=1500, temperature=1.0, top_k=1)  # the same as greedy, of which there is only one
    requests = []
    generate = generator.generate

    def counted(*args: Any, **kwargs: Any) -> Any:
        requests.append(args[1].n)
        return generate(*args, **kwargs)

    generator.generate = counted
    try:
        prompt = prompts[ends.index("budget")]
        thoughts = backend.think([prompt], endless, samples=3, deadline=time.monotonic() + 0.03)
    finally:
        del generator.generate
    assert requests == [3, 1, 1, 1]
    assert [thought.stop for thought in thoughts] == ["deadline"] * 3
    assert generator.get_num_unfinished_requests() == 0


def test_requests_that_are_given_up_leave_nothing_behind(in_process: T1Embedder) -> None:
    backend: Any = in_process._backend
    prompts = [prompt.ids for prompt in in_process._prompter.documents(TEXTS)]

    async def cancelled() -> None:
        task = asyncio.ensure_future(backend._engine.embed(prompts))
        while not task.done() and not backend._engine._generator.get_num_unfinished_requests():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    from t1_vectorstore.backends.vllm.engine import call_workers  # only where vLLM is

    async def kept() -> list[str]:
        [[states]] = await call_workers(backend._engine._generator, "t1_kept")
        return list(states)

    backend._loop.run(cancelled())
    in_process.embed_documents(TEXTS[:2])
    assert backend._loop.run(kept()) == []


def test_a_prompt_computed_in_chunks(folder: Path, reference: T1Embedder, vllm: None) -> None:
    """Chunks of 64 tokens: a row of every chunk comes by, and the last one counts. Also a bound on the whole prompt."""
    options = {**ENGINE_OPTIONS, "max_num_batched_tokens": 64, "max_model_len": 600, "long_prefill_token_threshold": 48}
    embedder = load(folder, engine_options=options)
    try:
        vectors = embedder.embed_documents(TEXTS).vectors
        assert cosines(vectors, reference.embed_documents(TEXTS).vectors).min() >= 0.9999
        with pytest.raises(ValueError, match="the model takes 599 tokens"):
            embedder.embed_query("why", budget=200)
    finally:
        embedder._backend.close()  # type: ignore[attr-defined]


def test_two_engines_where_the_workers_cannot_keep_states(
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


def test_a_second_engine_that_does_not_start_ends_the_first(
    folder: Path, vllm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{LOADING}._WORKER", "tests.vllm_backend.broken_worker.UnknownRunner")
    monkeypatch.setattr(f"{LOADING}._LAST", {"pooling_type": "MOST"})
    message = "second engine, which was to give the vectors, failed beside the first: .*MOST"
    others = set(multiprocessing.active_children())
    with pytest.warns(UserWarning, match="in memory twice"), pytest.raises(CheckpointError, match=message):
        load(folder)
    for process in set(multiprocessing.active_children()) - others:
        process.join(120)  # those of the first were told to end; on a busy machine that takes a while
        assert not process.is_alive()


def test_what_cannot_be_sent_to_the_engine(folder: Path, vllm: None) -> None:
    options = {**ENGINE_OPTIONS, "additional_config": {"lock": threading.Lock()}}
    with pytest.raises(CheckpointError, match=r"cannot pickle '_thread\.lock'.*leave out what cannot be pickled"):
        load(folder, engine_options=options)


def test_an_error_of_a_worker(in_process: T1Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes as an error without a class of its own; the engine goes on."""
    engine = in_process._backend._engine  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        take = engine._states._take
        patch.setattr(engine._states, "_take", lambda wanted, _: take(wanted, 3))
        with pytest.raises(BackendError, match=r"vLLM failed: \w+: .*collective_rpc.*VLLM_LOGGING_LEVEL"):
            in_process.embed_documents(["a"])
    in_process.embed_documents(["a"])


def test_an_engine_that_dies(vllm: None, tmp_path: Path) -> None:
    """A checkpoint that vLLM takes and cannot run: heads of 16, which its attention on CPUs does not have."""
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
        ({"engine_options": {"runner": "pooling"}}, ValueError, "cannot be set: the backend decides it"),
        ({"overrides": {"pooling_layer": 1}}, ValueError, "vLLM gives only the last layer's states"),
        ({"device": "cuda"}, ValueError, "device='cuda' is for the backend 'transformers'"),
        ({"batch_tokens": 100}, ValueError, "batch_tokens=100 is for the backend 'transformers'"),
        ({"dtype": "int3"}, ValueError, "dtype must be 'auto', 'float32', .* got 'int3'"),
        ({"engine_options": {"block_size": "wide"}}, CheckpointError, "does not start with .*block_size"),
    ],
)
def test_options_it_does_not_have(
    folder: Path, vllm: None, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load(folder, **options)


def test_a_vocabulary_without_the_token(folder: Path, vllm: None, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    tokenizer = Tokenizer.from_file(str(other / "tokenizer.json"))
    tokenizer.add_special_tokens(["<vec>"])
    tokenizer.save(str(other / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="has only 261 embeddings: tokenizer and weights do not belong together"):
        load(other, overrides={"emb_token": "<vec>"})


def test_weights_that_are_not_all_there(folder: Path, vllm: None, tmp_path: Path) -> None:
    """Left to itself, vLLM 0.32 starts with whatever is in the memory of a linear layer."""
    partial = shutil.copytree(folder, tmp_path / "partial")
    weights = load_file(partial / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks weights .*layers\.1\.mlp\.down_proj"):
        load(partial)
    (partial / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        load(partial)


def test_an_architecture_that_vllm_does_not_have(folder: Path, vllm: None, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "architectures": ["Abacus"], "model_type": "abacus"}))
    with pytest.raises(CheckpointError, match=r"does not start with .*abacus"):
        load(other)
