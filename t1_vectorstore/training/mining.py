"""Hard negatives from the model's own index, or from a teacher's vectors, kept in a file of the stage."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.training.batches import TeacherVectors
from t1_vectorstore.training.configs import Mining
from t1_vectorstore.training.distributed import is_main_process, wait_for_file
from t1_vectorstore.training.examples import TrainingData
from t1_vectorstore.training.teachers import replacing
from t1_vectorstore.types import Document
from t1_vectorstore.vectorstore import T1VectorStore

log = logging.getLogger(__name__)
NEGATIVES_FILE = "negatives.jsonl"
QUERY_BATCH = 64
WHOLE_DOCUMENT = 2**31 - 1
"""Chunk size in characters: every document becomes one chunk."""


def mine_negatives(
    mining: Mining,
    model: Path,
    data: TrainingData,
    file: Path,
    *,
    teacher: TeacherVectors | None = None,
    duplicate_cosine: float = 1.0,
) -> dict[str, list[str]]:
    """Find hard negatives for every query, or read them from ``file`` if it exists.

    Args:
        mining: How to choose them.
        model: Model that ranks the documents, unless the teacher does.
        data: Corpus, and the examples whose queries need negatives.
        file: File in which they are kept.
        teacher: Vectors of all queries and of their documents, if the teacher ranks them.
        duplicate_cosine: Teacher's cosine from which a document is a near-duplicate of a relevant one; 1 is off.

    Returns:
        Document ids by query, hardest first; an empty list if no document is similar enough.
    """
    if is_main_process() and not file.is_file():
        relevant = data.relevant_by_query()
        if teacher is None:
            ranked = _ranked_by_model(mining, model, data, relevant)
        else:
            ranked = _ranked_by_teacher(mining, teacher, data, relevant, duplicate_cosine)
        found = {query: _choose_negatives(mining, hits, relevant[query]) for query, hits in ranked}
        log.info("found negatives for %d of %d queries", sum(map(bool, found.values())), len(found))
        lines = (json.dumps([query, ids], ensure_ascii=False) + "\n" for query, ids in found.items())
        with replacing(file) as partial:
            partial.write_text("".join(lines), encoding="utf-8")
    wait_for_file(file)
    with file.open(encoding="utf-8") as kept:
        return dict(json.loads(line) for line in kept)


def _ranked_by_model(
    mining: Mining, model: Path, data: TrainingData, relevant: Mapping[str, set[str]]
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Yield each query with its own documents and its first hits, ids and cosines, in an index that the model makes."""
    queries = list(relevant)
    with tempfile.TemporaryDirectory(prefix="t1-mining-") as folder:
        embedder = T1Embedder.load(model, truncation="allow")
        with T1VectorStore.open(folder, embedder) as store:
            documents = (Document(text, id=name) for name, text in data.documents.items())
            store.add(documents, chunker=Chunker(WHOLE_DOCUMENT))
            for start in range(0, len(queries), QUERY_BATCH):
                batch = queries[start : start + QUERY_BATCH]
                for query, embedded in zip(batch, embedder.embed_queries(batch, think=mining.think), strict=True):
                    own = store.collection.read_points(sorted(relevant[query]))
                    ranked = {point.chunk.document_id: float(point.vector @ embedded.vector) for point in own}
                    hits = store.collection.search(embedded.vector, limit=mining.depth)
                    yield query, list({**ranked, **{hit.document_id: hit.score for hit in hits}}.items())


def _ranked_by_teacher(
    mining: Mining,
    teacher: TeacherVectors,
    data: TrainingData,
    relevant: Mapping[str, set[str]],
    duplicate_cosine: float,
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Yield each query with its own documents and the nearest others, without near-duplicates of its own.

    They are positives of the stage's queries of the same part, and all documents of a source in ``mining.sources`` from
    which these come. A query that is in several parts is ranked in the first.
    """
    by_source = documents_of_sources(mining, data)
    parts: dict[str | None, dict[str, None]] = {}
    seen: set[str] = set()
    for example in data.examples:
        if example.query not in seen:
            seen.add(example.query)
            parts.setdefault(example.part, {})[example.query] = None
    for part in parts.values():
        names = list(dict.fromkeys(name for query in part for name in sorted(relevant[query])))
        sources = dict.fromkeys(_source_of(name) for name in names)
        names = list(dict.fromkeys([*names, *(name for source in sources for name in by_source.get(source, ()))]))
        documents = teacher([data.documents[name] for name in names])
        rows = {name: row for row, name in enumerate(names)}
        queries = list(part)
        for start in range(0, len(queries), QUERY_BATCH):
            batch = queries[start : start + QUERY_BATCH]
            cosines = teacher(batch) @ documents.T
            for query, row, hits in zip(
                batch, cosines, cosines.topk(min(mining.depth, len(names))).indices, strict=True
            ):
                own = [rows[name] for name in sorted(relevant[query])]
                found = [hit for hit in hits.tolist() if hit not in own]
                if duplicate_cosine < 1 and found:
                    nearest = (documents[found] @ documents[own].T).amax(1).tolist()
                    found = [hit for hit, cosine in zip(found, nearest, strict=True) if cosine < duplicate_cosine]
                yield query, [(names[hit], float(row[hit])) for hit in (*own, *found)]


def documents_of_sources(mining: Mining, data: TrainingData) -> dict[str, list[str]]:
    """Return the ids of all documents of each source in ``mining.sources``.

    Raises:
        ValueError: A source has no document.
    """
    found: dict[str, list[str]] = {source: [] for source in mining.sources}
    for name in data.documents:
        if (source := _source_of(name)) in found:
            found[source].append(name)
    if empty := [source for source, names in found.items() if not names]:
        raise ValueError(f"mining.sources has {empty[0]!r}, but no document's id starts with {empty[0] + '/'!r}")
    return found


def _source_of(document_id: str) -> str:
    """Return the source of a document, the part of its id before the first slash; empty if there is none."""
    return document_id.partition("/")[0] if "/" in document_id else ""


def _choose_negatives(mining: Mining, hits: Sequence[tuple[str, float]], relevant: set[str]) -> list[str]:
    """Choose the irrelevant hits that score clearly below the best relevant one, and so are unlikely to be relevant."""
    best = max((score for name, score in hits if name in relevant), default=None)
    wrong = [(name, score) for name, score in hits if name not in relevant][mining.skip :]
    limit = None if best is None or mining.below is None else mining.below * best
    return [name for name, score in wrong if limit is None or score < limit][: mining.keep]
