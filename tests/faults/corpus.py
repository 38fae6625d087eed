"""Two versions of a random corpus, with all the changes that a load has to handle."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from t1_vectorstore.types import Document

CHUNK = 100
"""Maximum number of characters in a chunk; long documents have up to eight chunks."""

_WORDS = [
    "ash",
    "birch",
    "cedar",
    "elm",
    "fir",
    "gorse",
    "hazel",
    "ivy",
    "juniper",
    "larch",
    "maple",
    "oak",
    "pine",
    "rowan",
    "sorrel",
    "thyme",
    "willow",
    "yew",
]


@dataclass(frozen=True)
class Corpus:
    """Two versions of a corpus.

    Attributes:
        before: The documents loaded first.
        after: The same with documents changed, grown, shrunk, annotated, added and left out.
    """

    before: tuple[Document, ...]
    after: tuple[Document, ...]


def draw(seed: int, documents: int = 75) -> Corpus:
    """Return the corpus of a seed."""
    random = Random(seed)
    before = [_document(random, number) for number in range(documents)]
    after = [later for document in before if (later := _later(random, document)) is not None]
    after += [_document(random, number) for number in range(documents, documents + documents // 5)]
    random.shuffle(after)
    return Corpus(tuple(before), tuple(after))


def _document(random: Random, number: int) -> Document:
    return Document(_text(random), f"document {number}", {"number": number, "kind": random.choice(_WORDS)})


def _later(random: Random, document: Document) -> Document | None:
    fate = random.random()
    if fate < 0.1:
        return None
    if fate < 0.4:
        return Document(_text(random), document.id, document.metadata)
    if fate < 0.5:
        return Document(document.text, document.id, {**document.metadata, "kind": "annotated"})
    return document


def _text(random: Random) -> str:
    words = random.choices(_WORDS, k=random.choice([3, 5, 8, 12, 40, 120]))
    return " ".join(words)
