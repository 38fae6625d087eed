"""``explain=True``: effects of sentences, ranks without thinking, and best sentences, with the bundled model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from t1_vectorstore import Document, SearchResult, T1Embedder, T1VectorStore
from t1_vectorstore.sentences import split_sentences
from t1_vectorstore.types import Hit

QUERY = "what does the country governed from Oslo export"
DOCUMENTS = [
    Document("Leading exports of Norway: oil, gas, fish.", id="norway", metadata={"country": "Norway"}),
    Document("Leading exports of France: wine, cars. Farms of France yield wheat.", id="france"),
    Document("The climate of Norway is cold. Fish live in its sea. Oslo is its capital.", id="climate"),
    *(Document(f"Leading exports of land {number}: tin, salt.", id=f"land{number}") for number in range(60)),
]


@pytest.fixture(scope="module")
def mini() -> T1Embedder:
    return T1Embedder.load(threads=1, dtype="float32")


@pytest.fixture(
    scope="module",
    params=[pytest.param(False, id="dense", marks=pytest.mark.thorough), pytest.param(True, id="hybrid")],
)
def store(request: pytest.FixtureRequest, mini: T1Embedder) -> Iterator[T1VectorStore]:
    with T1VectorStore.open(":memory:", mini, hybrid=request.param) as store:
        store.add(DOCUMENTS)
        yield store


def explained(store: T1VectorStore, query: str = QUERY, **options: Any) -> SearchResult:
    result = store.search(query, limit=3, explain=True, **options)
    plain = store.search(query, limit=3, **options)
    assert [(hit.id, hit.score) for hit in result.hits] == [(hit.id, hit.score) for hit in plain.hits]
    assert all(hit.explanation is None for hit in plain.hits)
    assert json.loads(json.dumps(asdict(result)["hits"]))[0]["explanation"] == result.hits[0].explanation.to_json()
    return result


def stored_vector(store: T1VectorStore, hit: Hit) -> Any:
    [point] = store.collection.read_points([hit.id])
    return point.vector


def test_effects_are_the_scores_that_a_sentence_adds(store: T1VectorStore) -> None:
    result = explained(store)
    [thought] = result.thoughts
    spans = split_sentences(thought.text)
    assert len(spans) > 1
    for hit in result.hits:
        assert hit.explanation is not None
        effects = hit.explanation.sentences
        assert [(each.start, each.end, each.source, each.thought) for each in effects] == [
            (*span, "thought", 0) for span in spans
        ]
        for (start, end), each in zip(spans, effects, strict=True):
            assert each.text == thought.text[start:end]
            rest = f"{thought.text[:start].strip()} {thought.text[end:].strip()}".strip()
            [without] = store.embedder.embed_queries([QUERY], thoughts=[rest])
            assert each.effect == pytest.approx(hit.score - without.vector @ stored_vector(store, hit), abs=1e-4)


def test_ranks_and_scores_without_thinking(store: T1VectorStore) -> None:
    result = explained(store)
    everything = [hit.id for hit in store.search(QUERY, think=False, limit=50, candidates=50).hits]
    for hit in result.hits:
        assert hit.explanation is not None
        rank = hit.explanation.rank_without_thinking
        assert rank == (everything.index(hit.id) + 1 if hit.id in everything else None)
        vector = store.embedder.embed_query(QUERY, think=False).vector
        assert hit.explanation.score_without_thinking == pytest.approx(vector @ stored_vector(store, hit), abs=1e-4)


def test_a_rank_beyond_the_candidates_is_not_known(store: T1VectorStore) -> None:
    hits = store.search(QUERY, limit=60, offset=1, candidates=60, explain=True).hits
    few = {hit.id: hit for hit in store.search(QUERY, limit=1, candidates=1, explain=True, offset=40).hits}
    [explanation] = [hit.explanation for hit in few.values()]
    assert explanation is not None
    assert explanation.rank_without_thinking is None or explanation.rank_without_thinking == 1
    assert any(hit.explanation and hit.explanation.rank_without_thinking for hit in hits)


def test_the_best_sentence_of_a_passage(store: T1VectorStore) -> None:
    hits = {hit.id: hit for hit in store.search(QUERY, limit=63, explain=True).hits}
    assert hits["norway"].explanation is not None
    assert hits["norway"].explanation.passage is None  # a single sentence
    climate = hits["climate"]
    assert climate.explanation is not None
    passage = climate.explanation.passage
    assert passage is not None
    spans = split_sentences(climate.text)
    vector = store.embedder.embed_query(QUERY).vector
    scores = store.embedder.embed_documents([climate.text[start:end] for start, end in spans]).vectors @ vector
    best = int(np.argmax(scores))
    assert (passage.start, passage.end) == spans[best]
    assert passage.text == climate.text[passage.start : passage.end]
    assert passage.score == pytest.approx(scores[best], abs=1e-4)


def test_without_thinking_only_the_query_has_effects(store: T1VectorStore) -> None:
    query = "Norway is cold. what does it export"
    for hit_rank, hit in enumerate(explained(store, query, think=False).hits, 1):
        assert hit.explanation is not None
        assert hit.explanation.rank_without_thinking == hit_rank
        assert hit.explanation.score_without_thinking == pytest.approx(hit.score, abs=1e-5)
        assert [each.source for each in hit.explanation.sentences] == ["query", "query"]
    [first, *_] = explained(store, think=False).hits
    assert first.explanation is not None
    assert first.explanation.sentences == ()  # a query of one sentence


def test_sentences_of_query_and_thought_are_in_order(store: T1VectorStore) -> None:
    hit = explained(store, "Norway is cold. what does it export").hits[0]
    assert hit.explanation is not None
    sources = [each.source for each in hit.explanation.sentences]
    assert sources[:2] == ["query", "query"]
    assert set(sources[2:]) == {"thought"}


@pytest.mark.parametrize("budget", [0, 1])
def test_thoughts_without_and_with_one_sentence(store: T1VectorStore, budget: int) -> None:
    result = explained(store, budget=budget)
    assert result.hits[0].explanation is not None
    effects = result.hits[0].explanation.sentences
    assert len(effects) == budget
    if effects:  # without its only sentence, the thought is empty
        [empty] = store.embedder.embed_queries([QUERY], thoughts=[""])
        without = empty.vector @ stored_vector(store, result.hits[0])
        assert effects[0].effect == pytest.approx(result.hits[0].score - without, abs=1e-4)


def test_an_empty_thought_is_that_which_the_model_closes_at_once(mini: T1Embedder) -> None:
    own = mini.embed_query(QUERY, budget=0)
    [given] = mini.embed_queries([QUERY], thoughts=[""])
    assert own.thoughts[0].text == given.thoughts[0].text == ""
    assert given.vector == pytest.approx(own.vector, abs=1e-5)


def test_several_thoughts_are_averaged(store: T1VectorStore) -> None:
    sampling = T1Embedder.load(threads=1, dtype="float32", overrides={"decoding": {"temperature": 0.7, "seed": 3}})
    result = T1VectorStore(sampling, store.collection).search(QUERY, limit=2, samples=2, explain=True)
    hit = result.hits[0]
    assert hit.explanation is not None
    effects = hit.explanation.sentences
    assert {each.thought for each in effects} == {0, 1}
    last = effects[-1]
    texts = [thought.text for thought in result.thoughts]
    rest = f"{texts[1][: last.start].strip()} {texts[1][last.end :].strip()}".strip()
    vectors = [each.vector for each in sampling.embed_queries([QUERY] * 2, thoughts=[texts[0], rest])]
    mean = np.mean(vectors, axis=0)
    score = mean / np.linalg.norm(mean) @ stored_vector(store, hit)
    assert last.effect == pytest.approx(hit.score - score, abs=1e-4)


def test_fused_searches_are_explained_by_the_mean(store: T1VectorStore) -> None:
    sampling = T1Embedder.load(threads=1, dtype="float32", overrides={"decoding": {"temperature": 0.7, "seed": 3}})
    sampled = T1VectorStore(sampling, store.collection)
    options: dict[str, Any] = {"limit": 63, "samples": 2, "explain": True}
    fused, mean = (
        {hit.id: hit for hit in sampled.search(QUERY, combine=combine, **options).hits} for combine in ("rrf", "mean")
    )
    assert fused["norway"].explanation == mean["norway"].explanation is not None


def test_groups_pages_filters_and_thresholds(store: T1VectorStore) -> None:
    explained(store, group=True)
    explained(store, diversity=0.3)
    [hit] = explained(store, filter={"country": "Norway"}, score_threshold=0.0).hits
    assert hit.explanation is not None
    assert hit.explanation.rank_without_thinking == 1
    second = explained(store, offset=1, think=False).hits[0]
    assert second.explanation is not None
    assert second.explanation.rank_without_thinking == 2
    assert store.search(QUERY, filter={"country": "Atlantis"}, explain=True).hits == ()


async def test_streams_and_asynchronous_searches_explain_alike(store: T1VectorStore) -> None:
    hits = store.search(QUERY, explain=True, limit=2).hits
    assert (await store.asearch(QUERY, explain=True, limit=2)).hits == hits
    *_, streamed = store.stream(QUERY, explain=True, limit=2)
    assert isinstance(streamed, SearchResult)
    assert streamed.hits == hits
    items = [item async for item in store.astream(QUERY, explain=True, limit=2)]
    assert isinstance(items[-1], SearchResult)
    assert items[-1].hits == hits
