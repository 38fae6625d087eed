"""Searching a collection with another model than the one of its vectors, if it gives nearly the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t1_vectorstore import Document, T1Embedder, T1VectorStore
from t1_vectorstore.errors import CollectionMismatch, CollectionNotFound
from t1_vectorstore.types import DocumentEmbeddings, ModelIdentity

TEXTS = ["llamas live in Peru", "Oslo is a city", "tin melts", "yeast", "the moon"]


class Noisy(T1Embedder):
    """The fake model with noise in its vectors, as another model."""

    noise: float = 0.0

    @classmethod
    def make(cls, noise: float) -> Noisy:
        made = cls.fake()
        made.identity = ModelIdentity("noisy", "0" * 16, made.dimension)
        made.__class__, made.noise = cls, noise
        assert isinstance(made, cls)
        return made

    def embed_documents(self, texts: Any, **options: Any) -> DocumentEmbeddings:
        found = super().embed_documents(texts, **options)
        vectors = found.vectors + np.random.default_rng(0).normal(scale=self.noise, size=found.vectors.shape)
        return DocumentEmbeddings(np.asarray(vectors, np.float32), found.tokens, found.seconds)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    with T1VectorStore.open(tmp_path / "index", T1Embedder.fake()) as store:
        store.add([Document(text) for text in TEXTS])
    return tmp_path / "index"


def test_a_close_model_searches_but_does_not_write(place: Path) -> None:
    other = Noisy.make(0.01)
    with pytest.raises(CollectionMismatch):
        T1VectorStore.open(place, other)
    for name in ("fake", T1Embedder.fake().identity.fingerprint):
        with T1VectorStore.open(place, other, compatible_with=name) as store:
            assert len(store.search("llamas").hits) == len(TEXTS)
            with pytest.raises(CollectionMismatch, match="cannot be mixed"):
                store.add([Document("another text")])
            assert store.count() == len(TEXTS)


def test_another_model_is_refused_with_the_cosines(place: Path) -> None:
    message = r"are 0\.\d{4} on average and 0\.\d{4} at least; 0.98 and 0.95 are needed"
    with pytest.raises(CollectionMismatch, match=message):
        T1VectorStore.open(place, Noisy.make(0.1), compatible_with="fake")
    T1VectorStore.open(place, T1Embedder.fake()).close()  # the refusal has closed the folder


def test_the_other_model_must_be_the_one_of_the_collection(place: Path) -> None:
    with pytest.raises(ValueError, match=r"compatible_with='t1-mini', but .* holds vectors of 'fake'"):
        T1VectorStore.open(place, Noisy.make(0.0), compatible_with="t1-mini")


def test_vectors_of_another_length(place: Path) -> None:
    other = T1Embedder.fake(32)
    other.identity = ModelIdentity("short", "0" * 16, 32)
    with pytest.raises(CollectionMismatch, match=r"holds vectors of length 64, and those of .*short.* have 32"):
        T1VectorStore.open(place, other, compatible_with="fake")


def test_an_empty_or_missing_collection(tmp_path: Path) -> None:
    T1VectorStore.open(tmp_path / "empty", T1Embedder.fake()).close()
    with pytest.raises(ValueError, match="holds no points by which"):
        T1VectorStore.open(tmp_path / "empty", Noisy.make(0.0), compatible_with="fake")
    with pytest.raises(CollectionNotFound):
        T1VectorStore.open(tmp_path / "missing", Noisy.make(0.0), compatible_with="fake")


def test_the_same_model_needs_no_comparison(place: Path) -> None:
    with T1VectorStore.open(place, T1Embedder.fake(), compatible_with="anything") as store:
        assert store.search("llamas").hits
