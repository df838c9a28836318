"""Imports of history from files: what is said about a file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from api.http.parameters import ReasonParameter
from api.shapes.jobs import JOB

MOST_MAPPING = 16_384
"""Characters of a mapping: it stands in the address."""
MAPPING_NAME = "^[a-z0-9-]{1,32}$"

Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]

IMPORT = JOB | {
    "kind": "import",
    "state": "queued",
    "done": 0,
    "total": None,
    "unit": "",
    "request": {"file": "run-7.csv", "mapping": "dasgip", "zone": "Europe/Berlin", "dry_run": True},
    "started_at": None,
}


class ImportParameters(ReasonParameter):
    file: Annotated[str, StringConstraints(min_length=1, max_length=255)] = Field(
        description="the name of the file, for the audit trail"
    )
    dry_run: bool = Field(False, description="true: only say what would become of the file")
    create_devices: bool = Field(False, description="true: create devices that do not exist")
    mapping: str | None = Field(
        None, pattern=MAPPING_NAME, description="a mapping that comes with Biogate, such as dasgip"
    )
    mapping_text: str | None = Field(
        None, max_length=MOST_MAPPING, description="a mapping in YAML, in place of `mapping`: docs/import.md"
    )
    zone: Short | None = Field(None, description="of local times, such as Europe/Berlin")
    device: Short | None = Field(None, description="the device; {vessel} stands for the vessel in a heading")
    device_column: Short | None = Field(None, description="the column that names devices")
    time_column: Short | None = Field(None, description="the column of times; else it is found out")
    date_column: Short | None = Field(None, description="the column of dates, if these stand apart from the times")
    time_form: Short | None = Field(None, description="how times are written, such as %m/%d/%Y %H:%M")
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] | None = Field(
        None, description="between cells; else it is found out"
    )
    decimal: Literal[".", ","] | None = Field(None, description="the decimal sign; else it is found out")
    encoding: Short | None = Field(None, description="such as latin-1; else it is found out")
