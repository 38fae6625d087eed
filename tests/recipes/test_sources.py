"""The data generators, and joining their data."""

from __future__ import annotations

import gzip
import random
import re
from pathlib import Path

import pytest

from recipes.t1_mini import chains as chain_source
from recipes.t1_mini import diseases, entailmentbank, wordnet
from recipes.t1_mini import factbook as factbook_source
from recipes.t1_mini.countries import World
from recipes.t1_mini.paraphrases import MIN_WORD_DISTANCE, REARRANGED, UNSEEN, WIDE
from recipes.t1_mini.patterns import choose_text, expand
from recipes.t1_mini.wording import DOCUMENTS, PLAIN, Wording
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.evaluation.beir import read_beir
from t1_vectorstore.training import join_data as joined
from t1_vectorstore.training.configs import Grpo, read_recipe
from t1_vectorstore.training.examples import read_data


def test_the_factbook_trains_no_long_thoughts_and_no_evaluation_queries(chains: Path) -> None:
    train = read_data(chains).examples
    parts = {"hop0", "hop1", "hop2", "hop3", "hop4", "long5", "long6"}
    assert {e.part for e in train} == parts | {f"plain-{part}" for part in parts}
    assert all((e.thought is None) == ("long" in str(e.part)) for e in train)
    trained = {e.query for e in train}
    for split in ("comp3", "ood4", "ood6", "ood6-other-templates", "ood6-other-words", "dev"):
        examples = read_data(chains, split).examples
        assert not trained & {e.query for e in examples}
        assert all(e.thought for e in examples)
        assert len(read_beir(chains, split).queries) == len(examples)
    assert {len(str(e.thought).split(". ")) for e in read_data(chains, "ood6").examples} == {7}


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{4,}", re.sub(r"\{\w\}", "", text.lower())))


def all_texts(wording: Wording) -> list[str]:
    """Return all texts of a wording's patterns."""
    return [way for kind in vars(wording).values() for ways in kind.values() for way in expanded(ways)]


def expanded(patterns: tuple[str, ...]) -> list[str]:
    return [way for pattern in patterns for way in expand(pattern)]


def test_plain_wording_has_the_templates_of_the_demo(factbook: Path, world: World, tmp_path: Path) -> None:
    factbook_source.build(factbook, tmp_path, wording="plain", examples=200, long=4, queries=5)
    asked = chain_source.build_split(world, "ood", 3, 5, 0)
    assert [e.query for e in read_data(tmp_path, "ood3").examples] == [example.query for example in asked]
    known = {word for way in all_texts(PLAIN) for word in words(way)}
    names = {word for text in read_data(tmp_path).documents.values() for word in words(text)}
    names |= {word for e in read_data(tmp_path).examples if e.thought for word in words(e.thought)}
    assert all(words(e.query) <= known | names for e in read_data(tmp_path).examples)


def word_distance(first: list[str], second: list[str]) -> int:
    """Return the edit distance of two texts in words."""
    distances = list(range(len(second) + 1))
    for row, word in enumerate(first, 1):
        diagonal, distances[0] = distances[0], row
        for column, other in enumerate(second, 1):
            changed = diagonal + (word != other)
            diagonal, distances[column] = (
                distances[column],
                min(distances[column] + 1, distances[column - 1] + 1, changed),
            )
    return distances[-1]


def test_a_pattern_has_a_text_for_each_combination() -> None:
    pattern, rng = "[|tell me ]which [land|state] {x}", random.Random(0)
    ways = {"which land {x}", "which state {x}", "tell me which land {x}", "tell me which state {x}"}
    assert set(expand(pattern)) == ways == {choose_text(pattern, rng) for _ in range(100)}
    state = rng.getstate()
    assert choose_text("which land {x}", rng) == "which land {x}"
    assert rng.getstate() == state
    assert all(way.count("{") == 1 and not set("[]|") & set(way) and "  " not in way for way in all_texts(WIDE))


def test_held_out_wordings_differ_from_training_wordings() -> None:
    seen, unseen, rearranged = vars(WIDE), vars(UNSEEN), vars(REARRANGED)
    for kind in ("questions", "starts", "steps"):
        assert seen[kind].keys() == unseen[kind].keys() == rearranged[kind].keys() == vars(PLAIN)[kind].keys()
        for key in seen[kind]:
            ways = expanded(seen[kind][key])
            held_out = [*unseen[kind][key], *rearranged[kind][key]]
            assert (
                min(word_distance(way.split(), other.split()) for way in ways for other in held_out)
                >= MIN_WORD_DISTANCE
            )
            assert len(set(seen[kind][key])) == len(seen[kind][key]) > 15
            assert len(set(ways)) > 100
            assert set(vars(PLAIN)[kind][key]) < set(ways)
    known, used = ({word for way in all_texts(w) for word in way.split()} for w in (WIDE, REARRANGED))
    assert used < known
    steps = [ways for wording in (WIDE, REARRANGED, UNSEEN) for ways in wording.steps.values()]
    assert all(step.endswith("{x}") for ways in steps for step in expanded(ways))
    small = {"with", "from", "into", "such", "have", "that", "among", "them", "what", "country", "countries", "find"}
    for wording in (WIDE, REARRANGED, UNSEEN):
        for facet, ways in wording.questions.items():
            there = set().union(*(words(template) for template in DOCUMENTS[facet]))
            assert not {word for way in expanded(ways) for word in words(way)} & there - small, facet


