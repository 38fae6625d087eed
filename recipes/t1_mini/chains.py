"""Chains of facts about countries: the queries and thoughts made from them, and the splits that test composition.

A chain starts at an entity or at a named country, follows links between countries, and ends at a facet of the last
country. Its number of *hops* is the number of facts that it needs: "what do the growers of the main buyer of goods from
the country governed from Oslo raise" has two.

Two kinds of composed chains are held out. Both are chosen by hashes of the country codes, so they stay the same when
data is added:

- *unseen starts* (``ood``): one country in five never starts a training query of two or more hops. Its single facts are
  trained.
- *held-out compositions* (``comp``): one pair of start country and relations in eight is in no training query of two or
  more hops.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from recipes.t1_mini.countries import LINK_FIELDS, Country, Entity, World
from recipes.t1_mini.patterns import choose_text
from recipes.t1_mini.wording import DOCUMENTS, FACETS, PLAIN, THOUGHTS, Wording

MAX_HOPS = 4
UNSEEN_ONE_IN = 5
HELD_OUT_ONE_IN = 8
Split = Literal["train", "comp", "ood"]


@dataclass(frozen=True)
class CountryPath:
    """A path over distinct countries: a start, then one more country for each relation."""

    codes: tuple[str, ...]
    relations: tuple[str, ...]


@dataclass(frozen=True)
class Chain:
    """A chain in words.

    Attributes:
        query: Text of the query.
        thought: The chain of facts in words.
        positive: Id of the only relevant document.
        negatives: Ids of documents that a wrong step would find.
        hops: Number of facts.
    """

    query: str
    thought: str
    positive: str
    negatives: tuple[str, ...]
    hops: int


@dataclass(frozen=True)
class FactDocument:
    """A short document with the values of one facet of one country."""

    id: str
    text: str
    country: str
    facet: str


def build_corpus(world: World) -> list[FactDocument]:
    """Return one document for each country and facet, ordered by id. A hash of the id chooses its template."""
    documents = []
    for country in world.countries.values():
        for facet, values in country.facets.items():
            identifier = document_id(country, facet)
            templates = DOCUMENTS[facet]
            text = templates[stable_hash(identifier) % len(templates)].format(c=country.name, v=", ".join(values))
            documents.append(FactDocument(identifier, text, country.name, facet))
    return sorted(documents, key=lambda document: document.id)


def document_id(country: Country, facet: str) -> str:
    """Return the id of a country's document about a facet, such as ``france/exports``."""
    return f"{country.name.casefold().replace(' ', '-')}/{facet}"


def split_of(path: CountryPath) -> Split:
    """Return the split of a composed path: trained, held-out composition, or unseen start."""
    if stable_hash("start", path.codes[0]) % UNSEEN_ONE_IN == 0:
        return "ood"
    return "comp" if stable_hash("path", path.codes[0], *path.relations) % HELD_OUT_ONE_IN == 0 else "train"


def country_paths(world: World, relations: int) -> list[CountryPath]:
    """Return all paths with this number of relations, in a fixed order."""
    paths = [CountryPath((code,), ()) for code in world.countries]
    for _ in range(relations):
        paths = [
            CountryPath((*path.codes, target), (*path.relations, relation))
            for path in paths
            for relation in LINK_FIELDS
            if (target := world.links.get((path.codes[-1], relation))) and target not in path.codes
        ]
    return paths


def make_chain(
    world: World, path: CountryPath, entity: Entity | None, facet: str, rng: random.Random, wording: Wording = PLAIN
) -> Chain:
    """Put a chain into words.

    Args:
        world: Facts.
        path: Path over countries.
        entity: Entity that stands for the first country; ``None`` uses the country's name.
        facet: Facet of the last country.
        rng: Random generator that chooses the templates.
        wording: Templates of queries.
    """
    countries = [world.countries[code] for code in path.codes]
    description = countries[0].name
    steps = []
    if entity is not None:
        description = choose_text(rng.choice(wording.starts[entity.kind]), rng).format(e=entity.name)
        steps.append(THOUGHTS[entity.kind].format(a=entity.name, b=countries[0].name))
    for relation, before, after in zip(path.relations, countries, countries[1:], strict=False):
        description = choose_text(rng.choice(wording.steps[relation]), rng).format(x=description)
        steps.append(THOUGHTS[relation].format(a=before.name, b=after.name))
    steps.append(f"{countries[-1].name}: {FACETS[facet]}.")
    query = choose_text(rng.choice(wording.questions[facet]), rng).format(x=description)
    # Hard negatives: the same facet of the other countries, and the other facets of the last one.
    negatives = [document_id(country, facet) for country in countries[:-1] if facet in country.facets]
    negatives += [document_id(countries[-1], other) for other in countries[-1].facets if other != facet]
    hops = len(path.relations) + (entity is not None)
    return Chain(query, " ".join(steps).lower(), document_id(countries[-1], facet), tuple(negatives), hops)


