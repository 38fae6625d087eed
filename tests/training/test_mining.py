"""Hard negatives from the model's own index, kept in a file."""

from __future__ import annotations

from pathlib import Path

import t1_vectorstore
from t1_vectorstore.training.configs import Mining
from t1_vectorstore.training.examples import Example, TrainingData
from t1_vectorstore.training.mining import mine_negatives

MODEL = Path(t1_vectorstore.__file__).parent / "models" / "t1-mini"


def test_kept_negatives_are_read_back_for_queries_with_any_line_end(tmp_path: Path) -> None:
    queries = [f"what is the{mark}capital of Peru" for mark in "\u2028\x85\x1c\r\n"]
    documents = {name.lower(): f"The capital of {name}." for name in ("Chad", "Peru", "Mali")}
    data = TrainingData(documents, tuple(Example(query, None, ("peru",)) for query in queries))
    mining, file = Mining(below=1e6), tmp_path / "negatives.jsonl"
    found = mine_negatives(mining, MODEL, data, file)
    assert [set(names) for names in found.values()] == [{"chad", "mali"}] * 5
    assert mine_negatives(mining, tmp_path / "nowhere", data, file) == found
