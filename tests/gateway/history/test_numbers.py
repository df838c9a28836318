"""Cells of text as numbers: what is one, what says that there is none, and what is refused without harm to others."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.history.numbers import EMPTY, NO_VALUE, SENT, numbers
from schema.csv_files import Decimal


def read(cells: list[str | None], decimal: Decimal = ".") -> tuple[list[float], list[int], list[tuple[int, str]]]:
    refused: list[tuple[int, str]] = []
    found = numbers(pa.array(cells, pa.string()), decimal, lambda n, _, reason: refused.append((n, reason)))
    return found.values.tolist(), found.states.tolist(), refused


@pytest.mark.parametrize(
    ("cell", "decimal", "value"),
    [
        ("7", ".", 7),
        (" -.015", ".", -0.015),
        (" 6.94444446708076E-04", ".", 6.94444446708076e-04),
        ("+5.", ".", 5),
        ("7,2", ",", 7.2),
        ("-,5e3", ",", -500),
        ("1e-400", ".", 0),
    ],
)
def test_a_number_is_read(cell: str, decimal: Decimal, value: float) -> None:
    assert read([cell], decimal) == ([value], [SENT], [])
    assert read([cell, "?"], decimal)[0][0] == value  # the way of a column in which something is wrong


@pytest.mark.parametrize(
    ("cell", "decimal", "reason"),
    [
        ("abc", ".", "not a number"),
        ("0x1A", ".", "not a number"),
        ("1_000", ".", "not a number"),
        ("1 000", ".", "not a number"),
        ("1e", ".", "not a number"),
        ("7,2", ".", "not a number: the decimal sign is '.'"),
        ("1.234", ",", "not a number: the decimal sign is ','"),
        ("1.234,5", ",", "not a number: the decimal sign is ','"),
        ("1e400", ".", "number too large"),
    ],
)
def test_a_refused_cell_is_named_and_harms_no_neighbour(cell: str, decimal: Decimal, reason: str) -> None:
    values, states, refused = read(["1", cell, "2"], decimal)
    assert refused == [(1, reason)]
    assert (values[0], values[2]) == (1, 2)
    assert states == [SENT, EMPTY, SENT]


def test_nothing_and_no_value_are_told_apart() -> None:
    values, states, refused = read(["", "  ", None, "NaN", "-inf", "Infinity", "0"])
    assert states == [EMPTY, EMPTY, EMPTY, NO_VALUE, NO_VALUE, NO_VALUE, SENT]
    assert all(map(math.isnan, values[:6]))
    assert (values[6], refused) == (0, [])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["x", "1.5,2"]), max_size=20))
def test_every_float_survives_beside_anything(given_: list[float | str]) -> None:
    values, _, refused = read([one if isinstance(one, str) else repr(one) for one in given_])
    assert len(refused) == sum(isinstance(one, str) for one in given_)
    for value, one in zip(values, given_, strict=True):
        assert math.isnan(value) if isinstance(one, str) else value == one
