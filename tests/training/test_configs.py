"""Recipes: those of the package, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from t1_vectorstore.training.batches import Draw
from t1_vectorstore.training.configs import RECIPES, Grpo, OldModel, read_recipe
from t1_vectorstore.training.examples import read_data

pytest.importorskip("yaml")

GOOD = """
model: {hidden: 32}
stages:
  - {stage: sft, steps: 3, learning_rate: 0.1}
"""


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_the_packages_recipes_are_valid(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.stages
    assert recipe == read_recipe(RECIPES / f"{name}.yaml")
    assert read_recipe(name, seed=7) == recipe.model_copy(update={"seed": 7})


@pytest.mark.parametrize(
    "name", ["t1-mini-quick", "t1-mini-quick-static", "control-continued-sft", "control-static-rl-pairs"]
)
def test_the_factbooks_recipes_ask_for_parts_that_it_has(name: str, chains: Path) -> None:
    data = read_data(chains)
    for stage in read_recipe(name).stages:
        for counts in (stage.queries, *([stage.replay_queries] if isinstance(stage, Grpo) else [])):
            Draw(data.examples, counts, 0)


def test_what_is_not_given_has_its_default(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD)
    recipe = read_recipe(tmp_path / "r.yaml")
    assert (recipe.seed, recipe.thinks) == (0, True)
    assert not isinstance(recipe.model, OldModel)
    [stage] = recipe.stages
    assert (stage.lm_weight, stage.info_nce_weight, stage.triplet_weight) == (1.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "colour: red\n", "colour: Extra inputs"),
        (GOOD + "seed: -1\n", "seed: Input should be greater"),
        (GOOD.replace("hidden", "hiden"), "r.yaml: model.new.hiden: Extra inputs are not permitted"),
        (GOOD.replace("steps: 3", "steps: 0"), "steps: Input should be greater"),
        (GOOD.replace("steps: 3, ", ""), "steps: Field required"),
        (GOOD.replace("steps: 3", "steps: 3, speed: 9"), "speed: Extra inputs"),
        (GOOD.replace("sft", "dpo"), "'sft', 'contrastive', 'grpo'"),
        (GOOD.replace("steps: 3", "steps: 3, queries: {a: 0}"), "queries must be"),
        ("model: {hidden: 32}\nstages: []\n", "stages: "),
        (GOOD.replace("sft", "grpo") + "thinks: false\n", "no thoughts for the stage 'grpo'"),
        (GOOD.replace("sft", "grpo").replace("steps: 3", "steps: 3, save_every: 7"), "multiple of refresh_every=50"),
        (GOOD.replace("steps: 3", "steps: 3, queries: {a: 1}, teacher_parts: [b]"), "teacher_parts names 'b'"),
        ("- just\n- a list\n", "holds no recipe"),
        ("model: {hidden: 32\n", "is not YAML"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"r\.yaml") as caught:
        read_recipe(tmp_path / "r.yaml")
    assert said in str(caught.value)
    assert "at least 1 item" not in str(caught.value) or "stages: []" in text


def test_a_recipe_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(FileNotFoundError, match="t1-mini, "):
        read_recipe("nothing")
