"""Stage 3 on real, very small models; run by make test-train."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import TrainingFailed
from t1_vectorstore.training import running
from t1_vectorstore.training.examples import Example, read_data, write_data
from t1_vectorstore.training.plots import read_history
from t1_vectorstore.training.retrieval_reward import Watch
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
    """Each query has been thought about in two ways, of which only the colour finds its document."""
    folder = tmp_path_factory.mktemp("toy")
    documents = {colour: f"{colour} is here" for colour in COLOURS} | {"nothing": "nothing is here"}
    asked = [
        Example(f"the {word}", f"{colour}.", (colour,), (), "colour")
        for word, colour in zip(("rose", "grass", "sky", "fog"), COLOURS, strict=True)
    ]
    vague = [Example(e.query, "nothing.", ("nothing",), (), "vague") for e in asked]
    write_data(folder, documents, {"train": [*asked, *vague], "dev": asked})
    return folder


@pytest.fixture(scope="module")
def undecided(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt both ways."""
    out = tmp_path_factory.mktemp("undecided")
    stage = SFT | {"steps": 60, "queries": {"colour": 8, "vague": 8}, "save_every": 60, "think_share": 1.0}
    return running.train(recipe(stage), toy, out)


def rewards(out: Path, key: str = "reward") -> list[float]:
    return [record[key] for record in read_history(out / "1-grpo") if key in record]


def test_the_policy_learns_which_thought_helps(toy: Path, undecided: Path, tmp_path: Path) -> None:
    changes = {"steps": 24, "queries": {"colour": 8}, "replay": 0.0, "learning_rate": 3e-3, "kl": 0.001}
    stage = GRPO | changes | {"save_every": 40, "refresh_every": 20, "probes": ["dev"], "probe_every": 24}
    folder = running.train(recipe(stage, path=str(undecided)), toy, tmp_path)
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


def test_a_policy_that_collapses_stops_the_run(toy: Path, undecided: Path, tmp_path: Path) -> None:
    stage = GRPO | {"steps": 40, "queries": {"colour": 8}, "learning_rate": 1e-2, "kl": 0.0, "replay": 0.05}
    with pytest.raises(TrainingFailed, match="the policy collapses"):
        running.train(recipe(stage | {"collapse": 0.005}, path=str(undecided)), toy, tmp_path)
    assert not (tmp_path / "model").exists()


def test_an_interrupted_run_continues_to_the_same_model(toy: Path, undecided: Path, tmp_path: Path) -> None:
    from t1_vectorstore.training.grpo import ThoughtTrainer

    wanted = recipe(GRPO | {"queries": {"colour": 3}}, path=str(undecided))
    running.train(wanted, toy, tmp_path / "whole")
    whole = ThoughtTrainer.training_step

    def step(self: Any, *arguments: Any) -> torch.Tensor:
        if self.state.global_step == 6:
            raise KeyboardInterrupt
        return whole(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ThoughtTrainer, "training_step", step)
        with pytest.raises(KeyboardInterrupt):
            running.train(wanted, toy, tmp_path / "parts")
    recalled: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "recall", lambda _, logged, every: recalled.extend([*logged] * every))
        running.train(wanted, toy, tmp_path / "parts")
    assert recalled == rewards(tmp_path / "whole", "exact")[: len(recalled)] != []
    assert rewards(tmp_path / "parts", "replay")
    one, other = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert one == other


def test_rewards_that_never_vary_stop_the_run(toy: Path, undecided: Path, tmp_path: Path) -> None:
    nothing = {"rank": 0.0, "margin": 0.0, "unclosed": 0.0}
    with pytest.raises(TrainingFailed, match="equal for 3 steps"):
        running.train(recipe(GRPO | {"reward": nothing, "patience": 3}, path=str(undecided)), toy, tmp_path)


def test_adapters_are_merged_into_the_model(toy: Path, undecided: Path, tmp_path: Path) -> None:
    folder = running.train(recipe(GRPO | {"steps": 4, "lora": {"rank": 4}}, path=str(undecided)), toy, tmp_path)
    assert T1Embedder.load(folder).embed_query("the rose").thoughts
    assert rewards(tmp_path, "kl")[-1] > 0


def test_a_length_penalty_without_room_is_refused(toy: Path, undecided: Path, tmp_path: Path) -> None:
    reward = {"length": 0.1, "free_tokens": 128}
    with pytest.raises(ValueError, match="free_tokens=128"):
        running.train(recipe(GRPO | {"reward": reward}, path=str(undecided)), toy, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"replay_queries": {"size": 2}}, "no part 'size' of examples with a thought"),
        ({"within": "r"}, "within='r' leaves out"),
        ({"reward": {"length": 0.1, "free_tokens": 500}}, "free_tokens=500 leaves nothing"),
    ],
)
def test_what_stage_3_cannot_have_is_found_before_stage_1(
    toy: Path, undecided: Path, tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        running.train(recipe(SFT | {"steps": 1}, GRPO | wrong, path=str(undecided)), toy, tmp_path / "run")
    assert not (tmp_path / "run" / "1-sft").exists()


def test_data_without_thoughts_has_nothing_to_replay(toy: Path, undecided: Path, tmp_path: Path) -> None:
    data = read_data(toy)
    write_data(tmp_path / "data", data.documents, {"train": [replace(e, thought=None) for e in data.examples]})
    with pytest.raises(ValueError, match="the data has no examples with a thought"):
        running.train(recipe(GRPO, path=str(undecided)), tmp_path / "data", tmp_path / "run")


def test_an_index_that_lacks_what_is_asked_for_is_refused(toy: Path, undecided: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"within='gre' leaves out '(red|blue|grey)'"):
        running.train(recipe(GRPO | {"within": "gre", "queries": {"colour": 8}}, path=str(undecided)), toy, tmp_path)
