"""The sparse vectors of texts: this package's BM25 terms, or those of another encoder.

Sparse vectors of two encoders mean different things by the same index, so a collection has those of one only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from t1_vectorstore.collection.bm25 import document_terms, query_terms
from t1_vectorstore.engines import Schema, Sparse
from t1_vectorstore.types import SparseEncoder


class WordEncoder(Protocol):
    """Encodes the words of one text; ``None`` if it has none, since engines treat an empty vector differently."""

    def document(self, text: str) -> Sparse | None:
        """Return the sparse vector of a stored text."""
        ...

    def query(self, text: str) -> Sparse | None:
        """Return the sparse vector to search for."""
        ...


class Bm25Words:
    """This package's BM25 terms."""

    def document(self, text: str) -> Sparse | None:
        """See ``document_terms``."""
        return document_terms(text)

    def query(self, text: str) -> Sparse | None:
        """See ``query_terms``."""
        return query_terms(text)


class OtherWords:
    """The sparse vectors of an encoder of the caller."""

    def __init__(self, encoder: SparseEncoder) -> None:
        self._encoder = encoder

    def document(self, text: str) -> Sparse | None:
        """Encode a stored text.

        Raises:
            ValueError: The encoder's answer is not a sparse vector.
        """
        [vector] = self._encoder.embed_documents([text])
        return _to_sparse(vector)

    def query(self, text: str) -> Sparse | None:
        """Encode a query.

        Raises:
            ValueError: The encoder's answer is not a sparse vector.
        """
        return _to_sparse(self._encoder.embed_query(text))


def word_encoder(schema: Schema, given: SparseEncoder | str | None) -> WordEncoder | None:
    """Return the encoder of a collection's words; ``None`` if it stores none, or if theirs was not given."""
    if not schema.hybrid:
        return None
    if schema.words == "bm25":
        return Bm25Words()
    return None if given is None or isinstance(given, str) else OtherWords(given)


def _to_sparse(vector: Any) -> Sparse | None:  # noqa: ANN401 - of any package
    try:
        indices: Sequence[int] = [int(index) for index in vector.indices]
        values: Sequence[float] = [float(value) for value in vector.values]
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"the sparse encoder returned {type(vector).__name__}, not an object with indices and values: {error}"
        ) from error
    if len(indices) != len(values) or len(set(indices)) != len(indices) or any(index < 0 for index in indices):
        raise ValueError("the sparse encoder returned indices that are negative or repeated, or not one for each value")
    return Sparse(indices, values) if indices else None
