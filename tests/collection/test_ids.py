"""The mapping from ids to points, which must never change."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t1_vectorstore.engines.ids import point_id
from t1_vectorstore.errors import InvalidText


@pytest.mark.parametrize(
    ("chunk_id", "expected"),
    [
        ("0", 0),
        ("42", 42),
        ("18446744073709551615", 2**64 - 1),
        ("0b5ee3a4-7f0e-4a52-9f6e-3f3f6f1c2d11", "0b5ee3a4-7f0e-4a52-9f6e-3f3f6f1c2d11"),
        ("00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000000"),
        ("hello", "ff3639d8-265b-5ed5-8569-26dd5230820e"),
        ("007", "d02596ad-5d62-5b65-b68e-360005360148"),
    ],
)
def test_the_mapping_is_fixed(chunk_id: str, expected: int | str) -> None:
    assert point_id(chunk_id) == expected


@given(st.text(min_size=1))
def test_any_text_is_an_id(chunk_id: str) -> None:
    found = point_id(chunk_id)
    assert found == point_id(chunk_id)
    if isinstance(found, int):
        assert str(found) == chunk_id
    else:
        assert str(uuid.UUID(found)) == found


@given(st.sets(st.integers(min_value=0, max_value=2**66).map(str), min_size=2))
def test_numbers_of_any_size_have_different_points(numbers: set[str]) -> None:
    assert len({point_id(number) for number in numbers}) == len(numbers)


@pytest.mark.parametrize("bad", ["", "\ud800"])
def test_a_text_that_is_empty_or_invalid_is_refused(bad: str) -> None:
    with pytest.raises(InvalidText):
        point_id(bad)
