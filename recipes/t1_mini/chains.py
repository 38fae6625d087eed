"""Chains of facts, the queries and thoughts they make, and the splits that tell recall from composition.

A chain starts at an entity or at a named country, follows links and ends at a facet of its last country. Its number of
*hops* is the number of facts it needs: "what do the growers of the main buyer of goods from the country governed from
Oslo raise" has two.

Splits, fixed by hashes of the codes, so that they never move when data is added:

- *unseen* starts: one country in five never starts a training query of two or more hops (its single facts are trained);
- *held-out compositions*: one (start country, relations) pair in eight is in no training query of two or more hops.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from recipes.t1_mini.countries import LINK_FIELDS, Country, Entity, World
from recipes.t1_mini.patterns import draw
from recipes.t1_mini.wording import DOCUMENTS, FACETS, PLAIN, THOUGHTS, Wording

MAX_HOPS = 4
UNSEEN_ONE_IN = 5
HELD_OUT_ONE_IN = 8
Part = Literal["train", "comp", "ood"]


@dataclass(frozen=True)
class Path:
    """A walk over countries: ``codes[0]``, then one more code for each relation, no country twice."""

    codes: tuple[str, ...]
    relations: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """A query and what it should find.

    Attributes:
        query: The text asked.
        thought: The chain of facts in words.
        positive: Id of the one right document.
        negatives: Ids of documents that a wrong turn would find, possibly none.
        hops: Number of facts the chain needs.
    """

    query: str
    thought: str
    positive: str
    negatives: tuple[str, ...]
    hops: int


@dataclass(frozen=True)
class FactDocument:
    """One short document: the values of one facet of one country."""

    id: str
    text: str
    country: str
    facet: str


def build_corpus(world: World) -> list[FactDocument]:
    """Return one document per country and facet, ordered by id; the template is chosen by a hash of the id."""
    documents = []
    for country in world.countries.values():
        for facet, values in country.facets.items():
            identifier = document_id(country, facet)
            templates = DOCUMENTS[facet]
            text = templates[_hash(identifier) % len(templates)].format(c=country.name, v=", ".join(values))
            documents.append(FactDocument(identifier, text, country.name, facet))
    return sorted(documents, key=lambda document: document.id)


def document_id(country: Country, facet: str) -> str:
    """Return the id of a country's document on a facet, such as ``france/exports``."""
    return f"{country.name.casefold().replace(' ', '-')}/{facet}"


def part_of(path: Path) -> Part:
    """Return the part a composed path belongs to: trained, held-out composition, or unseen start."""
    if _hash("start", path.codes[0]) % UNSEEN_ONE_IN == 0:
        return "ood"
    return "comp" if _hash("path", path.codes[0], *path.relations) % HELD_OUT_ONE_IN == 0 else "train"


def walk(world: World, relations: int) -> list[Path]:
    """Return every path of that many relations through distinct countries, in a fixed order."""
    paths = [Path((code,), ()) for code in world.countries]
    for _ in range(relations):
        paths = [
            Path((*path.codes, target), (*path.relations, relation))
            for path in paths
            for relation in LINK_FIELDS
            if (target := world.links.get((path.codes[-1], relation))) and target not in path.codes
        ]
    return paths


def make_example(
    world: World, path: Path, entity: Entity | None, facet: str, rng: random.Random, wording: Wording = PLAIN
) -> Example:
    """Word a chain as a query with its thought.

    Args:
        world: The facts.
        path: The walk over countries.
        entity: What stands for the first country; None names the country itself.
        facet: A facet that the last country has.
        rng: Chooses among the templates.
        wording: The templates of queries.
    """
    countries = [world.countries[code] for code in path.codes]
    description = countries[0].name
    steps = []
    if entity is not None:
        description = draw(rng.choice(wording.starts[entity.kind]), rng).format(e=entity.name)
        steps.append(THOUGHTS[entity.kind].format(a=entity.name, b=countries[0].name))
    for relation, before, after in zip(path.relations, countries, countries[1:], strict=False):
        description = draw(rng.choice(wording.steps[relation]), rng).format(x=description)
        steps.append(THOUGHTS[relation].format(a=before.name, b=after.name))
    steps.append(f"{countries[-1].name}: {FACETS[facet]}.")
    query = draw(rng.choice(wording.questions[facet]), rng).format(x=description)
    traps = [document_id(country, facet) for country in countries[:-1] if facet in country.facets]
    traps += [document_id(countries[-1], other) for other in countries[-1].facets if other != facet]
    positive = document_id(countries[-1], facet)
    hops = len(path.relations) + (entity is not None)
    return Example(query, " ".join(steps).lower(), positive, tuple(traps), hops)


