"""Texts as the terms that BM25 weighs: how often each occurs in a text of this length; the engine knows how rare it is.

Words are lower-cased, stripped of accents and stemmed, and stop words left out, as is right for English and harmless
elsewhere; numbers stay. Han and Hiragana are written without spaces, so each character is a term. Nothing is learnt and
nothing is downloaded; the same text has the same terms everywhere. The words' places are hashed into 32 bits.
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
    """The terms of a stored text; ``None`` for a text without words, which engines would count differently if empty."""
    return _terms(_encoder().embed_document, text)


def query_terms(text: str) -> Sparse | None:
    """The terms to look for, each once; ``None`` where there are none."""
    return _terms(_encoder().embed_query, text)


def _terms(encode: Callable[[str], SparseVector], text: str) -> Sparse | None:
    found = encode(_UNSPACED.sub(r" \1 ", text))
    return Sparse(found.indices, found.values) if found.indices else None


@cache
def _encoder() -> Bm25:
    """The library's own encoder: its multilingual tokenizer would lose numbers, its default one keeps accents."""
    from qdrant_edge import Bm25, Bm25Config

    return Bm25(Bm25Config(ascii_folding=True))
