"""Imports of lab samples from files: what is said about a file, and what became of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.http.description import Answer, about
from api.http.parameters import ReasonParameter

MOST_BYTES = 2**21
MOST_SAMPLES = 2000
"""Samples of a file: they are stored in one transaction."""
MOST_TOLD = 1000
Meaning = Literal[
    "sample",
    "device",
    "time",
    "location",
    "note",
    "measured_at",
    "method",
    "analyte",
    "value",
    "unit",
    "analyte_value",
    "ignored",
]
Outcome = Literal["new", "measured", "corrected", "duplicate"]
Short = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class ImportOptions(BaseModel):
    """What a file does not say itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    zone: Short | None = None
    device: Short | None = None
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] | None = None
    decimal: Literal[".", ","] | None = None
    corrections: bool = False


class ImportParameters(ReasonParameter):
    file: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = Field(
        None, description="the name of the file, for the audit trail"
    )
    dry_run: bool = Field(False, description="true: only say what would become of the file")
    corrections: bool = Field(
        False, description="true: values that differ from those stored become new versions; else they are refused"
    )
    zone: Short | None = Field(None, description="of times without one, such as Europe/Berlin")
    device: Short | None = Field(None, description="the device of rows that name none")
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] | None = Field(
        None, description="between cells; else it is found out"
    )
    decimal: Literal[".", ","] | None = Field(None, description="the decimal sign; else it is found out")

    def options(self) -> ImportOptions:
        return ImportOptions(**self.model_dump(include=set(ImportOptions.model_fields)))


class LabColumn(Answer):
    """A column of the file, and what it was taken for."""

    heading: str
    meaning: Annotated[Meaning, about("`analyte_value`: the values of `analyte`")]
    analyte: str | None
    unit: str | None


class RefusedRow(Answer):
    """A row or a cell that is not stored, and why."""

    line: int
    heading: Annotated[str, about("the column or the analyte; empty: the whole row")]
    text: str
    reason: str


class ImportedSample(Answer):
    """A sample of the file, and what became of it."""

    line: int
    sample: Annotated[str | None, about("null: it would be given a name")]
    device: str
    outcome: Outcome
    changes: Annotated[list[str], about("what is other than stored, in words")]


class SampleImport(Answer):
    """What became of a file, or would."""

    dry_run: bool
    delimiter: str
    decimal: str
    rows: int
    columns: list[LabColumn]
    new: Annotated[int, about("samples that were not there")]
    measured: Annotated[int, about("samples that got values which were missing")]
    corrected: Annotated[int, about("samples of which values differ from those stored")]
    duplicate: Annotated[int, about("samples that say nothing new")]
    refused: Annotated[int, about("rows and cells that are not stored")]
    refusals: Annotated[list[RefusedRow], about(f"the first {MOST_TOLD} of them")]
    samples: Annotated[list[ImportedSample], about(f"the first {MOST_TOLD} of them")]


IMPORT: dict[str, Any] = {
    **{"dry_run": True, "delimiter": ";", "decimal": ",", "rows": 2, "new": 1, "measured": 0, "corrected": 0},
    **{"duplicate": 0, "refused": 1},
    "columns": [{"heading": "glucose [g/L]", "meaning": "analyte_value", "analyte": "glucose", "unit": "g/L"}],
    "refusals": [{"line": 3, "heading": "glucose", "text": "4.2.1", "reason": "neither a number nor a reading"}],
    "samples": [{"line": 2, "sample": "S-7", "device": "br-1", "outcome": "new", "changes": []}],
}
