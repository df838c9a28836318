"""Imports of records of material from files: what became of a file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from api.http.description import Answer, about
from api.shapes.sample_imports import MOST_TOLD, RefusedRow

MaterialMeaning = Literal["device", "kind", "material", "lot", "quantity", "unit", "begins", "ends", "note", "ignored"]
MaterialOutcome = Literal["new", "corrected", "duplicate"]


class MaterialColumn(Answer):
    """A column of a file of material, and what it was taken for."""

    heading: str
    meaning: MaterialMeaning
    unit: Annotated[str | None, about("of a quantity, from its heading")]


class ImportedMaterial(Answer):
    """A row of a file of material, and what became of it."""

    line: int
    number: Annotated[int | None, about("the record that is stored already; null: the row is a new one")]
    device: str
    kind: str
    material: str
    outcome: MaterialOutcome
    changes: Annotated[list[str], about("what is other than stored, in words")]


class MaterialImport(Answer):
    """What became of a file of material, or would."""

    dry_run: bool
    delimiter: str
    decimal: str
    rows: int
    columns: list[MaterialColumn]
    new: Annotated[int, about("records that were not there")]
    corrected: Annotated[int, about("records that differ from those stored")]
    duplicate: Annotated[int, about("records that say nothing new")]
    refused: Annotated[int, about("rows that are not stored")]
    refusals: Annotated[list[RefusedRow], about(f"the first {MOST_TOLD} of them")]
    records: Annotated[list[ImportedMaterial], about(f"the first {MOST_TOLD} of them")]


MATERIAL_IMPORT: dict[str, Any] = {
    **{"dry_run": True, "delimiter": ";", "decimal": ",", "rows": 2, "new": 1, "corrected": 0, "duplicate": 0},
    "refused": 1,
    "columns": [{"heading": "quantity [mL]", "meaning": "quantity", "unit": "mL"}],
    "refusals": [{"line": 3, "heading": "quantity", "text": "1.2.0", "reason": "not a number"}],
    "records": [
        {
            **{"line": 2, "number": None, "device": "br-1", "kind": "feed", "material": "glucose 500 g/L"},
            **{"outcome": "new", "changes": []},
        }
    ],
}
