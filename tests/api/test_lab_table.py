"""Tables of samples as instruments and people write them. Pure."""

from __future__ import annotations

import pytest

from api.files.lab_table import read_table, reading
from api.problems import BadParameter
from api.shapes.sample_imports import ImportOptions
from schema import times

WIDE = """Probe;Device;Zeit;Port;glucose [g/L];Lactate (mmol/L);OD600;Bemerkung
S-1;br-1;27.10.2024 02:30:00;2;4,2;< 0,1;12;klar
S-2;br-1;27.10.2024 02:15:00;2;4,1;;positiv;
S-3;br-1;31.03.2024 02:30:00;2;4,0;1,5;13;
S-4;br-1;warm;2;4.000;1,5;13;
S-5;br-1;2024-10-27T05:00:00+01:00;2;4.000;1,5;1e1;
S-6;br-1;2024-10-27T05:00:00+01:00;2;4,0
"""


def table(text: str, **said: object) -> object:
    return read_table(text.encode(), ImportOptions.model_validate(said))


def test_a_wide_table_is_recognized_with_its_units_signs_and_zone() -> None:
    found = read_table(WIDE.encode("latin-1"), ImportOptions(zone="Europe/Berlin"))
    assert (found.delimiter, found.decimal, found.rows) == (";", ",", 6)
    assert [(one.meaning, one.analyte, one.unit) for one in found.columns] == [
        *(("sample", None, None), ("device", None, None), ("time", None, None), ("location", None, None)),
        *(("analyte_value", "glucose", "g/L"), ("analyte_value", "Lactate", "mmol/L")),
        *(("analyte_value", "OD600", None), ("note", None, None)),
    ]
    first, second, fifth = found.samples
    assert {name: one.value for name, one in first.analytes.items()} == {
        **{"glucose": 4.2, "Lactate": "< 0.1", "OD600": 12.0},
    }
    assert (first.location, first.note, first.line) == ("2", "klar", 2)
    at = [times.text(one.taken_at) for one in found.samples if one.taken_at is not None]
    assert at == [
        *("2024-10-27T00:30:00.000000Z", "2024-10-27T01:15:00.000000Z"),  # the clock was seen to go back
        "2024-10-27T04:00:00.000000Z",
    ]
    assert {name: one.value for name, one in second.analytes.items()} == {"glucose": 4.1, "OD600": "positiv"}
    assert {name: one.value for name, one in fifth.analytes.items()} == {"Lactate": 1.5, "OD600": 10.0}
    assert [(one.line, one.heading, one.text, one.reason) for one in found.refused] == [
        (7, "", "", "5 cells, and the headings are 8"),
        (4, "time", "31.03.2024 02:30:00", "the clock of Europe/Berlin skips this time"),
        (5, "time", "warm", "not a time"),
        (6, "glucose", "4.000", "neither a number nor a reading like `< 0.1`: the decimal sign is ','"),
    ]


def test_a_long_table_has_a_row_for_each_analyte() -> None:
    found = read_table(
        b"sample,device,time,analyte,value,unit,method,measured at,batch\n"
        b"S-1,br-1,2026-03-01T10:00:00Z,glucose,4.2,g/l,HPLC,2026-03-01T12:00:00Z,7\n"
        b"S-1,br-1,2026-03-01T10:00:00Z,lactate,,g/L,,,7\n"
        b"S-1,br-1,2026-03-01T10:00:00Z,glucose,4.3,g/l,HPLC,,7\n"
        b"S-1,br-2,2026-03-01T10:00:00Z,ammonia,1,g/L,,,7\n"
        b"S-1,br-1,2026-03-01T10:00:00Z,,1,g/L,,,7\n",
        ImportOptions(),
    )
    [sample] = found.samples
    assert [(name, one.value, one.unit, one.method) for name, one in sample.analytes.items()] == [
        *(("glucose", 4.2, "g/l", "HPLC"), ("lactate", None, "g/L", None)),
    ]
    assert sample.analytes["glucose"].measured_at == times.parse_instant("2026-03-01T12:00:00Z")
    assert found.columns[-1].meaning == "ignored"
    assert [(one.line, one.heading) for one in found.refused] == [(4, "glucose"), (5, "sample"), (6, "analyte")]


@pytest.mark.parametrize(
    ("text", "said", "detail"),
    [
        ("", {}, "body: is empty"),
        ("sample\nS-1\n", {}, "delimiter: the headings have none"),
        ("sample,device,time\nS-1,br-1,2026-03-01Z\n", {}, "body: has no analyte"),
        ("glucose,lactate\n1,2\n", {}, "body: has no column of times"),
        ("time,glucose\n2026-03-01Z,2\n", {}, "device: the file has no column"),
        ("time,time,glucose\n2026-03-01Z,2,2\n", {"device": "x"}, "body: several columns mean time"),
        ("sample,glucose,glucose\nS,2,2\n", {}, "body: several columns are of the analyte glucose"),
        ("sample,analyte\nS,2\n", {}, "body: a long table has"),
        ("sample;time;glucose\nS;1.2.2026 10:00;2\n", {"zone": "Mars"}, "zone: there is no time zone"),
        ('sample,glucose\n"S,2\n', {}, "body: is not CSV"),
    ],
)
def test_what_is_no_table_of_samples_is_refused_with_what_to_say(text: str, said: dict[str, str], detail: str) -> None:
    with pytest.raises(BadParameter) as error:
        table(text, **said)
    assert error.value.detail.startswith(detail)


def test_a_local_time_without_a_zone_is_refused_with_its_row() -> None:
    found = read_table(b"sample;time;glucose\nS;1.2.2026 10:00;2\n", ImportOptions(device="br-1"))
    assert [(one.line, one.reason) for one in found.refused] == [
        (2, "the time has no zone: say `zone`, such as Europe/Berlin")
    ]


def test_a_sample_has_a_bound_of_analytes_and_names_that_can_be_printed() -> None:
    headings = ";".join(f"a{n}" for n in range(101))
    found = read_table(f"sample;b\ad;{headings}\nS;1;{';'.join('1' * 101)}\n".encode(), ImportOptions())
    assert [(one.heading, one.reason) for one in found.refused] == [
        ("b\ad", "the analyte or its unit has characters that cannot be printed"),
        ("a100", "a sample has at most 100 analytes"),
    ]


@pytest.mark.parametrize(
    ("cell", "decimal", "value"),
    [
        *(("4.2", ".", 4.2), ("4,2", ",", 4.2), ("4,2", ".", None), ("4.2", ",", None), ("1,234.5", ",", None)),
        *((">= 3,5", ",", ">= 3.5"), ("<0.1", ".", "< 0.1"), ("< x", ".", None), ("≤ 2", ".", "≤ 2")),
        *(("n.d.", ".", "n.d."), ("trace", ".", "trace"), ("4.2 g", ".", None), ("1e999", ".", None)),
    ],
)
def test_a_cell_is_a_number_or_a_reading_or_neither(cell: str, decimal: str, value: float | str | None) -> None:
    assert reading(cell, "," if decimal == "," else ".") == value