@pytest.fixture
def ontology(tmp_path: Path) -> Path:
    facets, tree = ["?id\t?name\t?definition"], ["id\tlabel\tsubClassOf"]
    for n in range(40):
        signs = ", ".join(f"has_symptom sign{n}{letter}" for letter in "abc")
        text = f"A group{n % 4} that results_in infection located_in organ{n % 6} (of man), "
        text += f"has_material_basis_in Agent{n}, transmitted_by way{n % 3} and {signs}."
        facets.append(f'"D:{n}"\t"disease{n}"\t"{text}"')
        tree.append(f'"D:{n}"\t"disease{n}"\t"group{n % 4}"')
    for n in range(4):
        facets.append(f'"G:{n}"\t"group{n}"\t"A disease located_in organ{n}."')
        tree.append(f'"G:{n}"\t"group{n}"\t"disease"')
    folder = tmp_path / "ontology"
    folder.mkdir()
    for name, lines in ((diseases.FACETS_FILE, facets), (diseases.TREE_FILE, tree)):
        (folder / name).write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    return folder


def test_held_out_templates_about_diseases_differ_from_training_patterns() -> None:
    for kind, templates in diseases._HELD_OUT.items():
        for key, held_out in templates.items():
            seen = diseases._WORDING[kind][key]
            ways = expanded(seen)
            assert len(set(seen)) == len(seen) > 40
            assert all(way.count("{x}" if kind == "questions" else "{e}") == 1 for way in ways)
            assert (
                min(word_distance(way.split(), other.split()) for way in ways for other in held_out)
                >= MIN_WORD_DISTANCE
            )


def test_diseases_have_documents_single_facts_and_chains(ontology: Path, tmp_path: Path) -> None:
    counts = diseases.build(ontology, tmp_path / "out", examples=300, queries=10)
    assert counts["corpus"] == 40 * 5 + 4 * 2
    data = read_data(tmp_path / "out")
    assert data.documents["disease3/spread"] == "Transmission of disease3 occurs by way0."
    assert data.documents["disease3/organ"] == "Site affected in disease3: organ3."
    assert data.documents["disease3/cause"] == "Agent behind disease3: Agent3."
    composed = [e for e in data.examples if e.part == "chain"]
    unseen = read_data(tmp_path / "out", "ood").examples
    starts = [{str(e.thought).split(". ")[0] for e in part} for part in (composed, unseen)]
    assert starts[0]
    assert starts[1]
    assert not starts[0] & starts[1]
    trained = {(e.thought, e.positives) for e in data.examples}
    for split in ("comp", "ood", "comp-other-templates", "ood-other-templates", "dev"):
        assert not {(e.thought, e.positives) for e in read_data(tmp_path / "out", split).examples} & trained
    known = [str(e.thought) for e in data.examples if e.part == "single"]
    assert any("are signs of" in thought for thought in known)
    for example in composed:
        country = example.positives[0].split("/")[0]
        assert str(example.thought).split(". ")[-1].startswith(f"{country}: ")


def test_genetic_causes_and_remarks_are_left_out() -> None:
    text = (
        "A disease that has_material_basis_in homozygous mutation in the X gene and has_symptom fever (high), or rash."
    )
    assert diseases._values(text, "has_material_basis_in") == ()
    assert diseases._values(text, "has_symptom") == ("fever",)


def test_an_ontology_without_a_column_is_refused(ontology: Path, tmp_path: Path) -> None:
    (ontology / diseases.TREE_FILE).write_bytes(gzip.compress(b"id\tlabel\n"))
    with pytest.raises(CorpusError, match=r"HumanDO\.tsv\.gz:1: there is no column 'subClassOf'"):
        diseases.build(ontology, tmp_path / "out")


@pytest.mark.parametrize(
    ("thoughts", "thought"),
    [
        ("hypothesis", "light is a thing"),
        ("topics", "light thing"),
        ("facts", "fact number 1 is about thing 1 and its place. fact number 2 is about thing 2 and its place"),
        ("empty", ""),
        ("none", None),
    ],
)
def test_entailmentbank_has_questions_and_shortened_facts(
    bank: Path, tmp_path: Path, thoughts: entailmentbank.ThoughtKind, thought: str | None
) -> None:
    counts = entailmentbank.build(bank, tmp_path / "out", thoughts=thoughts, facts=1)
    assert counts["tune"] > 0
    [example] = read_data(tmp_path / "out", "dev").examples
    assert (example.thought, example.positives) == (thought, ("f1", "f2"))
    train = read_data(tmp_path / "out").examples
    assert {len(e.positives) for e in train} == {1}
    assert len({e.positives for e in train if e.part == "question"}) + counts["tune"] == 20
    facts = [e for e in train if e.part == "fact"]
    assert len(facts) > 10
    assert all(e.thought is None for e in facts)


