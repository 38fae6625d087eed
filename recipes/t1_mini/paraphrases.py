"""More wordings of queries: hundreds of training templates for each facet and relation, and held-out ones.

As in ``recipes.t1_mini.wording``, no query template shares a word with the document templates of its facet, apart
from names and small function words. Every step template ends with the previous country, so a chain of them is read from
its end and nothing is nested. The training patterns are in ``wide.json``.
"""

from __future__ import annotations

import json
from pathlib import Path

from recipes.t1_mini.wording import PLAIN, Wording

MIN_WORD_DISTANCE = 2
"""Smallest edit distance, in words, between a training template and a held-out template."""

REARRANGED = Wording(
    questions={
        "farming": (
            "which crops and beasts do country people in {x} raise",
            "what is planted in the fields and grazes on the meadows of {x}",
        ),
        "exports": (
            "what do foreigners buy from {x}",
            "which merchandise is sent abroad from the harbours of {x}",
        ),
        "imports": (
            "what does {x} need to get from overseas",
            "which merchandise do foreigners sell to {x}",
        ),
        "industries": (
            "what is produced in the mills and workshops of {x}",
            "in which factories do the people of {x} work",
        ),
        "climate": (
            "what temperatures and seasons does one meet in {x}",
            "is a visitor to {x} hot or cold",
        ),
        "languages": (
            "what do the people of {x} speak",
            "in which tongue do citizens of {x} talk to a visitor",
        ),
        "resources": (
            "which ores and fuels lie in the ground of {x}",
            "what can a mining company look for under the hills of {x}",
        ),
        "symbols": (
            "which bird or flower is the emblem of {x}",
            "what animal is on the coins and flags of {x}",
        ),
    },
    starts={
        "capital": ("the country that has its government in {e}", "the state whose president has offices in {e}"),
        "peak": ("the land whose highest ground is {e}", "the state in which {e} rises above all"),
        "city": ("the country in which one finds the town of {e}", "the land that has {e} on its map"),
    },
    steps={
        "border": (
            "the country that has the longest land border with {x}",
            "the neighbour that touches most of the edge of {x}",
        ),
        "buyer": ("the country to which most goods are sent from {x}", "the greatest client for the wares of {x}"),
        "seller": ("the nation that furnishes most goods to {x}", "the foremost source of imports for {x}"),
    },
)
"""Held-out templates, whose words all occur in training templates."""

UNSEEN = Wording(
    questions={
        "farming": (
            "what could one buy at a village market in {x}",
            "i want to know what is sown and bred in {x}",
        ),
        "exports": (
            "on which products does {x} depend for its foreign income",
            "i want to know what {x} supplies to the world",
        ),
        "imports": (
            "on which products from elsewhere does {x} depend",
            "i want to know what {x} must be supplied with",
        ),
        "industries": (
            "what do firms and works in {x} earn their living with",
            "i want to know which things are made in {x}",
        ),
        "climate": (
            "when i fly to {x}, will i sweat or freeze",
            "i want to know about sun and rain in {x}",
        ),
        "languages": (
            "with which speech would a radio host address {x}",
            "i want to know how the folk of {x} chat",
        ),
        "resources": (
            "what could prospectors dig, drill or log in {x}",
            "i want to know what lies beneath the soil of {x}",
        ),
        "symbols": (
            "which figure is shown on the crest of {x}",
            "i want to know the badge of {x}",
        ),
    },
    starts={
        "capital": ("the country run by the government in {e}", "the nation whose head of state resides in {e}"),
        "peak": ("the country in which {e} is the greatest height", "the nation whose climbers aim for {e}"),
        "city": ("the country where people from {e} are at home", "the nation that counts {e} as one of its towns"),
    },
    steps={
        "border": (
            "the country lying longest beside {x}",
            "the state that guards the greatest stretch of line with {x}",
        ),
        "buyer": ("the country that spends most on the products of {x}", "the state with the largest bill from {x}"),
        "seller": ("the country that earns most by trade with {x}", "the state with the largest deliveries for {x}"),
    },
)
"""Held-out templates, mostly with words that no training template has."""


_PATTERNS = json.loads(Path(__file__).with_name("wide.json").read_text(encoding="utf-8"))

WIDE = Wording(
    **{
        kind: {key: (*templates[key], *patterns) for key, patterns in _PATTERNS[kind].items()}
        for kind, templates in vars(PLAIN).items()
    }
)
"""Wording of the training queries: enough variety that the model also understands other wordings."""
