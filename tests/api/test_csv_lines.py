"""Lines of CSV that are written without Arrow: the same cells as by Arrow, and only where they can be."""

from __future__ import annotations

import csv
import io
import struct

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.files.arrow import TYPES
from api.files.formats import wide_lines
from schema import times

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
CELLS = st.one_of(st.none(), FLOATS, st.integers(-9999, 9999).map(lambda n: n / 1000))
INSTANTS = st.integers(times.microseconds(times.FIRST), times.microseconds(times.LAST) - 1)


def batch(instants: list[int], devices: list[str] | None, *numbers: list[float | None]) -> pa.RecordBatch:
    columns = [pa.array(instants, pa.int64()).cast(TYPES["time"])]
    if devices is not None:
        columns.append(pa.array(devices).dictionary_encode())
    columns += [pa.array(column, TYPES["value"]) for column in numbers]
    return pa.RecordBatch.from_arrays(columns, [str(number) for number in range(len(columns))])


def bits(cell: str) -> bytes | None:
    return struct.pack("<d", float(cell)) if cell else None


def digits(number: str) -> str:
    """The digits that matter, which are as few as can be in what Python writes."""
    return number.split("e", maxsplit=1)[0].replace(".", "").strip("-0")


@given(st.lists(st.tuples(INSTANTS, CELLS, CELLS), min_size=1, max_size=20), st.booleans())
def test_each_cell_is_the_float_that_was_given(rows: list[tuple[int, float | None, float | None]], named: bool) -> None:
    instants, *numbers = (list(column) for column in zip(*rows, strict=True))
    content = wide_lines(batch(instants, ["br-1"] * len(rows) if named else None, *numbers))
    assert content is not None
    text = bytes(content).decode()
    assert text.endswith("\n")
    read = list(csv.reader(io.StringIO(text)))
    assert [row[0] for row in read] == [times.text(times.from_microseconds(one)) for one in instants]
    assert all(row[1:-2] == (["br-1"] if named else []) for row in read)
    expected = [tuple(None if one is None else struct.pack("<d", one) for one in row[1:]) for row in rows]
    assert [(bits(row[-2]), bits(row[-1])) for row in read] == expected
    cells = [cell for row in read for cell in row[-2:] if cell]
    given_floats = [one for row in rows for one in row[1:] if one is not None]
    assert all(digits(cell) == digits(repr(one)) for cell, one in zip(cells, given_floats, strict=True))


@pytest.mark.parametrize(
    ("devices", "extra"),
    [
        (["br-1", "br-2"], []),
        (['a"b', 'a"b'], []),
        (["a\nb", "a\nb"], []),
        (["br-1", "br-1"], [pa.array([0, 1], pa.int16())]),
    ],
    ids=["two devices", "a quote", "a line feed", "qualities"],
)
def test_what_is_no_table_of_one_device_and_floats_is_left_to_arrow(devices: list[str], extra: list[pa.Array]) -> None:
    one = batch([0, 1], devices, [1.0, 2.0])
    for number, column in enumerate(extra):
        one = one.append_column(f"extra {number}", column)
    assert wide_lines(one) is None
    assert wide_lines(one.select([0])) is None


def test_a_device_that_a_spreadsheet_takes_for_a_formula_has_an_apostrophe() -> None:
    content = wide_lines(batch([0], ["=br"], [1.5]))
    assert content is not None
    assert bytes(content) == b'"1970-01-01T00:00:00.000000Z","\'=br",1.5\n'


def test_a_slice_of_a_batch_has_its_own_instants() -> None:
    whole = batch(list(range(10)), None, [float(n) for n in range(10)])
    content = wide_lines(whole.slice(4, 2))
    assert content is not None
    assert bytes(content) == b'"1970-01-01T00:00:00.000004Z",4.0\n"1970-01-01T00:00:00.000005Z",5.0\n'