class Sampler:
    """Draws training examples: every single fact, and composed chains of the training part.

    Chains are drawn so that a target country reached by many of them (China, the United States) does not drown the
    others: each with weight one over the square root of the number of chains that end there.
    """

    def __init__(self, world: World, *, max_hops: int = MAX_HOPS, wording: Wording = PLAIN) -> None:
        """Enumerate the chains of up to ``max_hops`` hops, to be worded by ``wording``."""
        self._world, self._max_hops, self._wording = world, max_hops, wording
        self._entities: Mapping[str, Sequence[Entity]] = entities_by_country(world)
        self._links = walk(world, 1)
        self._composed: dict[int, list[Path]] = {}
        self._weights: dict[int, list[float]] = {}
        for hops in range(2, max_hops + 1):
            paths = [p for p in walk(world, hops - 1) if p.codes[0] in self._entities and part_of(p) == "train"]
            ends = Counter(path.codes[-1] for path in paths)
            self._composed[hops] = paths
            self._weights[hops] = [ends[path.codes[-1]] ** -0.5 for path in paths]

    def draw(self, hops: int, count: int, rng: random.Random) -> list[Example]:
        """Draw ``count`` examples of ``hops`` facts (0: a named country; 1: half entities, half links).

        Raises:
            ValueError: ``hops`` is not between 0 and the longest enumerated, or the facts allow no such chain.
        """
        if not 0 <= hops <= self._max_hops:
            raise ValueError(f"cannot draw chains of {hops!r} hops: between 0 and {self._max_hops} are built")
        if hops > 1 and not self._composed[hops]:
            raise ValueError(f"no chain of {hops} hops can be made of these facts: use a larger file")
        examples = []
        for _ in range(count):
            entity: Entity | None = None
            if hops == 0:
                path = Path((rng.choice(list(self._world.countries)),), ())
            elif hops == 1 and rng.random() < 0.5 and self._links:
                path = rng.choice(self._links)
            elif hops == 1:
                entity = rng.choice(self._world.entities)
                path = Path((entity.country,), ())
            else:
                path = rng.choices(self._composed[hops], weights=self._weights[hops])[0]
                entity = rng.choice(self._entities[path.codes[0]])
            facet = rng.choice(list(self._world.countries[path.codes[-1]].facets))
            examples.append(make_example(self._world, path, entity, facet, rng, self._wording))
        return examples


def build_split(
    world: World, part: Part | None, hops: int, count: int, seed: int = 0, wording: Wording = PLAIN
) -> list[Example]:
    """Build the evaluation queries of one split: ``hops`` facts from an entity, spread evenly over target countries.

    Args:
        world: The facts.
        part: Which paths; None for all, which is right for a single hop, where nothing is composed.
        hops: Number of facts.
        count: Number of queries; fewer are returned if the facts allow no more.
        seed: Of the choice.
        wording: The templates of queries.

    Raises:
        ValueError: The facts allow no such chain.
    """
    entities = entities_by_country(world)
    rng = random.Random(_hash("split", str(part), str(hops), str(seed)))
    by_target: dict[str, list[Path]] = defaultdict(list)
    for path in walk(world, hops - 1):
        if path.codes[0] in entities and part in (None, part_of(path)):
            by_target[path.codes[-1]].append(path)
    if not by_target:
        raise ValueError(f"no {part!r} chain of {hops} hops can be made of these facts: use a larger file")
    examples: dict[str, Example] = {}
    for _ in range(20 * count):  # rounds over the targets; some draws repeat
        for target in rng.sample(sorted(by_target), len(by_target)):
            path = rng.choice(by_target[target])
            entity = rng.choice(entities[path.codes[0]])
            facet = rng.choice(list(world.countries[target].facets))
            example = make_example(world, path, entity, facet, rng, wording)
            examples.setdefault(example.query, example)
            if len(examples) == count:
                return list(examples.values())
    return list(examples.values())


def entities_by_country(world: World) -> dict[str, list[Entity]]:
    """Group the entities by the code of their country."""
    grouped: dict[str, list[Entity]] = defaultdict(list)
    for entity in world.entities:
        grouped[entity.country].append(entity)
    return dict(grouped)


def _hash(*parts: str) -> int:
    """Return a number that is the same on every machine."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big")
