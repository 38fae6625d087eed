"""Explains why a filter found nothing: it compares a field with numbers, and the points have other values there."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from t1_vectorstore.engines import OWN_KEY, Engine, FilterJSON
from t1_vectorstore.engines.schema import values_at
from t1_vectorstore.metadata import short_repr

_ANY_NUMBER = {"gte": -sys.float_info.max}


class NumberChecks:
    """Checks the fields that filters compare with numbers, each once, after a search that found nothing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: set[str] = set()

    def explain(self, filter: FilterJSON | None) -> Iterator[str]:
        """Yield a sentence for each field that has values, and no number among them."""
        for path in dict.fromkeys(_compared_with_numbers(filter or {})):
            if path in self._known:
                continue
            number = {"key": path, "range": _ANY_NUMBER}
            others, _ = self._engine.page({"must_not": [{"is_empty": {"key": path}}, number]}, limit=1, after=None)
            numbers, _ = self._engine.page({"must": [number]}, limit=1, after=None)
            if others or numbers:
                self._known.add(path)
            if others and not numbers:
                value = next(iter(values_at(others[0].payload, path)), None)
                field = path.removeprefix(f"{self._engine.schema.metadata_key}.")
                yield (
                    f"the filter compares {field!r} with numbers, but the points have no numbers there, only other "
                    f"values such as {short_repr(value)}; compare with such a value, or store numbers"
                )


def _compared_with_numbers(condition: Mapping[str, Any]) -> Iterator[str]:
    """Yield the payload paths of a filter's conditions on numbers, except those that exclude points."""
    if "key" in condition:
        bounds, match = condition.get("range") or {}, condition.get("match") or {}
        values = [*bounds.values(), *match.get("any", []), match.get("value")]
        own = condition["key"].startswith(f"{OWN_KEY}.")
        if not own and any(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            yield condition["key"]
    for clause in ("must", "should"):
        given = condition.get(clause) or []
        for part in [given] if isinstance(given, Mapping) else given:
            yield from _compared_with_numbers(part)
