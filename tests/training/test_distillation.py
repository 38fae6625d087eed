"""Distillation of a teacher's vectors: the alignment, the vectors and where they are kept, and training with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from t1_vectorstore.errors import CorpusError, MissingExtraError, TrainingFailed
from t1_vectorstore.training.alignment import Alignment, polar_factor
from t1_vectorstore.training.batches import TextSampler
from t1_vectorstore.training.configs import Distillation
from t1_vectorstore.training.examples import Example, TrainingData, read_data, write_data
from t1_vectorstore.training.losses import vector_distillation
from t1_vectorstore.training.plots import read_history
from t1_vectorstore.training.run import train
from t1_vectorstore.training.teachers import check_distillation, distilled_vectors, read_vectors
from tests.training.small_recipes import SFT, recipe

TEN = [f"source/{number}" for number in range(10)]
LETTERS = {"teacher": "letters", "weight": 5.0, "query_weight": 1.0, "texts": 4, "refit_every": 2}


class BagOfLetters:
    """A teacher whose vectors count letters."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts: list[str], **_: Any) -> Any:
        self.texts += texts
        counts = np.array([[text.count(chr(97 + i)) + 0.1 for i in range(26)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> BagOfLetters:
    teacher = BagOfLetters()
    monkeypatch.setattr("t1_vectorstore.training.teachers.load_encoder", lambda *_: teacher)
    return teacher


def rotation(rows: int, columns: int) -> torch.Tensor:
    return polar_factor(torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(("dim", "teachers"), [(24, 8), (8, 24)])
def test_the_alignment_finds_the_matrix_between_two_spaces(dim: int, teachers: int) -> None:
    generator = torch.Generator().manual_seed(1)
    teacher = torch.randn(200, teachers, generator=generator)
    wanted = rotation(dim, teachers)
    alignment = Alignment(decay=0.9, refit_every=1)
    alignment.fit(teacher @ wanted.T + 3.0, teacher)  # the mean of the model's vectors does not matter
    inner = min(dim, teachers)
    assert torch.allclose(torch.linalg.matrix_norm(alignment(torch.eye(teachers))) ** 2, torch.tensor(float(inner)))
    if dim > teachers:
        assert torch.allclose(alignment(teacher), teacher @ wanted.T, atol=1e-4)
        assert vector_distillation(teacher @ wanted.T, alignment(teacher)) < 1e-5


def test_the_alignment_follows_the_model_and_forgets() -> None:
    teacher = torch.randn(300, 6, generator=torch.Generator().manual_seed(1))
    other = rotation(10, 6)
    alignment = Alignment(decay=0.5, refit_every=3)
    alignment.fit(torch.randn(300, 10, generator=torch.Generator().manual_seed(2)), teacher)
    before = alignment(teacher)
    for step in range(1, 7):
        alignment.update(other @ teacher.T @ teacher)
        assert torch.equal(alignment(teacher), before) == (step < 3)
    assert torch.allclose(alignment(teacher), teacher @ other.T, atol=1e-4)
    again = Alignment(decay=0.5, refit_every=3)
    again.load_state_dict(alignment.state_dict())
    for _ in range(3):
        alignment.update(teacher.T[:1].repeat(10, 1) @ teacher)
        again.update(teacher.T[:1].repeat(10, 1) @ teacher)
    assert torch.equal(alignment(teacher), again(teacher))


def test_vectors_that_are_not_finite_cannot_be_aligned() -> None:
    with pytest.raises(TrainingFailed, match="lower the learning rate"):
        polar_factor(torch.full((2, 2), float("nan")))


def test_every_text_is_drawn_once_in_a_round() -> None:
    sample = TextSampler(TEN, 4, seed=0)
    drawn = [number for step in range(5) for number in sample(step)]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]
    assert sample(3) == TextSampler(TEN, 4, seed=0)(3) != TextSampler(TEN, 4, seed=1)(3)
    assert sample.distinct(2) == drawn[:8]
    assert TextSampler(TEN, 0, seed=0)(1) == []


def test_texts_can_be_drawn_from_each_source() -> None:
    names = [*TEN, *(f"other/{number}" for number in range(3))]
    sample = TextSampler(names, {"other": 2, "source": 3}, seed=0)
    drawn = [sample(step) for step in range(30)]
    assert all(
        [names[number].partition("/")[0] for number in numbers] == ["other"] * 2 + ["source"] * 3 for numbers in drawn
    )
    assert {number for numbers in drawn for number in numbers} == set(range(13))
    with pytest.raises(ValueError, match=r"texts has 'oter', but no document's id starts with 'oter/'"):
        TextSampler(names, {"oter": 2}, seed=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either teacher or vectors"),
        ({"teacher": "a", "vectors": "b.npy"}, "either teacher or vectors"),
        ({"vectors": "b.npz"}, r"NAME\.npy, got 'b\.npz'"),
        ({"teacher": "a", "weight": 0}, "distils nothing"),
        ({"teacher": "a", "weight": 0, "query_weight": 1, "texts": 3}, "texts=3 has no effect"),
        ({"teacher": "a", "decay": 1.0}, "less than 1"),
        ({"teacher": "a", "temperature": 1.0}, "not permitted"),
    ],
)
def test_options_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(SFT | {"distill": fields})


def write_vectors(file: Path, texts: list[str], vectors: np.ndarray[Any, Any]) -> None:
    np.save(file, vectors)
    lines = [json.dumps({"text": text}) + "\n" for text in texts]
    file.with_suffix(".jsonl").write_text("".join(lines), encoding="utf-8")


def test_vectors_that_were_computed_before_are_scaled_and_found_by_text(tmp_path: Path) -> None:
    write_vectors(tmp_path / "v.npy", ["a", "b"], np.array([[3, 4], [0, 2]], np.float16))
    vectors = read_vectors(tmp_path / "v.npy")
    assert torch.allclose(vectors(["b", "a"]), torch.tensor([[0, 1], [0.6, 0.8]]))
    data = TrainingData({"1": "a"}, (Example("b", None, ("1",)),))
    check_distillation(Distillation(vectors=tmp_path / "v.npy"), data)
    data = TrainingData({"1": "a"}, (Example("c", None, ("1",)),))
    with pytest.raises(CorpusError, match=r"v\.npy has no vector of the text 'c'"):
        check_distillation(Distillation(vectors=tmp_path / "v.npy"), data)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((3, 2)), r"has the shape \(3, 2\), but .* has 2 texts"),
        (np.ones(2), r"has the shape \(2,\)"),
        (np.array([[1.0, 0.0], [0.0, 0.0]]), "row 1 is zero or not finite"),
        (np.array([[np.nan, 0.0], [0.0, 1.0]]), "row 0 is zero or not finite"),
    ],
)
def test_wrong_vectors_are_refused(vectors: np.ndarray[Any, Any], message: str, tmp_path: Path) -> None:
    write_vectors(tmp_path / "v.npy", ["a", "b"], vectors)
    with pytest.raises(CorpusError, match=message):
        read_vectors(tmp_path / "v.npy")


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"v\.npy is missing: vectors needs NAME\.npy"):
        read_vectors(tmp_path / "v.npy")
    write_vectors(tmp_path / "v.npy", ["a"], np.ones((1, 2)))
    (tmp_path / "v.npy").write_bytes(b"not an array")
    with pytest.raises(CorpusError, match="is not a NumPy file"):
        read_vectors(tmp_path / "v.npy")
    (tmp_path / "v.jsonl").unlink()
    with pytest.raises(CorpusError, match=r"v\.jsonl is missing"):
        read_vectors(tmp_path / "v.npy")
    with pytest.raises(ValueError, match=r"there is no folder '\./nope' to distil"):
        check_distillation(Distillation(teacher="./nope"), TrainingData({}, ()))


