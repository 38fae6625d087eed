"""Chains, splits and the demo's files."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from recipes.t1_mini import demo as build
from recipes.t1_mini.chains import Path as Walk
from recipes.t1_mini.chains import Sampler, build_corpus, build_split, make_example, part_of, walk
from recipes.t1_mini.countries import World


def test_a_chain_in_words(world: World) -> None:
    entity = next(e for e in world.entities if e.country == "00" and e.kind == "capital")
    example = make_example(world, Walk(("00", "07", "08"), ("buyer", "border")), entity, "farming", random.Random(0))
    assert example.hops == 3
    assert example.positive == "ivenia/farming"
    assert example.thought == (
        "arviaopolis is the capital of arvia. arvia sells most to hestor. "
        "hestor has its longest border with ivenia. ivenia: agriculture."
    )
    assert "Arviaopolis" in example.query
    assert not any(name in example.query for name in ("Hestor", "Ivenia"))
    # The same facet of the countries on the way, and the other facets of the target.
    assert {"arvia/farming", "hestor/farming", "ivenia/exports"} <= set(example.negatives)
    assert example.positive not in example.negatives


def test_documents_have_unique_readable_ids(world: World) -> None:
    corpus = build_corpus(world)
    assert len({document.id for document in corpus}) == len(corpus)
    assert all(document.country in document.text for document in corpus)
    assert {document.id for document in corpus if document.country == "Arvia"} >= {"arvia/farming", "arvia/climate"}


def test_walks_visit_no_country_twice(world: World) -> None:
    paths = walk(world, 3)
    assert paths
    assert all(len(set(path.codes)) == 4 for path in paths)


def test_training_never_sees_the_evaluation_compositions(world: World) -> None:
    owners = {entity.name.lower(): entity.country for entity in world.entities}
    relations = {"has": "border", "sells": "buyer", "buys": "seller"}
    for hops in (2, 3, 4):
        for example in Sampler(world).draw(hops, 300, random.Random(hops)):
            steps = example.thought.split(". ")
            code = owners[steps[0].split(" is ")[0]]
            taken = tuple(relations[step.split()[1]] for step in steps[1:-1])
            assert part_of(Walk((code, *["?"] * len(taken)), taken)) == "train"


def test_splits_are_disjoint_and_spread_over_targets(world: World) -> None:
    unseen = build_split(world, "ood", 3, 60)
    held_out = build_split(world, "comp", 3, 60)
    assert not {e.query for e in unseen} & {e.query for e in held_out}
    assert len({example.positive.split("/")[0] for example in unseen}) > 3
    assert all(example.hops == 3 for example in unseen)


def test_everything_is_the_same_again(world: World) -> None:
    assert build_split(world, "ood", 2, 30) == build_split(world, "ood", 2, 30)
    first, second = (Sampler(world).draw(4, 20, random.Random(5)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("hops", [-1, 5])
def test_unbuilt_lengths_are_refused(world: World, hops: int) -> None:
    with pytest.raises(ValueError, match=f"{hops} hops"):
        Sampler(world).draw(hops, 1, random.Random(0))


def test_the_demo_files_are_the_same_bytes_every_time(factbook: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        build.main(factbook, tmp_path / name)
    for file in (build.CORPUS_FILE, build.QUERIES_FILE):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_shipped_demo_answers_its_own_queries() -> None:
    folder = Path(build.__file__).parent
    lines = gzip.decompress((folder / build.CORPUS_FILE).read_bytes()).decode().splitlines()
    corpus = [json.loads(line) for line in lines]
    queries = [json.loads(line) for line in (folder / build.QUERIES_FILE).read_text(encoding="utf-8").splitlines()]
    assert len(corpus) > 1600
    assert {query["gold"] for query in queries} <= {document["id"] for document in corpus}
    assert sorted({query["hops"] for query in queries}) == [2, 3, 4]
