"""Stage 3 on tiny models; ``make test-train`` runs these tests."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from t1_vectorstore.checkpoints.lora import ADAPTER_FILE, LoraAdapter
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import TrainingFailed
from t1_vectorstore.training.configs import Lora
from t1_vectorstore.training.examples import Example, read_data, write_data
from t1_vectorstore.training.model import MergedWeights, add_adapters, load_checkpoint
from t1_vectorstore.training.plots import read_history
from t1_vectorstore.training.policy import CollapseMonitor
from t1_vectorstore.training.run import train
from tests.training.small_recipes import SFT, recipe

pytestmark = pytest.mark.train

GRPO: dict[str, Any] = {
    "stage": "grpo",
    "steps": 8,
    "queries": 4,
    "group": 8,
    "replay_queries": 8,
    "learning_rate": 1e-3,
    "optimizer": "adamw",
    "warmup_steps": 0,
    "log_every": 1,
    "save_every": 4,
    "refresh_every": 4,
}
COLOURS = ("red", "green", "blue", "grey")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data in which each query has two thoughts: the colour, which finds its document, and a useless one."""
    folder = tmp_path_factory.mktemp("toy")
    documents = {colour: f"{colour} is here" for colour in COLOURS} | {"nothing": "nothing is here"}
    helpful = [
        Example(f"the {word}", f"{colour}.", (colour,), (), "colour")
        for word, colour in zip(("rose", "grass", "sky", "fog"), COLOURS, strict=True)
    ]
    vague = [Example(e.query, "nothing.", ("nothing",), (), "vague") for e in helpful]
    write_data(folder, documents, {"train": [*helpful, *vague], "dev": helpful})
    return folder


