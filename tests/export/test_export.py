"""``t1 export gguf``: the file is complete, compared, and never replaces another one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.fake import SPEC
from t1_vectorstore.checkpoints.checkpoint import BUNDLED, Checkpoint
from t1_vectorstore.checkpoints.gguf_format import GGUFHeader
from t1_vectorstore.cli import app
from t1_vectorstore.errors import BackendError, CheckpointError
from t1_vectorstore.options import ModelOptions
from tests.checkpoints import save_checkpoint
from tests.gguf_files.tokenizers_of_families import byte_level

pytestmark = pytest.mark.llama_cpp
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.fixture(autouse=True)
def _llama_cpp(llama_cpp: None) -> None:
    pass


def export(model: str | Path, out: Path, **options: Any) -> Any:
    from t1_vectorstore.export.export import export_gguf

    return export_gguf(ModelOptions(model=model), out, **options)


@pytest.mark.parametrize(("quant", "least"), [("f16", 0.9999), ("bf16", 0.9999), ("q8_0", 0.999), ("q4_k_m", 0.98)])
def test_t1_mini(quant: str, least: float, tmp_path: Path) -> None:
    report = export("t1-mini", tmp_path / "t1-mini.gguf", quant=quant)
    assert report.comparison.least >= least
    assert report.comparison.same_thoughts == report.comparison.thoughts > 0
    assert report.size == report.file.stat().st_size
    assert list(tmp_path.iterdir()) == [report.file]
    kinds = {tensor.kind for tensor in GGUFHeader.read(report.file).tensors}
    assert {"f16": "F16", "bf16": "BF16", "q8_0": "Q8_0", "q4_k_m": "Q4_K"}[quant] in kinds
    assert Checkpoint.load(report.file).spec == Checkpoint.load("t1-mini").spec


def test_the_file_has_everything_of_the_checkpoint(tmp_path: Path) -> None:
    tokenizer, _ = byte_level("qwen2")
    prompt = [{"role": "system", "content": "{instruction}"}, {"role": "user", "content": "{text}"}]
    spec = SPEC.with_overrides({"query_prompt": prompt, "query_instruction": "Think.", "thought_end": ["<|im_end|>"]})
    folder = save_checkpoint(tmp_path / "folder", spec=spec, vocab_size=1000)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    config = {"eos_token": "<|im_end|>", "pad_token": {"content": "<|im_start|>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    file = export(folder, tmp_path / "model.gguf", quant="f32").file

    original, exported = Checkpoint.load(folder), Checkpoint.load(file)
    assert exported.spec == original.spec
    assert exported.tokenizer.to_str() == original.tokenizer.to_str()
    assert exported.chat_template is not None
    assert original.chat_template is not None
    assert exported.chat_template.source == original.chat_template.source
    assert exported.chat_template.special_tokens == original.chat_template.special_tokens
    assert (exported.hidden_size, exported.layers) == (original.hidden_size, original.layers)
    assert exported.max_positions == original.max_positions
    texts = ["llamas live in Peru", "<|im_end|> <emb_token>"]
    with T1Embedder.load(folder, dtype="float32") as one, T1Embedder.load(file) as other:
        assert [one.token_ids(text) for text in texts] == [other.token_ids(text) for text in texts]


def test_overrides_are_stored_in_the_file(tmp_path: Path) -> None:
    from t1_vectorstore.export.export import export_gguf

    options = ModelOptions(model="t1-mini", overrides={"truncate_dim": 64, "decoding": {"max_tokens": 7}})
    file = export_gguf(options, tmp_path / "model.gguf").file
    assert Checkpoint.load(file).dimension == 64
    assert Checkpoint.load(file).spec.decoding.max_tokens == 7


@pytest.mark.parametrize(
    ("out", "options", "error", "message"),
    [
        ("model.gguf", {"quant": "q9"}, ValueError, "no number type 'q9'; there are f32, f16"),
        ("model.bin", {}, ValueError, r"the file must end with .gguf, got .*model.bin"),
        ("taken.gguf", {}, FileExistsError, "exists: choose another name"),
        ("model.gguf", {"quant": "q2_k", "min_cosine": 0.999}, CheckpointError, "0.999 is the smallest for q2_k"),
    ],
)
def test_refusals_leave_nothing(
    out: str, options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    (tmp_path / "taken.gguf").write_text("mine", encoding="utf-8")
    with pytest.raises(error, match=message):
        export("t1-mini", tmp_path / out, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.gguf"]
    assert (tmp_path / "taken.gguf").read_text(encoding="utf-8") == "mine"


def test_a_gguf_file_is_not_exported_again(tmp_path: Path) -> None:
    file = export("t1-mini", tmp_path / "model.gguf").file
    with pytest.raises(CheckpointError, match="is a GGUF file already; export its original"):
        export(file, tmp_path / "other.gguf")


def test_a_failure_of_llama_cpp_is_an_error(tmp_path: Path) -> None:
    from t1_vectorstore.backends.llama_cpp.library import quantize

    (tmp_path / "damaged.gguf").write_bytes(b"GGUF\3\0\0\0")
    with pytest.raises(BackendError, match=r"cannot quantise .*damaged.gguf to q8_0"):
        quantize(tmp_path / "damaged.gguf", tmp_path / "out.gguf", "q8_0")


def test_command(tmp_path: Path) -> None:
    folder = shutil.copytree(BUNDLED / "t1-mini", tmp_path / "folder")
    out = tmp_path / "new" / "model.gguf"
    arguments = ["export", "gguf", str(folder), str(out), "--quant", "q8_0"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "documents        cosine 0.999" in done.stdout
    assert "8 of 8 thoughts the same, 0 of " in done.stdout
    assert f"{out} has 8.1 MB; try t1 search" in done.stdout
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert "exists: choose another name" in again.output
