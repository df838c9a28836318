"""The rows of analytes in a form: `analyte_1`, `value_1`, `unit_1`, `method_1`, and so on."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from api.files.lab_table import reading
from api.problems import BadParameter
from api.shapes.lab_samples import MOST_ANALYTES, Analyte, NewAnalyte, NewAnalytes

ROW_FIELD = re.compile(r"(analyte|value|unit|method)_([1-9][0-9]?|100)")
BLANK = 3
"""Rows that are empty, for analytes that are not there yet."""
DISTINCT: TypeAdapter[list[NewAnalyte]] = TypeAdapter(NewAnalytes)


class AnalyteRows(BaseModel):
    """A form with rows of analytes."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    @model_validator(mode="after")
    def _are_rows(self) -> Self:
        unknown = next((name for name in self.model_extra or {} if not ROW_FIELD.fullmatch(name)), None)
        if unknown is not None:
            raise ValueError(f"has a field {unknown}, which nobody knows")
        return self

    def analytes(self) -> list[NewAnalyte]:
        """Return the rows that are filled in. Raises BadParameter, which names the field."""
        rows: dict[int, dict[str, str]] = {}
        for name, value in (self.model_extra or {}).items():
            field, _, row = name.partition("_")
            rows.setdefault(int(row), {})[field] = value
        found = []
        for number, cells in sorted(rows.items()):
            if "analyte" not in cells:
                if cells.keys() - {"unit", "method"}:
                    raise BadParameter(f"analyte_{number}", "say what was measured")
                continue
            found.append(_analyte(number, cells))
        try:
            return DISTINCT.validate_python(found)
        except ValidationError as error:
            raise BadParameter("analyte", error.errors()[0]["msg"].removeprefix("Value error, ")) from error


def _analyte(number: int, row: dict[str, str]) -> NewAnalyte:
    given: dict[str, Any] = dict(row)
    if "value" in row:
        cell = row["value"].strip()
        given["value"] = reading(cell, "," if "," in cell and "." not in cell else ".")
        if given["value"] is None:
            raise BadParameter(f"value_{number}", f"{cell}: neither a number nor a reading like < 0.1")
    try:
        return NewAnalyte.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadParameter(f"{first['loc'][0]}_{number}", first["msg"].removeprefix("Value error, ")) from error


def changed(given: list[NewAnalyte], was: list[Analyte]) -> list[NewAnalyte]:
    """Return the analytes that say something else than what is stored: a form sends all of them."""
    known = {one.analyte: one for one in was}
    return [one for one in given if one.analyte not in known or _differs(one, known[one.analyte])]


def _differs(new: NewAnalyte, was: Analyte) -> bool:
    before = was.value if was.value is not None else was.reading
    value_differs = "value" in new.model_fields_set and new.value != before
    return value_differs or any(getattr(new, name) not in {None, getattr(was, name)} for name in ("unit", "method"))


def blank(filled: int) -> range:
    """Return the numbers of the empty rows behind so many that are filled."""
    return range(filled + 1, min(filled + BLANK, MOST_ANALYTES) + 1)