@pytest.fixture(scope="module")
def undecided(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes both thoughts about equally often."""
    out = tmp_path_factory.mktemp("undecided")
    stage = SFT | {"steps": 60, "queries": {"colour": 8, "vague": 8}, "save_every": 60, "think_share": 1.0}
    return train(recipe(stage), toy, out)


def rewards(out: Path, key: str = "reward", stage: str = "1-grpo") -> list[float]:
    return [record[key] for record in read_history(out / stage) if key in record]


def test_the_policy_learns_the_helpful_thought(toy: Path, undecided: Path, tmp_path: Path) -> None:
    changes = {"steps": 24, "queries": {"colour": 8}, "replay": 0.0, "learning_rate": 3e-3, "kl": 0.001}
    stage = GRPO | changes | {"save_every": 40, "refresh_every": 20, "probes": ["dev"], "probe_every": 24}
    folder = train(recipe(stage, path=str(undecided)), toy, tmp_path)
    found, exact = rewards(tmp_path), rewards(tmp_path, "exact")
    assert sum(found[-5:]) / 5 > found[0] + 0.1
    assert sum(exact[-5:]) / 5 > exact[0] + 0.15
    assert json.loads((folder / "config.json").read_text())["use_cache"]
    embedder = T1Embedder.load(folder, dtype="float32")
    thoughts = [e.thoughts[0].text for e in embedder.embed_queries(["the rose", "the grass", "the sky", "the fog"])]
    assert sum(text == f"{colour}." for text, colour in zip(thoughts, COLOURS, strict=True)) >= 3
    logged = {key for record in read_history(tmp_path / "1-grpo") for key in record}
    assert {"kl", "thoughts/rank", "thoughts/closed", "exact/dev"} <= logged
    assert (tmp_path / "training.png").is_file()


def test_a_collapsing_policy_stops_the_run(toy: Path, undecided: Path, tmp_path: Path) -> None:
    stage = GRPO | {"steps": 40, "queries": {"colour": 8}, "learning_rate": 1e-2, "kl": 0.0, "replay": 0.05}
    with pytest.raises(TrainingFailed, match="the policy collapses"):
        train(recipe(stage | {"collapse": 0.005}, path=str(undecided)), toy, tmp_path)
    assert not (tmp_path / "model").exists()


def test_an_interrupted_run_continues_to_the_same_model(toy: Path, undecided: Path, tmp_path: Path) -> None:
    from t1_vectorstore.training.grpo import ThoughtTrainer

    wanted = recipe(GRPO | {"queries": {"colour": 3}}, path=str(undecided))
    train(wanted, toy, tmp_path / "whole")
    original = ThoughtTrainer.training_step

    def step(self: Any, *arguments: Any) -> torch.Tensor:
        if self.state.global_step == 6:
            raise KeyboardInterrupt
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ThoughtTrainer, "training_step", step)
        with pytest.raises(KeyboardInterrupt):
            train(wanted, toy, tmp_path / "parts")
    restored: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CollapseMonitor, "restore", lambda _, logged, every: restored.extend([*logged] * every))
        train(wanted, toy, tmp_path / "parts")
    assert restored == rewards(tmp_path / "whole", "exact")[: len(restored)] != []
    assert rewards(tmp_path / "parts", "replay")
    one, other = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert one == other


def test_constant_rewards_stop_the_run(toy: Path, undecided: Path, tmp_path: Path) -> None:
    nothing = {"rank": 0.0, "margin": 0.0, "unclosed": 0.0}
    with pytest.raises(TrainingFailed, match="have been equal for 3 steps"):
        train(recipe(GRPO | {"reward": nothing, "patience": 3}, path=str(undecided)), toy, tmp_path)


def merged(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint with adapters merged by peft, in bfloat16 as a stage writes them."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(load_checkpoint(base)[0], adapter).merge_and_unload()
    return {name: weight.bfloat16() for name, weight in model.named_parameters()}


def same(one: dict[str, torch.Tensor], folder: Path) -> bool:
    """Return whether weights are those of a checkpoint, but for the rounding of the adapters to bfloat16."""
    other = dict(load_checkpoint(folder)[0].named_parameters())
    return all(torch.allclose(one[name].float(), other[name], rtol=2**-6, atol=2e-3) for name in one)


LORA = {"rank": 4}
FIRST: dict[str, Any] = SFT | {
    "steps": 8,
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "lora": LORA,
    "save_every": 8,
    "gradient_checkpointing": True,
}


def test_adapters_of_stage_1_are_continued(toy: Path, undecided: Path, tmp_path: Path) -> None:
    """The last stage's adapters alone, on the initial model, are the trained model. Interrupted, too."""
    from t1_vectorstore.training.grpo import ThoughtTrainer

    grpo = GRPO | {"lora": LORA, "kl": 1.0, "learning_rate": 3e-3, "gradient_checkpointing": True}
    wanted = recipe(FIRST, grpo, path=str(undecided))
    whole = train(wanted, toy, tmp_path / "whole")
    assert abs(rewards(tmp_path / "whole", "kl", "2-grpo")[0]) < 1e-3  # from the adapters of stage 1, not from none
    original = ThoughtTrainer.training_step
    frozen: list[bool] = []

    def step(self: Any, *arguments: Any) -> torch.Tensor:
        if self.state.global_step == 6:
            raise KeyboardInterrupt
        loss = original(self, *arguments)
        frozen.extend(row.grad is None for _, row in self._emb_token_rows())
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ThoughtTrainer, "training_step", step)
        with pytest.raises(KeyboardInterrupt):
            train(wanted, toy, tmp_path / "parts")
    assert len(frozen) == 2 * 6
    assert all(frozen)
    parts = train(wanted, toy, tmp_path / "parts")
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()

    begin, first, last = (tmp_path / "whole" / name for name in ("0-begin", "1-sft", "2-grpo"))
    assert same(merged(begin, last / "adapter"), whole)
    assert not same(merged(begin, first / "adapter"), whole)
    assert not same(dict(load_checkpoint(begin)[0].named_parameters()), first / "model")
    adapters = [load_file(folder / "adapter" / ADAPTER_FILE) for folder in (first, last)]
    [row] = [name for name in adapters[0] if "trainable_tokens" in name]
    assert torch.equal(adapters[0][row], adapters[1][row])
    assert LoraAdapter.read(last / "adapter").pairs


