"""What thoughts are worth, measured with a small model that thinks by rules."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from recipes.t1_small import thought_value
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.training.examples import Example, write_data

OVERRIDES = {"decoding": {"temperature": 1.0, "max_tokens": 8}, "think_by_default": False}
COUNTRIES = ("Peru", "Chad", "Mali", "Cuba", "Fiji", "Iran")


class BagOfWords:
    """A judge that counts words."""

    def encode(self, texts: list[str], **_: bool) -> np.ndarray:
        rows = np.zeros((len(texts), 1000), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                row[zlib.crc32(word.encode()) % 1000] += 1
            row[0] += 0.01
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_right_thoughts_and_the_models_own_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recipes.t1_small.thought_value.load_encoder", lambda *_: BagOfWords())
    documents = {name.lower(): f"The capital of {name} is large." for name in COUNTRIES}
    examples = [
        Example(f"Which country is number {n}?", f"{name}.", (name.lower(),)) for n, name in enumerate(COUNTRIES)
    ]
    write_data(tmp_path / "data", documents, {"train": examples[:1], "dev": examples})
    with T1Embedder.load("t1-mini", overrides=OVERRIDES) as embedder:
        report = thought_value.report(tmp_path / "data", "dev", embedder, "judge", samples=3)
    lines = report.splitlines()
    assert lines[0].startswith("6 queries, 6 documents; nDCG@10 without a thought 0.")
    groups = [line.split(" | ") for line in lines[3 : lines.index("", 3)]]
    assert sum(float(share) for _, share, *_ in groups) == pytest.approx(1, abs=0.01)
    gains = dict(line.rsplit(": ", 1) for line in lines[-4:] if line.startswith(("a sampled", "the ")))
    best, right = (float(gains[name].split()[0]) for name in ("the best of 3 sampled thoughts", "the right thought"))
    assert best >= float(gains["a sampled thought"])
    assert right > 0


def test_a_split_without_right_thoughts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recipes.t1_small.thought_value.load_encoder", lambda *_: BagOfWords())
    write_data(tmp_path, {"a": "A text."}, {"train": [Example("q", None, ("a",))], "dev": [Example("r", None, ("a",))]})
    with T1Embedder.load("t1-mini") as embedder, pytest.raises(ValueError, match="has no right thoughts"):
        thought_value.report(tmp_path, "dev", embedder, "judge")
