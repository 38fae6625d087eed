"""Chains from signs or a cause to a disease and its facts, from the Human Disease Ontology (CC0 1.0).

The facts are taken from the ontology's definitions (``has_symptom``, ``located_in``, ``transmitted_by``,
``has_material_basis_in``) and its hierarchy; the sentences are ours. The facts are as the source states them, and not
medical advice.

As with the Factbook, one disease in five (``ood``) never starts a composed training query, though its single facts are
trained, and one pair of disease and facet in eight is in no composed training query (``comp``). Training queries use
the patterns in ``diseases.json``; the splits ``*-other-templates`` use templates that differ from all of them by at
least two words.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from recipes.t1_mini.chains import HELD_OUT_ONE_IN, UNSEEN_ONE_IN, stable_hash
from recipes.t1_mini.patterns import choose_text
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.training.examples import Example, write_data

FACETS_FILE, TREE_FILE = "facets.tsv.gz", "HumanDO.tsv.gz"
MAX_WORDS, MAX_ITEMS = 6, 4
_GENETIC = re.compile(
    r"mutat|zygous|delet|inherit|duplicat|allel|variant|expansion|chromosom|genetic|gene\b", re.IGNORECASE
)
"""Causes to leave out: thousands of diseases differ only by a gene, whose name is not in the extracted value."""

_RELATIONS = {
    "signs": "has_symptom",
    "organ": "located_in",
    "spread": "transmitted_by",
    "cause": "has_material_basis_in",
}
# {d}: the disease. {v}: the values.
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
"""Patterns of the training queries: ``questions`` for a facet of {x}, and ``starts`` that name a disease by {e}."""

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

_THOUGHTS = {"signs": "{e} are signs of {d}.", "cause": "{e} causes {d}.", "parent": "{d} is a kind of {p}."}
_NAMES = {"signs": "symptoms", "organ": "site", "spread": "transmission", "cause": "agent", "kind": "classification"}


@dataclass(frozen=True)
class Disease:
    """A disease, its parent in the hierarchy, and its facts: values by facet."""

    name: str
    parent: str | None
    facts: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Start:
    """A description that identifies exactly one disease: some of its signs, or its cause."""

    kind: str
    name: str
    disease: str


class Chain(NamedTuple):
    """A question about a facet of a disease, or of its parent.

    Attributes:
        part: Part of the data: ``single``, ``chain``, ``comp`` or ``ood``.
        start: Description of the disease; ``None`` uses its name.
        disease: Disease.
        facet: Facet to ask for.
        of_parent: Whether the facet is the parent's.
    """

    part: str
    start: Start | None
    disease: Disease
    facet: str
    of_parent: bool


def build(source: Path, out: Path, *, examples: int = 40_000, queries: int = 250, seed: int = 0) -> dict[str, int]:
    """Write the training data.

    Args:
        source: Folder with ``facets.tsv.gz`` and ``HumanDO.tsv.gz``.
        out: Folder to write.
        examples: Number of training examples to sample; repeated ones are left out.
        queries: Number of queries in each evaluation split; fewer if the facts allow no more.
        seed: Random seed of the training examples.

    Returns:
        Number of documents and examples written, as from ``write_data``.

    Raises:
        CorpusError: A file is missing, lacks a column, or allows no chains.
    """
    diseases = read_diseases(source)
    documents = {document_id(d, facet): document(d, facet) for d in diseases.values() for facet in d.facts}
    starts = find_starts(diseases)

    # 1. The training examples: single facts, the kind of a described disease, and composed chains, a third each.
    rng = random.Random(f"diseases/{seed}")
    chains = list(_composed_chains(diseases, starts))
    parts = {part: [chain for chain in chains if chain.part == part] for part in ("chain", "comp", "ood")}
    if not all(parts.values()):
        raise CorpusError(f"{source} allows no chains: use the complete files")
    facts = [Chain("single", None, d, facet, False) for d in diseases.values() for facet in d.facts]
    kinds = [Chain("single", start, diseases[start.disease], "kind", False) for start in starts]
    kinds = [chain for chain in kinds if "kind" in chain.disease.facts]
    train = [
        _example(diseases, rng.choice(pool), rng)
        for pool in (facts, kinds, parts["chain"])
        for _ in range(examples // 3)
    ]

    # 2. The evaluation splits, whose seeds are fixed.
    splits = {"train": train}
    for suffix, held_out in (("", False), ("-other-templates", True)):
        for part in ("comp", "ood"):
            fixed = random.Random(f"split/{part}")
            chosen = fixed.sample(parts[part], min(queries, len(parts[part])))
            splits[part + suffix] = [_example(diseases, chain, fixed, held_out=held_out) for chain in chosen]
    fixed = random.Random("split/dev")
    composed = parts["comp"] + parts["ood"]
    dev = fixed.sample(composed, min(queries // 2, len(composed)))
    splits["dev"] = [_example(diseases, chain, fixed) for chain in dev]
    return write_data(out, documents, splits)


def read_diseases(source: Path) -> dict[str, Disease]:
    """Read the diseases with known facts, by name; the errors are those of ``build``."""
    parents = {row["label"]: row["subClassOf"] for row in _read_rows(source / TREE_FILE, ("label", "subClassOf"))}
    diseases = {}
    for row in _read_rows(source / FACETS_FILE, ("?name", "?definition")):
        name = row["?name"]
        if name in diseases or len(name.split()) > MAX_WORDS:
            continue
        facts = {
            facet: values for facet, relation in _RELATIONS.items() if (values := _values(row["?definition"], relation))
        }
        parent = parents.get(name)
        if facts and parent and parent != name:
            diseases[name] = Disease(name, parent, {**facts, "kind": (parent,)})
    return dict(sorted(diseases.items()))


def find_starts(diseases: Mapping[str, Disease]) -> list[Start]:
    """Return descriptions that identify one disease: a cause of no other disease, or two or three signs together."""
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
    """Return the text of the document about a facet of a disease."""
    return _DOCUMENTS[facet].format(d=disease.name, v=", ".join(disease.facts[facet]))


def document_id(disease: Disease, facet: str) -> str:
    """Return an id such as ``yellow_fever/cause``; ids in TREC run files may not contain white space."""
    return f"{disease.name.replace(' ', '_')}/{facet}"


def _composed_chains(diseases: Mapping[str, Disease], starts: list[Start]) -> Iterator[Chain]:
    for start in starts:
        disease = diseases[start.disease]
        unseen = stable_hash("start", disease.name) % UNSEEN_ONE_IN == 0
        parent = diseases.get(disease.parent or "")
        for target, of_parent in ((disease, False), (parent, True)):
            for facet in target.facts if target else ():
                if facet in (start.kind, "kind") and not of_parent:
                    continue  # the question would contain its answer; the kind of every described disease is trained
                held_out = stable_hash("path", disease.name, facet, str(of_parent)) % HELD_OUT_ONE_IN == 0
                yield Chain("ood" if unseen else "comp" if held_out else "chain", start, disease, facet, of_parent)


def _example(diseases: Mapping[str, Disease], chain: Chain, rng: random.Random, *, held_out: bool = False) -> Example:
    """Put a chain into words, with the training patterns or the held-out templates."""
    part, start, disease, facet, of_parent = chain
    wording = _HELD_OUT if held_out else _WORDING
    description, steps = disease.name, []
    if start is not None:
        description = choose_text(rng.choice(wording["starts"][start.kind]), rng).format(e=start.name)
        steps.append(_THOUGHTS[start.kind].format(e=start.name, d=disease.name))
    target = disease
    if of_parent:
        target = diseases[disease.parent or ""]
        description = f"the wider group of {description}"
        steps.append(_THOUGHTS["parent"].format(d=disease.name, p=target.name))
    query = choose_text(rng.choice(wording["questions"][facet]), rng).format(x=description)
    thought = " ".join([*steps, f"{target.name}: {_NAMES[facet]}."]).lower()
    negatives = [document_id(target, other) for other in target.facts if other != facet]
    negatives += [document_id(disease, facet)] * (of_parent and facet in disease.facts)
    return Example(query, thought, (document_id(target, facet),), tuple(negatives), part)


def _values(definition: str, relation: str) -> tuple[str, ...]:
    """Return the short values of a relation in a definition, without remarks in brackets."""
    text = re.sub(r"\s*\([^()]*\)", "", definition)
    found: list[str] = []
    for match in re.finditer(
        rf"\b{relation}\s+(?:the\s+)?(.+?)(?=\s*(?:[,.;]|\b(?:and|or|which|that|in|by)\b|\w+_\w+|$))", text
    ):
        value = match[1].strip()
        fits = 0 < len(value.split()) <= MAX_WORDS and not _GENETIC.search(value)
        if fits and value not in found:
            found.append(value)
    return tuple(found[:MAX_ITEMS])


def _read_rows(file: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    if not file.is_file():
        raise CorpusError(f"{file} is missing: it is a file of the Human Disease Ontology's release")
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t")
        if missing := set(columns) - set(reader.fieldnames or ()):
            raise CorpusError(f"{file}:1: there is no column {min(missing)!r}")
        for row in reader:
            if all(row.get(column) for column in columns):
                yield row
