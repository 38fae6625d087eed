"""The recipes of t1-small, on a tiny model and a few examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recipes import t1_small
from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE, Checkpoint
from t1_vectorstore.checkpoints.lora import EMBEDDINGS, LoraAdapter
from t1_vectorstore.training.configs import PretrainedModel, Recipe, read_recipe
from t1_vectorstore.training.examples import Example, write_data
from t1_vectorstore.training.plots import read_history
from t1_vectorstore.training.run import train
from tests.training.test_distillation import BagOfLetters

pytest.importorskip("yaml")

FOLDER = Path(t1_small.__file__).parent
RECIPES = ("t1-small-first", "t1-small", "t1-small-short", "t1-small-short-static")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A few examples of every part that the recipes name."""
    parts = {
        part for name in RECIPES for stage in read_recipe(FOLDER / f"{name}.yaml").stages for part in stage.queries
    }
    documents = {}
    examples = []
    for part in parts:
        source = part.partition("-")[0]
        for n, word in enumerate(("sand", "rain")):
            # Of other letters, or the teacher would take one for a near-duplicate of the other.
            documents[f"{source}/{part}-{n}"] = f"{part} says {word * 9}"
            thought = None if source in ("general", "packages") else "it says."
            positives = (f"{source}/{part}-{n}",)
            examples.append(Example(f"what does {part} {n} say", thought, positives, (), part, ("no.",)))
        documents |= {f"{source}/text-{n}": f"text {n} of {source} is only for the teacher" for n in range(9)}
    write_data(tmp_path / "data", documents, {"train": examples})
    return tmp_path / "data"


def shortened(name: str, model: Path) -> Recipe:
    """Return the recipe with two steps a stage, starting from another model."""
    recipe = read_recipe(FOLDER / f"{name}.yaml")
    assert isinstance(recipe.model, PretrainedModel)
    short = {"steps": 2, "save_every": 1, "log_every": 1, "threads": 1}
    stages = tuple(stage.model_copy(update=short) for stage in recipe.stages)
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"path": str(model)}), "stages": stages})


def check_adapter(run: Path) -> None:
    """Check that the initial model and the adapter together are the trained model, rounded to bfloat16."""
    import torch
    from safetensors.torch import load_file

    before, after = (load_file(run / folder / "model.safetensors") for folder in ("0-begin", "model"))
    adapter = LoraAdapter.read(run / "5-sft" / "adapter")
    assert adapter.base_name is None
    assert len(adapter.tokens) == 1
    changed = 0
    for name in adapter.pairs.keys() | {EMBEDDINGS}:
        merged = torch.from_numpy(adapter.merge(name, before[name].float().numpy()))
        torch.testing.assert_close(merged, after[name].float(), rtol=0.01, atol=1e-4)
        changed += not torch.equal(before[name].float(), after[name].float())
    assert changed > 2
    assert (run / "5-sft" / "adapter" / SPEC_FILE).read_bytes() == (run / "model" / SPEC_FILE).read_bytes()


@pytest.mark.train
def test_recipes_run_one_after_the_other(
    data: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t1_vectorstore.training.teachers.load_encoder", lambda *_: BagOfLetters())
    first = train(shortened("t1-small", tiny), data, tmp_path / "first")
    spec = Checkpoint.load(first).spec
    assert spec.document_prompt == '<|im_start|>"{text}" means "'
    assert spec.decoding.max_tokens > 64
    assert not spec.think_by_default
    second = train(shortened("t1-small", tiny), data, tmp_path / "second")
    assert Checkpoint.load(second).spec == spec
    check_adapter(tmp_path / "second")
    kept = (tmp_path / "second" / "1-sft" / "negatives.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(names for _, names in map(json.loads, kept))
    logged: list[dict[str, Any]] = read_history(tmp_path / "second" / "1-sft")
    assert all(record[f"distill_{kind}"] > 0 for record in logged[:2] for kind in ("queries", "documents", "texts"))
    twin = Checkpoint.load(train(shortened("t1-small-short-static", tiny), data, tmp_path / "static")).spec
    assert not twin.thinks
    assert twin.query_prompt == spec.query_prompt_no_think
    assert twin.document_prompt == spec.document_prompt


def test_the_twin_differs_only_in_thinking() -> None:
    recipes = [read_recipe(FOLDER / f"{name}.yaml") for name in RECIPES]
    [first], [whole, *_], [thinking], [twin] = (recipe.stages for recipe in recipes)
    assert recipes[0].model == recipes[1].model == recipes[2].model
    for recipe in recipes:
        assert isinstance(recipe.model, PretrainedModel)
        prompts = {
            name: value for name, value in recipe.model.overrides.items() if name.endswith(("_prompt", "_tokens"))
        }
        assert prompts.items() <= recipes[0].model.overrides.items()
    thoughts = {"steps", "think_share", "own_thought_share"}
    for one, other in ((first, whole), (thinking, twin)):
        assert one.model_dump(exclude=thoughts) == other.model_dump(exclude=thoughts)
        assert one.steps < other.steps


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
