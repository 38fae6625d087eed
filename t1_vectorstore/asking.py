"""One question on its way from words to hits, in steps that can be waited for in either way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from typing_extensions import Unpack

from t1_vectorstore.filters import FilterLike
from t1_vectorstore.store import Collection, Searching
from t1_vectorstore.thinking import ThinkingOptions, settled
from t1_vectorstore.types import Fusion, Hit, SearchResult, Timings, Truncation, Vector

if TYPE_CHECKING:
    from t1_vectorstore.embedder import T1Embedder


class Asking(ThinkingOptions, total=False):
    """The options of ``T1VectorStore.search``, for who passes them on."""

    limit: int
    offset: int
    filter: FilterLike | None
    score_threshold: float | None
    hybrid: bool | None
    thought_terms: bool
    fusion: Fusion
    vector_weight: float | None
    diversity: float | None
    candidates: int | None
    group: bool
    truncation: Truncation | None


class Question:
    """A query and how to answer it: ``embed``, then search with ``vector`` and ``searching``, then ``answer``."""

    def __init__(self, query: str, embedder: T1Embedder, collection: Collection, **options: Unpack[Asking]) -> None:
        """Refuse what cannot be asked, before anything is thought.

        Raises:
            TypeError: an option that there is not.
            ValueError: an option of the search with a value that it does not take.
        """
        if unknown := sorted(set(options) - set(Asking.__annotations__)):
            raise TypeError(
                f"a search has no option {unknown[0]!r}; it has {', '.join(sorted(Asking.__annotations__))}"
            )
        for name in ("hybrid", "thought_terms"):
            if not isinstance(options.get(name), bool | None):
                raise TypeError(
                    f"{name} is True or False, got {options.get(name)!r}; how to fuse is fusion='rrf' or 'dbsf'"
                )
        self.query = query
        self._embedder = embedder
        self._options = options
        hybrid = options.get("hybrid")
        by_words = collection.hybrid if hybrid is None else hybrid
        self.searching: Searching = {
            "limit": options.get("limit", 10),
            "offset": options.get("offset", 0),
            "filter": options.get("filter"),
            "score_threshold": options.get("score_threshold"),
            "text": query if by_words else None,
            "fusion": options.get("fusion", "rrf"),
            "vector_weight": options.get("vector_weight"),
            "diversity": options.get("diversity"),
            "candidates": options.get("candidates"),
            "group": options.get("group", False),
        }
        collection.check_search(**self.searching)
        self._started = time.perf_counter()

    def embed(self) -> Vector:
        """Think about the query; its words, and those of its thoughts, are what to search by from here on."""
        options = self._options
        self._embedding = self._embedder.embed_query(
            self.query, truncation=options.get("truncation"), **settled(options)
        )
        self._embedded = time.perf_counter()
        if self.searching["text"] is not None and options.get("thought_terms", True):
            self.searching["text"] = "\n".join([self.query, *(thought.text for thought in self._embedding.thoughts)])
        return self._embedding.vector

    def answer(self, hits: Sequence[Hit]) -> SearchResult:
        """What was found, with the thoughts and what they cost."""
        timings = Timings(embed=self._embedded - self._started, search=time.perf_counter() - self._embedded)
        thoughts = tuple(self._embedding.thoughts)
        return SearchResult(self.query, tuple(hits), thoughts, timings, self._embedding.truncated)
