"""Ways to word a chain's query: hundreds of each thing for training, and others that no training query has.

As in :mod:`t1_vectorstore.demo.wording`, names and small function words aside no query template shares a word with the
document templates of its facet. A step ends with what it starts from: a chain of them reads from the end, and nothing
is nested.
"""

from __future__ import annotations

from collections.abc import Mapping

from t1_vectorstore.demo.wording import PLAIN, Wording
from t1_vectorstore.training.sources.patterns import expand_all

_LAND = "[country|state|nation|land|place]"
_KNOW = "[|do you know |tell me |can you say |please find out |i would like to hear ]"


_MORE = Wording(
    questions=expand_all(
        {
            "farming": (
                f"{_KNOW}what [gets|is] [planted|grown|raised|cultivated] [and fed|and fattened|and kept|] in {{x}}",
                "[name|list|give me] the [crops|harvests|plants and beasts|crops and herds|grain and livestock] of {x}",
                f"{_KNOW}what [peasants|country people|growers|villagers|ranchers] in {{x}} "
                f"[live from|tend|bring in|raise]",
                f"{_KNOW}which [food|foods|grain and meat|fruit and cattle] {{x}} [grows|raises|produces] for itself",
                "what would one see [on the land|in the fields|in the barns|in the meadows and barns] of {x}",
                "[what|which foods] [come|comes] [off|from] the [fields|soil|pastures|orchards] of {x}",
                "what [stands|ripens|grazes] [on|in] the [fields|meadows|acres] of {x}",
            ),
            "exports": (
                "[name|list|give me] the [goods|wares|articles|things] that {x} [sends|ships|sells] to "
                "[others|foreigners|other countries]",
                f"{_KNOW}what ships [carry|take|haul] [away|off|out] from the [ports|harbours|docks|quays] of {{x}}",
                "which [articles|goods|wares] of {x} are [bought|wanted|ordered] by "
                "[the rest of the world|foreigners|other nations]",
                f"{_KNOW}what {{x}} "
                f"[lives from selling|earns its foreign money with|makes money with abroad|sells beyond its frontiers]",
                "what [goes|travels|is sent] [from|out of] {x} "
                "[to foreign customers|to buyers overseas|across the frontier]",
                "with which [goods|wares|merchandise] does {x} [pay its way|make money] [abroad|overseas]",
            ),
            "imports": (
                "[name|list|give me] the [goods|wares|articles] that {x} [has to get|fetches|needs|must buy] from "
                "[others|foreigners|other countries]",
                f"{_KNOW}what ships [unload|put ashore|bring in|deliver] [in|at] the [ports|harbours|docks|quays] of "
                f"{{x}}",
                "[which articles|what goods|which wares] does {x} [not have enough of|lack|run short of] at home",
                f"{_KNOW}what {{x}} [orders|buys|gets|purchases] from [foreign firms|abroad|overseas|sellers abroad]",
                "what [comes|arrives|is delivered] [to|in] {x} from "
                "[the rest of the world|abroad|overseas|foreign lands]",
                "for which [goods|wares|articles] does {x} [pay foreigners|look abroad|turn to other countries]",
            ),
            "industries": (
                "[name|list|give me] the [branches of manufacturing|kinds of factory|trades|lines of business] in {x}",
                f"{_KNOW}what is [processed|produced|manufactured|assembled|turned out] by the "
                f"[plants|factories|mills] of {{x}}",
                "where do the [workers|labourers|hands|engineers] of {x} [find jobs|earn wages|get employed]",
                f"{_KNOW}what [companies|businesses|manufacturers] in {{x}} [turn out|produce|work at|manufacture]",
                "what are the [workshops|mills|plants|factories] of {x} [for|busy with|built for]",
                "in which [trades|branches|businesses] [is money made|do people work|are wages paid] in {x}",
            ),
            "climate": (
                "is it [hot or cold|warm or cool|wet or dry|hot or cold, wet or dry] in {x}",
                "[name|describe|tell me about] the [seasons|weather|temperatures|heat and rain] "
                "[one meets|to expect|] in {x}",
                "how [warm|hot|cold|rainy|dry|mild] does it get in {x}",
                f"{_KNOW}what the [weather|temperatures|skies|seasons] [are|is] like in {{x}}",
                "does one need [a coat|an umbrella|a hat|a coat or an umbrella|sun cream or boots] in {x}",
                "what [weather|skies|temperatures] should [a visitor|a tourist|one|a pilot] [to|bound for] {x} "
                "[expect|get ready for]",
            ),
            "languages": (
                "what is the [mother tongue|native tongue|everyday tongue|idiom] of "
                "[people|citizens|families|most people] in {x}",
                f"{_KNOW}what one hears [on the streets|in the shops|in the schools|on the buses] of {{x}}",
                "which [dictionary|phrase book|grammar] should a [guest|visitor|tourist|newcomer] [of|to|in] {x} "
                "[bring|pack|buy]",
                f"{_KNOW}how [people|inhabitants|natives|neighbours] in {{x}} [speak|talk|converse|talk to each other]",
                "what do [schoolchildren|children|pupils] of {x} [learn to read in|grow up with|write in]",
                "which [tongue|tongues] [does one|do people|do shopkeepers] [use|speak] in {x}",
            ),
            "resources": (
                "[name|list|give me] the [minerals|minerals and fuels|metals and fuels|ores|raw materials] of {x}",
                "what would a [geologist|miner|mining company|surveyor] [look for|hope for|want|seek] in {x}",
                "which [raw materials|riches|metals|treasures] does [nature|the earth|the ground] "
                "[give to|hold for|offer] {x}",
                f"{_KNOW}what is [buried|hidden|stored] [under|in the ground of|in the rocks of|in the hills of] {{x}}",
                "what [wealth|riches] do the [mines|woods|rivers|mines, woods and rivers|hills] of {x} "
                "[hold|offer|give]",
                "what can [be mined|be quarried|one mine|one pump or quarry] in {x}",
            ),
            "symbols": (
                "[name|tell me|what is] the [animal, flower or sign|emblem|heraldic beast|mascot|flower or bird] of "
                "{x}",
                "what might be [drawn|printed|stamped|painted] on the "
                "[banknotes|flags|coins|passports|banknotes and flags] of {x}",
                "which [beast|bloom|bird|animal|plant] do the people of {x} [honour|cherish|hold dear|revere]",
                f"{_KNOW}what is [pictured|drawn|seen] in the [arms|coat of arms|heraldry] of {{x}}",
                "what is to {x} as the [bald eagle is to the united states|kangaroo is to australia|lily is to france]",
                "[which|what] [creature|plant|emblem|animal] [stands for|represents|belongs to] {x}",
            ),
        }
    ),
    starts=expand_all(
        {
            "capital": (
                f"the {_LAND} [governed|ruled|administered|directed|led] from {{e}}",
                f"the {_LAND} whose [government|parliament|cabinet|president or king] "
                f"[meets|sits|works|has its offices] in {{e}}",
                f"the {_LAND} [with|that has] {{e}} as its "
                f"[seat of government|first city|seat of power|political centre]",
                f"the {_LAND} whose [ministers|rulers|deputies|lawmakers] [work|meet|sit|gather] in {{e}}",
                f"the {_LAND} of which {{e}} is the [first city|seat of government|administrative centre]",
            ),
            "peak": (
                f"the {_LAND} [crowned|topped|overlooked] by {{e}}",
                f"the {_LAND} whose [loftiest summit|tallest mountain|topmost ground|tallest hill] is {{e}}",
                f"the {_LAND} [that rises|rising|reaching] [highest|furthest up] at {{e}}",
                f"the {_LAND} where {{e}} [towers|rises|stands] [over|above] "
                f"[everything|all the rest|all other ground]",
                f"the {_LAND} [with|that has] {{e}} as its [top|summit|roof|uppermost point]",
                f"the {_LAND} in which [nobody stands|one cannot stand|nothing is] higher than [on|at] {{e}}",
                f"the {_LAND} that culminates in {{e}}",
            ),
            "city": (
                f"the {_LAND} [that {{e}} belongs to|around {{e}}|{{e}} is part of|containing {{e}}]",
                "the [nation|country|state] around the [town|city] of {e}",
                f"the {_LAND} [where one finds|where one gets to|in which lies|that contains] {{e}}",
                f"the {_LAND} that has {{e}} among its [towns|cities|big towns]",
                "the home [country|state|land] of {e}",
                f"the {_LAND} on whose [map|soil|ground] one [sees|finds] {{e}}",
                f"the {_LAND} whose [citizens|inhabitants|townspeople] live in {{e}} "
                f"[and elsewhere|among other towns|]",
            ),
        }
    ),
    steps=expand_all(
        {
            "border": (
                f"the {_LAND} that [touches|adjoins|borders|meets] the most kilometres of {{x}}",
                "the [neighbour|neighbouring state|neighbouring country] along most of the "
                "[land boundary|frontier|border] of {x}",
                f"the {_LAND} [on the other side of|across|behind] the longest [boundary|border|frontier|edge] of "
                f"{{x}}",
                f"the {_LAND} next door by the longest [line|border|boundary] to {{x}}",
                f"the {_LAND} [with|that has|sharing] the longest [edge|border|frontier|boundary] in common with {{x}}",
                "the [main|chief|greatest|foremost] land neighbour of {x}",
                "the neighbour [with|sharing|that shares] the [longest|greatest|most extended] "
                "[frontier|border|boundary] with {x}",
            ),
            "buyer": (
                f"the {_LAND} that [takes|buys|receives|absorbs] most of the [exports|wares|goods] of {{x}}",
                f"the {_LAND} that [receives|gets|takes] most [shipments|goods|freight] from {{x}}",
                f"the {_LAND} that [pays|hands over] most for the [wares|goods|merchandise] of {{x}}",
                "the [leading|main|biggest|best|foremost|chief] [client|customer|buyer|purchaser] of {x}",
                f"the {_LAND} that [buys|purchases|orders] most from {{x}}",
                f"the {_LAND} [most goods go to|where most freight goes] from {{x}}",
                "the [best|biggest|main|foremost] market for [the goods of|the wares of|what is sold by|] {x}",
            ),
            "seller": (
                f"the {_LAND} that most [purchases|goods|wares] come from in {{x}}",
                f"the {_LAND} that [provides|furnishes|ships] most of the [shopping|imports|purchases] of {{x}}",
                f"the {_LAND} that [delivers|ships|sells|sends] most to {{x}}",
                "the [leading|main|biggest|foremost|chief] [provider|supplier|seller|vendor] of {x}",
                "the [first|main|biggest|foremost] [vendor|seller|supplier] to {x}",
                f"the {_LAND} from which most goods are [bought|ordered|fetched] by {{x}}",
                "the [biggest|main|chief] source of [goods|purchases|wares] for {x}",
            ),
        }
    ),
)

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
"""Templates that no training query has, of words that some training template has."""

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
"""Templates that no training query has, mostly of words that none has either."""


def _together(
    first: Mapping[str, tuple[str, ...]], second: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    return {key: tuple(dict.fromkeys((*first[key], *second[key]))) for key in first}


WIDE = Wording(
    _together(PLAIN.questions, _MORE.questions),
    _together(PLAIN.starts, _MORE.starts),
    _together(PLAIN.steps, _MORE.steps),
)
"""The wording of the training queries: so many ways to say each thing that others are understood too."""
