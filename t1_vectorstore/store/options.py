"""The options of a search, and which values they take."""

from __future__ import annotations

import operator
import re
from numbers import Real
from typing import Any, get_args

from typing_extensions import TypedDict, Unpack

from t1_vectorstore.errors import InvalidText
from t1_vectorstore.filters import FilterLike
from t1_vectorstore.types import Fusion

_MOST = 2**31 - 1
MOST_CANDIDATES = 16_384
"""Servers refuse to choose from more."""


class Searching(TypedDict, total=False):
    """The options of ``Collection.search``, for who passes them on."""

    limit: int
    offset: int
    score_threshold: float | None
    filter: FilterLike | None
    text: str | None
    fusion: Fusion
    vector_weight: float | None
    diversity: float | None
    candidates: int | None
    group: bool


def check_search(**options: Unpack[Searching]) -> None:
    """Refuse what no collection can search by.

    Raises:
        ValueError: an option with a value that it does not take.
        TypeError: an option that there is not, a text that is no string, a whole number that is none.
    """
    if unknown := sorted(set(options) - set(Searching.__annotations__)):
        raise TypeError(f"a search has no option {unknown[0]!r}; it has {', '.join(Searching.__annotations__)}")
    whole("limit", options.get("limit", 10), 1)
    whole("offset", options.get("offset", 0), 0)
    if (candidates := options.get("candidates")) is not None:
        whole("candidates", candidates, 1)
    for name in ("score_threshold", "vector_weight", "diversity"):
        if isinstance(given := options.get(name), bool) or not isinstance(given, Real | None):
            raise TypeError(f"{name} is a number, got {given!r}")
    if not isinstance(group := options.get("group", False), bool):
        raise TypeError(f"group is True or False, got {group!r}")
    threshold, diversity = options.get("score_threshold"), options.get("diversity")
    if threshold is not None and not -1 <= threshold <= 1:
        raise ValueError(f"score_threshold is a cosine similarity in [-1, 1], got {threshold!r}")
    if diversity is not None and not 0 <= diversity <= 1:
        raise ValueError(f"diversity is in [0, 1]: 0 is relevance only, 1 difference only; got {diversity!r}")
    most = max(options.get("limit", 10) + options.get("offset", 0), candidates or 0)
    if diversity is not None and most > MOST_CANDIDATES:
        raise ValueError(f"a diverse choice is among {MOST_CANDIDATES} candidates at most, not {most}; ask for fewer")
    if (fusion := options.get("fusion", "rrf")) not in get_args(Fusion):
        raise ValueError(f"fusion is one of {', '.join(get_args(Fusion))}, got {fusion!r}")
    if not isinstance(text := options.get("text"), str | None):
        raise TypeError(f"text is a string, got {type(text).__name__}: {text!r}")
    if text is not None and re.search("[\ud800-\udfff]", text):
        raise InvalidText(f"the text {text!r} holds a lone surrogate, which UTF-8 cannot write")
    if (weight := options.get("vector_weight")) is not None:
        _check_weight(weight, fusion, text)


def _check_weight(weight: float, fusion: Fusion, text: str | None) -> None:
    if not 0 <= weight <= 1:
        raise ValueError(f"vector_weight is in [0, 1]: 0 goes by the words only, 1 by the vector only; got {weight!r}")
    if fusion != "rrf":
        raise ValueError(f"vector_weight={weight!r} weighs ranks, and fusion={fusion!r} adds scores; leave one out")
    if text is None:
        raise ValueError(
            f"vector_weight={weight!r} weighs the vector against words, and this search has no words; search by words "
            "as well, in a hybrid collection, or leave it out"
        )


def whole(name: str, value: Any, least: int) -> int:  # noqa: ANN401 - anything that says it is an integer
    """A whole number.

    Raises:
        TypeError: it is none.
        ValueError: it is too small, or larger than engines can count.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is a whole number, got {value!r}") from None
    if isinstance(value, bool) or number < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    if number > _MOST:
        raise ValueError(f"{name} must be at most {_MOST}, got {value!r}")
    return number
