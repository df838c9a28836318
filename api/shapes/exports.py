"""Exports, which are telemetry as a file: what is taken and what is given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from api.http.bodies import body_config
from api.http.description import Answer, about, example
from api.http.parameters import (
    Applied,
    AsOf,
    ByAddress,
    CorrectionsAsked,
    Duration,
    Quality,
    StrictParameters,
    UnitsAsked,
)
from api.http.run_times import Moment, PhaseOfRun, RunAsked, moment_text
from api.shapes.corrections import CorrectedTime
from api.shapes.devices import MOST_TAGS
from api.shapes.evidence import EvidenceHead
from api.shapes.selection import PHASE_EXAMPLES, Name, SelectionParameters

FileFormat = Literal["arrow", "parquet", "csv"]
MEDIA_TYPES: Mapping[FileFormat, str] = {
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv; charset=utf-8; header=present",
}
TableShape = Literal["wide", "long"]
ColumnKind = Literal[
    "time",
    "device",
    "channel",
    "value",
    "quality",
    "unit",
    "original",
    "original_quality",
    "correction",
]
"""original: what was sent in place of a corrected value"""


class NewExport(BaseModel):
    """The body of a new export: which samples, as routes that read take them, and as what."""

    model_config = body_config(
        device=["br-1", "br-2*"],
        channel=["ph", "feed_*_rate"],
        format="parquet",
        **{"from": "2026-11-01T00:00:00Z", "to": "2026-11-15T00:00:00Z"},
    )

    device: list[Name] = Field(
        [], max_length=1000, description="device names; `*` stands for any characters, `?` for one"
    )
    tag: list[str] = Field([], max_length=MOST_TAGS, description="only devices with all of these tags")
    location: str | None = Field(None, max_length=200, description="only devices whose location begins with this text")
    channel: list[Name] = Field([], max_length=1000, description="channel names or patterns. None: all channels")
    run: RunAsked = None
    from_: Moment | None = Field(
        None, alias="from", description="first instant; default one hour before `to`, or the begin of `phase` or `run`"
    )
    to: Moment | None = Field(
        None, description="end, not part of the range; default now, or the end of `phase` or `run`"
    )
    phase: str | None = Field(
        None,
        max_length=200,
        description="the newest time in which the device was in this phase; `from` and `to` bound it. With `run`: the "
        "phase of that run",
        examples=PHASE_EXAMPLES,
    )
    unit: UnitsAsked = Field([])
    quality: Quality = "good"
    corrections: CorrectionsAsked = None
    as_of: AsOf = None
    format: FileFormat = Field("arrow", description="arrow: Arrow's stream format; parquet; csv")
    shape: TableShape = Field("wide", description="wide: a row a frame, a column a channel; long: a row a sample")

    @model_validator(mode="after")
    def _can_be_selected(self) -> Self:
        self.selection()
        return self

    def selection(self) -> SelectionParameters:
        """Which samples, as routes that read take them. Raises ValidationError, which is a ValueError."""
        names = ("device", "tag", "location", "channel", "run", "phase", "unit", "quality", "corrections")
        given = {name: getattr(self, name) for name in names}
        instants = {"from": self.from_, "to": self.to, "as_of": self.as_of}
        said = {name: None if value is None else moment_text(value) for name, value in instants.items()}
        return SelectionParameters.model_validate(given | said).as_sent()

    def said(self) -> dict[str, Any]:
        """The body as JSON has it."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


Shape = Annotated[TableShape, Field(description="wide: a row a frame, a column a channel; long: a row a sample")]


class TableParameters(StrictParameters):
    """The samples of one device that are streamed as a table."""

    channel: list[Name] = Field(
        [],
        max_length=1000,
        description="channel name, or a pattern with `*` and `?`; may be repeated. None: all channels",
    )
    channels: list[Name] = Field([], max_length=1000, description="the same with commas between")
    run: RunAsked = None
    phase: PhaseOfRun = None
    from_: Moment | None = Field(None, alias="from", description="first instant; default one hour before `to`")
    to: Moment | None = Field(None, description="end, not part of the range; default now")
    unit: UnitsAsked = Field([])
    quality: Quality = "good"
    corrections: CorrectionsAsked = None
    as_of: AsOf = None
    shape: Shape = "wide"

    def selection(self, device: str) -> SelectionParameters:
        """The same as a request for that device."""
        given = self.model_dump(by_alias=True, exclude={"shape", "from_", "to", "as_of"})
        moments = {"from": self.from_, "to": self.to, "as_of": self.as_of}
        said = {name: None if value is None else moment_text(value) for name, value in moments.items()}
        return SelectionParameters.model_validate(given | said | {"device": [device]}).as_sent()


