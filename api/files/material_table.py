"""Reads a table of records of material out of a file of text: a row is a record. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from api.files.text_rows import number_of, read_rows, read_times, sign_hint, split_heading
from api.http.parameters import nearest
from api.problems import BadParameter
from api.shapes.material_imports import MaterialColumn, MaterialMeaning
from api.shapes.materials import MATERIAL_KINDS, NewMaterial
from api.shapes.sample_imports import ImportOptions, RefusedRow
from schema import times
from schema.csv_files import DEVICE_HEADING, TIME_HEADINGS, UNIT_HEADINGS, VALUE_HEADINGS, Decimal

HEADINGS: Mapping[str, MaterialMeaning] = {
    **dict.fromkeys((DEVICE_HEADING, "vessel", "reactor", "bioreactor", "reaktor"), "device"),
    **dict.fromkeys(("kind", "type", "art"), "kind"),
    **dict.fromkeys(("material", "what", "medium", "stoff"), "material"),
    **dict.fromkeys(("lot", "batch", "charge"), "lot"),
    **dict.fromkeys(("quantity", "amount", "menge", *VALUE_HEADINGS), "quantity"),
    **dict.fromkeys(UNIT_HEADINGS, "unit"),
    **dict.fromkeys((*TIME_HEADINGS, "begins", "begin", "from", "start", "von", "beginn"), "begins"),
    **dict.fromkeys(("ends", "end", "to", "bis", "ende"), "ends"),
    **dict.fromkeys(("note", "comment", "bemerkung", "kommentar"), "note"),
}
"""Headings in small letters, and what they mean. A column with another heading is ignored."""
NEEDED: tuple[MaterialMeaning, ...] = ("kind", "material", "quantity", "begins")


@dataclass(frozen=True, slots=True)
class ReadMaterial:
    """A record of a row, and which of its fields the row gives."""

    line: int
    record: NewMaterial
    given: frozenset[str]


@dataclass(slots=True)
class MaterialTable:
    """What a file has: its columns, its records, and the rows that cannot be read."""

    delimiter: str
    decimal: Decimal
    columns: list[MaterialColumn]
    records: list[ReadMaterial] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)
    rows: int = 0


def read_material(content: bytes, said: ImportOptions) -> MaterialTable:
    """Read a file. Raises BadParameter if it is no table of material, with what has to be said about it."""
    found = read_rows(content, said)
    table = MaterialTable(found.delimiter, found.decimal, _columns(found.headings, said), rows=len(found.rows))
    whole: list[tuple[int, dict[str, str]]] = []
    for line, row in found.rows:
        if len(row) == len(table.columns):
            whole.append((line, {one.meaning: cell for one, cell in zip(table.columns, row, strict=True)}))
        else:
            reason = f"{len(row)} cells, and the headings are {len(table.columns)}"
            table.refused.append(RefusedRow(line, "", "", reason))
    begins, ends = (
        read_times([cells.get(meaning, "") for _, cells in whole], said.zone) for meaning in ("begins", "ends")
    )
    unit = next((one.unit for one in table.columns if one.meaning == "quantity"), None)
    for (line, cells), begin, end in zip(whole, begins, ends, strict=True):
        read = _record(cells, begin, end, (said.device, unit, table.decimal))
        if isinstance(read, NewMaterial):
            given = frozenset(name for name, cell in cells.items() if cell)
            table.records.append(ReadMaterial(line, read, given))
        else:
            heading, reason = read
            table.refused.append(RefusedRow(line, heading, cells.get(heading, "")[:100], reason))
    return table


def _columns(headings: Sequence[str], said: ImportOptions) -> list[MaterialColumn]:
    found = []
    for heading in headings:
        name, unit = split_heading(heading)
        meaning = HEADINGS.get(name.casefold().replace("_", " "), "ignored")
        found.append(MaterialColumn(heading, meaning, unit if meaning == "quantity" else None))
    meanings = [one.meaning for one in found]
    again = next((one for one in meanings if one != "ignored" and meanings.count(one) > 1), None)
    if again is not None:
        raise BadParameter("body", f"several columns mean {again}")
    missing = [one for one in NEEDED if one not in meanings]
    if missing:
        raise BadParameter("body", f"has no column for {', '.join(missing)}: name it so in the first line")
    if "device" not in meanings and said.device is None:
        raise BadParameter("device", "the file has no column `device`: say the device")
    return found


def _record(
    cells: Mapping[str, str],
    begin: datetime | str | None,
    end: datetime | str | None,
    usual: tuple[str | None, str | None, Decimal],
) -> NewMaterial | tuple[str, str]:
    """Return the record of a row, or the column and the reason for none. `usual`: device, unit, decimal sign."""
    device, unit, decimal = usual
    for meaning, at in (("begins", begin), ("ends", end)):
        if isinstance(at, str):
            return meaning, at
    quantity = number_of(cells["quantity"], decimal)
    if quantity is None:
        return "quantity", f"not a number{sign_hint(cells['quantity'], decimal)}"
    assert not isinstance(begin, str)
    assert not isinstance(end, str)
    fields: dict[str, Any] = {
        name: cell for name in ("device", "material", "lot", "unit", "note") if (cell := cells.get(name))
    }
    fields = {"device": device, "unit": unit} | fields | {"kind": cells["kind"].casefold(), "quantity": quantity}
    fields |= {name: times.text(at) for name, at in (("begins", begin), ("ends", end)) if at is not None}
    try:
        record = NewMaterial.model_validate({name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        [first, *_] = error.errors()
        heading = str(first["loc"][0])
        if heading == "kind":
            return heading, _kinds(cells["kind"])
        words = "is missing" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        return heading, words
    return record if record.ends is None or record.begins <= record.ends else ("ends", "must not be before the begin")


def _kinds(cell: str) -> str:
    """Return why a cell is no kind: the kind that is most like it, and all that there are."""
    near = nearest(cell, MATERIAL_KINDS)
    meant = f" did you mean {near}?" if near else ""
    return f"{'no such kind' if cell else 'is missing'};{meant} there are {', '.join(MATERIAL_KINDS)}"
