"""Thoughts that a model generated: writing them into training data, and training with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.errors import CorpusError, TrainingFailed
from t1_vectorstore.training import join_data, think_data
from t1_vectorstore.training.batches import TrainingBatch, TrainingBatches
from t1_vectorstore.training.checks import check_data
from t1_vectorstore.training.configs import Sft
from t1_vectorstore.training.examples import Example, TrainingData, read_data, read_split, write_data
from t1_vectorstore.training.packing import PromptEncoder
from tests.training.small_recipes import SFT, recipe

DOCUMENTS = {"a": "Llamas live in the Andes.", "b": "Camels live in deserts."}
TRAIN = [
    Example("where do llamas live", "in mountains.", ("a",), (), "animals"),
    Example("which animal is dry", "it lives in sand.", ("b",), (), "animals", ("a fish.",)),
    Example("camel", None, ("b",), (), "words"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_data(tmp_path / "data", DOCUMENTS, {"train": TRAIN, "dev": [replace(TRAIN[0], query="llamas")]})
    (tmp_path / "data" / "answers.jsonl").write_text("{}\n")  # as from t1 data own
    return tmp_path / "data"


@pytest.fixture(scope="module")
def sampling(tiny: Path) -> T1Embedder:
    return T1Embedder.load(tiny, overrides={"decoding": {"temperature": 1.0, "max_tokens": 12}})


def test_thoughts_of_a_model_are_added_to_training_examples(data: Path, tmp_path: Path, sampling: T1Embedder) -> None:
    counts = think_data.build(data, tmp_path / "out", sampling, samples=6)
    assert counts["train"] == 3
    assert counts[think_data.GENERATED] == 12
    train = read_data(tmp_path / "out").examples
    dropped = counts[think_data.UNCLOSED]
    assert 0 < dropped < 12
    assert 1 < sum(len(example.own_thoughts) for example in train) <= 12 - dropped + 1
    assert [replace(example, own_thoughts=()) for example in train] == [replace(e, own_thoughts=()) for e in TRAIN]
    assert train[1].own_thoughts[0] == "a fish."
    assert train[2].own_thoughts == ()  # it has no right thought, and no part was named
    assert all(len(set(example.own_thoughts)) == len(example.own_thoughts) for example in train)
    assert read_split(tmp_path / "out", "dev", DOCUMENTS) == read_split(data, "dev", DOCUMENTS)
    think_data.build(data, tmp_path / "again", sampling, samples=6)
    assert read_data(tmp_path / "again").examples == train


def test_parts_and_the_number_of_queries_can_be_chosen(data: Path, tmp_path: Path, sampling: T1Embedder) -> None:
    counts = think_data.build(data, tmp_path / "out", sampling, parts=["words"])
    assert counts[think_data.GENERATED] == 1
    assert think_data.build(data, tmp_path / "one", sampling, queries=1, seed=3)[think_data.GENERATED] == 1
    with pytest.raises(ValueError, match="no part 'numbers'"):
        think_data.build(data, tmp_path / "two", sampling, parts=["numbers"])
    with pytest.raises(ValueError, match="is the data itself"):
        think_data.build(data, data, sampling)
    write_data(tmp_path / "none", DOCUMENTS, {"train": TRAIN[2:]})
    with pytest.raises(ValueError, match="has a thought: choose parts"):
        think_data.build(tmp_path / "none", tmp_path / "two", sampling)
    assert not (tmp_path / "two").exists()


def test_joined_data_keeps_thoughts_of_a_model(data: Path, tmp_path: Path) -> None:
    join_data.build({"x": data, "y": data}, tmp_path / "joined")
    examples = read_data(tmp_path / "joined").examples
    assert [e.own_thoughts for e in examples if "dry" in e.query] == [("a fish.",)] * 2
    assert '"own_thoughts"' not in (data / "train.jsonl").read_text().splitlines()[0]


def batches(share: float, tiny: Path, *, thinks: bool = True, **options: Any) -> tuple[TrainingBatches, PromptEncoder]:
    from t1_vectorstore.checkpoints.checkpoint import Checkpoint

    encoder = PromptEncoder(Prompter.load(Checkpoint.load(tiny)))
    stage = Sft.model_validate(SFT | {"queries": 60, "own_thought_share": share, "think_share": 0.9} | options)
    return TrainingBatches(TrainingData(DOCUMENTS, tuple(TRAIN)), encoder, stage, thinks=thinks, seed=0), encoder


def thoughts_and_labels(batch: Any, encoder: PromptEncoder) -> tuple[int, int, int]:
    """Return how often the own thought, and the right thought of its query, occur, and how often the own is a label."""
    [packed] = batch.passes
    row = packed.ids[0].tolist()
    own, right = encoder.thought("a fish."), encoder.thought("it lives in sand.")

    def count(ids: list[int]) -> int:
        return sum(row[start : start + len(ids)] == ids for start in range(len(row)))

    labels = set(packed.predicted.tolist())
    learned = sum(row[start : start + len(own)] == own and start in labels for start in range(len(row)))
    return count(own), count(right), learned


def test_own_thoughts_are_read_and_not_learned(tiny: Path) -> None:
    some, encoder = batches(0.5, tiny)
    own, right, learned = thoughts_and_labels(some[0], encoder)
    assert own > 3
    assert right > 3
    assert learned == 0
    assert thoughts_and_labels(batches(1.0, tiny)[0][0], encoder)[1] == 0  # without own thoughts, they do not think
    assert thoughts_and_labels(batches(0.0, tiny)[0][0], encoder)[0] == 0
    assert thoughts_and_labels(batches(1.0, tiny, thinks=False)[0][0], encoder)[:2] == (0, 0)


def test_queries_with_a_thought_are_trained_without_it_too(tiny: Path) -> None:
    once, encoder = batches(0.5, tiny)
    both, _ = batches(0.5, tiny, also_without_thought=True)
    plain = [sequence.ids for sequence in encoder.queries([e.query for e in TRAIN], [None] * len(TRAIN))]
    first, then = queries_of(once[0]), queries_of(both[0])
    thinking = [row for row, ids in enumerate(first) if ids not in plain]
    assert 20 < len(thinking) < 60
    assert then[:60] == first
    assert len(then) == 60 + len(thinking)
    assert all(ids in plain for ids in then[60:])
    assert both[0].positives.tolist() == [*once[0].positives.tolist(), *once[0].positives[thinking].tolist()]
    assert torch.equal(both[0].documents, once[0].documents)
    assert torch.equal(both[0].relevant, torch.cat([once[0].relevant, once[0].relevant[thinking]]))
    assert len(both[0].passes[0].predicted) == len(once[0].passes[0].predicted)


def queries_of(batch: TrainingBatch) -> list[list[int]]:
    """The token ids of each query."""
    [packed] = batch.passes
    ends = packed.ends[: batch.queries].tolist()
    return [packed.ids[0, end - int(packed.positions[0, end]) : end + 1].tolist() for end in ends]


def test_a_share_without_own_thoughts_is_refused(tmp_path: Path) -> None:
    stage = SFT | {"own_thought_share": 0.5, "queries": {"words": 3}}
    with pytest.raises(ValueError, match=r"own_thought_share=0\.5 has no effect.*t1 data think"):
        check_data(recipe(stage), TrainingData(DOCUMENTS, tuple(TRAIN)), tmp_path)
    check_data(recipe(stage, thinks=False), TrainingData(DOCUMENTS, tuple(TRAIN)), tmp_path)
    check_data(recipe(stage | {"queries": 3}), TrainingData(DOCUMENTS, tuple(TRAIN)), tmp_path)


def test_own_thoughts_that_are_not_texts_are_refused(tmp_path: Path) -> None:
    write_data(tmp_path, DOCUMENTS, {"train": TRAIN})
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"query": "q", "thought": null, "positives": ["a"], "own_thoughts": [1]}\n')
    with pytest.raises(CorpusError, match=r"train\.jsonl:4: own_thoughts\.0: "):
        read_data(tmp_path)


@pytest.mark.train
def test_a_model_is_trained_with_own_thoughts(chains: Path, tmp_path: Path) -> None:
    from t1_vectorstore.training.run import train

    data = read_data(chains)
    examples = [replace(example, own_thoughts=("peru.",)) for example in data.examples]
    write_data(tmp_path / "data", data.documents, {"train": examples})
    train(recipe(SFT | {"steps": 3, "own_thought_share": 0.5}), tmp_path / "data", tmp_path / "run")
    long = [replace(example, own_thoughts=("because " * 200,)) for example in examples]
    write_data(tmp_path / "long", data.documents, {"train": long})
    with pytest.raises(TrainingFailed, match="more than the thought budget"):
        train(recipe(SFT | {"steps": 3, "own_thought_share": 0.5}), tmp_path / "long", tmp_path / "other")
