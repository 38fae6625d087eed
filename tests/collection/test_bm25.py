"""The BM25 terms of texts."""

from __future__ import annotations

import pytest

from t1_vectorstore.collection.bm25 import document_terms, query_terms


def terms(text: str) -> set[int]:
    found = query_terms(text)
    return set() if found is None else set(found.indices)


def stored(text: str) -> dict[int, float]:
    found = document_terms(text)
    return {} if found is None else dict(zip(found.indices, found.values, strict=True))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("river", "The Rivers!"),
        ("export", "exported goods"),
        ("1999", "in 1999, GDP grew"),
        ("3.14", "pi is 3.14"),
        ("Zürich café", "zurich CAFE"),
        ("北京", "北京是中国的首都"),
        ("日本", "東京は日本の首都です"),
        ("Москва", "москва"),
    ],
)
def test_a_word_matches_its_other_forms(query: str, text: str) -> None:
    assert terms(query)
    assert terms(query) <= set(stored(text))


@pytest.mark.parametrize("text", ["", "   ", "the of and", "?! ...", "\x00"])
def test_a_text_without_words_has_no_terms(text: str) -> None:
    assert query_terms(text) is None
    assert document_terms(text) is None


def test_only_document_terms_have_weights() -> None:
    assert set(query_terms("river river lake").values) == {1.0}  # type: ignore[union-attr]
    weights = stored("river river lake")
    (river,), (lake,) = terms("river"), terms("lake")
    assert weights[river] > weights[lake] > 0


def test_terms_never_change() -> None:
    assert terms("river") == {12344922}  # collections store these numbers
