"""Every adapter that cannot be merged into its base is refused, with what to do."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from t1_vectorstore import T1Embedder
from t1_vectorstore.checkpoints.base_model import BASE_FILE
from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE, Checkpoint
from t1_vectorstore.checkpoints.lora import ADAPTER_CONFIG, ADAPTER_FILE
from t1_vectorstore.errors import BackendError, CheckpointError
from tests.adapters.files import FILE, HIDDEN, change_json
from tests.gguf_files.files import write_gguf

ROWS_NAME = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
Q = "base_model.model.model.layers.0.self_attn.q_proj"


def load(adapter: Path, base: Path) -> T1Embedder:
    return T1Embedder.load(adapter, base=base, dtype="float32")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, "has use_dora=True, which is not supported: only plain LoRA is"),
        ({"use_rslora": True}, "use_rslora=True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save=['lm_head']"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern={'q_proj': 8}"),
        ({"a_later_field": 1}, "a_later_field=1"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out=True"),
        ({"bias": "all"}, "bias='all'"),
        ({"peft_type": "LOHA"}, "peft_type='LOHA'"),
        ({"r": 0}, "must have a positive r, got 0"),
        ({"lora_alpha": "8"}, "must have a positive lora_alpha, got '8'"),
        ({"trainable_token_indices": {"lm_head": [261]}}, "which must be a list of token ids"),
        ({"trainable_token_indices": [1, 1]}, "which has a token twice"),
        ({"trainable_token_indices": [262]}, "for the tokens [262] of adapter_config.json, and added ones must follow"),
        ({"trainable_token_indices": []}, "must have rows of 64 values for the tokens []"),
        ({"base_model_name_or_path": "other"}, "is of an adapter of 'other', and base.json names 'tiny-llama'"),
    ],
)
def test_configurations(changes: dict[str, Any], message: str, adapter: Path, base: Path) -> None:
    change_json(adapter / ADAPTER_CONFIG, changes)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load(adapter, base)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "12ab"}, "does not describe a base model: sha256"),
        ({"sha256": None}, "sha256: Field required"),
        ({"digest": "0"}, "there is no field 'digest'"),
        ({"file": "../tiny.gguf"}, "file: String should match pattern"),
        ({"module": "a.b"}, "module: String should match pattern"),
        ({"name": 1}, "name: Input should be a valid string"),
    ],
)
def test_base_json(changes: dict[str, Any], message: str, adapter: Path, base: Path) -> None:
    change_json(adapter / BASE_FILE, changes)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load(adapter, base)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{Q}.lora_A.weight": torch.zeros(4, HIDDEN + 1)}, "is an adapter of another base: its matrices (4, 65)"),
        ({f"{Q}.lora_B.weight": torch.zeros(HIDDEN, 5)}, "is an adapter of another base"),
        ({f"{Q}.lora_B.weight": None}, f"missing or unknown: {Q.removeprefix('base_model.model.')}.lora_B.weight"),
        ({f"{Q}.lora_magnitude_vector": torch.zeros(4)}, "missing or unknown"),
        ({f"{Q.replace('.0.', '.2.')}.lora_{side}.weight": torch.zeros(4, 4) for side in "AB"}, "layers.2.self_attn"),
        ({ROWS_NAME: None}, "must have rows of 64 values for the tokens [261]"),
        ({ROWS_NAME: torch.zeros(2, HIDDEN)}, "must have rows of 64 values for the tokens [261]"),
        ({ROWS_NAME: torch.zeros(1, HIDDEN, dtype=torch.int8)}, "has the type I8"),
    ],
)
def test_tensors(changes: dict[str, Any], message: str, adapter: Path, base: Path) -> None:
    tensors = {**load_file(adapter / ADAPTER_FILE), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, adapter / ADAPTER_FILE)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load(adapter, base)


@pytest.mark.parametrize("name", [ADAPTER_FILE, ADAPTER_CONFIG, SPEC_FILE])
def test_missing_and_truncated_files(name: str, adapter: Path, base: Path) -> None:
    content = (adapter / name).read_bytes()
    for part in (content[:-1], content[: len(content) // 2], content[:5], b"", b"version https://git-lfs.github.com/"):
        (adapter / name).write_bytes(part)
        with pytest.raises(CheckpointError, match=re.escape(name)):
            load(adapter, base)
    (adapter / name).unlink()
    with pytest.raises(CheckpointError, match=re.escape(name)):
        load(adapter, base)


def test_another_emb_token_has_no_row(adapter: Path, base: Path) -> None:
    change_json(adapter / ADAPTER_CONFIG, {"trainable_token_indices": [7]})
    with pytest.raises(CheckpointError, match=r"has no row for '<t1>': that is token 261, and base and adapter"):
        load(adapter, base)


def test_another_file_under_the_bases_name(adapter: Path, base: Path, tmp_path: Path) -> None:
    content = base.read_bytes()
    other = tmp_path / FILE
    for part in (content[:-1], content[:-1] + b"\1", content[:100], b"<html>not found</html>"):
        other.write_bytes(part)
        with pytest.raises(
            CheckpointError, match=r"tiny.gguf is not the tiny-llama that .* or leave base= \(--base\) out and run `pip"
        ):
            load(adapter, other)
    with pytest.raises(
        CheckpointError, match=r"there is no file .*none.gguf'; base must be the GGUF file of tiny-llama"
    ):
        load(adapter, tmp_path / "none.gguf")


def test_a_base_that_is_replaced_while_it_is_read(adapter: Path, base: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copyfile(base, tmp_path / FILE))
    checkpoint = Checkpoint.load(adapter, base=copy)
    copy.write_bytes(base.read_bytes()[:-8] + b"\0" * 8)
    with pytest.raises(CheckpointError, match="was changed while it was in use"), checkpoint.in_folder():
        pass


def test_a_base_of_another_architecture(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    fields = {"llama.feed_forward_length": 128, "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2}
    fields |= {"llama.rope.freq_base": 1e4, "llama.attention.layer_norm_rms_epsilon": 1e-5}
    for architecture, more, message in (
        ("qwen3", {}, "is a 'qwen3'; only adapters of a 'llama' are supported"),
        ("llama", {}, "has no llama.feed_forward_length"),
        ("llama", {**fields, "llama.rope.scaling.factor": 2.0}, "is not a plain Llama: ['rope.scaling.factor']"),
        ("llama", {**fields, "llama.rope.dimension_count": 8}, "is not a plain Llama: its heads have"),
    ):
        file = write_gguf(tmp_path / "other.gguf", more, architecture=architecture)
        change_json(adapter / BASE_FILE, {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()})
        with pytest.raises(CheckpointError, match=re.escape(message)):
            load(adapter, file)


def test_base_is_only_for_adapters(base: Path, tiny: Path) -> None:
    for model in ("t1-mini", tiny):
        with pytest.raises(ValueError, match=r"base='.*tiny.gguf' is for a model that is an adapter"):
            T1Embedder.load(model, base=base)


def test_too_little_memory(adapter: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("Unable to allocate 1 TiB")

    monkeypatch.setattr("gguf.quants.dequantize", fail)
    with pytest.raises(BackendError, match=r"out of memory on cpu while the weights of .*Unable to allocate 1 TiB"):
        load(adapter, base)


def test_no_space_for_the_merged_model(adapter: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("t1_vectorstore.checkpoints.adapter.write_tensors", fail)
    checkpoint = Checkpoint.load(adapter, base=base)
    with pytest.raises(CheckpointError, match=r"No space left on device; TMPDIR names"), checkpoint.in_folder():
        pass
