"""The interface of retrieval systems, and T1 in its variants."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.runs import Answer
from t1_vectorstore.iteration import batched

if TYPE_CHECKING:
    from t1_vectorstore.types import Fusion, QueryEmbedding
    from t1_vectorstore.vectorstore import T1VectorStore

BATCH_SIZE = 32
"""Number of queries that are embedded together."""

OnProgress = Callable[[int], None]
"""Called with the number of queries that have been answered since the last call."""

EmbeddingCache = dict[tuple[str, str], tuple["QueryEmbedding", float]]
"""Query embeddings and the seconds that each took, by options and query. Systems that differ only in
ranking share them, so that each query is thought about once."""


class System(Protocol):
    """A way of ranking documents for queries."""

    @property
    def name(self) -> str:
        """Name to display; unique in an experiment."""
        ...

    @property
    def model(self) -> str | None:
        """Fingerprint of the model that makes the query vectors; ``None`` without vectors."""
        ...

    def answer(self, task: Benchmark, depth: int, on_progress: OnProgress | None = None) -> dict[str, Answer]:
        """Rank documents for every query of a benchmark.

        Args:
            task: The benchmark. Its documents are those that the system was created with.
            depth: Maximum number of documents in a ranking.
            on_progress: Function that is called as queries are answered.
        """
        ...


@dataclass(frozen=True)
class T1System:
    """An index and its model, searched as users do.

    Attributes:
        name: Name to display.
        store: The index.
        options: Options of ``T1Embedder.embed_queries``, such as ``{"think": False}``.
        hybrid: Whether to rank by words as well, including those of the thought.
        fusion: How the two rankings are combined.
        vector_weight: Weight of the vector in the combination; see ``T1VectorStore.search``.
        given_thoughts: Function that returns thoughts by query id, which replace the model's own. A query without one
            is embedded without a thought.
        cache: Query embeddings that systems of the same store share.
    """

    name: str
    store: T1VectorStore
    options: Mapping[str, Any]
    hybrid: bool = False
    fusion: Fusion = "rrf"
    vector_weight: float | None = None
    given_thoughts: Callable[[Benchmark], Mapping[str, str]] | None = None
    cache: EmbeddingCache = field(default_factory=dict, repr=False, compare=False)

    @property
    def model(self) -> str:
        """Fingerprint of the model."""
        return self.store.embedder.identity.fingerprint

    def answer(self, task: Benchmark, depth: int, on_progress: OnProgress | None = None) -> dict[str, Answer]:
        """Embed the queries in batches, then search for each; a document's score is that of its best chunk."""
        given = None if self.given_thoughts is None else self.given_thoughts(task)
        answers: dict[str, Answer] = {}
        for batch in batched(task.queries.items(), BATCH_SIZE):
            for query, (embedding, seconds) in self._embed_cached(dict(batch), given).items():
                right = [self.store.embedder.as_thought(thought) for thought in task.thoughts.get(query, ())]
                answers[query] = self._search(embedding, depth, seconds, right if given is None else [])
            if on_progress:
                on_progress(len(batch))
        return answers

    def _embed_cached(
        self, queries: Mapping[str, str], given: Mapping[str, str] | None
    ) -> dict[str, tuple[QueryEmbedding, float]]:
        """Return embeddings, each with its share of the seconds they took; embed only those that are not cached."""
        keys = {query: (repr(sorted(self.options.items())), text) for query, text in queries.items()}
        cache = self.cache if given is None else {}
        new = {query: text for query, text in queries.items() if keys[query] not in cache}
        started = time.perf_counter()
        embeddings = self._embed(new, given) if new else {}
        share = (time.perf_counter() - started) / max(1, len(new))
        cache |= {keys[query]: (embedding, share) for query, embedding in embeddings.items()}
        return {query: cache[key] for query, key in keys.items()}

    def _embed(self, queries: Mapping[str, str], given: Mapping[str, str] | None) -> dict[str, QueryEmbedding]:
        embed = self.store.embedder.embed_queries
        if given is None:
            return dict(zip(queries, embed(queries.values(), **self.options), strict=True))
        with_thought = [query for query in queries if query in given]
        without = [query for query in queries if query not in given]
        thoughts = [given[query] for query in with_thought]
        embeddings = embed([queries[query] for query in with_thought], thoughts=thoughts, **self.options)
        embeddings += embed([queries[query] for query in without], **{**self.options, "think": False})
        return dict(zip([*with_thought, *without], embeddings, strict=True))

    def _search(self, embedding: QueryEmbedding, depth: int, seconds: float, right: Sequence[str]) -> Answer:
        thoughts = [thought.text for thought in embedding.thoughts]
        search = partial(
            self.store.collection.search,
            embedding.vector,
            text="\n".join([embedding.query, *thoughts]) if self.hybrid else None,
            fusion=self.fusion,
            vector_weight=self.vector_weight,
            group=True,
        )
        # The time is that of the ten hits that a user waits for; the ranking to score is much longer. A longer fused
        # ranking has more candidates and so other first hits, and those of the user count.
        started = time.perf_counter()
        hits = search(limit=10)
        seconds += time.perf_counter() - started
        first = {hit.document_id for hit in hits}
        hits = [*hits, *(hit for hit in search(limit=depth) if hit.document_id not in first)][:depth]
        # Run files are ordered by their scores, and a fused order is not that of the cosines: the scores of a hybrid
        # ranking are reciprocal ranks. Ids are interned, since the long rankings of many queries repeat them.
        ranking = {sys.intern(h.document_id): 1.0 / rank if self.hybrid else h.score for rank, h in enumerate(hits, 1)}
        tokens = sum(thought.tokens for thought in embedding.thoughts if thought.stop != "given")
        exact = any(thought in right for thought in thoughts) if thoughts and right else None
        return Answer(ranking, seconds, thoughts, tokens, embedding.vector, exact)
