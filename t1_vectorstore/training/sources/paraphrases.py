"""More ways to word a chain's query: for training, and others that no training query has.

As in :mod:`t1_vectorstore.demo.wording`, names and small function words aside no query template shares a word with the
document templates of its facet. A step ends with what it starts from: a chain of them reads
from the end, and nothing is nested.
"""

from __future__ import annotations

from collections.abc import Mapping

from t1_vectorstore.demo.wording import PLAIN, Wording

_MORE = Wording(
    questions={
        "farming": (
            "what gets planted, fed and slaughtered in {x}",
            "name the crops and herds of {x}",
            "what do peasants in {x} live from",
            "tell me which food {x} grows for itself",
            "what would one see on the land and in the barns of {x}",
        ),
        "exports": (
            "name the goods that {x} sends to other countries",
            "what do ships carry away from the ports of {x}",
            "which articles of {x} are bought by the rest of the world",
            "tell me what {x} lives from selling",
            "what leaves {x} for foreign customers",
        ),
        "imports": (
            "name the goods that {x} has to get from other countries",
            "what do ships unload in the ports of {x}",
            "which articles does {x} not have enough of at home",
            "tell me what {x} orders from foreign firms",
            "what comes to {x} from the rest of the world",
        ),
        "industries": (
            "name the branches of manufacturing in {x}",
            "what is processed and produced by the plants of {x}",
            "where do the workers of {x} find jobs",
            "tell me what companies in {x} turn out",
            "what are the workshops and mills of {x} for",
        ),
        "climate": (
            "is it hot or cold, wet or dry in {x}",
            "name the seasons one meets in {x}",
            "how warm and how rainy does it get in {x}",
            "tell me what the temperatures are like in {x}",
            "does one need a coat or an umbrella in {x}",
        ),
        "languages": (
            "what is the mother tongue of people in {x}",
            "name what one hears on the streets of {x}",
            "which dictionary should a guest of {x} bring",
            "tell me how people in {x} speak",
            "what do schoolchildren of {x} learn to read in",
        ),
        "resources": (
            "name the minerals and fuels of {x}",
            "what would a geologist look for in {x}",
            "which raw materials does nature give to {x}",
            "tell me what is buried under {x}",
            "what wealth do the mines, woods and rivers of {x} hold",
        ),
        "symbols": (
            "name the animal, flower or sign of {x}",
            "what might be drawn on the banknotes and flags of {x}",
            "which beast or bloom do the people of {x} honour",
            "tell me what is pictured in the arms of {x}",
            "what is to {x} as the bald eagle is to the united states",
        ),
    },
    starts={
        "capital": (
            "the country whose parliament meets in {e}",
            "the country with {e} as its seat of government",
            "the land whose ministers work in {e}",
            "the nation of which {e} is the first city",
            "the place that is administered from {e}",
        ),
        "peak": (
            "the country where {e} towers over everything",
            "the land whose tallest mountain is {e}",
            "the state with {e} as its top",
            "the nation in which nobody stands higher than on {e}",
            "the place that culminates in {e}",
        ),
        "city": (
            "the country in which {e} lies",
            "the land that has {e} among its towns",
            "the home country of {e}",
            "the state on whose map one sees {e}",
            "the place whose citizens live in {e} and elsewhere",
        ),
    },
    steps={
        "border": (
            "the country that touches the most kilometres of {x}",
            "the neighbour along most of the land boundary of {x}",
            "the state on the other side of the longest boundary of {x}",
            "the nation next door by the longest line to {x}",
            "the country with the longest edge in common with {x}",
        ),
        "buyer": (
            "the country that takes most of the exports of {x}",
            "the place that receives most shipments from {x}",
            "the state that pays most for the wares of {x}",
            "the leading client of {x}",
            "the country that buys most from {x}",
        ),
        "seller": (
            "the country that most purchases come from in {x}",
            "the place that provides most of the shopping of {x}",
            "the state that delivers most to {x}",
            "the leading provider of {x}",
            "the country that sells most to {x}",
        ),
    },
)

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
"""What no training query says."""


def _together(
    first: Mapping[str, tuple[str, ...]], second: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    return {key: (*first[key], *second[key]) for key in first}


WIDE = Wording(
    _together(PLAIN.questions, _MORE.questions),
    _together(PLAIN.starts, _MORE.starts),
    _together(PLAIN.steps, _MORE.steps),
)
"""The wording of the training queries: eight ways to say each thing, so that others are understood too."""
