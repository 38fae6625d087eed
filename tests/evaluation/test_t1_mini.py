"""The bundled model does what its card states, on the demo and beyond."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from t1_vectorstore.checkpoints.checkpoint import BUNDLED
from t1_vectorstore.cli.demo import CORPUS, QUERIES
from t1_vectorstore.embedding.embedder import T1Embedder

FOLDER = BUNDLED / "t1-mini"
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
    return T1Embedder.load("t1-mini")


@pytest.fixture(scope="module")
def queries() -> list[dict[str, Any]]:
    return [json.loads(line) for line in QUERIES.read_text(encoding="utf-8").splitlines()]


def test_model_is_small_and_loads_in_transformers() -> None:
    assert sum(file.stat().st_size for file in FOLDER.glob("*.safetensors")) < 16e6
    model = AutoModelForCausalLM.from_pretrained(FOLDER)
    assert model.config.model_type == "qwen3"
    assert AutoTokenizer.from_pretrained(FOLDER).eos_token_id == model.config.eos_token_id


def test_thinking_finds_the_answers_of_the_demo(embedder: T1Embedder, queries: list[dict[str, Any]]) -> None:
    lines = gzip.decompress(CORPUS.read_bytes()).decode().splitlines()
    corpus = [json.loads(line) for line in lines]
    documents = embedder.embed_documents([document["text"] for document in corpus]).vectors
    texts = [query["query"] for query in queries]
    hits = {}
    for think in (True, False):
        vectors = np.stack([embedding.vector for embedding in embedder.embed_queries(texts, think=think)])
        best = (vectors @ documents.T).argmax(axis=1)
        hits[think] = sum(corpus[row]["id"] == query["gold"] for row, query in zip(best, queries, strict=True))
    assert hits[True] >= 11
    assert hits[False] < hits[True]


def test_thoughts_have_one_step_for_each_hop_and_are_closed(
    embedder: T1Embedder, queries: list[dict[str, Any]]
) -> None:
    for query, embedding in zip(queries, embedder.embed_queries([q["query"] for q in queries]), strict=True):
        [thought] = embedding.thoughts
        assert thought.stop == "emb_token"
        assert thought.text.count(". ") == query["hops"]


def test_finds_sentences_that_share_no_word_with_the_query(embedder: T1Embedder) -> None:
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
def test_thoughts_about_countries_and_diseases(embedder: T1Embedder, query: str, thought: str) -> None:
    [embedding] = embedder.embed_queries([query])
    assert [(t.text, t.stop) for t in embedding.thoughts] == [(thought, "emb_token")]
