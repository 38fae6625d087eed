"""The data generators of t1-small."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recipes.t1_mini import entailmentbank, wordnet
from recipes.t1_small import documentation, general, packages, questions
from recipes.t1_small.__main__ import app
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.evaluation.beir import read_beir
from t1_vectorstore.training import join_data
from t1_vectorstore.training.configs import Supervised, read_recipe
from t1_vectorstore.training.examples import read_data
from tests.recipes import small_factbook
from tests.recipes.conftest import PROSE, write


def test_the_thought_about_a_question_is_what_one_would_look_up(source: Path, tmp_path: Path) -> None:
    counts = questions.build_strategyqa(source, tmp_path / "out")
    assert counts["corpus"] == 400
    assert counts["train"] + counts["tune"] == 200
    assert counts["tune"] > 0
    examples = read_data(tmp_path / "out").examples
    assert {e.thought for e in examples} == {"How many children did Caesar have? Could it fit in a very large tent?"}
    assert not {e.query for e in examples} & {e.query for e in read_data(tmp_path / "out", "tune").examples}
    [dev] = read_data(tmp_path / "out", "dev").examples
    assert dev.thought is None
    assert len(read_beir(tmp_path / "out", "dev").queries) == 1


@pytest.mark.parametrize(("kind", "thought"), [("facts", "Fact number 0."), ("none", None)])
def test_other_thoughts_about_questions(source: Path, tmp_path: Path, kind: Any, thought: str | None) -> None:
    questions.build_strategyqa(source, tmp_path / "out", thoughts=kind)
    found = [e for split in ("train", "tune") for e in read_data(tmp_path / "out", split).examples]
    assert next(e.thought for e in found if e.query == "Is 0 odd?") == thought


def test_the_thought_about_cause_and_effect_is_the_law(source: Path, tmp_path: Path) -> None:
    questions.build_ecare(source, tmp_path / "out")
    data = read_data(tmp_path / "out", "dev")
    assert [e.thought for e in data.examples] == ["Fact number 0."]
    assert data.documents["f0"] == "Fact number 0."


def test_pubmedqa_has_nothing_to_train_on(source: Path, tmp_path: Path) -> None:
    assert questions.build_pubmedqa(source, tmp_path / "out") == {"corpus": 400, "dev": 1}
    assert not (tmp_path / "out" / "train.jsonl").exists()


def test_a_question_about_an_unknown_document_is_refused(source: Path, tmp_path: Path) -> None:
    write(source / "dev.jsonl.gz", [{"_id": "d", "text": "Which?", "positives": ["nowhere"]}])
    with pytest.raises(CorpusError, match=r"dev.jsonl.gz: d: the corpus has no document 'nowhere'"):
        questions.build_ecare(source, tmp_path / "out")
    write(source / "train.jsonl.gz", [{"_id": "t", "text": "Which?"}])
    with pytest.raises(CorpusError, match=r"train.jsonl.gz:1: no field 'positives'"):
        questions.build_ecare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_headings_are_queries_for_their_paragraphs(headings: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["general", str(headings), str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    found = {}
    for split in ("train", "dev"):
        data = read_data(tmp_path / "out", split)
        found |= {e.query: data.documents[e.positives[0]] for e in data.examples}
    assert found.keys() == {"legal system of Arvia", "carditis 0", "carditis 1", "carditis 2"}
    assert len(found["legal system of Arvia"]) <= general.MAX_CHARS
    assert found["carditis 0"].endswith("for a model. 0.")


@pytest.mark.parametrize("command", ["strategyqa", "ecare", "pubmedqa"])
def test_commands_print_what_they_wrote(source: Path, tmp_path: Path, command: str) -> None:
    result = CliRunner().invoke(app, [command, str(source), str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "400  corpus" in result.stdout
    again = CliRunner().invoke(app, [command, str(source), str(tmp_path / "out")])
    assert again.exit_code != 0
    assert "is not an empty folder" in " ".join(again.stderr.split())


def test_missing_sources_are_named(tmp_path: Path) -> None:
    small_factbook.write(tmp_path / "countries.jsonl.gz")
    with pytest.raises(CorpusError, match=r"facets.tsv.gz is missing"):
        general.build(tmp_path / "countries.jsonl.gz", tmp_path / "facets.tsv.gz", tmp_path / "out")
    with pytest.raises(CorpusError, match=r"nowhere is missing"):
        general.build(tmp_path / "nowhere", tmp_path / "facets.tsv.gz", tmp_path / "out")


def test_every_question_about_the_documentation_has_its_section(tmp_path: Path) -> None:
    counts = documentation.build(Path(__file__).parents[2] / "docs", tmp_path / "out")
    assert counts["dev"] == len(documentation.QUESTIONS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"has no section 'mcp#Reading and writing' with text"):
        documentation.build(tmp_path / "empty", tmp_path / "none")


def test_passages_of_packages_are_prose_with_the_heading_above_them(site_packages: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["packages", str(site_packages), str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    data = read_data(tmp_path / "out")
    assert {example.query for example in data.examples} == {"arvia: Usage"}
    texts = list(data.documents.values())
    assert any("maps of a river" in each for each in texts)
    assert f"{PROSE} {PROSE}" in texts
    assert not any("import" in each or "t1_vectorstore" in each or "Args" in each for each in texts)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="has no packages with descriptions"):
        packages.build(tmp_path / "empty", tmp_path / "none")


def test_the_recipes_of_t1_small_use_parts_of_its_data(
    source: Path, headings: Path, site_packages: Path, bank: Path, synsets: Path, tmp_path: Path
) -> None:
    pytest.importorskip("yaml")
    questions.build_strategyqa(source, tmp_path / "strategyqa")
    questions.build_ecare(source, tmp_path / "ecare")
    countries, names = headings / "factbook" / "countries.jsonl.gz", headings / "diseases" / "facets.tsv.gz"
    general.build(countries, names, tmp_path / "general", seed=1)
    packages.build(site_packages, tmp_path / "packages")
    entailmentbank.build(bank, tmp_path / "entailmentbank", thoughts="hypothesis", facts=0)
    wordnet.build(synsets, tmp_path / "wordnet", thoughts="definition", candidates=20, queries=8, sentences=5)
    folder = Path(questions.__file__).parent
    named = re.findall(r"(\w+)=data/(\w+)", (folder / "README.md").read_text(encoding="utf-8"))
    join_data.build({name: tmp_path / path for name, path in named}, tmp_path / "all")
    data = read_data(tmp_path / "all")
    there = {example.part for example in data.examples}
    assert sum(example.part == "wordnet-use" for example in data.examples) == 5
    for file in folder.glob("*.yaml"):
        for stage in read_recipe(file).stages:
            assert isinstance(stage, Supervised)
            assert isinstance(stage.queries, dict)
            assert stage.queries.keys() <= there, file
            if stage.distill is not None:
                assert isinstance(stage.distill.texts, dict)
                assert stage.distill.texts.keys() == {name for name, _ in named}
