"""A way of ranking, as experiments ask it, and the shipped T1 path in its variants."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.runs import Answer

if TYPE_CHECKING:
    from t1_vectorstore.types import Fusion, QueryEmbedding
    from t1_vectorstore.vectorstore import T1VectorStore

BATCH = 32
"""Queries that are thought about together."""

OnDone = Callable[[int], None]

Kept = dict[tuple[str, str], tuple["QueryEmbedding", float]]
"""What was embedded before, and the seconds it took, by options and query: systems that rank differently think once."""


class System(Protocol):
    """A way of ranking documents for queries."""

    @property
    def name(self) -> str:
        """For people; unique in an experiment."""
        ...

    @property
    def space(self) -> str | None:
        """The model whose query vectors the answers have; None if they have none."""
        ...

    def answer(self, task: Benchmark, depth: int, on_done: OnDone | None = None) -> dict[str, Answer]:
        """Rank documents.

        Args:
            task: whose queries; its documents are those that the system was made with.
            depth: how many documents at most.
            on_done: told how many queries were answered since the last time.
        """
        ...


@dataclass(frozen=True)
class T1System:
    """An index and its model, asked as users ask.

    Attributes:
        name: for people.
        store: the index.
        options: of ``T1Embedder.embed_queries``, such as ``{"think": False}``.
        hybrid: also rank by words, those of the thought among them.
        fusion: how the two rankings become one.
        vector_weight: the vector's share in it; see ``T1VectorStore.search``.
        given: thoughts by query id, to embed a task's queries with in place of the model's own; see
            :mod:`t1_vectorstore.evaluation.thoughts`.
        kept: what was embedded before; to be shared by systems of one store.
    """

    name: str
    store: T1VectorStore
    options: Mapping[str, Any]
    hybrid: bool = False
    fusion: Fusion = "rrf"
    vector_weight: float | None = None
    given: Callable[[Benchmark], Mapping[str, str]] | None = None
    kept: Kept = field(default_factory=dict, repr=False, compare=False)

    @property
    def space(self) -> str:
        """The model."""
        return self.store.embedder.identity.fingerprint

    def answer(self, task: Benchmark, depth: int, on_done: OnDone | None = None) -> dict[str, Answer]:
        """Think about the queries in batches, then search for each; a document's score is that of its best chunk."""
        given = None if self.given is None else self.given(task)
        answers: dict[str, Answer] = {}
        for batch in batched(task.queries.items(), BATCH):
            for query, (embedding, shared) in self._embedded(dict(batch), given).items():
                right = [self.store.embedder.as_thought(thought) for thought in task.thoughts.get(query, ())]
                answers[query] = self._find(embedding, depth, shared, right if given is None else [])
            if on_done:
                on_done(len(batch))
        return answers

    def _embedded(
        self, queries: Mapping[str, str], given: Mapping[str, str] | None
    ) -> dict[str, tuple[QueryEmbedding, float]]:
        """Embeddings, each with its share of the seconds they took; only what was not embedded before is embedded."""
        keys = {query: (repr(sorted(self.options.items())), text) for query, text in queries.items()}
        kept = self.kept if given is None else {}
        new = {query: text for query, text in queries.items() if keys[query] not in kept}
        started = time.perf_counter()
        embeddings = self._embed(new, given) if new else {}
        share = (time.perf_counter() - started) / max(1, len(new))
        kept |= {keys[query]: (embedding, share) for query, embedding in embeddings.items()}
        return {query: kept[key] for query, key in keys.items()}

    def _embed(self, queries: Mapping[str, str], given: Mapping[str, str] | None) -> dict[str, QueryEmbedding]:
        """Queries that are to have a thought given, and for which there is none, are embedded without one."""
        embed = self.store.embedder.embed_queries
        if given is None:
            return dict(zip(queries, embed(queries.values(), **self.options), strict=True))
        told = [query for query in queries if query in given]
        untold = [query for query in queries if query not in given]
        found = embed([queries[query] for query in told], thoughts=[given[query] for query in told], **self.options)
        plain = embed([queries[query] for query in untold], think=False, **self.options)
        return dict(zip([*told, *untold], [*found, *plain], strict=True))

    def _find(self, embedding: QueryEmbedding, depth: int, shared: float, right: Sequence[str]) -> Answer:
        thoughts = [thought.text for thought in embedding.thoughts]
        words = "\n".join([embedding.query, *thoughts]) if self.hybrid else None
        search = partial(
            self.store.collection.search,
            embedding.vector,
            text=words,
            fusion=self.fusion,
            vector_weight=self.vector_weight,
            group=True,
        )
        started = time.perf_counter()
        search(limit=10)  # what a user waits for; the ranking to be scored is much longer
        seconds = shared + time.perf_counter() - started
        hits = search(limit=depth)
        # A fused order is not that of the cosines, and a run file is read by its scores: those are the ranks'.
        # Ids are interned: long rankings of many queries name the same documents again and again.
        ranking = {sys.intern(h.document_id): 1.0 / rank if self.hybrid else h.score for rank, h in enumerate(hits, 1)}
        tokens = sum(thought.tokens for thought in embedding.thoughts if thought.stop != "given")
        exact = any(thought in right for thought in thoughts) if thoughts and right else None
        return Answer(ranking, seconds, thoughts, tokens, embedding.vector, exact)


def batched(items: Iterable[tuple[str, str]], size: int) -> Iterator[Sequence[tuple[str, str]]]:
    """Lists of ``size`` items, the last one shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
