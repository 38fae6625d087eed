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
    same_document: float = 1.0,
) -> dict[str, list[str]]:
    """Find hard negatives for every query, or read them from ``file`` if it exists.

    Args:
        mining: How to choose them.
        model: Model that ranks the documents, unless the teacher does.
        data: Corpus, and the examples whose queries need negatives.
        file: File in which they are kept.
        teacher: Vectors of all queries and of their documents, if the teacher ranks them.
        same_document: Teacher's cosine from which a document says the same as a relevant one.

    Returns:
        Document ids by query, hardest first; an empty list if no document is similar enough.
    """
    if file.is_file():
        with file.open(encoding="utf-8") as kept:
            return dict(json.loads(line) for line in kept)
    relevant: dict[str, set[str]] = {}
    for example in data.examples:
        relevant.setdefault(example.query, set()).update(example.positives)
    if teacher is None:
        ranked = _ranked_by_model(mining, model, data, list(relevant))
    else:
        ranked = _ranked_by_teacher(mining, teacher, data, relevant, same_document)
    found = {query: _choose_negatives(mining, hits, relevant[query]) for query, hits in ranked}
    log.info("found negatives for %d of %d queries", sum(map(bool, found.values())), len(found))
    lines = (json.dumps([query, ids], ensure_ascii=False) + "\n" for query, ids in found.items())
    with replacing(file) as partial:
        partial.write_text("".join(lines), encoding="utf-8")
    return found


def _ranked_by_model(
    mining: Mining, model: Path, data: TrainingData, queries: Sequence[str]
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Yield each query with its first hits, document ids and cosines, in an index that the model makes."""
    with tempfile.TemporaryDirectory(prefix="t1-mining-") as folder:
        embedder = T1Embedder.load(model, truncation="allow")
        with T1VectorStore.open(folder, embedder) as store:
            documents = (Document(text, id=name) for name, text in data.documents.items())
            store.add(documents, chunker=Chunker(WHOLE_DOCUMENT))
            for start in range(0, len(queries), QUERY_BATCH):
                batch = queries[start : start + QUERY_BATCH]
                for query, embedded in zip(batch, embedder.embed_queries(batch, think=mining.think), strict=True):
                    hits = store.collection.search(embedded.vector, limit=mining.depth)
                    yield query, [(hit.document_id, hit.score) for hit in hits]


def _ranked_by_teacher(
    mining: Mining, teacher: TeacherVectors, data: TrainingData, relevant: Mapping[str, set[str]], same_document: float
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Yield each query with the documents that have the highest cosines, without those that say the same as its own.

    They are documents that are relevant to other queries of its source: the rest of the corpus has no vectors.
    """
    by_source: dict[str, list[str]] = {}
    for query, positives in relevant.items():
        by_source.setdefault(_source(min(positives)), []).append(query)
    for queries in by_source.values():
        names = list(dict.fromkeys(name for query in queries for name in sorted(relevant[query])))
        documents = teacher([data.documents[name] for name in names])
        for start in range(0, len(queries), QUERY_BATCH):
            batch = queries[start : start + QUERY_BATCH]
            scores, hits = (teacher(batch) @ documents.T).topk(min(mining.depth, len(names)))
            for query, cosines, found in zip(batch, scores.tolist(), hits, strict=True):
                right = teacher([data.documents[name] for name in relevant[query]])
                same = (documents[found] @ right.T).amax(1) >= same_document
                yield (
                    query,
                    [
                        (names[row], cosine)
                        for row, cosine, copy in zip(found.tolist(), cosines, same.tolist(), strict=True)
                        if not copy or names[row] in relevant[query]
                    ],
                )


def _source(document: str) -> str:
    """Return the source of a document of joined data, the part of its id before the first slash."""
    return document.partition("/")[0] if "/" in document else ""


def _choose_negatives(mining: Mining, hits: Sequence[tuple[str, float]], relevant: set[str]) -> list[str]:
    """Choose the irrelevant hits that score clearly below the best relevant one, and so are unlikely to be relevant."""
    best = max((score for name, score in hits if name in relevant), default=None)
    wrong = [(name, score) for name, score in hits if name not in relevant][mining.skip :]
    return [name for name, score in wrong if best is None or score < mining.below * best][: mining.keep]
