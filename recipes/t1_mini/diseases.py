"""Chains from signs or a cause to a disease, and on to what is known of it, from the Human Disease Ontology (CC0 1.0).

The facts are drawn out of the ontology's definitions (``has_symptom``, ``located_in``, ``transmitted_by``,
``has_material_basis_in``) and its hierarchy; the sentences are ours. They are as the source states them: no medical
advice. As with the Factbook, one disease in five (``ood``) never starts a composed training query, though each of its
single facts is trained, and one (disease, facet) pair in eight is in no such query either (``comp``). Training queries
are worded by the patterns in ``diseases.json``; the splits ``*-other-templates`` by templates that stand two words at
least from all of those.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from recipes.t1_mini.patterns import draw
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.training.examples import Example, write_data

FACETS_FILE, TREE_FILE = "facets.tsv.gz", "HumanDO.tsv.gz"
UNSEEN_ONE_IN, HELD_OUT_ONE_IN = 5, 8
MOST_WORDS, MOST_ITEMS = 6, 4
_GENETIC = re.compile(
    r"mutat|zygous|delet|inherit|duplicat|allel|variant|expansion|chromosom|genetic|gene\b", re.IGNORECASE
)
"""Causes that are left out: thousands of diseases differ by the gene alone, whose name the grammar hides."""

_RELATIONS = {
    "signs": "has_symptom",
    "organ": "located_in",
    "spread": "transmitted_by",
    "cause": "has_material_basis_in",
}
# {d} is the disease, {v} the values.
_DOCUMENTS: Mapping[str, str] = {
    "signs": "Symptoms seen in {d}: {v}.",
    "organ": "Site affected in {d}: {v}.",
    "spread": "Transmission of {d} occurs by {v}.",
    "cause": "Agent behind {d}: {v}.",
    "kind": "Classification: {d} belongs under {v}.",
}
_WORDING: Mapping[str, Mapping[str, tuple[str, ...]]] = json.loads(
    Path(__file__).with_name("diseases.json").read_text(encoding="utf-8")
)
"""Patterns of the training queries: ``questions`` ask for a facet of {x}, ``starts`` stand for a disease by {e}."""

_HELD_OUT: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "questions": {
        "signs": ("how do doctors recognise {x}",),
        "organ": ("what is damaged when someone has {x}",),
        "spread": ("how would a traveller get {x}",),
        "cause": ("what is the origin of {x}",),
        "kind": ("what is {x} an example of",),
    },
    "starts": {"signs": ("the condition recognised by {e}",), "cause": ("the condition due to {e}",)},
}
"""Templates that no training query has."""

_THOUGHTS = {"signs": "{e} are signs of {d}.", "cause": "{e} causes {d}.", "up": "{d} is a kind of {p}."}
_NAMES = {"signs": "symptoms", "organ": "site", "spread": "transmission", "cause": "agent", "kind": "classification"}


@dataclass(frozen=True)
class Disease:
    """A disease, the name it has in a hierarchy, and its facts: facet to values."""

    name: str
    parent: str | None
    facts: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Start:
    """What stands for exactly one disease: some of its signs, or its cause."""

    kind: str
    name: str
    disease: str


def build(source: Path, out: Path, *, examples: int = 40_000, queries: int = 250, seed: int = 0) -> dict[str, int]:
    """Write the folder ``out``.

    Args:
        source: The folder with ``facets.tsv.gz`` and ``HumanDO.tsv.gz``.
        out: Folder to write.
        examples: Training examples to draw; repeated ones are left out.
        queries: Of each evaluation split; fewer where the facts allow no more.
        seed: Of the training examples.

    Returns:
        What was written, as :func:`write_data` says it.

    Raises:
        CorpusError: A file is missing, has other columns, or allows no chains.
    """
    diseases = read_diseases(source)
    documents = {document_id(d, facet): document(d, facet) for d in diseases.values() for facet in d.facts}
    starts = find_starts(diseases)
    rng = random.Random(f"diseases/{seed}")
    chains = list(_chains(diseases, starts))
    parts = {part: [chain for chain in chains if chain[0] == part] for part in ("chain", "comp", "ood")}
    if not all(parts.values()):
        raise CorpusError(f"{source} allows no chains: use the complete files")
    single = [("single", None, d, facet, False) for d in diseases.values() for facet in d.facts]
    known = [("single", start, diseases[start.disease], "kind", False) for start in starts]
    known = [chain for chain in known if "kind" in chain[2].facts]
    drawn = [
        _word(diseases, rng.choice(pool), rng) for pool in (single, known, parts["chain"]) for _ in range(examples // 3)
    ]
    splits = {"train": drawn}
    for name, wording in (("", False), ("-other-templates", True)):
        for part in ("comp", "ood"):
            fixed = random.Random(f"split/{part}")
            chosen = fixed.sample(parts[part], min(queries, len(parts[part])))
            splits[f"{part}{name}"] = [_word(diseases, chain, fixed, other=wording) for chain in chosen]
    fixed = random.Random("split/dev")
    dev = fixed.sample(parts["comp"] + parts["ood"], min(queries // 2, len(parts["comp"] + parts["ood"])))
    splits["dev"] = [_word(diseases, chain, fixed) for chain in dev]
    return write_data(out, documents, splits)


def read_diseases(source: Path) -> dict[str, Disease]:
    """Read the diseases that something is known of, by name; raises as :func:`build`."""
    parents = {row["label"]: row["subClassOf"] for row in _rows(source / TREE_FILE, ("label", "subClassOf"))}
    diseases = {}
    for row in _rows(source / FACETS_FILE, ("?name", "?definition")):
        name = row["?name"]
        if name in diseases or len(name.split()) > MOST_WORDS:
            continue
        facts = {facet: values for facet, word in _RELATIONS.items() if (values := _values(row["?definition"], word))}
        parent = parents.get(name)
        if facts and parent and parent != name:
            diseases[name] = Disease(name, parent, {**facts, "kind": (parent,)})
    return dict(sorted(diseases.items()))


def find_starts(diseases: Mapping[str, Disease]) -> list[Start]:
    """Return what stands for exactly one disease: a cause that is its alone, or two or three signs that only it has."""
    causes = Counter(cause.casefold() for d in diseases.values() for cause in d.facts.get("cause", ()))
    signs = {name: frozenset(d.facts.get("signs", ())) for name, d in diseases.items() if "signs" in d.facts}
    starts = []
    for name, disease in diseases.items():
        starts += [Start("cause", c, name) for c in disease.facts.get("cause", ()) if causes[c.casefold()] == 1]
        own = disease.facts.get("signs", ())
        for size in (2, 3):
            for chosen in combinations(own, size):
                if sum(set(chosen) <= others for others in signs.values()) == 1:
                    starts.append(Start("signs", f"{', '.join(chosen[:-1])} and {chosen[-1]}", name))
    return starts


def document(disease: Disease, facet: str) -> str:
    """Return the sentence of one facet of a disease."""
    return _DOCUMENTS[facet].format(d=disease.name, v=", ".join(disease.facts[facet]))


_Chain = tuple[str, "Start | None", Disease, str, bool]
"""Part, start, disease, facet asked for, and whether it is asked of the disease's kind."""


