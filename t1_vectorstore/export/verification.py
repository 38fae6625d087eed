"""Compare an exported model with its original on a sample of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from t1_vectorstore.embedding.cosines import Cosines
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.types import QueryEmbedding, Vectors

DOCUMENTS = (
    "Norway exports crude petroleum, natural gas and fish, most of it to the United Kingdom and Germany.",
    "The Amazon begins in the Andes of Peru and flows east through Brazil into the Atlantic Ocean.",
    "Llamas are kept for their wool, and carry loads in the mountains of South America.",
    "Photosynthesis turns carbon dioxide and water into sugar, with the energy of light.",
    "A key-value cache stores what attention computed for earlier tokens, so that each step reads only one new token.",
    "Mount Kilimanjaro, 5,895 m, is the highest mountain of Africa.",
    "def mean(values):\n    return sum(values) / len(values)",
    "Metformin lowers the glucose that the liver releases, and is the first drug given for type 2 diabetes.",
    "In 1969, two people walked on the moon for the first time.",
    "Les lamas vivent dans les Andes; ils sont élevés pour leur laine.",
    "Die Donau fließt durch zehn Länder und mündet ins Schwarze Meer.",
    "Interest that is added to a deposit earns interest itself in the following years.",
    "Tin melts at 232 °C; iron melts at 1,538 °C.",
    "The plaintiff may appeal within thirty days after the judgment was served.",
    "Yeast",
    "The longest land border of Chad is the one with Sudan. Its capital is N'Djamena, and its main export is crude "
    "petroleum. Cotton, cattle and gum arabic are exported as well. Most people live from farming and herding.",
)
"""Texts about different subjects, short and longer."""
QUERIES = (
    "Which animals carry loads where the Amazon begins?",
    "main export of the country with the longest border with Chad",
    "Why does bread dough rise in the warm?",
    "What lowers blood sugar in diabetes?",
    "How is text generation made faster by remembering earlier work?",
    "the highest point of Africa",
    "How long do I have to appeal?",
    "Which metal melts first, iron or tin?",
)


@dataclass(frozen=True)
class Comparison:
    """How an exported model compares with its original.

    Attributes:
        documents: Vectors of documents.
        queries: Vectors of queries without a thought, or with the original's thoughts given to both models.
        own_thoughts: Vectors of queries with the thoughts that each model generates; ``None`` if it does not think.
        thoughts: Number of thoughts that each model generated.
        same_thoughts: Number of thoughts that are the same.
        tokens: Number of tokens in the original's thoughts.
        changed_tokens: Number of these that the export's thoughts do not have at the same place.
    """

    documents: Cosines
    queries: Cosines
    own_thoughts: Cosines | None = None
    thoughts: int = 0
    same_thoughts: int = 0
    tokens: int = 0
    changed_tokens: int = 0

    @property
    def least(self) -> float:
        """Smallest cosine of the same text in both models."""
        return min(self.documents.least, self.queries.least)


def compare(
    original: T1Embedder,
    exported: T1Embedder,
    *,
    budget: int,
    documents: Sequence[str] = DOCUMENTS,
    queries: Sequence[str] = QUERIES,
) -> Comparison:
    """Embed a sample with both models.

    Args:
        original: The original model.
        exported: The exported one.
        budget: Maximum length of a thought in tokens.
        documents: Sample of documents.
        queries: Sample of queries.
    """
    of_documents = Cosines.of(*(model.embed_documents(documents).vectors for model in (original, exported)))
    if not original.spec.thinks:
        plain = [_vectors(model.embed_queries(queries)) for model in (original, exported)]
        return Comparison(of_documents, Cosines.of(*plain))
    budget = min(budget, original.spec.decoding.max_tokens)
    own, theirs = (model.embed_queries(queries, think=True, budget=budget) for model in (original, exported))
    given = [embedding.thoughts[0].text or embedding.query for embedding in own]  # a given thought may not be empty
    with_given = [_vectors(model.embed_queries(queries, thoughts=given)) for model in (original, exported)]
    pairs = [
        (original.token_ids(a.thoughts[0].text), original.token_ids(b.thoughts[0].text))
        for a, b in zip(own, theirs, strict=True)
    ]
    return Comparison(
        documents=of_documents,
        queries=Cosines.of(*with_given),
        own_thoughts=Cosines.of(_vectors(own), _vectors(theirs)),
        thoughts=len(pairs),
        same_thoughts=sum(a == b for a, b in pairs),
        tokens=sum(len(a) for a, _ in pairs),
        changed_tokens=sum(x is not None and x != y for a, b in pairs for x, y in zip_longest(a, b)),
    )


def _vectors(embeddings: Sequence[QueryEmbedding]) -> Vectors:
    return np.stack([embedding.vector for embedding in embeddings])
