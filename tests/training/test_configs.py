"""Reading recipes, bundled and of t1-mini, and the errors of invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes import t1_mini, t1_small
from t1_vectorstore.training.batches import ExampleSampler
from t1_vectorstore.training.configs import RECIPES, Grpo, PretrainedModel, read_recipe
from t1_vectorstore.training.examples import read_data

pytest.importorskip("yaml")

GOOD = """
model: {hidden: 32}
stages:
  - {stage: sft, steps: 3, learning_rate: 0.1}
"""


BUNDLED, T1_MINI, T1_SMALL = (
    sorted(folder.glob("*.yaml")) for folder in (RECIPES, Path(t1_mini.__file__).parent, Path(t1_small.__file__).parent)
)


@pytest.mark.parametrize("path", [*BUNDLED, *T1_MINI, *T1_SMALL], ids=lambda path: path.stem)
def test_recipes_are_valid(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.stages
    assert read_recipe(path, seed=7) == recipe.model_copy(update={"seed": 7})


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_bundled_recipes_are_read_by_name(path: Path) -> None:
    assert read_recipe(path.stem) == read_recipe(path)
    assert read_recipe(path.stem, seed=7) == read_recipe(path, seed=7)


@pytest.mark.parametrize(
    "name", ["t1-mini-quick", "t1-mini-quick-static", "control-continued-sft", "control-static-rl-pairs"]
)
def test_recipes_for_the_factbook_use_parts_of_its_data(name: str, chains: Path) -> None:
    data = read_data(chains)
    for stage in read_recipe(Path(t1_mini.__file__).with_name(f"{name}.yaml")).stages:
        for counts in (stage.queries, *([stage.replay_queries] if isinstance(stage, Grpo) else [])):
            ExampleSampler(data.examples, counts, 0)


def test_missing_fields_have_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD)
    recipe = read_recipe(tmp_path / "r.yaml")
    assert (recipe.seed, recipe.thinks) == (0, True)
    assert not isinstance(recipe.model, PretrainedModel)
    [stage] = recipe.stages
    assert (stage.lm_weight, stage.info_nce_weight, stage.triplet_weight) == (1.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("text", "message"),
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
        (GOOD.replace("sft", "grpo") + "thinks: false\n", "the stage 'grpo' needs thoughts: remove the stage"),
        (GOOD.replace("sft", "grpo").replace("steps: 3", "steps: 3, save_every: 7"), "multiple of refresh_every=50"),
        (
            GOOD.replace("steps: 3", "steps: 3, queries: {a: 1}, teacher_parts: [b]"),
            "teacher_parts contains 'b', which is not a part in queries",
        ),
        ("- just\n- a list\n", "is not a recipe: it needs the fields model and stages"),
        ("model: {hidden: 32\n", "is not YAML"),
    ],
)
def test_an_invalid_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"r\.yaml") as caught:
        read_recipe(tmp_path / "r.yaml")
    assert message in str(caught.value)
    assert "at least 1 item" not in str(caught.value) or "stages: []" in text


def test_the_error_of_an_unknown_recipe_lists_the_bundled_ones() -> None:
    with pytest.raises(FileNotFoundError, match=r"no recipe 'nothing': .* a bundled recipe: lora-4b"):
        read_recipe("nothing")
