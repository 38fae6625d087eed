"""Hard negatives from the model's own index, kept in a file of the stage."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.indexing.chunking import Chunker
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
    with replacing(file) as partial:
        partial.write_text("".join(lines), encoding="utf-8")
    return found


def _choose_negatives(mining: Mining, hits: Sequence[tuple[str, float]], relevant: set[str]) -> list[str]:
    """Choose the irrelevant hits that score clearly below the best relevant one, and so are unlikely to be relevant."""
    best = max((score for name, score in hits if name in relevant), default=None)
    wrong = [(name, score) for name, score in hits if name not in relevant][mining.skip :]
    return [name for name, score in wrong if best is None or score < mining.below * best][: mining.keep]