def test_a_teacher_without_its_library_is_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t1_vectorstore.training.teachers.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"t1-vectorstore\[eval\]"):
        check_distillation(Distillation(teacher="letters"), TrainingData({}, ()))


def test_a_teacher_embeds_each_text_once(tmp_path: Path, letters: BagOfLetters) -> None:
    distill = Distillation(teacher=str(tmp_path / "model"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("1")
    one = distilled_vectors(distill, ["ab", "c"], tmp_path)
    assert torch.equal(distilled_vectors(distill, ["ab", "c"], tmp_path)(["c"]), one(["c"]))
    assert letters.texts == ["ab", "c"]
    (tmp_path / "model" / "weights").write_text("2")  # another model under the same name
    distilled_vectors(distill, ["ab", "c"], tmp_path)
    distilled_vectors(distill, ["ab"], tmp_path)
    assert letters.texts == ["ab", "c", "ab", "c", "ab"]


def losses(out: Path) -> list[dict[str, Any]]:
    return [record for record in read_history(out / "1-sft") if "loss" in record]


@pytest.mark.train
def test_the_model_learns_the_vectors_of_a_teacher(chains: Path, tmp_path: Path, letters: BagOfLetters) -> None:
    stage = SFT | {"steps": 30, "optimizer": "adamw", "learning_rate": 3e-3, "distill": LETTERS}
    stage |= {"info_nce_weight": 0.0, "triplet_weight": 0.0}
    train(recipe(stage), chains, tmp_path)
    first, *_, last = losses(tmp_path)
    for name in ("distill_documents", "distill_texts", "distill_queries"):
        assert last[name] < 0.8 * first[name]
    assert len(letters.texts) == len(set(letters.texts))
    assert list(tmp_path.glob("teacher-*.npy"))


@pytest.mark.train
def test_an_interrupted_run_with_a_teacher_continues_to_the_same_model(
    chains: Path, tmp_path: Path, letters: BagOfLetters
) -> None:
    from t1_vectorstore.training.supervised import SupervisedTrainer

    wanted = recipe(SFT | {"optimizer": "adamw", "distill": LETTERS, "queue": 30})
    train(wanted, chains, tmp_path / "whole")
    embedded = len(letters.texts)
    original = SupervisedTrainer.training_step

    def step(self: Any, *arguments: Any) -> torch.Tensor:
        if self.state.global_step == 8:
            raise KeyboardInterrupt
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SupervisedTrainer, "training_step", step)
        with pytest.raises(KeyboardInterrupt):
            train(wanted, chains, tmp_path / "parts")
    train(wanted, chains, tmp_path / "parts")
    assert len(letters.texts) == 2 * embedded
    for file in ("trained.pt", "alignment.pt", "queue.pt"):
        one, other = (torch.load(tmp_path / name / "1-sft" / "checkpoint-12" / file) for name in ("whole", "parts"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.train
def test_cached_gradients_distil_what_the_whole_batch_does(chains: Path, tmp_path: Path, letters: BagOfLetters) -> None:
    stage = SFT | {"stage": "contrastive", "steps": 2, "optimizer": "adamw", "mining": None, "precision": "fp32"}
    for name, at_once in (("whole", None), ("parts", 5)):
        train(recipe(stage | {"distill": LETTERS, "at_once": at_once}), chains, tmp_path / name)
    one, other = (read_history(tmp_path / name / "1-contrastive")[-2] for name in ("whole", "parts"))
    assert letters.texts
    assert one["distill_texts"] == pytest.approx(other["distill_texts"], abs=1e-4)
    assert one["loss"] == pytest.approx(other["loss"], abs=1e-3)


@pytest.mark.train
def test_vectors_from_a_file_train_like_the_model_that_made_them(
    chains: Path, tmp_path: Path, letters: BagOfLetters
) -> None:
    data = read_data(chains)
    texts = list(dict.fromkeys([*data.documents.values(), *(example.query for example in data.examples)]))
    write_vectors(tmp_path / "v.npy", texts, letters.encode(texts))
    before = len(letters.texts)
    stage = SFT | {"steps": 2, "optimizer": "adamw"}
    file = {name: value for name, value in LETTERS.items() if name != "teacher"} | {"vectors": tmp_path / "v.npy"}
    train(recipe(stage | {"distill": file}), chains, tmp_path / "file")
    assert len(letters.texts) == before
    write_data(tmp_path / "data", {**data.documents, "new": "a new text"}, {"train": data.examples})
    with pytest.raises(CorpusError, match="no vector of the text 'a new text'"):
        train(recipe(stage | {"distill": file}), tmp_path / "data", tmp_path / "other")
    assert not (tmp_path / "other").exists()
    np.save(tmp_path / "v.npy", letters.encode(texts)[:, ::-1])
    with pytest.raises(TrainingFailed, match="another stage 1 distill vectors"):
        train(recipe(stage | {"distill": file}), chains, tmp_path / "file")
