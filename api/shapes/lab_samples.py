"""Lab samples: what people take out of a device and measure, with its analytes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.http.bodies import DeviceText, Order, body_config
from api.http.description import Answer, about, example
from api.http.parameters import AsOf, Instant, ListParameters, Words, printable
from api.http.run_times import Moment, RunSpanParameters
from api.shapes.annotations import prose
from schema import times

MOST_ANALYTES = 100
"""Analytes of a sample."""
SAMPLE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
SampleStatus = Literal["taken", "measured", "approved"]
SampleAct = Literal["take", "measure", "correct", "approve", "withdraw"]
RecordSource = Literal["person", "import", "device"]
SampleName = Annotated[str, StringConstraints(pattern=SAMPLE_PATTERN)]
Note = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000), AfterValidator(prose)]
Location = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(printable)
]
AnalyteName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), AfterValidator(printable)
]
Reading = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(printable)
]
AnalyteUnit = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20), AfterValidator(printable)
]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]


class Analyte(Answer):
    """What was measured of a sample."""

    analyte: str
    value: Annotated[float | None, about("null: it was not measured yet, or `reading` has what was read")]
    reading: Annotated[str | None, about("in place of a number, like `< 0.1`")]
    unit: str | None
    method: str | None
    status: SampleStatus
    measured_at: str | None
    measured_by: str | None
    approved_at: str | None
    approved_by: str | None


class LabSample(Answer):
    """A version of a sample."""

    sample: str
    version: Annotated[int, about("counts the versions; the newest is what holds")]
    device: str
    run: Annotated[str | None, about("the run that had the device at that time; null: none")]
    taken_at: str
    location: Annotated[str | None, about("where it was taken, like a port of the vessel")]
    note: str | None
    status: Annotated[SampleStatus, about("the least of its analytes")]
    analytes: list[Analyte]
    withdrawn: bool
    act: Annotated[SampleAct, about("what made this version")]
    source: Annotated[RecordSource, about("who it comes from: a person, a file, or the device's own event")]
    who: str
    why: str
    created_at: str
    superseded_at: Annotated[str | None, about("null: it is the newest version")]


SAMPLE = example(
    LabSample,
    """{"sample": "br-1-s7", "version": 2, "device": "br-1", "run": "B-2026-041",
 "taken_at": "2026-11-20T07:45:00.000000Z", "location": "port 2", "note": null, "status": "measured",
 "analytes": [{"analyte": "glucose", "value": 4.2,
 "reading": null, "unit": "g/L", "method": "HPLC", "status": "measured", "measured_at": "2026-11-20T08:30:00.000000Z",
 "measured_by": "eva@example.org", "approved_at": null, "approved_by": null}], "withdrawn": false, "act": "measure",
 "source": "person", "who": "eva@example.org", "why": "measured", "created_at": "2026-11-20T08:31:00.000000Z",
 "superseded_at": null}""",
)


class NewAnalyte(BaseModel):
    """An analyte as people give it: a number, or what was read in place of one; neither: it is still to be measured."""

    model_config = body_config(analyte="glucose", value=4.2, unit="g/L")

    analyte: AnalyteName
    value: Number | Reading | None = Field(None, description="a number, or a text like `< 0.1`")
    unit: AnalyteUnit | None = None
    method: Reading | None = Field(None, description="how it is measured")
    measured_at: Instant | None = Field(None, description="without it: now, if there is a value")


def distinct(analytes: list[NewAnalyte]) -> list[NewAnalyte]:
    names = [one.analyte for one in analytes]
    again = next((name for name in names if names.count(name) > 1), None)
    if again is not None:
        raise ValueError(f"name {again} twice")
    return analytes


NewAnalytes = Annotated[list[NewAnalyte], Field(max_length=MOST_ANALYTES), AfterValidator(distinct)]


class NewSample(BaseModel):
    """The body of a new sample."""

    model_config = body_config(
        device="br-1",
        taken_at="2026-11-20T07:45:00Z",
        analytes=[{"analyte": "glucose", "value": 4.2, "unit": "g/L"}],
    )

    sample: SampleName | None = Field(None, description="its name, unique in the organization; without it one is made")
    device: DeviceText
    taken_at: Instant
    location: Location | None = Field(None, description="where it was taken, like a port of the vessel")
    note: Note | None = None
    analytes: NewAnalytes = []
    why: Words = Field("taken", description="the reason, for the audit trail")


class SampleChange(Order):
    """The body of a new version; what is not given stays as it was."""

    model_config = body_config(analytes=[{"analyte": "glucose", "value": 4.2, "unit": "g/L"}], why="measured")

    version: int | None = Field(None, ge=1, description="the version that it must be of; without it the newest")
    device: DeviceText | None = None
    taken_at: Instant | None = None
    location: Location | None = None
    note: Note | None = None
    analytes: NewAnalytes = Field([], description="those that are new or other than before")
    without: list[AnalyteName] = Field([], max_length=MOST_ANALYTES, description="analytes that it does not have")

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set - {"version", "why"}:
            raise PydanticCustomError("change", "give what is other than before", {"parameter": "analytes"})
        return self


class Approval(Order):
    """The body of an approval."""

    model_config = body_config(analytes=["glucose"], why="agrees with the control")

    version: int | None = Field(None, ge=1, description="the version that it must be of; without it the newest")
    analytes: list[AnalyteName] | None = Field(None, max_length=MOST_ANALYTES, description="null: all of the sample")


class SampleParameters(RunSpanParameters, ListParameters):
    from_: Moment = Field(times.FIRST, alias="from", description="taken then or later")
    to: Moment = Field(times.LAST, description="taken before")
    device: str | None = Field(None, max_length=64, description="only of this device")
    analyte: str | None = Field(None, max_length=64, description="only with this analyte")
    status: SampleStatus | None = Field(None, description="only in this status; it is the least of the analytes")
    withdrawn: bool = Field(False, description="true: those that were withdrawn, too")
    as_of: AsOf = None
