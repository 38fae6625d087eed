"""Hard negatives from the model's own index, and a teacher's embeddings. Both are kept in files of the stage."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import MissingExtraError
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.training.batches import TeacherScores
from t1_vectorstore.training.configs import Mining
from t1_vectorstore.training.examples import TrainingData
from t1_vectorstore.types import Document
from t1_vectorstore.vectorstore import T1VectorStore

log = logging.getLogger(__name__)
NEGATIVES_FILE, TEACHER_FILE = "negatives.jsonl", "teacher.npz"
QUERY_BATCH = 64
WHOLE_DOCUMENT = 2**31 - 1
"""Chunk size in characters: every document becomes one chunk."""


def mine_negatives(mining: Mining, model: Path, data: TrainingData, file: Path) -> dict[str, list[str]]:
    """Find hard negatives for every query, or read them from ``file`` if it exists.

    Returns:
        Document ids by query, hardest first; an empty list if no document is similar enough.
    """
    if file.is_file():
        with file.open(encoding="utf-8") as kept:
            return dict(json.loads(line) for line in kept)
    relevant: dict[str, set[str]] = {}
    for example in data.examples:
        relevant.setdefault(example.query, set()).update(example.positives)
    with tempfile.TemporaryDirectory(prefix="t1-mining-") as folder:
        embedder = T1Embedder.load(model, truncation="allow")
        with T1VectorStore.open(folder, embedder) as store:
            documents = (Document(text, id=name) for name, text in data.documents.items())
            store.add(documents, chunker=Chunker(WHOLE_DOCUMENT))
            found: dict[str, list[str]] = {}
            queries = list(relevant)
            for start in range(0, len(queries), QUERY_BATCH):
                batch = queries[start : start + QUERY_BATCH]
                for query, embedded in zip(batch, embedder.embed_queries(batch, think=mining.think), strict=True):
                    hits = store.collection.search(embedded.vector, limit=mining.depth)
                    scores = [(hit.document_id, hit.score) for hit in hits]
                    found[query] = _choose_negatives(mining, scores, relevant[query])
    log.info("found negatives for %d of %d queries", sum(map(bool, found.values())), len(found))
    lines = (json.dumps([query, ids], ensure_ascii=False) + "\n" for query, ids in found.items())
    with _replacing(file) as partial:
        partial.write_text("".join(lines), encoding="utf-8")
    return found


@contextmanager
def _replacing(file: Path) -> Iterator[Path]:
    """Yield the path of a temporary file that takes the place of ``file`` when the block is left without an error."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name("partial-" + file.name)  # keeps the suffix, to which NumPy would add its own
    yield partial
    partial.replace(file)


def _choose_negatives(mining: Mining, hits: Sequence[tuple[str, float]], relevant: set[str]) -> list[str]:
    """Choose the irrelevant hits that score clearly below the best relevant one, and so are unlikely to be relevant."""
    best = max((score for name, score in hits if name in relevant), default=None)
    wrong = [(name, score) for name, score in hits if name not in relevant][mining.skip :]
    return [name for name, score in wrong if best is None or score < mining.below * best][: mining.keep]


def embed_with_teacher(name: str, data: TrainingData, parts: Sequence[str], file: Path) -> TeacherScores:
    """Embed queries and their documents with a teacher, or read the embeddings from ``file`` if it exists.

    Args:
        name: Name or folder of a sentence-transformers model.
        data: Queries, with all their hard negatives, and documents.
        parts: Parts of the data whose queries are embedded; all if empty.
        file: File in which the embeddings are kept.

    Raises:
        MissingExtraError: The ``eval`` extra, which has sentence-transformers, is not installed.
    """
    queries = list(dict.fromkeys(e.query for e in data.examples if not parts or e.part in parts))
    used = {name for example in data.examples for name in (*example.positives, *example.negatives)}
    numbers = [number for number, name in enumerate(data.documents) if name in used]
    if not file.is_file():
        try:
            from sentence_transformers import SentenceTransformer
        except ModuleNotFoundError as error:
            raise MissingExtraError("eval", f"the teacher {name!r}") from error
        model = SentenceTransformer(name)
        texts = list(data.documents.values())
        log.info("embedding %d documents and %d queries with the teacher", len(numbers), len(queries))
        documents = model.encode([texts[n] for n in numbers], normalize_embeddings=True, show_progress_bar=False)
        query_vectors = model.encode(queries, normalize_embeddings=True, show_progress_bar=False)
        with _replacing(file) as partial:
            np.savez(partial, documents=documents, queries=query_vectors)
    with np.load(file) as arrays:
        return TeacherScores(arrays["documents"], numbers, arrays["queries"], queries)
