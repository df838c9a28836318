"""Conversion of units: there and back, by known figures, and never between dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.channels import STANDARD
from schema.units import (
    ASCII,
    DIMENSION_OF,
    SAME,
    NotConvertible,
    Oxygen,
    alternatives,
    conversion,
    convert,
    named,
)

UNITS = sorted(DIMENSION_OF)
UNIT = st.sampled_from(UNITS)
VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20).map(np.array)
OXYGEN = st.floats(0, 40).map(Oxygen)


@given(st.data(), UNIT, VALUES)
def test_there_and_back_is_where_it_was(data: st.DataObject, unit: str, values: np.ndarray) -> None:
    other = data.draw(st.sampled_from(alternatives(unit) or [unit]))
    back = convert(convert(values, unit, other), other, unit)
    assert np.allclose(back, values, rtol=1e-9, atol=1e-6)


@given(st.data(), UNIT)
def test_two_steps_are_one(data: st.DataObject, unit: str) -> None:
    """A conversion is affine: an average converted is the average of what was converted."""
    first, second = (data.draw(st.sampled_from([unit, *alternatives(unit)])) for _ in range(2))
    assert np.allclose(conversion(unit, first).then(conversion(first, second)), conversion(unit, second), rtol=1e-9)
    values = np.array(data.draw(st.lists(st.floats(-1e3, 1e3), min_size=1)))
    assert np.isclose(
        conversion(unit, first).of(np.array([values.mean()]))[0],
        convert(values, unit, first).mean(),
        rtol=1e-9,
        atol=1e-6,
    )


@given(UNIT, UNIT, OXYGEN)
def test_nothing_is_converted_between_dimensions(one: str, other: str, oxygen: Oxygen) -> None:
    """Not even of dissolved oxygen, but between % and a concentration."""
    for assumed in (None, oxygen):
        if DIMENSION_OF[one] == DIMENSION_OF[other]:
            conversion(one, other, oxygen=assumed)
        else:
            with pytest.raises(NotConvertible) as error:
                conversion(one, other, oxygen=assumed)
            assert all(unit in str(error.value) for unit in (one, other, *alternatives(one)))


@given(OXYGEN, st.floats(0, 300))
def test_dissolved_oxygen_is_converted_there_and_back(oxygen: Oxygen, percent: float) -> None:
    there = convert(np.array([percent]), "%", "mg/L", oxygen=oxygen)
    assert np.isclose(there[0], percent / 100 * oxygen.saturation)
    assert np.isclose(convert(there, "mg/L", "%", oxygen=oxygen)[0], percent)
    with pytest.raises(NotConvertible):
        conversion("%", "mg/L")


@pytest.mark.parametrize(
    ("value", "from_", "to", "is_"),
    [
        (37.0, "°C", "°F", 98.6),
        (37.0, "degC", "K", 310.15),
        (212.0, "°F", "°C", 100.0),
        (1.0, "bar", "kPa", 100.0),
        (1.0, "atm", "mbar", 1013.25),
        (14.50377, "psi", "bar", 1.0),
        (760.0, "mmHg", "kPa", 101.325),
        (1500.0, "mL/h", "L/h", 1.5),
        (1.0, "L/min", "mL/h", 60_000.0),
        (250.0, "mL", "L", 0.25),
        (5.0, "\u03bcS", "mS", 0.005),
    ],
)
def test_known_figures(value: float, from_: str, to: str, is_: float) -> None:
    assert convert(np.array([value]), from_, to)[0] == pytest.approx(is_, rel=1e-6)


def test_the_same_unit_changes_no_bit() -> None:
    values = np.array([-0.0, np.nan, 1e308])
    assert conversion("°C", "degC") == SAME
    assert convert(values, "°C", "°C").tobytes() == values.tobytes()


@pytest.mark.parametrize(("celsius", "saturation"), [(0, 14.621), (20, 9.092), (25, 8.263), (37, 6.727), (40, 6.412)])
def test_the_solubility_of_oxygen_is_the_published_one(celsius: float, saturation: float) -> None:
    """Standard Methods 4500-O, table I; Benson and Krause, 1984."""
    assert Oxygen(celsius).saturation == pytest.approx(saturation, abs=0.002)


def test_what_nobody_knows_is_refused_in_words() -> None:
    with pytest.raises(NotConvertible, match="nobody has said"):
        conversion(None, "bar")
    with pytest.raises(NotConvertible, match="no other unit of it is known"):
        conversion("AU", "g/L")
    with pytest.raises(NotConvertible, match=r"in °C cannot be in bar: they can be in K, °F"):
        conversion("°C", "bar")


def test_each_unit_of_the_standard_list_is_written_as_here_and_ascii_names_known_ones() -> None:
    assert {named(it.unit) for it in STANDARD} == {it.unit for it in STANDARD}
    assert set(ASCII.values()) <= set(UNITS)
