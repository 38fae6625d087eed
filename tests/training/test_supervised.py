"""Stages 1 and 2 on tiny models; ``make test-train`` runs these tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from t1_vectorstore.checkpoints.checkpoint import BUNDLED, Checkpoint
from t1_vectorstore.checkpoints.lora import ADAPTER_CONFIG, ADAPTER_FILE
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import CorpusError, TrainingFailed
from t1_vectorstore.training.add_token import add_token
from t1_vectorstore.training.batches import ExampleSampler
from t1_vectorstore.training.configs import Recipe
from t1_vectorstore.training.examples import Example, read_data, write_data
from t1_vectorstore.training.plots import read_history
from t1_vectorstore.training.run import train
from t1_vectorstore.training.trainer import training_arguments
from tests.training.small_recipes import MODEL, SFT, recipe

pytestmark = pytest.mark.train

CONTRASTIVE = {
    "stage": "contrastive",
    "steps": 4,
    "queries": 8,
    "learning_rate": 1e-2,
    "log_every": 1,
    "warmup_steps": 0,
}


def losses(out: Path) -> list[dict[str, Any]]:
    return [record for record in read_history(out) if "loss" in record]


def weights(out: Path, stage: str = "1-sft") -> dict[str, torch.Tensor]:
    last = max((out / stage).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    state: dict[str, torch.Tensor] = torch.load(last / "trained.pt", weights_only=True)
    return state


@pytest.fixture(scope="module")
def trained(chains: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    train(recipe(SFT | {"steps": 30, "probes": ["dev"], "probe_every": 10}), chains, out)
    return out


def test_the_loss_falls_and_all_files_are_written(trained: Path) -> None:
    reports = losses(trained / "1-sft")
    assert len(reports) == 30
    assert sum(r["loss"] for r in reports[-3:]) < 0.85 * sum(r["loss"] for r in reports[:3])
    assert {"lm", "nce", "triplet"} <= reports[0].keys()
    assert sum("exact/dev" in record for record in read_history(trained / "1-sft")) == 3
    assert (trained / "training.png").stat().st_size > 1000
    assert list((trained / "1-sft" / "runs").rglob("events.out.tfevents.*"))
    assert T1Embedder.load(trained / "model").embed_query("where", budget=4).thoughts


def interrupted(patch: pytest.MonkeyPatch, at: int) -> None:
    """End a run in the middle of a step, as a kill does."""
    from t1_vectorstore.training.supervised import SupervisedTrainer

    original = SupervisedTrainer.training_step

    def step(self: Any, *arguments: Any) -> torch.Tensor:
        if self.state.global_step == at:
            raise KeyboardInterrupt
        return original(self, *arguments)

    patch.setattr(SupervisedTrainer, "training_step", step)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_an_interrupted_run_continues_to_the_same_model(optimizer: str, chains: Path, tmp_path: Path) -> None:
    wanted = recipe(SFT | {"optimizer": optimizer})
    train(wanted, chains, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        interrupted(patch, at=8)
        with pytest.raises(KeyboardInterrupt):
            train(wanted, chains, tmp_path / "parts")
    damaged = tmp_path / "parts" / "1-sft" / "checkpoint-7"  # incomplete, without the state file, as after a kill
    damaged.mkdir()
    (damaged / "trained.pt").write_bytes(b"")
    assert losses(tmp_path / "parts" / "1-sft")[-1]["step"] == 5
    train(wanted, chains, tmp_path / "parts")
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(one[name], other[name]) for name in one)
    a, b = (Checkpoint.load(tmp_path / name / "model").identity.fingerprint for name in ("whole", "parts"))
    assert a == b


def test_a_finished_run_is_not_repeated(trained: Path, chains: Path) -> None:
    before = (trained / "1-sft" / "model" / "model.safetensors").stat().st_mtime_ns
    wanted = SFT | {"steps": 30, "probes": ["dev"], "probe_every": 10, "threads": 2}  # does not influence the weights
    train(recipe(wanted), chains, trained)
    assert (trained / "1-sft" / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_the_folder_of_another_run_is_refused(trained: Path, chains: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="belongs to a run with another seed: choose another folder"):
        train(recipe(SFT | {"steps": 30, "probes": ["dev"], "probe_every": 10}, seed=1), chains, trained)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(TrainingFailed, match="is not empty and contains no run"):
        train(recipe(), chains, tmp_path)


def test_the_static_twin_has_no_thoughts(chains: Path, tmp_path: Path) -> None:
    folder = train(recipe(SFT | {"steps": 3}, thinks=False), chains, tmp_path)
    assert not Checkpoint.load(folder).spec.thinks
    assert all(report["lm"] == 0.0 for report in losses(tmp_path / "1-sft"))


def test_training_can_start_from_a_trained_model(chains: Path, trained: Path, tmp_path: Path) -> None:
    train(recipe(SFT | {"steps": 2}, path=str(trained / "model")), chains, tmp_path)
    assert losses(tmp_path / "1-sft")[0]["loss"] < losses(trained / "1-sft")[0]["loss"]


def test_a_loss_that_is_not_a_number_stops_the_run(chains: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="nan at step 0"):
        train(recipe(SFT | {"margin": float("nan")}), chains, tmp_path)
    assert not (tmp_path / "model").exists()


def test_too_little_memory_is_refused(chains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    class Little:
        available = 0

    monkeypatch.setattr(psutil, "virtual_memory", Little)
    with pytest.raises(TrainingFailed, match="GiB are free: train adapters"):
        train(recipe(), chains, tmp_path)


def test_running_out_of_memory_raises_an_error_with_remedies(
    chains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from t1_vectorstore.training.supervised import SupervisedTrainer

    def full(*_: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.")

    monkeypatch.setattr(SupervisedTrainer, "training_step", full)
    with pytest.raises(TrainingFailed, match=r"does not fit into memory: lower queries"):
        train(recipe(), chains, tmp_path)


@pytest.mark.parametrize("missing", [{"queries": {"hop9": 3}}, {"probes": ["nosplit"]}])
def test_data_that_a_later_stage_lacks_is_found_before_the_first(
    missing: dict[str, Any], chains: Path, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, CorpusError), match=r"no part 'hop9'|no nosplit\.jsonl"):
        train(recipe(SFT, SFT | missing), chains, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_single_long_thought_is_found_before_the_first_step(chains: Path, tmp_path: Path) -> None:
    data = read_data(chains)
    long = Example("why", "because " * 200, (next(iter(data.documents)),), (), "hop1")
    write_data(tmp_path / "data", data.documents, {"train": [*data.examples, long]})
    with pytest.raises(
        TrainingFailed, match=r"the thought 'because .* has \d+ tokens, more than the thought budget of 128"
    ):
        train(recipe(SFT | {"queries": 1}), tmp_path / "data", tmp_path / "run")
    assert not (tmp_path / "run" / "1-sft").exists()


def test_only_stages_that_have_not_started_can_change(chains: Path, tmp_path: Path) -> None:
    two = SFT | {"steps": 2}
    with pytest.raises(TrainingFailed, match="nan"):
        train(recipe(two, two | {"margin": float("nan")}), chains, tmp_path)
    first = (tmp_path / "1-sft" / "model" / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(TrainingFailed, match="another stage 1 learning_rate"):
        train(recipe(two | {"learning_rate": 1e-4}, two), chains, tmp_path)
    train(recipe(two, two), chains, tmp_path)
    assert (tmp_path / "1-sft" / "model" / "model.safetensors").stat().st_mtime_ns == first
    with pytest.raises(TrainingFailed, match="another stage 2 margin"):
        train(recipe(two, two | {"margin": 0.3}), chains, tmp_path)
    train(recipe(two, two, two), chains, tmp_path)
    assert (tmp_path / "3-sft" / "model").is_dir()


def test_a_model_that_the_last_step_damages_is_not_saved(chains: Path, tmp_path: Path) -> None:
    damaging = {"steps": 1, "warmup_steps": 0, "learning_rate": 1e30, "clip": 1e30}
    with pytest.raises(TrainingFailed, match="the last steps damaged the model"):
        train(recipe(SFT | damaging), chains, tmp_path)
    assert not list(tmp_path.glob("*/model")) + list(tmp_path.glob("model"))


def test_a_run_without_a_trained_stage_can_be_replaced(chains: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="more than the thought budget of 2"):
        train(recipe(**MODEL | {"thought_tokens": 2}), chains, tmp_path)
    folder = train(recipe(SFT | {"steps": 1}), chains, tmp_path)
    assert Checkpoint.load(folder).spec.decoding.max_tokens == 128


def first_gradients(stage: dict[str, Any], data: Path, out: Path, patch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Return the loss and the gradients of a run's first step."""
    from t1_vectorstore.training import supervised

    found: dict[str, torch.Tensor] = {}
    original = supervised.SupervisedTrainer.training_step

    def step(self: Any, model: Any, *arguments: Any) -> torch.Tensor:
        loss = original(self, model, *arguments)
        found.update({name: p.grad.clone() for name, p in model.named_parameters()} | {"loss": loss})
        raise KeyboardInterrupt

    patch.setattr(supervised.SupervisedTrainer, "training_step", step)
    with pytest.raises(KeyboardInterrupt):
        train(recipe(stage), data, out)
    patch.undo()
    return found


