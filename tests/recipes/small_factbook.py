"""A Factbook of invented countries, in the format of the real one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from recipes.t1_mini import factbook

NAMES = (
    "Arvia",
    "Belmor",
    "Cadria",
    "Dunmar",
    "Elonia",
    "Farrow",
    "Galdia",
    "Hestor",
    "Ivenia",
    "Jorund",
    "Kaldor",
    "Lumeria",
    "Mordal",
    "Nevaria",
    "Ostrin",
    "Paldia",
    "Quorra",
    "Rastia",
    "Selmor",
    "Tavira",
    "Ulmor",
    "Vestia",
    "Wendar",
    "Xandria",
    "Yorvia",
    "Zelmar",
    "Abrenia",
    "Borvast",
    "Cyrmon",
    "Delvar",
)
PRODUCTS = ("milk", "wheat", "maize", "olives", "grapes", "rice", "barley")


def record(index: int) -> dict[str, Any]:
    """Return a country whose links lead to fixed neighbours in the list."""
    name = NAMES[index]
    near, far, there = (NAMES[(index + step) % len(NAMES)] for step in (1, 7, 11))
    goods = [PRODUCTS[(index + step) % len(PRODUCTS)] for step in range(3)]
    data = {
        "Geography": {
            "Climate": {"text": f"mild &amp; wet; {goods[0]} season, none in June"},
            "Land boundaries": {"border countries": {"text": f"{near} 1,200 km; {far} 80 km (of which 3 km lake)"}},
            "Elevation": {"highest point": {"text": f"Mount {name[::-1].title()} (tallest of its range) 1,234 m"}},
            "Natural resources": {"text": "iron ore, " + ", ".join(goods)},
        },
        "People and Society": {
            "Languages": {"Languages": {"text": f"{name}ish (official) 81.2%, English 3%, other 15.8% (2020 est.)"}},
            "Major urban areas - population": {
                "text": f"1.2 million {name.upper()}OPOLIS (capital), 300,000 Port {name} (2023)"
            },
        },
        "Government": {
            "Country name": {"conventional short form": {"text": name}},
            "Capital": {"name": {"text": f"{name}opolis; note - the court sits elsewhere"}},
            "National symbol(s)": {"text": "oak, lion"},
        },
        "Economy": {
            "Agricultural products": {"text": ", ".join(goods) + " (2023)"},
            "Exports - commodities": {"text": ", ".join(goods) + ", ships (2023)"},
            "Imports - commodities": {"text": "cars, " + ", ".join(goods)},
            "Exports - partners": {"text": f"{far} 31%, {near} 8% (2023)"},
            "Imports - partners": {"text": f"{there} 44%, {near} 7% (2023)"},
        },
    }
    return {"code": f"{index:02d}", "region": "nowhere", "data": data}


def records() -> list[dict[str, Any]]:
    """Return all countries and an ocean."""
    ocean = {"code": "zz", "region": "oceans", "data": {"Geography": {"Climate": {"text": "wet"}}}}
    return [*(record(index) for index in range(len(NAMES))), ocean]


def write(path: Path, lines: list[dict[str, Any]] | None = None) -> Path:
    """Write a Factbook, gzipped if the suffix is ``.gz``, and return its path."""
    text = "".join(json.dumps(line) + "\n" for line in (records() if lines is None else lines))
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def build_chains(source: Path, out: Path) -> Path:
    """Build training data from the small Factbook."""
    factbook.build(source, out, examples=300, long=20, queries=8)
    return out
