"""BM25 terms of texts: the weight of each term in a text of this length. The engine adds how rare a term is.

Words are lower-cased, stripped of accents and stemmed, and stop words are left out, by rules for English that do no
harm elsewhere; numbers stay. Han and Hiragana are written without spaces, so each character is a term. Terms are hashed
to 32 bits. Nothing is learned or downloaded, and the same text has the same terms everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from t1_vectorstore.engines import Sparse

if TYPE_CHECKING:
    from qdrant_edge import Bm25, SparseVector

_UNSPACED = re.compile(r"([\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")


def document_terms(text: str) -> Sparse | None:
    """Return the terms of a stored text; ``None`` without words, since engines treat an empty vector differently."""
    return _terms(_encoder().embed_document, text)


def query_terms(text: str) -> Sparse | None:
    """Return the terms to search for, each once; ``None`` if there are none."""
    return _terms(_encoder().embed_query, text)


def _terms(encode: Callable[[str], SparseVector], text: str) -> Sparse | None:
    found = encode(_UNSPACED.sub(r" \1 ", text))
    return Sparse(found.indices, found.values) if found.indices else None


@cache
def _encoder() -> Bm25:
    """The library's multilingual tokenizer would lose numbers; its default one keeps accents, so they are folded."""
    from qdrant_edge import Bm25, Bm25Config

    return Bm25(Bm25Config(ascii_folding=True))