def test_cached_gradients_equal_those_of_the_whole_batch(
    chains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = CONTRASTIVE | {"precision": "fp32", "mining": None, "lm_weight": 0.5}
    whole = first_gradients(stage, chains, tmp_path / "whole", monkeypatch)
    parts = first_gradients(stage | {"at_once": 3}, chains, tmp_path / "parts", monkeypatch)
    assert whole["loss"] > 0
    for name, gradient in whole.items():
        assert torch.allclose(gradient, parts[name], atol=1e-6, rtol=1e-4), name


def test_stage_2_mines_negatives_and_distils_a_teacher(
    chains: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentence_transformers.SentenceTransformer", BagOfLetters)
    stage = CONTRASTIVE | {"at_once": 6, "mining": {"depth": 12, "keep": 3, "below": 2.0}, "teacher": "letters"}
    stage |= {"queries": {"hop1": 4, "hop2": 4}, "teacher_parts": ["hop2"]}
    train(recipe(stage, path=str(trained / "model")), chains, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "1-contrastive" / "negatives.jsonl").read_text().splitlines()]
    examples = [json.loads(line) for line in (chains / "train.jsonl").read_text().splitlines()]
    right = {example["query"]: example["positives"] for example in examples}
    drawn = ExampleSampler(read_data(chains).examples, {"hop1": 4, "hop2": 4}, seed=0).distinct(4)
    assert {query for query, _ in lines} == {example.query for example in drawn} < right.keys()
    assert all(len(found) <= 3 and not set(found) & set(right[query]) for query, found in lines)
    assert sum(bool(found) for _, found in lines) > len(lines) / 2
    assert losses(tmp_path / "1-contrastive")[0]["distillation"] > 0


class BagOfLetters:
    """A teacher whose vectors count letters."""

    def __init__(self, name: str, **_: Any) -> None:
        assert name == "letters"

    def encode(self, texts: list[str], **_: Any) -> Any:
        import numpy as np

        counts = np.array([[text.count(chr(97 + i)) + 0.1 for i in range(26)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_are_merged_into_the_model(chains: Path, trained: Path, tmp_path: Path, checkpointing: bool) -> None:
    stage = SFT | {"lora": {"rank": 4}, "optimizer": "adamw", "gradient_checkpointing": checkpointing}
    wanted = recipe(stage, path=str(trained / "model"))
    folder = train(wanted, chains, tmp_path)
    assert T1Embedder.load(folder).embed_query("where", budget=4).vector.shape == (32,)
    assert not list(folder.glob("adapter*"))
    assert all("lora" in name or "token_adapter" in name or "delta" in name for name in weights(tmp_path))
    before, after = (Checkpoint.load(path).identity.fingerprint for path in (trained / "model", folder))
    assert before != after
    adapter = tmp_path / "1-sft" / "adapter"
    targets = json.loads((adapter / ADAPTER_CONFIG).read_text())["target_modules"]
    assert targets == sorted(targets)
    assert (adapter / ADAPTER_FILE).stat().st_mode == (adapter / ADAPTER_CONFIG).stat().st_mode


def test_a_process_trains_on_one_gpu(tmp_path: Path) -> None:
    class SeesTwo(TrainingArguments):  # type: ignore[misc]
        def __post_init__(self) -> None:
            super().__post_init__()
            self._n_gpu = 2

    stage = recipe(SFT).stages[0]
    assert SeesTwo(use_cpu=True).n_gpu == 2
    assert training_arguments(SeesTwo, stage, tmp_path, seed=0).n_gpu == 1


def closed_thoughts(folder: Path, queries: list[str]) -> list[bool]:
    with T1Embedder.load(folder, dtype="float32") as embedder:
        return [not embedded.thoughts[0].cut for embedded in embedder.embed_queries(queries, budget=24)]


def language_model(out: Path, end: str | None) -> Path:
    """Write t1-mini as a plain language model with this end token, and without a specification."""
    from transformers import AutoTokenizer

    shutil.copytree(BUNDLED / "t1-mini", out, ignore=shutil.ignore_patterns("t1_config.json", "*.md"))
    tokenizer = AutoTokenizer.from_pretrained(out)
    tokenizer.eos_token = end
    tokenizer.save_pretrained(out)
    config = json.loads((out / "generation_config.json").read_text())
    (out / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": None}))
    return out


@pytest.mark.parametrize("end", [None, "<emb_token>"])
def test_a_short_run_with_adapters_closes_its_thoughts(tmp_path: Path, end: str | None) -> None:
    """The emb token's row has its own rate: at the adapters' it stays where it begins, and thoughts run on."""
    words = ["red", "green", "blue", "grey", "brown", "pink", "white", "black"]
    documents = {word: f"{word} is a colour" for word in words}
    examples = [Example(f"the sign is {word}", f"a {word} sign.", (word,)) for word in words]
    write_data(tmp_path / "data", documents, {"train": examples, "dev": examples})
    start = tmp_path / "start"
    add_token(str(language_model(tmp_path / "plain", end)), start, emb_token="<vector>", max_thought_tokens=32)
    stage = SFT | {"steps": 40, "learning_rate": 1e-3, "optimizer": "adamw", "lora": {"rank": 8}, "save_every": 40}
    folder = train(recipe(stage, path=str(start)), tmp_path / "data", tmp_path / "run")
    assert all(closed_thoughts(folder, [example.query for example in examples]))
    slow = stage | {"lora": {"rank": 8, "emb_token_rate": 1e-3}}
    if end is None:
        folder = train(recipe(slow, path=str(start)), tmp_path / "data", tmp_path / "slow")
        assert not any(closed_thoughts(folder, [example.query for example in examples]))


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_prompts_of_messages_are_trained(chains: Path, tmp_path: Path, kind: str) -> None:
    """Most language models have a chat template, and add_token then writes prompts as messages."""
    from transformers import AutoTokenizer

    plain, start = language_model(tmp_path / "plain", None), tmp_path / "start"
    tokenizer = AutoTokenizer.from_pretrained(plain)
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    tokenizer.save_pretrained(plain)
    spec = add_token(str(plain), start, emb_token="<vector>", max_thought_tokens=96)
    assert not isinstance(spec.query_prompt, str)
    stage = {"stage": kind, "steps": 1, "queries": 2, "learning_rate": 1e-4}
    more = {"group": 2, "replay_queries": 2, "save_every": 50} if kind == "grpo" else {}
    folder = train(recipe(stage | more, path=str(start)), chains, tmp_path / "run")
    assert Checkpoint.load(folder).spec.query_prompt == spec.query_prompt


def test_a_recipe_can_have_several_stages(chains: Path, tmp_path: Path) -> None:
    wanted: Recipe = recipe(SFT | {"steps": 2}, CONTRASTIVE | {"steps": 2, "mining": None}, SFT | {"steps": 1})
    train(wanted, chains, tmp_path)
    assert [path.name for path in sorted(tmp_path.glob("[0-9]*"))] == ["0-begin", "1-sft", "2-contrastive", "3-sft"]


def test_each_stage_draws_other_examples(chains: Path, tmp_path: Path) -> None:
    drawn = []
    for stages in ([1], [1, 1]):  # the steps of each stage
        out = tmp_path / str(len(stages))
        train(recipe(*(SFT | {"steps": steps, "learning_rate": 1e-9} for steps in stages)), chains, out)
        drawn.append([report["loss"] for report in losses(out / f"{len(stages)}-sft")])
    [first], [second] = drawn
    assert abs(first - second) > 1e-3, "the model has hardly changed, and the examples are others"


def test_an_overfitted_model_finds_the_document_of_each_query(tmp_path: Path) -> None:
    documents = {str(n): f"{word} is here" for n, word in enumerate(["red", "green", "blue", "grey"])}
    subjects = ["rose", "grass", "sky", "fog"]
    examples = [
        Example(f"the {q}", f"{d.split()[0]}.", (str(n),))
        for n, (q, d) in enumerate(zip(subjects, documents.values(), strict=True))
    ]
    write_data(tmp_path / "data", documents, {"train": examples, "dev": examples})
    stage = SFT | {"steps": 60, "queries": 12, "probes": ["dev"], "probe_every": 60, "save_every": 60}
    folder = train(recipe(stage), tmp_path / "data", tmp_path / "run")
    embedder = T1Embedder.load(folder, dtype="float32")
    vectors = embedder.embed_documents(list(documents.values())).vectors
    for row, example in enumerate(examples):
        [embedded] = embedder.embed_queries([example.query])
        assert embedded.thoughts[0].text == example.thought
        assert int((vectors @ embedded.vector).argmax()) == row
