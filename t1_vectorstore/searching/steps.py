"""One search by text, expressed as the steps that it needs of a model and a collection.

``search_steps`` is a generator: it yields a step and is sent its answer, and at last yields the result. The same steps
therefore serve callers that wait, that await, and that read the thought while it is generated.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from t1_vectorstore.options import EmbedQueryOptions, SearchOptions, VectorSearchOptions, set_options
from t1_vectorstore.types import Hit, QueryEmbedding, SearchResult, Timings, Vector


@dataclass(frozen=True, slots=True)
class Embed:
    """Embed the query; the answer is a ``QueryEmbedding``.

    Attributes:
        options: The fields of ``EmbedQueryOptions`` that are set.
    """

    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Find:
    """Search the collection; the answer is a sequence of hits.

    Attributes:
        vector: The query's vector.
        options: The fields of ``VectorSearchOptions`` that are set.
    """

    vector: Vector
    options: Mapping[str, Any]


Step: TypeAlias = Embed | Find
Steps: TypeAlias = Generator[Step | SearchResult, QueryEmbedding | Sequence[Hit] | None, None]


def search_steps(query: str, options: SearchOptions, checked: VectorSearchOptions) -> Steps:
    """Yield the steps of a search, then its result.

    Args:
        query: The query.
        options: The caller's options.
        checked: Those of them that are for the collection, which has accepted them.
    """
    embedding = yield Embed(set_options(options, EmbedQueryOptions))
    assert isinstance(embedding, QueryEmbedding)
    started = time.perf_counter()
    hits = yield Find(embedding.vector, _with_thought_terms(query, checked, embedding, options))
    assert isinstance(hits, Sequence)
    timings = Timings(embed=embedding.seconds, search=time.perf_counter() - started)
    yield SearchResult(
        query, tuple(hits), tuple(embedding.thoughts), timings, embedding.truncated, cached=embedding.cached
    )


def _with_thought_terms(
    query: str, checked: VectorSearchOptions, embedding: QueryEmbedding, options: SearchOptions
) -> dict[str, Any]:
    """Return the collection's search options; a hybrid search also uses the words of the thoughts."""
    given = set_options(checked, VectorSearchOptions)
    if checked.text is not None and options.thought_terms:
        given["text"] = "\n".join([query, *(thought.text for thought in embedding.thoughts)])
    return given