def _chains(diseases: Mapping[str, Disease], starts: list[Start]) -> Iterator[_Chain]:
    for start in starts:
        disease = diseases[start.disease]
        unseen = _hash("start", disease.name) % UNSEEN_ONE_IN == 0
        above = diseases.get(disease.parent or "")
        for target, up in ((disease, False), (above, True)):
            for facet in target.facts if target else ():
                if facet == start.kind and not up:
                    continue  # the answer would be in the question
                held = _hash("path", disease.name, facet, str(up)) % HELD_OUT_ONE_IN == 0
                yield "ood" if unseen else "comp" if held else "chain", start, disease, facet, up


def document_id(disease: Disease, facet: str) -> str:
    """Such as ``yellow_fever/cause``: an id with white space cannot stand in a TREC run file."""
    return f"{disease.name.replace(' ', '_')}/{facet}"


def _word(diseases: Mapping[str, Disease], chain: _Chain, rng: random.Random, *, other: bool = False) -> Example:
    part, start, disease, facet, up = chain
    wording = _HELD_OUT if other else _WORDING
    described, steps = disease.name, []
    if start is not None:
        described = draw(rng.choice(wording["starts"][start.kind]), rng).format(e=start.name)
        steps.append(_THOUGHTS[start.kind].format(e=start.name, d=disease.name))
    target = disease
    if up:
        target = diseases[disease.parent or ""]
        described = f"the wider group of {described}"
        steps.append(_THOUGHTS["up"].format(d=disease.name, p=target.name))
    query = draw(rng.choice(wording["questions"][facet]), rng).format(x=described)
    thought = " ".join([*steps, f"{target.name}: {_NAMES[facet]}."]).lower()
    wrong = [document_id(target, each) for each in target.facts if each != facet]
    wrong += [document_id(disease, facet)] * (up and facet in disease.facts)
    return Example(query, thought, (document_id(target, facet),), tuple(wrong), part)


def _values(definition: str, relation: str) -> tuple[str, ...]:
    """Return the short values of a relation in a definition, remarks in brackets left out."""
    text = re.sub(r"\s*\([^()]*\)", "", definition)
    found: list[str] = []
    for match in re.finditer(
        rf"\b{relation}\s+(?:the\s+)?(.+?)(?=\s*(?:[,.;]|\b(?:and|or|which|that|in|by)\b|\w+_\w+|$))", text
    ):
        value = match[1].strip()
        fits = 0 < len(value.split()) <= MOST_WORDS and not _GENETIC.search(value)
        if fits and value not in found:
            found.append(value)
    return tuple(found[:MOST_ITEMS])


def _rows(file: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    if not file.is_file():
        raise CorpusError(f"{file} is missing: it is a file of the Human Disease Ontology's release")
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t")
        if lacking := set(columns) - set(reader.fieldnames or ()):
            raise CorpusError(f"{file}:1: there is no column {min(lacking)!r}")
        for row in reader:
            if all(row.get(column) for column in columns):
                yield row


def _hash(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big")
