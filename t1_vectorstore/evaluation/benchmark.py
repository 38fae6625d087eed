"""A retrieval benchmark: documents, queries, and relevance judgements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.types import Document


@dataclass(frozen=True)
class Benchmark:
    """One retrieval task.

    Attributes:
        name: Name to display.
        read: Function that starts reading the documents from the beginning; each has an id. ``None`` if the benchmark
            is measured on an existing index.
        queries: Query texts by query id, in order.
        relevant: Gains by query id and document id; a gain of 0 is a judgement that the document is not relevant.
        excluded: Ids of documents to remove from the ranking of a query. BRIGHT excludes what a query was made from.
        instruction: The benchmark's own instruction for queries, if it has one.
        thoughts: Known right thoughts by query id.
        unjudged: Number of queries that were left out, since nothing is judged for them.
    """

    name: str
    read: Callable[[], Iterator[Document]] | None
    queries: Mapping[str, str]
    relevant: Mapping[str, Mapping[str, int]]
    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    instruction: str | None = None
    thoughts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unjudged: int = 0

    def __post_init__(self) -> None:
        """Refuse a task that cannot be scored.

        Raises:
            CorpusError: There are no queries, a query is judged but missing, or a query has no relevant document or
                excludes one.
        """
        if not self.queries:
            raise CorpusError(f"{self.name} has no queries: the split is empty")
        if unknown := sorted(set(self.relevant) - set(self.queries)):
            raise CorpusError(
                f"{self.name} judges {len(unknown)} queries that it does not have, such as {unknown[0]!r}"
            )
        for query in self.queries:
            gold = {document for document, gain in self.relevant.get(query, {}).items() if gain > 0}
            if not gold:
                raise CorpusError(f"{self.name}: query {query!r} has no relevant document")
            if both := sorted(gold & self.excluded.get(query, frozenset())):
                raise CorpusError(f"{self.name}: query {query!r} excludes its relevant document {both[0]!r}")

    def first(self, count: int) -> Benchmark:
        """Return the same benchmark with its first queries only.

        Raises:
            ValueError: ``count`` is less than 1.
        """
        if count < 1:
            raise ValueError(f"a benchmark needs at least 1 query, got {count!r}")
        return self.subset(set(list(self.queries)[:count]))

    def subset(self, kept: Set[str]) -> Benchmark:
        """Return the same benchmark with only the queries of these ids."""
        queries = {query: text for query, text in self.queries.items() if query in kept}
        relevant = {query: gains for query, gains in self.relevant.items() if query in kept}
        thoughts = {query: known for query, known in self.thoughts.items() if query in kept}
        return replace(self, queries=queries, relevant=relevant, thoughts=thoughts)

    def documents(self) -> Iterator[Document]:
        """Read the documents; at the end, check that all relevant ones were among them.

        Raises:
            CorpusError: A document has no id, or a relevant document is missing.
        """
        if self.read is None:
            raise CorpusError(f"{self.name} has no documents of its own: it is measured on an existing index")
        missing = {document for gains in self.relevant.values() for document, gain in gains.items() if gain > 0}
        for document in self.read():
            if document.id is None:
                raise CorpusError(f"{self.name}: the document {document.text[:40]!r} has no id")
            missing.discard(document.id)
            yield document
        refuse_missing(self.name, missing)


def refuse_missing(name: str, missing: Iterable[str]) -> None:
    """Refuse judgements of documents that do not exist, which would only look like bad retrieval.

    Raises:
        CorpusError: Any document is missing.
    """
    if ids := sorted(missing):
        if len(ids) == 1:
            raise CorpusError(f"{name}: the relevant document {ids[0]!r} is not in the corpus")
        raise CorpusError(f"{name}: {len(ids)} relevant documents are not in the corpus, such as {ids[0]!r}")