def test_the_error_of_a_malformed_line_of_entailmentbank_names_it(bank: Path, tmp_path: Path) -> None:
    with (bank / "train.jsonl").open("a") as file:
        file.write('{"_id": "x"}\n')
    with pytest.raises(CorpusError, match=r"train\.jsonl:21: no field 'text'"):
        entailmentbank.build(bank, tmp_path / "out")


def test_wordnet_has_trained_and_unseen_definitions(synsets: Path, tmp_path: Path) -> None:
    wordnet.build(synsets, tmp_path / "out", candidates=20, queries=8)
    assert {e.thought for e in read_data(tmp_path / "out").examples} == {""}
    assert not read_beir(tmp_path / "out", "dev").thoughts
    wordnet.build(synsets, tmp_path / "out", thoughts="chain", candidates=20, queries=8)
    train = read_data(tmp_path / "out")
    unseen = read_beir(tmp_path / "out" / "unseen", "dev")
    assert len(unseen.queries) == 8
    there = {document.id for document in unseen.documents()}
    assert len(there) == 20
    assert not there & train.documents.keys()
    thoughts = {e.query: e.thought for e in train.examples}
    asked = next(query for query in thoughts if query.startswith("word") and ":" in query)
    name = asked.split(":")[0]
    assert thoughts[asked] == f"{name} is a kind of hound, a kind of dog, a kind of animal"
    with pytest.raises(CorpusError, match="64 meanings with examples: use the complete file"):
        wordnet.build(synsets, tmp_path / "out", candidates=20, queries=33)
    synsets.write_bytes(gzip.compress(b"{}\n"))
    with pytest.raises(CorpusError, match=r"synsets\.jsonl\.gz:1: not a synset"):
        wordnet.build(synsets, tmp_path / "out")


def test_joined_sources_keep_their_documents_and_examples_apart(chains: Path, ontology: Path, tmp_path: Path) -> None:
    diseases.build(ontology, tmp_path / "diseases", examples=60, queries=8)
    sources = {"facts": chains, "ills": tmp_path / "diseases"}
    counts = joined.build(sources, tmp_path / "out")
    alone = {name: read_data(folder) for name, folder in sources.items()}
    together = read_data(tmp_path / "out")
    assert counts["corpus"] == sum(len(data.documents) for data in alone.values())
    assert counts.keys() == {"corpus", "train", "facts-dev", "ills-dev"}
    for name, data in alone.items():
        own = [e for e in together.examples if str(e.part).startswith(f"{name}-")]
        assert [(e.query, e.thought) for e in own] == [(e.query, e.thought) for e in data.examples]
        for ours, theirs in zip(own, data.examples, strict=True):
            assert ours.part == f"{name}-{theirs.part}"
            for new, old in ((ours.positives, theirs.positives), (ours.negatives, theirs.negatives)):
                assert [together.documents[each] for each in new] == [data.documents[each] for each in old]
    assert {e.part for e in read_data(tmp_path / "out", "ills-dev").examples} <= {"ills-comp", "ills-ood"}
    again = joined.build({"both": tmp_path / "out", "facts": chains}, tmp_path / "again")
    assert again.keys() == {"corpus", "train", "both-facts-dev", "both-ills-dev", "facts-dev"}


def test_the_recipe_of_t1_mini_uses_parts_of_its_data(
    chains: Path, ontology: Path, synsets: Path, bank: Path, tmp_path: Path
) -> None:
    pytest.importorskip("yaml")
    diseases.build(ontology, tmp_path / "diseases", examples=60, queries=8)
    wordnet.build(synsets, tmp_path / "wordnet", candidates=20, queries=8)
    entailmentbank.build(bank, tmp_path / "entailmentbank", thoughts="empty")
    built = {name: tmp_path / name for name in ("diseases", "wordnet", "entailmentbank")}
    joined.build({"factbook": chains, **built}, tmp_path / "all")
    there = {example.part for example in read_data(tmp_path / "all").examples}
    for stage in read_recipe(Path(chain_source.__file__).with_name("t1-mini.yaml")).stages:
        for counts in (stage.queries, stage.replay_queries if isinstance(stage, Grpo) else {}):
            assert isinstance(counts, dict)
            assert counts.keys() <= there
        assert all(read_data(tmp_path / "all", probe).examples for probe in stage.probes)


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a"], "at least two folders, got 1"), (["a", "b/c"], "got 'b/c'"), (["a", "out"], "one of the sources")],
)
def test_invalid_sources_are_not_joined(chains: Path, tmp_path: Path, names: list[str], message: str) -> None:
    sources = {name: tmp_path / "out" if name == "out" else chains for name in names}
    with pytest.raises(ValueError, match=message):
        joined.build(sources, tmp_path / "out")
    assert not (tmp_path / "out").exists()
