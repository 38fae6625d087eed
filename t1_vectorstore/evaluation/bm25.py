"""Plain BM25 over texts in memory: what thinking is compared with, and what thoughts to train on are checked by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from t1_vectorstore.errors import MissingExtraError


class Bm25:
    """BM25 as the ``bm25s`` library has it by default (Lucene's variant, k1 = 1.5, b = 0.75, English stop words)."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Index the texts.

        Raises:
            MissingExtraError: the ``eval`` extra is not installed.
            ValueError: no text has a word.
        """
        try:
            import bm25s
        except ModuleNotFoundError as error:
            raise MissingExtraError("eval", "BM25") from error
        self._library: Any = bm25s
        self._size = len(texts)
        self._index: Any = bm25s.BM25()
        words = bm25s.tokenize(list(texts), stopwords="en", show_progress=False)
        if not any(words.ids):
            raise ValueError(f"BM25 ranks by words of two letters or more, and none of {len(texts)} texts has one")
        self._index.index(words, show_progress=False)

    def best(self, query: str, limit: int) -> list[tuple[int, float]]:
        """The places of the texts that share a word with the query, and their scores, best first; ``limit`` at most."""
        words = self._library.tokenize([query], stopwords="en", show_progress=False, return_ids=False)
        rows, scores = self._index.retrieve(words, k=min(limit, self._size), show_progress=False)
        found = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        return [(row, float(score)) for row, score in found if score > 0]
