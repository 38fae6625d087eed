"""Searches over HTTP give what ``T1VectorStore.search`` gives."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from fastapi.testclient import TestClient

from t1_vectorstore import T1Embedder, T1VectorStore
from t1_vectorstore.options import SearchOptions
from t1_vectorstore.server.answers import SearchAnswer
from t1_vectorstore.server.map import project, thought_steps
from t1_vectorstore.server.requests import SearchBody
from tests.service.conftest import DOCUMENTS, Serve


def events(text: str) -> list[tuple[str, Any]]:
    """Parse server-sent events."""
    parsed = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        parsed.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return parsed


def without_timings(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "timings"}


def test_a_search_is_that_of_the_library(mini: T1Embedder, serve: Serve, tmp_path: Any) -> None:
    with T1VectorStore.open(tmp_path / "mini", mini, hybrid=True) as store:
        store.add(DOCUMENTS)
        client = serve({"capitals": store})
        options = {"limit": 2, "budget": 20, "filter": {"year": {"lt": 1900}}, "vector_weight": 0.7}
        answer = client.post("/v1/search", json={"query": "capital of Norway", **options}).json()
        SearchAnswer.model_validate(answer)
        expected = json.loads(json.dumps(asdict(store.search("capital of Norway", **options))))
        assert (answer.pop("index"), answer.pop("warnings")) == ("capitals", [])
        assert without_timings(answer) == without_timings(expected)
        assert answer["timings"]["total"] == pytest.approx(answer["timings"]["embed"] + answer["timings"]["search"])
        assert answer["thoughts"][0]["tokens"] <= 20

        streamed = events(client.post("/v1/search/stream", json={"query": "capital of Norway", **options}).text)
        assert [name for name, _ in streamed] == ["thought"] * (len(streamed) - 1) + ["result"]
        result = streamed[-1][1]
        assert "".join(data["text"] for _, data in streamed[:-1]) == result["thoughts"][0]["text"]
        assert [hit["id"] for hit in result["hits"]] == [hit["id"] for hit in answer["hits"]]


def test_every_option_of_a_search_is_a_field_of_the_request() -> None:
    assert set(SearchOptions.model_fields) <= set(SearchBody.model_fields)


def test_a_map_has_the_query_with_and_without_its_thought_and_the_hits(client: TestClient) -> None:
    answer = client.post("/v1/search", json={"query": "capital of Norway", "map": True, "limit": 2}).json()
    kinds = [point["kind"] for point in answer["map"]]
    assert kinds == ["query", "query_without_thinking", "thought", "hit", "hit"]
    assert [point["hit"] for point in answer["map"][3:]] == [hit["id"] for hit in answer["hits"]]
    assert max(max(abs(point["x"]), abs(point["y"])) for point in answer["map"]) == pytest.approx(1)
    without = client.post("/v1/search", json={"query": "capital", "map": True, "think": False}).json()
    assert [point["kind"] for point in without["map"]] == ["query", "hit", "hit", "hit"]


def test_a_map_of_a_model_that_thinks_only_when_asked_to(serve: Serve) -> None:
    asked = T1Embedder.load(truncation="allow", overrides={"think_by_default": False})
    with T1VectorStore.open(":memory:", asked) as store:
        store.add(DOCUMENTS)
        body = {"query": "capital of Norway", "map": True, "think": True, "budget": 20}
        answer = serve({"capitals": store}).post("/v1/search", json=body).json()
    assert {"query_without_thinking", "thought", "hit"} <= {point["kind"] for point in answer["map"]}


def test_steps_of_a_thought_end_with_the_whole_thought() -> None:
    thought = "First. Second; third! Fourth"
    steps = thought_steps(thought)
    assert [step for step, _ in steps] == ["First.", "Second;", "third!", "Fourth"]
    assert steps[-1][1] == thought
    assert len(thought_steps(". ".join(["word"] * 100))) <= 12


def test_a_projection_keeps_distances_of_points_in_a_plane() -> None:
    import numpy as np

    plane = np.array([[0, 0], [1, 0], [0, 2], [3, 1]], np.float32)
    turned = plane @ np.array([[0.6, 0.8, 0, 0], [-0.8, 0.6, 0, 0]], np.float32)
    found = project(turned)
    scale = np.linalg.norm(found[3] - found[0]) / np.linalg.norm(plane[3] - plane[0])
    assert np.linalg.norm(found[2] - found[1]) == pytest.approx(scale * np.linalg.norm(plane[2] - plane[1]), rel=1e-4)
    assert project(turned[:1]).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"query": "x", "limit": 0}, "limit must be greater than or equal to 1, got 0"),
        ({"query": "x", "limt": 3}, "did you mean 'limit'"),
        ({"query": "x", "limit": 900, "offset": 200}, "limit + offset = 1100"),
        ({"query": "x", "samples": 17}, "samples=17"),
        ({"query": " "}, "only white space"),
        ({"query": "\ud800"}, "lone surrogate"),
        ({"query": 3}, "query must be a valid string, got 3"),
        ({"query": "x", "index": "../capitals"}, "no index '../capitals'; there are 'capitals'"),
        ({"query": "x", "filter": {"year": {"near": 3}}}, "near"),
        ({"query": "x", "hybrid": True}, "stores no words"),
        ({"query": "x", "task": "none"}, "no task 'none'"),
        ({"query": "x", "budget": True}, "budget must be a valid integer, got True"),
        ({"query": "x", "think": False, "budget": 3}, "thinking is off"),
        ({"query": "x", "consistency": "some"}, "consistency"),
        ({}, "query is required"),
        ([], "must be a JSON object"),
    ],
)
@pytest.mark.parametrize("route", ["/v1/search", "/v1/search/stream"])
def test_wrong_searches_are_refused(client: TestClient, route: str, body: Any, said: str) -> None:
    answer = client.post(route, content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code == (404 if "no index" in said else 400)
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(client: TestClient, number: str) -> None:
    for field in ("score_threshold", "budget", "diversity"):
        body = f'{{"query": "x", "{field}": {number}}}'
        answer = client.post("/v1/search", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400, answer.text


@pytest.mark.filterwarnings("ignore::t1_vectorstore.errors.FilterWarning")
@pytest.mark.parametrize("route", ["/v1/search", "/v1/search/stream"])
def test_a_filter_that_finds_nothing_is_explained(client: TestClient, route: str) -> None:
    def warnings(**filter: object) -> list[str]:
        answer = client.post(route, json={"query": "Berlin", "filter": filter})
        found = answer.json() if route == "/v1/search" else json.loads(answer.text.rpartition("data: ")[2])
        return list(found["warnings"])

    assert warnings(land="Germany") == ["no document has the metadata field 'land'"]
    for _ in range(2):  # each time, unlike Python's warnings
        [sentence] = warnings(country={"gte": 5})
        assert "compares 'country' with numbers" in sentence
    assert warnings(country="Germany") == warnings() == []


@pytest.mark.parametrize("route", ["/v1/search", "/v1/documents/count", "/v1/documents/list", "/v1/documents/delete"])
def test_a_wrong_filter_is_named(client: TestClient, route: str) -> None:
    query = {"query": "x"} if route == "/v1/search" else {}
    answer = client.post(route, json={**query, "filter": {"year": {"near": 5}}})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "filter")
    assert "no operator 'near'" in answer.json()["error"]["message"]
