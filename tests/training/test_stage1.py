"""The recipe on a real, very small model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM

from t1_vectorstore.checkpoint import Checkpoint
from t1_vectorstore.errors import TrainingFailed
from t1_vectorstore.prompts import Prompter
from t1_vectorstore.training import model as models
from t1_vectorstore.training import run_state, stage1
from t1_vectorstore.training.batching import Encoder, pack

TINY = models.Shape(hidden=32, layers=1, heads=2, key_value_heads=1, intermediate=32)


def config(data: Path, out: Path, **changes: object) -> stage1.Stage1Config:
    base = stage1.Stage1Config(
        data=data,
        out=out,
        seconds=None,
        steps=12,
        shape=TINY,
        vocab_size=400,
        tokenizer_draws=50,
        learning_rate=2e-2,
        batch=(1, 3, 2, 2, 2),
        warmup_steps=2,
        probe_every=6,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def steps(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / run_state.RECORD).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def trained(factbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    stage1.main(config(factbook, out, steps=25))
    return out


def test_the_loss_falls(trained: Path) -> None:
    reports = steps(trained)
    assert len(reports) == 25
    assert sum(r["loss"] for r in reports[-3:]) < 0.8 * sum(r["loss"] for r in reports[:3])
    assert {"exact_comp3", "exact_ood3", "exact_ood4"} <= reports[5].keys()


def test_the_saved_model_loads_by_transformers(trained: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(trained / "model")
    tokenizer = AutoTokenizer.from_pretrained(trained / "model")
    assert model.dtype == torch.bfloat16
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<pad>", "<emb_token>")
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<query>", "<document>", "<think>", "<emb_token>"]) == [*range(5)]
    assert str(tokenizer.decode(tokenizer.encode("Rød\0 🙂 <emb"))).strip() == "rød\0 🙂 <emb"
    assert list((trained / "model").glob("*.safetensors"))


def test_packed_sequences_give_the_vectors_of_single_ones(trained: Path) -> None:
    checkpoint = Checkpoint.load(trained / "model")
    encoder = Encoder(Prompter.load(checkpoint))
    texts = ["short", "a rather longer text about farms and ships", "mid sized text"]
    sequences = [*encoder.documents(texts), *encoder.queries(texts, ["thought one", None, "another thought"])]
    model = Qwen3ForCausalLM.from_pretrained(trained / "model", dtype=torch.float32)
    with torch.no_grad():
        together, _ = models.run(model, pack(sequences))
        for vector, sequence in zip(together, sequences, strict=True):
            alone = model.model(input_ids=torch.tensor([sequence.ids])).last_hidden_state[0, -1]
            assert torch.cosine_similarity(alone, vector, dim=0) > 0.99999


def test_an_interrupted_run_continues_to_the_same_model(factbook: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    stage1.main(config(factbook, whole))
    first = config(factbook, parts)

    class Stop(Exception):
        pass

    def stop_after_seven(folder: Path, report: dict[str, float], every: int) -> None:
        if report["step"] == 7:
            raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_state, "record", stop_after_seven)
        with pytest.raises(Stop):
            stage1.main(replace(first, checkpoint_seconds=0.0))
    stage1.main(first)
    states = [torch.load(out / run_state.CHECKPOINT, weights_only=True) for out in (whole, parts)]
    assert states[0]["step"] == states[1]["step"] == 12
    assert all(torch.equal(a, b) for a, b in zip(*(s["model"].values() for s in states), strict=True))


def test_the_static_twin_has_no_thoughts(factbook: Path, tmp_path: Path) -> None:
    folder = stage1.main(config(factbook, tmp_path, static=True, steps=3))
    assert not Checkpoint.load(folder).spec.thinks
    assert all(report["lm"] == 0.0 for report in steps(tmp_path))


def test_a_trained_model_can_be_trained_on(factbook: Path, trained: Path, tmp_path: Path) -> None:
    stage1.main(config(factbook, tmp_path, init=trained / "model", steps=2, learning_rate=1e-5))
    assert steps(tmp_path)[0]["loss"] < steps(trained)[0]["loss"]


def test_a_folder_of_another_run_is_refused(factbook: Path, trained: Path) -> None:
    with pytest.raises(TrainingFailed, match="seed"):
        stage1.main(config(factbook, trained, seed=1))


def test_a_loss_that_is_no_number_stops_the_run(factbook: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="nan at step 0"):
        stage1.main(config(factbook, tmp_path, info_nce_weight=float("nan")))
    assert not (tmp_path / run_state.CHECKPOINT).exists()


def test_a_run_without_end_is_refused(factbook: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no end"):
        stage1.main(config(factbook, tmp_path, steps=None))


def test_missing_data_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        stage1.main(config(tmp_path / "nowhere.jsonl.gz", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_command_line_fills_the_configuration() -> None:
    given = stage1.parse(["--data", "d", "--out", "o", "--static", "--steps", "9", "--learning-rate", "1e-4"])
    assert given == stage1.Stage1Config(Path("d"), Path("o"), static=True, seconds=None, steps=9, learning_rate=1e-4)
