"""The recipes of t1-small, on a tiny model and a few examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recipes import t1_small
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.training.configs import PretrainedModel, Recipe, Supervised, read_recipe
from t1_vectorstore.training.examples import Example, write_data
from t1_vectorstore.training.plots import read_history
from t1_vectorstore.training.run import train
from tests.training.test_distillation import BagOfLetters

pytest.importorskip("yaml")

FOLDER = Path(t1_small.__file__).parent
RECIPES = ("t1-small", "t1-small-own-thoughts", "t1-small-static")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A few examples of every part that the recipes name."""
    parts = {
        part for name in RECIPES for stage in read_recipe(FOLDER / f"{name}.yaml").stages for part in stage.queries
    }
    documents = {f"{part}-{n}": f"{part} says {word}" for part in parts for n, word in enumerate(("sand", "rain"))}
    examples = [
        Example(f"what does {name} say", None if "general" in name else "it says.", (name,), (), name[:-2], ("no.",))
        for name in documents
    ]
    documents |= {f"text-{n}": f"text {n} is only for the teacher" for n in range(40)}
    write_data(tmp_path / "data", documents, {"train": examples})
    return tmp_path / "data"


def shortened(name: str, model: Path) -> Recipe:
    """Return the recipe with two steps a stage, starting from another model."""
    recipe = read_recipe(FOLDER / f"{name}.yaml")
    assert isinstance(recipe.model, PretrainedModel)
    short = {"steps": 2, "save_every": 1, "log_every": 1, "threads": 1}
    stages = tuple(stage.model_copy(update=short) for stage in recipe.stages)
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"path": str(model)}), "stages": stages})


@pytest.mark.train
def test_recipes_run_one_after_the_other(
    data: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t1_vectorstore.training.teachers.load_encoder", lambda *_: BagOfLetters())
    first = train(shortened("t1-small", tiny), data, tmp_path / "first")
    spec = Checkpoint.load(first).spec
    assert spec.document_prompt == '<|im_start|>"{text}" means "'
    assert spec.decoding.max_tokens > 64
    second = train(shortened("t1-small-own-thoughts", first), data, tmp_path / "second")
    assert Checkpoint.load(second).spec == spec
    logged: list[dict[str, Any]] = read_history(tmp_path / "second" / "1-sft")
    assert all(record[f"distill_{kind}"] > 0 for record in logged[:2] for kind in ("queries", "documents", "texts"))
    twin = Checkpoint.load(train(shortened("t1-small-static", tiny), data, tmp_path / "static")).spec
    assert not twin.thinks
    assert twin.query_prompt == spec.query_prompt_no_think
    assert twin.document_prompt == spec.document_prompt


def test_the_twin_differs_only_in_thinking() -> None:
    thinking = [stage for name in RECIPES[:2] for stage in read_recipe(FOLDER / f"{name}.yaml").stages]
    twin = read_recipe(FOLDER / "t1-small-static.yaml")
    thoughts = ("steps", "think_share", "own_thought_share", "lm_weight")
    for one, other in zip(thinking, twin.stages, strict=True):
        assert isinstance(one, Supervised)
        assert one.model_dump(exclude=set(thoughts)) == other.model_dump(exclude=set(thoughts))
    assert [stage.steps for stage in thinking] < [stage.steps for stage in twin.stages]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"overrides": {"querry_prompt": "{text}"}}, "did you mean 'query_prompt'"),
        ({"overrides": {"document_prompt": "no placeholder"}}, "exactly once"),
        ({"overrides": {"decoding": {"max_tokens": 3}}, "decoding": {"max_tokens": 4}}, "both given"),
    ],
)
def test_wrong_overrides_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PretrainedModel.model_validate({"path": "t1-mini"} | fields)
