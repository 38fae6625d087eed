"""Each model family gives the same vectors and thoughts with llama.cpp as with torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.fake import SPEC
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from tests.checkpoints import save_checkpoint
from tests.gguf_files.files import TEXTS, random_texts

pytestmark = pytest.mark.llama_cpp


def rope(**parameters: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 10_000.0, **parameters}}


YARN = rope(rope_type="yarn", factor=32.0, original_max_position_embeddings=64)
LLAMA3 = rope(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)
GEMMA: dict[str, Any] = {"tie_word_embeddings": True, "query_pre_attn_scalar": 16, "sliding_window": 32}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen3": ("qwen3", {}),
    "Qwen3 with large heads and tied embeddings": ("qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "Qwen3 with linear scaling": ("qwen3", rope(rope_type="linear", factor=4.0)),
    "Qwen3 with YaRN": ("qwen3", YARN),
    "Qwen2": ("qwen2", {}),
    "Llama": ("llama", {}),
    "Llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "Llama 3.1": ("llama", LLAMA3),
    "Llama with YaRN": ("llama", YARN),
    "Mistral": ("mistral", {"sliding_window": None}),
    "Gemma": ("gemma", {"tie_word_embeddings": True}),
    "Gemma 2": ("gemma2", {**GEMMA, "layers": 4}),
    "Gemma 3": ("gemma3_text", {**GEMMA, "layers": 7}),
}
DOCUMENTS = [*TEXTS, *random_texts(8), "a long text " * 25]
QUERIES = ["llamas", "Which animals live in Peru?", *random_texts(10, seed=3)]


@pytest.mark.parametrize("name", MODELS)
def test_vectors_and_thoughts_equal_those_of_torch(name: str, llama_cpp: None, tmp_path: Path) -> None:
    from t1_vectorstore.export.verification import compare
    from t1_vectorstore.export.writing import write_gguf

    model_type, options = MODELS[name]
    spec = SPEC.with_overrides({"max_document_tokens": 512, "decoding": {"max_tokens": 24}})
    folder = save_checkpoint(
        tmp_path / "folder", model_type=model_type, spec=spec, closes=2.0, all_random=True, **options
    )
    write_gguf(Checkpoint.load(folder), tmp_path / "model.gguf", "f32")
    with (
        T1Embedder.load(folder, dtype="float32") as original,
        T1Embedder.load(tmp_path / "model.gguf", engine_options={"cache_type": "f32"}) as exported,
    ):
        found = compare(original, exported, budget=24, documents=DOCUMENTS, queries=QUERIES)
    assert found.least >= 0.9999
    assert found.same_thoughts == found.thoughts == len(QUERIES)
    assert found.own_thoughts is not None
    assert found.own_thoughts.least >= 0.9999
