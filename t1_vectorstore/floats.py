"""What becomes of a float in a payload.

Qdrant, embedded or a server, reads JSON numbers with serde_json's fast algorithm, which can miss the nearest float by
one step: 116.32650514309171 comes back as 116.3265051430917. A hash that is to be the same before and after has to be
made of what a float settles at when it is written and read again and again.
"""

from __future__ import annotations

from decimal import Decimal

_EXACT_DIGITS, _EXACT_POWER = 2**53, 22  # within both, one correctly rounded operation gives the nearest float
_LARGEST_POWER = 308


def settled(number: float) -> float:
    """What a finite float is after any number of trips through an engine; the least, where it never comes to rest."""
    path = [number]
    while (read := _read_back(path[-1])) not in path:
        path.append(read)
    return min(path[path.index(read) :])


def _read_back(number: float) -> float:
    """What serde_json (1.0, without ``float_roundtrip``) reads where this float was written: ``f64_from_parts``."""
    sign, digits, power = Decimal(repr(number)).as_tuple()
    whole = int("".join(map(str, digits)))
    if not isinstance(power, int) or (whole <= _EXACT_DIGITS and abs(power) <= _EXACT_POWER):
        return number
    value = float(whole)
    while power < -_LARGEST_POWER:
        value /= 1e308
        power += _LARGEST_POWER
    value = value * float(f"1e{power}") if power >= 0 else value / float(f"1e{-power}")
    return -value if sign else value
