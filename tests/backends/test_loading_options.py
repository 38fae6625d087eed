"""The options with which a model is loaded: checks before anything is downloaded, and their effect."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.devices import find_device
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.errors import BackendError, MissingExtraError


def test_invalid_devices_types_and_numbers(tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"device 'warp' is not on this machine: no such kind; try cpu, cuda or mps$"):
        T1Embedder.load(tiny, device="warp")
    with pytest.raises(ValueError, match="dtype must be 'auto', 'float32', 'bfloat16' or 'float16', got 'int3'"):
        T1Embedder.load(tiny, dtype="int3")
    with pytest.raises(ValueError, match="batch_tokens must be greater than or equal to 1, got 0"):
        T1Embedder.load(tiny, batch_tokens=0)
    with pytest.raises(ValueError, match="threads must be greater than or equal to 1, got 0"):
        T1Embedder.load(tiny, threads=0)
    with pytest.raises(ValueError, match=r"threads must be at most \d+ .*, got 100000"):
        T1Embedder.load(tiny, threads=100_000)
    with pytest.raises(ValueError, match="device 'meta' is not on this machine"):
        T1Embedder.load(tiny, device="meta")
    with pytest.raises(TypeError, match="device must be a valid string, got None"):
        T1Embedder.load(tiny, device=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"backend": "vlm"}, ValueError, "backend must be .* got 'vlm'"),
        ({"dtype": "bf16"}, ValueError, "dtype must be .* got 'bf16'"),
        ({"devices": ["cpu", "cuda:97"]}, ValueError, "'cuda:97' is not on this machine"),
        ({"devices": 2}, TypeError, "devices must be a valid list, got 2"),
        ({"batch_tokens": "many"}, TypeError, "batch_tokens must be .* got 'many'"),
        ({"threads": True}, TypeError, "threads must be .* got True"),
        (
            {"backend": "vllm", "engine_options": ["max_model_len"]},
            TypeError,
            "engine_options must be a valid dictionary, got",
        ),
        ({"backend": "remote"}, ValueError, "generate_url: Field required"),
    ],
)
def test_options_are_checked_before_the_checkpoint_is_loaded(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    monkeypatch.setattr(Checkpoint, "load", lambda *_, **__: pytest.fail("the checkpoint is loaded"))
    with pytest.raises(error, match=words):
        T1Embedder.load("ForwardAILabs/MRE-T1", **options)


@pytest.mark.parametrize(
    ("options", "lacking", "extra"),
    [({}, "torch", "local"), ({}, "safetensors", "local"), ({"backend": "vllm"}, "vllm", "vllm")],
    ids=["torch", "safetensors", "vllm"],
)
def test_missing_packages_are_reported_before_the_hub_is_asked(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], lacking: str, extra: str
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub is asked"))
    monkeypatch.setitem(sys.modules, lacking, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 't1-vectorstore\[{extra}\]'"):
        T1Embedder.load("ForwardAILabs/MRE-T1", **options)


def test_remote_backend_needs_no_extra(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "safetensors", "vllm"):
        monkeypatch.setitem(sys.modules, name, None)
    urls = {"generate_url": "http://127.0.0.1:9", "embed_url": "http://127.0.0.1:9", "attempts": 1}
    with pytest.raises(BackendError, match=r"127\.0\.0\.1:9"):
        T1Embedder.load(tiny, backend="remote", engine_options=urls)


def test_a_model_that_needs_transformers(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(tiny, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mistral"}))
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "t1_vectorstore.backends.transformers_model", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 't1-vectorstore\[local\]'"):
        T1Embedder.load(folder)


def test_a_gpu_is_found_without_creating_a_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: pytest.fail("a tensor is created"))
    assert [find_device(name).index for name in ("cuda", "cuda:1")] == [None, 1]


def test_the_number_of_threads_is_restored(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    during: list[int] = []
    for threads in (None, 2):
        embedder = T1Embedder.load(tiny, threads=threads)
        model = embedder._backend.model  # type: ignore[attr-defined]
        encode = model.encode
        monkeypatch.setattr(model, "encode", lambda ids, run=encode: during.append(torch.get_num_threads()) or run(ids))
        embedder.embed_documents(["a"])
    assert during == [1, 2]
    assert torch.get_num_threads() == before