class ManyTableParameters(ByAddress, SelectionParameters):
    """The samples of one or many devices that are streamed as a table."""

    model_config = body_config(
        device=["br-1", "br-2*"], channel=["ph", "feed_*_rate"], **{"from": "2026-11-01T00:00:00Z"}
    )

    shape: Shape = "wide"
    bounds: Literal["inside", "outside"] = Field(
        "inside", description="outside adds of each channel the sample before the range and the one after it"
    )
    max_age: Duration = Field(timedelta(hours=1), description="bounds=outside: how far outside a sample may be")

    @property
    def within(self) -> timedelta | None:
        """How far from the time samples are wanted, if they are."""
        return self.max_age if self.bounds == "outside" else None


class EstimateAnswer(Answer):
    devices: int
    columns: Annotated[int, about("columns of the table")]
    frames: Annotated[int, about("frames in the range that can have a wanted sample")]
    counted: Annotated[bool, about("true: the frames were counted; false: more than a million, and reckoned")]
    rows: Annotated[int, about("rows of the table at the most")]
    bytes: Annotated[int, about("roughly, of the file")]
    warnings: list[str]


ESTIMATE = example(
    EstimateAnswer,
    """{"devices": 2, "columns": 12, "frames": 172800, "counted": true, "rows": 172800, "bytes": 16588800,
 "warnings": []}""",
)


class ManifestColumn(Answer):
    name: str
    kind: Annotated[ColumnKind, about("what stands in the column")]
    channel: str | None
    unit: str | None
    formula: Annotated[str | None, about("of a computed channel; else null")]
    source: str | None


class ManifestComputed(Answer):
    channel: str
    formula: str
    source: str | None
    constants: Annotated[dict[str, float | str], about("what the names in the formula were taken for, on this device")]


class ManifestDevice(Answer, rename={"from_": "from"}):
    device: str
    from_: str
    to: str
    channels: list[str]
    computed: Annotated[list[ManifestComputed], about("those of the channels that are computed, and how")]


class ManifestFile(Answer):
    name: str
    bytes: int
    sha256: str


class Manifest(Answer):
    software: Annotated[str, about("what has written the file, with its version")]
    created_at: str
    format: FileFormat
    shape: TableShape
    zone: Annotated[str, about("the zone of all instants")]
    request: Annotated[dict[str, Any], about("what was asked for")]
    quality: Annotated[
        Literal["good", "all"], about("good: only samples of quality 0; all: every one, with its quality")
    ]
    qualities: Annotated[dict[str, str], about("what the numbers of quality mean")]
    corrections: Annotated[Applied, about("whether those that there are were applied")]
    corrected: Annotated[list[CorrectedTime], about("corrections of these channels in that time, applied or not")]
    as_of: Annotated[str | None, about("what was known then; null: what was known when the file was made")]
    devices: list[ManifestDevice]
    columns: list[ManifestColumn]
    rows: int | None
    file: ManifestFile | None
    evidence: Annotated[
        EvidenceHead | None, about("where the audit trail was, and what proves the file; null: it was streamed")
    ]
    warnings: list[str]


MANIFEST = example(
    Manifest,
    """{"software": "biogate 0.1.0", "created_at": "2026-11-20T07:45:00.000000Z", "format": "parquet",
 "shape": "wide", "zone": "UTC", "request": {"device": ["br-1"], "format": "parquet"}, "quality": "good",
 "qualities": {"0": "good", "1": "bad", "2": "uncertain"}, "corrections": "none", "corrected": [],
 "as_of": null, "devices": [{"device": "br-1",
 "from": "2026-11-01T00:00:00.000000Z", "to": "2026-11-15T00:00:00.000000Z", "channels": ["ph"], "computed": []}],
 "columns":
 [{"name": "time", "kind": "time", "channel": null, "unit": null, "formula": null, "source": null},
 {"name": "device", "kind": "device", "channel": null, "unit": null, "formula": null, "source": null},
 {"name": "ph", "kind": "value", "channel": "ph", "unit": "pH", "formula": null, "source": null}], "rows": 1209600,
 "file": {"name": "export.parquet", "bytes": 4194304,
 "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}, "evidence": null, "warnings": []}""",
)
