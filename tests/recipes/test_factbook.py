"""Reading facts from the Factbook: cleaning, links, and the errors of malformed files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recipes.t1_mini.countries import Entity, World, read_world
from recipes.t1_mini.wording import DOCUMENTS, QUESTIONS
from tests.recipes import small_factbook

SMALL_WORDS = {"what", "which", "does", "do", "the", "of", "a", "to", "is", "in", "on", "are", "and", "or", "has", "as"}


def test_facets_are_cleaned(world: World) -> None:
    assert len(world.countries) == len(small_factbook.NAMES)
    arvia = world.countries["00"]
    assert arvia.name == "Arvia"
    assert arvia.facets["farming"] == ("milk", "wheat", "maize")
    assert arvia.facets["climate"] == ("mild & wet",)
    assert arvia.facets["languages"] == ("Arviaish", "English")


def test_entities_identify_a_country(world: World) -> None:
    assert [entity for entity in world.entities if entity.country == "00"] == [
        Entity("capital", "Arviaopolis", "00"),
        Entity("peak", "Mount Aivra", "00"),
        Entity("city", "Port Arvia", "00"),
    ]


def test_links_lead_to_the_country_with_the_largest_number(world: World) -> None:
    assert world.links["00", "border"] == "01"
    assert world.links["00", "buyer"] == "07"
    assert world.links["00", "seller"] == "11"


def test_ambiguous_names_and_unknown_partners_are_dropped(tmp_path: Path) -> None:
    lines = small_factbook.records()
    for line in lines[:2]:
        line["data"]["Geography"]["Elevation"]["highest point"]["text"] = "Shared Peak 10 m"
    lines[2]["data"]["Government"]["Capital"]["name"]["text"] = "Arvia"
    lines[3]["data"]["Economy"]["Exports - partners"]["text"] = "Atlantis 90%, Arvia 10%"
    world = read_world(small_factbook.write(tmp_path / "countries.jsonl", lines))
    assert not {"Shared Peak", "Arvia"} & {entity.name for entity in world.entities}
    assert ("03", "buyer") not in world.links


def test_missing_facts_are_left_out(tmp_path: Path) -> None:
    lines = small_factbook.records()
    del lines[4]["data"]["Geography"]["Elevation"], lines[4]["data"]["Economy"]["Imports - partners"]
    lines[5]["data"] = {"Government": lines[5]["data"]["Government"]}
    world = read_world(small_factbook.write(tmp_path / "countries.jsonl", lines))
    assert ("04", "seller") not in world.links
    assert "05" not in world.countries


def test_the_error_of_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_world(tmp_path / "nowhere.jsonl.gz")


@pytest.mark.parametrize("line", ['{"code": "xx"', '["code"]', '{"code": "xx", "region": "here"}'])
def test_the_error_of_a_malformed_line_names_it(tmp_path: Path, line: str) -> None:
    path = small_factbook.write(tmp_path / "countries.jsonl")
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(f"{path}:{len(small_factbook.records()) + 1}:")):
        read_world(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no records"):
        read_world(small_factbook.write(tmp_path / "countries.jsonl", []))


@pytest.mark.parametrize("facet", sorted(DOCUMENTS))
def test_questions_share_no_words_with_documents(facet: str) -> None:
    asked, written = (
        {word for text in texts for word in re.findall(r"[a-z]+", re.sub(r"\{.\}", "", text.lower()))} - SMALL_WORDS
        for texts in (QUESTIONS[facet], DOCUMENTS[facet])
    )
    assert not asked & written
