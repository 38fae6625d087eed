"""The tables of docs/sizing.md follow from the formulas that it gives."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "sizing.md"
DOCUMENTS = {"10^6": 10**6, "10^8": 10**8, "10^10": 10**10}
DIMENSIONS = (256, 1024, 2560)
FORMS = {"float32": 4.0, "int8": 1.0, "binary": 1 / 8}
GRAPH = 8 * 16
TOKENS = 400
RATES = (5_000, 45_000)
MACHINE = 256 * 10**9


def size(count: float) -> str:
    """Bytes in the largest unit of which there is one."""
    unit, scale = next(pair for pair in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)) if count >= pair[1])
    return f"{count / scale:,.1f} {unit}"


def memory() -> Iterator[str]:
    for words, documents in DOCUMENTS.items():
        for dimension in DIMENSIONS:
            needed = {name: documents * (dimension * each + GRAPH) * 1.5 for name, each in FORMS.items()}
            cells = [words, str(dimension), size(documents * dimension * 4), *map(size, needed.values())]
            machines = (max(2, ceil(2 * needed[name] / MACHINE)) for name in FORMS)
            yield f"| {' | '.join([*cells, ' / '.join(f'{number:,}' for number in machines)])} |"


def hours() -> Iterator[str]:
    for words, documents in DOCUMENTS.items():
        taken = (f"{documents * TOKENS / rate / 3600:,.1f} h" for rate in RATES)
        yield f"| {words} | {' | '.join(taken)} |"


def test_the_tables_are_what_the_formulas_give() -> None:
    page = PAGE.read_text("utf-8").split("\n")
    missing = [row for row in (*memory(), *hours()) if row not in page]
    assert not missing, "docs/sizing.md lacks:\n" + "\n".join(missing)