def test_stage_1_continues_adapters_of_stage_3(toy: Path, undecided: Path, tmp_path: Path) -> None:
    """Stage 3 does not train the emb token's embedding, and stage 1 does."""
    grpo = GRPO | {"steps": 1, "lora": LORA, "save_every": 4}
    folder = train(recipe(grpo, FIRST, path=str(undecided)), toy, tmp_path)
    assert same(merged(tmp_path / "0-begin", tmp_path / "2-sft" / "adapter"), folder)
    adapters = [load_file(tmp_path / name / "adapter" / ADAPTER_FILE) for name in ("1-grpo", "2-sft")]
    [row] = [name for name in adapters[0] if "trainable_tokens" in name]
    assert not torch.equal(adapters[0][row], adapters[1][row])


def test_adapters_of_another_shape_are_new(toy: Path, undecided: Path, tmp_path: Path) -> None:
    stages = [FIRST | {"steps": 2, "lora": {"rank": rank}} for rank in (4, 8)]
    train(recipe(*stages, path=str(undecided)), toy, tmp_path)
    assert LoraAdapter.read(tmp_path / "1-sft" / "adapter").scale == 8
    assert LoraAdapter.read(tmp_path / "2-sft" / "adapter").scale == 4
    assert same(merged(tmp_path / "1-sft" / "model", tmp_path / "2-sft" / "adapter"), tmp_path / "model")
    shutil.rmtree(tmp_path / "1-sft" / "adapter")
    shutil.rmtree(tmp_path / "2-sft")
    stages[1]["lora"] = stages[0]["lora"]
    with pytest.raises(TrainingFailed, match="1-sft has no adapter/ for the next stage to continue"):
        train(recipe(*stages, path=str(undecided)), toy, tmp_path)


def test_thoughts_are_sampled_from_the_weights_that_peft_merges(undecided: Path, tmp_path: Path) -> None:
    base = load_checkpoint(undecided)[0]
    model = add_adapters(base, Lora(rank=4), 7, adapter=None, bfloat16=False)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    read = MergedWeights(model.get_base_model())
    found = {name: read(name) for name, _ in load_checkpoint(undecided)[0].named_parameters()}
    for name, weight in model.merge_and_unload().named_parameters():
        assert torch.equal(found[name], weight), name


def test_adapters_are_merged_into_the_model(toy: Path, undecided: Path, tmp_path: Path) -> None:
    folder = train(recipe(GRPO | {"steps": 4, "lora": {"rank": 4}}, path=str(undecided)), toy, tmp_path)
    assert T1Embedder.load(folder).embed_query("the rose").thoughts
    assert rewards(tmp_path, "kl")[-1] > 0


def test_a_length_penalty_above_the_budget_is_refused(toy: Path, undecided: Path, tmp_path: Path) -> None:
    reward = {"length": 0.1, "free_tokens": 128}
    with pytest.raises(ValueError, match=r"free_tokens=128 leaves nothing to penalise: .* budget of 128 tokens"):
        train(recipe(GRPO | {"reward": reward}, path=str(undecided)), toy, tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"replay_queries": {"size": 2}}, "no part 'size' of examples with a thought"),
        ({"within": ["r", "g"]}, r"within=\('r', 'g'\) excludes 'blue'"),
        ({"reward": {"length": 0.1, "free_tokens": 500}}, "free_tokens=500 leaves nothing to penalise"),
    ],
)
def test_errors_of_stage_3_are_found_before_stage_1(
    toy: Path, undecided: Path, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(recipe(SFT | {"steps": 1}, GRPO | fields, path=str(undecided)), toy, tmp_path / "run")
    assert not (tmp_path / "run" / "1-sft").exists()


def test_replay_needs_examples_with_thoughts(toy: Path, undecided: Path, tmp_path: Path) -> None:
    data = read_data(toy)
    write_data(tmp_path / "data", data.documents, {"train": [replace(e, thought=None) for e in data.examples]})
    with pytest.raises(ValueError, match="the data has no examples with a thought"):
        train(recipe(GRPO, path=str(undecided)), tmp_path / "data", tmp_path / "run")


def test_an_index_without_a_positive_is_refused(toy: Path, undecided: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"within='gre' excludes '(red|blue|grey)'"):
        train(recipe(GRPO | {"within": "gre", "queries": {"colour": 8}}, path=str(undecided)), toy, tmp_path)