class ChainSampler:
    """Samples chains for training: single facts, and composed chains of the training split.

    Composed chains are weighted by one over the square root of the number of chains that end at the same country, so
    that frequent targets (China, the United States) do not dominate.
    """

    def __init__(self, world: World, *, max_hops: int = MAX_HOPS, wording: Wording = PLAIN) -> None:
        """List the chains of up to ``max_hops`` hops."""
        self._world, self._max_hops, self._wording = world, max_hops, wording
        self._entities: Mapping[str, Sequence[Entity]] = entities_by_country(world)
        self._links = country_paths(world, 1)
        self._composed: dict[int, list[CountryPath]] = {}
        self._weights: dict[int, list[float]] = {}
        for hops in range(2, max_hops + 1):
            paths = country_paths(world, hops - 1)
            paths = [path for path in paths if path.codes[0] in self._entities and split_of(path) == "train"]
            ends = Counter(path.codes[-1] for path in paths)
            self._composed[hops] = paths
            self._weights[hops] = [ends[path.codes[-1]] ** -0.5 for path in paths]

    def sample(self, hops: int, count: int, rng: random.Random) -> list[Chain]:
        """Sample ``count`` chains of ``hops`` facts. Zero hops: a named country; one: half entities, half links.

        Raises:
            ValueError: ``hops`` is negative or above ``max_hops``, or the facts allow no such chain.
        """
        if not 0 <= hops <= self._max_hops:
            raise ValueError(f"cannot sample chains of {hops!r} hops: use 0 to {self._max_hops}")
        if hops > 1 and not self._composed[hops]:
            raise ValueError(f"these facts allow no chain of {hops} hops: use a larger file")
        chains = []
        for _ in range(count):
            entity: Entity | None = None
            if hops == 0:
                path = CountryPath((rng.choice(list(self._world.countries)),), ())
            elif hops == 1 and rng.random() < 0.5 and self._links:
                path = rng.choice(self._links)
            elif hops == 1:
                entity = rng.choice(self._world.entities)
                path = CountryPath((entity.country,), ())
            else:
                path = rng.choices(self._composed[hops], weights=self._weights[hops])[0]
                entity = rng.choice(self._entities[path.codes[0]])
            facet = rng.choice(list(self._world.countries[path.codes[-1]].facets))
            chains.append(make_chain(self._world, path, entity, facet, rng, self._wording))
        return chains


def build_split(
    world: World, split: Split | None, hops: int, count: int, seed: int = 0, wording: Wording = PLAIN
) -> list[Chain]:
    """Build the chains of an evaluation split: ``hops`` facts from an entity, spread evenly over target countries.

    Args:
        world: Facts.
        split: Split of the paths; ``None`` for all, which suits single hops, since they compose nothing.
        hops: Number of facts.
        count: Number of chains; fewer are returned if the facts allow no more.
        seed: Random seed.
        wording: Templates of queries.

    Raises:
        ValueError: The facts allow no such chain.
    """
    entities = entities_by_country(world)
    rng = random.Random(stable_hash("split", str(split), str(hops), str(seed)))
    by_target: dict[str, list[CountryPath]] = defaultdict(list)
    for path in country_paths(world, hops - 1):
        if path.codes[0] in entities and split in (None, split_of(path)):
            by_target[path.codes[-1]].append(path)
    if not by_target:
        raise ValueError(f"these facts allow no {split!r} chain of {hops} hops: use a larger file")
    chains: dict[str, Chain] = {}
    for _ in range(20 * count):  # rounds over the targets; some queries repeat
        for target in rng.sample(sorted(by_target), len(by_target)):
            path = rng.choice(by_target[target])
            entity = rng.choice(entities[path.codes[0]])
            facet = rng.choice(list(world.countries[target].facets))
            chain = make_chain(world, path, entity, facet, rng, wording)
            chains.setdefault(chain.query, chain)
            if len(chains) == count:
                return list(chains.values())
    return list(chains.values())


def entities_by_country(world: World) -> dict[str, list[Entity]]:
    """Group the entities by the code of their country."""
    grouped: dict[str, list[Entity]] = defaultdict(list)
    for entity in world.entities:
        grouped[entity.country].append(entity)
    return dict(grouped)


def stable_hash(*parts: str) -> int:
    """Return a number that is the same on every machine."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big")
