"""The other bundled model: general English by word meanings, and thoughts about two kinds of facts."""

from __future__ import annotations

import pytest

from t1_vectorstore.checkpoint import BUNDLED
from t1_vectorstore.embedder import T1Embedder

FOLDER = BUNDLED / "t1-mini-wide"
PAIRS = {
    "how do I reset my password": "To change a forgotten login secret, open account settings.",
    "what causes rain": "Water vapour condenses into clouds and falls as drops.",
    "currency of Japan": "The yen is the money used in Tokyo.",
    "a sickness passed on by mosquitoes": "Malaria is a parasitic infection carried by Anopheles.",
    "how did the company do last quarter": "Revenue grew by twelve percent over the three months.",
    "small pets": "A cat is a domesticated carnivore that many people keep at home.",
    "cooking pasta": "Boil the noodles in salted water for nine minutes.",
    "who painted it": "The artist finished the portrait in oil on canvas.",
}


@pytest.fixture(scope="module")
def embedder() -> T1Embedder:
    return T1Embedder.load("t1-mini-wide")


def test_it_is_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.glob("*.safetensors")) < 32e6
    assert (FOLDER / "MODEL_CARD.md").is_file()


def test_it_finds_sentences_that_share_no_word_with_the_query(embedder: T1Embedder) -> None:
    documents = embedder.embed_documents(list(PAIRS.values())).vectors
    found = [
        int((documents @ embedding.vector).argmax()) for embedding in embedder.embed_queries(list(PAIRS), think=False)
    ]
    assert sum(row == place for place, row in enumerate(found)) >= 7


@pytest.mark.parametrize(
    ("query", "thought"),
    [
        (
            "what can be mined in the neighbour sharing the longest frontier with the nation ruled from Mbabane",
            "mbabane is the capital of eswatini. eswatini has its longest border with south africa. "
            "south africa: natural resources.",
        ),
        (
            "how do children catch the ailment marked by loss of appetite and muscle pains",
            "loss of appetite and muscle pains are signs of histoplasmosis. histoplasmosis: transmission.",
        ),
    ],
    ids=["countries", "diseases"],
)
def test_it_thinks_about_countries_and_diseases(embedder: T1Embedder, query: str, thought: str) -> None:
    [embedding] = embedder.embed_queries([query])
    assert [(t.text, t.stop) for t in embedding.thoughts] == [(thought, "emb_token")]
