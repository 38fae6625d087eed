"""Chains, splits, and the files of the demo."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from recipes.t1_mini import demo
from recipes.t1_mini.chains import (
    ChainSampler,
    CountryPath,
    build_corpus,
    build_split,
    country_paths,
    make_chain,
    split_of,
)
from recipes.t1_mini.countries import World
from t1_vectorstore.cli.demo import CORPUS, QUERIES


def test_a_chain_has_a_query_a_thought_and_hard_negatives(world: World) -> None:
    entity = next(e for e in world.entities if e.country == "00" and e.kind == "capital")
    chain = make_chain(world, CountryPath(("00", "07", "08"), ("buyer", "border")), entity, "farming", random.Random(0))
    assert chain.hops == 3
    assert chain.positive == "ivenia/farming"
    assert chain.thought == (
        "arviaopolis is the capital of arvia. arvia sells most to hestor. "
        "hestor has its longest border with ivenia. ivenia: agriculture."
    )
    assert "Arviaopolis" in chain.query
    assert not any(name in chain.query for name in ("Hestor", "Ivenia"))
    # The same facet of the other countries, and the other facets of the last one.
    assert {"arvia/farming", "hestor/farming", "ivenia/exports"} <= set(chain.negatives)
    assert chain.positive not in chain.negatives


def test_documents_have_unique_ids_with_country_and_facet(world: World) -> None:
    corpus = build_corpus(world)
    assert len({document.id for document in corpus}) == len(corpus)
    assert all(document.country in document.text for document in corpus)
    assert {document.id for document in corpus if document.country == "Arvia"} >= {"arvia/farming", "arvia/climate"}


def test_paths_visit_no_country_twice(world: World) -> None:
    paths = country_paths(world, 3)
    assert paths
    assert all(len(set(path.codes)) == 4 for path in paths)


def test_training_chains_have_no_held_out_composition(world: World) -> None:
    owners = {entity.name.lower(): entity.country for entity in world.entities}
    relations = {"has": "border", "sells": "buyer", "buys": "seller"}
    for hops in (2, 3, 4):
        for example in ChainSampler(world).sample(hops, 300, random.Random(hops)):
            steps = example.thought.split(". ")
            code = owners[steps[0].split(" is ")[0]]
            taken = tuple(relations[step.split()[1]] for step in steps[1:-1])
            assert split_of(CountryPath((code, *["?"] * len(taken)), taken)) == "train"


def test_splits_are_disjoint_and_spread_over_targets(world: World) -> None:
    unseen = build_split(world, "ood", 3, 60)
    held_out = build_split(world, "comp", 3, 60)
    assert not {e.query for e in unseen} & {e.query for e in held_out}
    assert len({example.positive.split("/")[0] for example in unseen}) > 3
    assert all(example.hops == 3 for example in unseen)


def test_chains_are_deterministic(world: World) -> None:
    assert build_split(world, "ood", 2, 30) == build_split(world, "ood", 2, 30)
    first, second = (ChainSampler(world).sample(4, 20, random.Random(5)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("hops", [-1, 5])
def test_lengths_outside_the_limits_are_refused(world: World, hops: int) -> None:
    with pytest.raises(ValueError, match=f"{hops} hops"):
        ChainSampler(world).sample(hops, 1, random.Random(0))


def test_the_demo_files_have_the_same_bytes_every_time(factbook: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        demo.build(factbook, tmp_path / name)
    for file in (demo.CORPUS_FILE, demo.QUERIES_FILE):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_bundled_demo_corpus_has_the_documents_of_its_queries() -> None:
    lines = gzip.decompress(CORPUS.read_bytes()).decode().splitlines()
    corpus = [json.loads(line) for line in lines]
    queries = [json.loads(line) for line in QUERIES.read_text(encoding="utf-8").splitlines()]
    assert len(corpus) > 1600
    assert {query["gold"] for query in queries} <= {document["id"] for document in corpus}
    assert sorted({query["hops"] for query in queries}) == [2, 3, 4]
