"""Tables of files: encodings, delimiters, decimal signs, sections, rows that are none; headings and what they mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from gateway.history.batches import batches
from gateway.history.errors import UnusableFile
from gateway.history.files import opened_tables
from gateway.history.mapping import FileMapping, load_mapping, parse_mapping, ready_mappings
from gateway.history.recognize import recognize
from gateway.history.samples import FrameGroup
from gateway.history.tables import FileForm, FileTable
from tests.gateway.history.exports import dasgip

CSV = "Zeit;Temp [°C];Trübung\n2024-03-08 10:00:00;36,9;1,5\n2024-03-08 10:01:00;37;\n"


def content(path: Path) -> tuple[FileForm, list[tuple[str, tuple[str, ...], list[tuple[object, ...]]]]]:
    with opened_tables(path, FileForm()) as file:
        tables = []
        for table in file.tables:
            rows: list[tuple[object, ...]] = []
            for batch in table.batches(range(len(table.headings))):
                rows += zip(*(column.to_pylist() for column in batch.columns), strict=True)
            tables.append((table.name, table.headings, rows))
        return file.form, tables


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_a_file_is_the_same_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(CSV, encoding=encoding)
    form, tables = content(path)
    assert form == FileForm(encoding, ";", ",", None)
    assert tables == [
        (
            "",
            ("Zeit", "Temp [°C]", "Trübung"),
            [("2024-03-08 10:00:00", "36,9", "1,5"), ("2024-03-08 10:01:00", "37", "")],
        )
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_row_of_another_length_is_refused_and_the_others_keep_their_numbers(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(end.join(["t,a", "x,1", "x,2,3", "y,4", "y", "z,5", ""]).encode())
    refused: list[tuple[int, str]] = []
    with opened_tables(path, FileForm()) as file:
        (table,) = file.tables
        rows = [
            text
            for batch in table.batches([1], lambda row, text, _: refused.append((row, text)))
            for text in batch.columns[0].to_pylist()
        ]
        assert rows == ["1", "4", "5"]
        assert refused == [(3, "x,2,3"), (5, "y")]
        assert [table.row_number(n) for n in range(3)] == [2, 4, 6]


def test_the_sections_of_an_export_are_tables(tmp_path: Path) -> None:
    headings = ("Unit {n}.T{n}.PV [°C]", "Unit {n}.XO2 {n}.Out [%]", "Unit {n}.Inoculation Time []")
    rows = [["2024-03-08 10:00:00", " 36.9", "", "1899-12-30"], ["2024-03-08 10:01:00", "", "-.5", ""]]
    path = dasgip(tmp_path / "e.csv", {1: rows, 12: rows[:1]}, headings)
    mapping = load_mapping("dasgip")
    with opened_tables(path, mapping.form) as file:
        assert (file.form.encoding, file.form.delimiter, file.form.decimal) == ("latin-1", ";", ".")
        plans = [recognize(table, mapping) for table in file.tables]
        named = [(c.heading, c.device, c.channel, c.unit) for plan in plans for c in plan.columns]
        counts = [sum(len(b.columns[0]) for b in table.batches([0])) for table in file.tables]
        assert path.read_text("latin-1").splitlines()[file.tables[1].row_number(0) - 1].startswith("2024-03-08 10:00")
    assert counts == [2, 1]
    assert named == [
        ("Unit 1.T1.PV [°C]", "dasgip-1", "temperature", "°C"),
        ("Unit 1.XO2 1.Out [%]", "dasgip-1", "exhaust_o2", "%"),
        ("Unit 12.T12.PV [°C]", "dasgip-12", "temperature", "°C"),
        ("Unit 12.XO2 12.Out [%]", "dasgip-12", "exhaust_o2", "%"),
    ]
    assert [one.reason for one in plans[0].skipped] == ["left out by the mapping"] * 2


def test_parquet_and_arrow_are_read(tmp_path: Path) -> None:
    table = pa.table({"time": pa.array([1, 2], pa.timestamp("us", "UTC")), "ph": [7.0, None]})
    pyarrow.parquet.write_table(table, tmp_path / "p")
    with pa.OSFile(str(tmp_path / "s"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    with pa.OSFile(str(tmp_path / "f"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    for name in "psf":
        ((_, headings, rows),) = content(tmp_path / name)[1]
        assert headings == ("time", "ph")
        assert [row[1] for row in rows] == [7.0, None]


@pytest.mark.parametrize("broken", [b"PAR1 and no more", b"ARROW1\0\0 and no more", b"", b"one column\n1\n"])
def test_a_broken_file_is_told_in_words(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / "x").write_bytes(broken)
    with pytest.raises(UnusableFile):
        content(tmp_path / "x")


def planned(*headings: str, **mapping: object) -> list[tuple[str | None, str, str | None]]:
    plan = recognize(FileTable("", ("Time", *headings), lambda *_: iter(())), FileMapping(**mapping))  # type: ignore[arg-type]
    return [(one.device, one.channel, one.unit) for one in plan.columns]


def test_vessels_are_recognized_by_their_numbers() -> None:
    assert planned("R1 pH", "R2 pH", "R1 T [°C]") == [("R1", "pH", None), ("R2", "pH", None), ("R1", "T", "°C")]
    assert planned("Reactor 1.pH", "Reactor 2.pH", device="b-{vessel}") == [("b-1", "pH", None), ("b-2", "pH", None)]
    assert planned("R1 pH", "R2 pH", device="mine") == [("mine", "R1 pH", None), ("mine", "R2 pH", None)]
    assert planned("device", "pH (1)") == [(None, "pH", "1")]


@pytest.mark.parametrize(
    ("headings", "mapping", "says"),
    [
        (["pH"], {}, "say with --device"),
        (["pH"], {"device": "no name"}, "is no name of a device"),
        (["pH"], {"device": "a", "channels": {"pH": None}}, "left out by the mapping"),
        (["pH"], {"device": "a", "device_column": "unit"}, "there is no column 'unit'"),
    ],
)
def test_what_cannot_be_told_is_said(headings: list[str], mapping: dict[str, object], says: str) -> None:
    with pytest.raises(UnusableFile, match=says):
        planned(*headings, **mapping)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("headings: ['{nme}']", "is no field of a heading"),
        ("headings: ['{unit}']", "has no {name}"),
        ("decimal: ';'", "not usable"),
        ("colums: {}", "unknown field `colums`"),
        ("a: [", "not usable"),
    ],
)
def test_a_wrong_mapping_is_told_in_words(text: str, says: str) -> None:
    with pytest.raises(UnusableFile, match=says):
        parse_mapping(text.encode())


def test_every_ready_mapping_is_usable() -> None:
    assert [load_mapping(name).title != "" for name in ready_mappings()] == [True]


@pytest.mark.parametrize("position", [0, 1, 499, 500, 1203, 2999])
def test_batches_from_a_position_on_are_the_rest_of_the_file(position: int) -> None:
    minutes = np.arange(1800, dtype=np.int64) * 60_000_000
    values = np.arange(1800, dtype=np.float64)[:, None]
    groups = [
        FrameGroup("x", ("a",), minutes[:1200], values[:1200], None, (None,)),
        FrameGroup("y", ("a",), minutes * 500, values, None, (None,)),
    ]
    made = list(batches(groups, position, 700, 86_400_000, 8))
    left = [(g.device, v) for batch in made for g in batch.groups for v in g.values[:, 0].tolist()]
    assert left == [(g.device, v) for g in groups for v in g.values[:, 0].tolist()][position:]
    assert made[-1].end == 3000
    assert [batch.end for batch in made] == (
        np.cumsum([sum(len(g.times) for g in batch.groups) for batch in made]) + position
    ).tolist()
    for batch in made:
        chunks = {int(t) // 86_400_000_000 for g in batch.groups for t in g.times}
        assert len(chunks) <= 8
        assert sum(len(g.times) for g in batch.groups) <= 700
