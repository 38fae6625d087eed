"""What makes stage 2 hard: negatives out of our own index, and a teacher's vectors."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import MissingExtraError
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.training.batches import Teacher
from t1_vectorstore.training.configs import Mining
from t1_vectorstore.training.examples import TrainingData
from t1_vectorstore.types import Document
from t1_vectorstore.vectorstore import T1VectorStore

log = logging.getLogger(__name__)
FILE, TEACHER = "negatives.jsonl", "teacher.npz"
AT_ONCE = 64
WHOLE = 2**31 - 1
"""Characters of a chunk: a document is one."""


def mined(mining: Mining, model: Path, data: TrainingData, file: Path) -> dict[str, list[str]]:
    """Find hard negatives for every query, or read them where they were found before.

    Args:
        mining: How.
        model: The checkpoint whose index is asked.
        data: Queries and documents.
        file: Where they are kept.

    Returns:
        Ids of documents by query, hardest first; none where nothing is near enough.
    """
    if file.is_file():
        with file.open(encoding="utf-8") as kept:
            return dict(json.loads(line) for line in kept)
    right: dict[str, set[str]] = {}
    for example in data.examples:
        right.setdefault(example.query, set()).update(example.positives)
    with tempfile.TemporaryDirectory(prefix="t1-mining-") as folder:
        embedder = T1Embedder.load(model, truncation="allow")
        with T1VectorStore.open(folder, embedder) as store:
            documents = (Document(text, id=name) for name, text in data.documents.items())
            store.add(documents, chunker=Chunker(WHOLE))
            found: dict[str, list[str]] = {}
            queries = list(right)
            for start in range(0, len(queries), AT_ONCE):
                batch = queries[start : start + AT_ONCE]
                for query, embedded in zip(batch, embedder.embed_queries(batch, think=mining.think), strict=True):
                    hits = store.collection.search(embedded.vector, limit=mining.depth)
                    found[query] = _choose(mining, [(hit.document_id, hit.score) for hit in hits], right[query])
    log.info("negatives for %d of %d queries", sum(map(bool, found.values())), len(found))
    partial = file.with_suffix(".partial")
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps([query, ids], ensure_ascii=False) + "\n" for query, ids in found.items())
    partial.write_text("".join(lines), encoding="utf-8")
    partial.replace(file)
    return found


def _choose(mining: Mining, hits: Sequence[tuple[str, float]], right: set[str]) -> list[str]:
    """The hits that are wrong, and not so near the best right one that they may be right too."""
    best = max((score for name, score in hits if name in right), default=None)
    wrong = [(name, score) for name, score in hits if name not in right][mining.skip :]
    return [name for name, score in wrong if best is None or score < mining.below * best][: mining.keep]


def read_teacher(name: str, data: TrainingData, parts: Sequence[str], file: Path) -> Teacher:
    """Let a sentence-transformers model embed the queries and the documents they may meet, or read what it gave before.

    Args:
        name: The model.
        data: The queries that are asked, with all their negatives.
        parts: Of the data, whose queries it embeds; all if there are none.
        file: Where the vectors are kept.

    Raises:
        MissingExtraError: The ``eval`` extra, which has sentence-transformers, is not installed.
    """
    queries = list(dict.fromkeys(e.query for e in data.examples if not parts or e.part in parts))
    met = {name for example in data.examples for name in (*example.positives, *example.negatives)}
    numbers = [number for number, name in enumerate(data.documents) if name in met]
    if not file.is_file():
        try:
            from sentence_transformers import SentenceTransformer
        except ModuleNotFoundError as error:
            raise MissingExtraError("eval", f"the teacher {name!r}") from error
        model = SentenceTransformer(name)
        texts = list(data.documents.values())
        log.info("the teacher embeds %d documents and %d queries", len(numbers), len(queries))
        documents = model.encode([texts[n] for n in numbers], normalize_embeddings=True, show_progress_bar=False)
        asked = model.encode(queries, normalize_embeddings=True, show_progress_bar=False)
        partial = file.with_name("partial-" + file.name)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(partial, documents=documents, queries=asked)
        partial.replace(file)
    with np.load(file) as arrays:
        return Teacher(arrays["documents"], numbers, arrays["queries"], queries)
