"""Templates of documents, of the demo's queries, and of thoughts; ``recipes.t1_mini.paraphrases`` has more queries.

Apart from names and small function words, the query templates and the document templates of a facet share no word, so
lexical search finds nothing. Each step of a thought has a single template.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# {c}: the country. {v}: the values, separated by commas.
DOCUMENTS: Mapping[str, tuple[str, ...]] = {
    "farming": (
        "Agriculture in {c}: {v}.",
        "The main agricultural products of {c} are {v}.",
        "Farms across {c} yield {v}.",
    ),
    "exports": (
        "{c} exports {v}.",
        "Leading exports of {c}: {v}.",
        "Shipments leaving {c} consist chiefly of {v}.",
    ),
    "imports": (
        "{c} imports {v}.",
        "Leading imports of {c}: {v}.",
        "Cargo brought into {c} is mostly {v}.",
    ),
    "industries": (
        "Industry in {c}: {v}.",
        "The industrial sector of {c} rests on {v}.",
        "Among the industries of {c} are {v}.",
    ),
    "climate": (
        "The climate of {c} is {v}.",
        "Climate in {c}: {v}.",
        "{c} has the following climate: {v}.",
    ),
    "languages": (
        "Languages of {c}: {v}.",
        "The languages spoken in {c} include {v}.",
        "{c} counts among its languages {v}.",
    ),
    "resources": (
        "Natural resources of {c}: {v}.",
        "{c} is endowed with natural resources such as {v}.",
        "Deposits and reserves found in {c}: {v}.",
    ),
    "symbols": (
        "National symbols of {c}: {v}.",
        "{c} takes as its national symbol {v}.",
        "The official symbols of {c} include {v}.",
    ),
}

# {x}: the description of a country.
QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "farming": (
        "what do the growers of {x} raise",
        "which foods come off the fields of {x}",
        "what is harvested and reared in {x}",
    ),
    "exports": (
        "which wares does {x} sell to foreigners",
        "what merchandise travels abroad out of {x}",
        "what earns {x} money overseas",
    ),
    "imports": (
        "which wares reach {x} from foreigners",
        "what merchandise does {x} fetch from abroad",
        "what does {x} purchase overseas",
    ),
    "industries": (
        "what do the factories of {x} make",
        "which trades keep the workshops of {x} busy",
        "in which lines of business are the firms of {x}",
    ),
    "climate": (
        "how is the weather in {x}",
        "what skies should a visitor to {x} expect",
        "what should a traveller to {x} pack for",
    ),
    "languages": (
        "which tongues are heard in {x}",
        "how do the inhabitants of {x} talk",
        "in what words would one greet the locals of {x}",
    ),
    "resources": (
        "what treasures lie in the ground and waters of {x}",
        "which riches of the earth does {x} possess",
        "what can be mined in {x}",
    ),
    "symbols": (
        "which emblem stands for {x}",
        "what creature or plant represents {x}",
        "what do the people of {x} put on their coat of arms",
    ),
}

# {e}: an entity.
STARTS: Mapping[str, tuple[str, ...]] = {
    "capital": (
        "the country governed from {e}",
        "the state whose government sits in {e}",
        "the nation ruled from {e}",
    ),
    "peak": (
        "the nation crowned by {e}",
        "the country whose loftiest summit is {e}",
        "the state that rises highest at {e}",
    ),
    "city": (
        "the country that {e} belongs to",
        "the nation around the town of {e}",
        "the state where one finds {e}",
    ),
}

# {x}: the description of the previous country.
STEPS: Mapping[str, tuple[str, ...]] = {
    "border": (
        "the neighbour sharing the longest frontier with {x}",
        "the state with the greatest land frontier to {x}",
        "the main land neighbour of {x}",
    ),
    "buyer": (
        "the main buyer of goods from {x}",
        "the biggest customer of {x}",
        "the best market for {x}",
    ),
    "seller": (
        "the main seller of goods to {x}",
        "the biggest supplier of {x}",
        "the first vendor to {x}",
    ),
}


@dataclass(frozen=True)
class Wording:
    """Templates of queries: questions for a facet, names for a start, and steps along a link."""

    questions: Mapping[str, tuple[str, ...]]
    starts: Mapping[str, tuple[str, ...]]
    steps: Mapping[str, tuple[str, ...]]


PLAIN = Wording(QUESTIONS, STARTS, STEPS)
"""Wording of the demo."""

# A step of a thought. {a}: the entity or country that is known. {b}: the country that follows.
THOUGHTS: Mapping[str, str] = {
    "capital": "{a} is the capital of {b}.",
    "peak": "{a} is the highest point of {b}.",
    "city": "{a} is a city in {b}.",
    "border": "{a} has its longest border with {b}.",
    "buyer": "{a} sells most to {b}.",
    "seller": "{a} buys most from {b}.",
}

# The name of a facet at the end of a thought.
FACETS: Mapping[str, str] = {
    "farming": "agriculture",
    "exports": "exports",
    "imports": "imports",
    "industries": "industries",
    "climate": "climate",
    "languages": "languages",
    "resources": "natural resources",
    "symbols": "national symbols",
}
