"""Hard negatives from the model's own index or from a teacher, kept in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import t1_vectorstore
from t1_vectorstore.training.batches import TeacherVectors
from t1_vectorstore.training.checks import check_data
from t1_vectorstore.training.configs import Mining
from t1_vectorstore.training.examples import Example, TrainingData
from t1_vectorstore.training.mining import mine_negatives
from tests.training.small_recipes import SFT, recipe

MODEL = Path(t1_vectorstore.__file__).parent / "models" / "t1-mini"


def test_kept_negatives_are_read_back_for_queries_with_any_line_end(tmp_path: Path) -> None:
    queries = [f"what is the{mark}capital of Peru" for mark in "\u2028\x85\x1c\r\n"]
    documents = {name.lower(): f"The capital of {name}." for name in ("Chad", "Peru", "Mali")}
    data = TrainingData(documents, tuple(Example(query, None, ("peru",)) for query in queries))
    mining, file = Mining(below=1e6), tmp_path / "negatives.jsonl"
    found = mine_negatives(mining, MODEL, data, file)
    assert [set(names) for names in found.values()] == [{"chad", "mali"}] * 5
    assert mine_negatives(mining, tmp_path / "nowhere", data, file) == found


def test_a_teacher_ranks_the_documents_of_the_same_part(tmp_path: Path) -> None:
    documents = {"a/1": "one", "a/2": "two", "a/copy": "uno", "a/unused": "nought", "b/1": "other"}
    queries = [("q1", ("a/1",)), ("q2", ("a/2",)), ("q3", ("a/copy",)), ("q4", ("b/1",))]
    data = TrainingData(documents, tuple(Example(query, None, names, (), names[0][0]) for query, names in queries))
    vectors = {"one": 0.0, "uno": 0.1, "two": 0.5, "nought": 0.3, "other": 0.0}
    vectors |= {"q1": 0.05, "q2": 0.6, "q3": 0.1, "q4": 0.0}
    angles = np.array(list(vectors.values()), np.float32)
    teacher = TeacherVectors(np.stack([np.cos(angles), np.sin(angles)], 1), list(vectors))
    mining = Mining(ranked_by="teacher", below=None)
    found = mine_negatives(mining, MODEL, data, tmp_path / "negatives.jsonl", teacher=teacher, duplicate_cosine=0.99)
    assert found == {"q1": ["a/2"], "q2": ["a/copy", "a/1"], "q3": ["a/2"], "q4": []}
    every = mine_negatives(mining, MODEL, data, tmp_path / "other.jsonl", teacher=teacher, duplicate_cosine=1.0)
    assert every["q1"] == ["a/copy", "a/2"]
    whole = Mining(ranked_by="teacher", below=None, sources=("a",))
    found = mine_negatives(whole, MODEL, data, tmp_path / "whole.jsonl", teacher=teacher, duplicate_cosine=0.99)
    assert found == {
        "q1": ["a/unused", "a/2"],
        "q2": ["a/unused", "a/copy", "a/1"],
        "q3": ["a/unused", "a/2"],
        "q4": [],
    }
    with pytest.raises(ValueError, match=r"mining\.sources has 'c', but no document's id starts with 'c/'"):
        mine_negatives(
            Mining(ranked_by="teacher", sources=("c",)), MODEL, data, tmp_path / "none.jsonl", teacher=teacher
        )
    strict = mine_negatives(
        Mining(ranked_by="teacher", below=0.95), MODEL, data, tmp_path / "third.jsonl", teacher=teacher
    )
    assert strict["q1"] == ["a/2"]  # 0.90 of the positive's cosine; the copy has all of it


def test_a_source_without_documents_is_refused_before_the_first_stage(tmp_path: Path) -> None:
    data = TrainingData({"a/1": "one"}, (Example("q", None, ("a/1",)),))
    mined = {"mining": {"ranked_by": "teacher", "sources": ["ecar"]}, "distill": {"teacher": str(MODEL)}}
    with pytest.raises(ValueError, match=r"mining\.sources has 'ecar'"):
        check_data(recipe(SFT, SFT | mined, thinks=False), data, tmp_path)


def test_a_positive_far_down_still_limits_the_cosines_of_negatives(tmp_path: Path) -> None:
    documents = {"far": "The exports of Chad.", **{f"near {n}": f"The capital of Peru is Lima {n}." for n in range(9)}}
    data = TrainingData(documents, (Example("what is the capital of Peru", None, ("far",)),))
    for below, expected in ((1e6, 3), (0.95, 0)):
        mining = Mining(depth=3, below=below)
        [names] = mine_negatives(mining, MODEL, data, tmp_path / f"{below}.jsonl").values()
        assert len(names) == expected, "all three hits are nearer than the positive"
