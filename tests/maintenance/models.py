"""Two models, and documents to index with them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.types import Document

OLD = T1Embedder.fake(16)
NEW = T1Embedder.fake(24)


def documents(count: int, first: int = 0) -> list[Document]:
    return [
        Document(
            f"Document {n} tells of {hashlib.sha256(str(n).encode()).hexdigest()}.", f"doc {n}", {"n": n, "x": n / 7}
        )
        for n in range(first, first + count)
    ]


def changed(document: Document) -> Document:
    return replace(document, text=document.text + " It was changed.")


def is_vector_of(vector: object, text: str, embedder: T1Embedder) -> bool:
    return bool(np.allclose(np.asarray(vector), embedder.embed_documents([text]).vectors[0], atol=1e-5))
