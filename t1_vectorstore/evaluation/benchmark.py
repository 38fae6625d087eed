"""What retrieval is measured on: documents, queries, and which documents answer which query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.types import Document


@dataclass(frozen=True)
class Benchmark:
    """One retrieval task.

    Attributes:
        name: for people.
        read: starts reading the documents from the beginning; each has an id. None: they are in the user's index.
        queries: text by query id, in order.
        relevant: for each query the ids of its documents with their gains; 0 is "judged, and wrong".
        excluded: documents that are taken out of a query's ranking, as BRIGHT does with what a query was made from.
        instruction: the benchmark's own instruction for queries, where it has one.
        thoughts: right thoughts by query id, for those queries of which they are known.
    """

    name: str
    read: Callable[[], Iterator[Document]] | None
    queries: Mapping[str, str]
    relevant: Mapping[str, Mapping[str, int]]
    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    instruction: str | None = None
    thoughts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a task that cannot be scored.

        Raises:
            CorpusError: there are no queries, a judgement names no query, a query has nothing to find, or a document
                that is to be found is excluded.
        """
        if not self.queries:
            raise CorpusError(f"{self.name} has no queries: the split is empty")
        if strangers := sorted(set(self.relevant) - set(self.queries)):
            raise CorpusError(
                f"{self.name} judges {len(strangers)} queries that it does not have, such as {strangers[0]!r}"
            )
        for query in self.queries:
            gold = {document for document, gain in self.relevant.get(query, {}).items() if gain > 0}
            if not gold:
                raise CorpusError(f"{self.name}: query {query!r} has no relevant document")
            if both := sorted(gold & self.excluded.get(query, frozenset())):
                raise CorpusError(f"{self.name}: query {query!r} is to find {both[0]!r}, which it excludes")

    def first(self, count: int) -> Benchmark:
        """The same with its first queries only.

        Raises:
            ValueError: ``count`` is less than 1.
        """
        if count < 1:
            raise ValueError(f"a benchmark needs at least 1 query, got {count!r}")
        return self.only(set(list(self.queries)[:count]))

    def only(self, kept: Set[str]) -> Benchmark:
        """The same with some of its queries."""
        queries = {query: text for query, text in self.queries.items() if query in kept}
        relevant = {query: gains for query, gains in self.relevant.items() if query in kept}
        thoughts = {query: known for query, known in self.thoughts.items() if query in kept}
        return replace(self, queries=queries, relevant=relevant, thoughts=thoughts)

    def documents(self) -> Iterator[Document]:
        """The documents; when all have been read, it is sure that none of the relevant ones was missing.

        Raises:
            CorpusError: a document has no id, or one that is to be found is not there.
        """
        if self.read is None:
            raise CorpusError(f"{self.name} has no documents of its own: it is measured on an index that exists")
        missing = {document for gains in self.relevant.values() for document, gain in gains.items() if gain > 0}
        for document in self.read():
            if document.id is None:
                raise CorpusError(f"{self.name}: the document {document.text[:40]!r} has no id")
            missing.discard(document.id)
            yield document
        demand_all(self.name, missing)


def demand_all(name: str, missing: Iterable[str]) -> None:
    """Refuse judgements of documents that are not there: they would only look like bad retrieval.

    Raises:
        CorpusError: something is missing.
    """
    if lost := sorted(missing):
        raise CorpusError(f"{name}: {len(lost)} relevant documents are not in the corpus, such as {lost[0]!r}")
