"""Reports: what is asked for, what a report says, and the template by which it is laid out.

The document is the report; the pages of HTML and PDF say the same for people. A section is made of the same four parts
whatever it is about, so that one template draws all of them and a program reads all of them in one way.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from zoneinfo import available_timezones

import msgspec
from msgspec import UNSET, UnsetType
from pydantic import BaseModel, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from api.http.bodies import Order, body_config
from api.http.description import Answer, about, example
from api.http.parameters import Instant, ListParameters
from api.shapes.evidence import EvidenceHead
from api.shapes.selection import Name
from api.shapes.signatures import SignatureAnswer

ReportKind = Literal["batch", "shift"]
ReportFormat = Literal["html", "pdf", "json"]
CellKind = Literal["text", "time", "number"]
SectionName = Literal[
    "identity",
    "phases",
    "charts",
    "alarms",
    "completeness",
    "corrections",
    "quarantine",
    "samples",
    "material",
    "commands",
    "notes",
    "events",
    "deviations",
    "changes",
    "log",
    "signatures",
]
BATCH: tuple[SectionName, ...] = (
    *("identity", "phases", "charts", "alarms", "completeness", "corrections", "quarantine", "samples", "material"),
    *("commands", "notes", "events", "deviations", "signatures", "changes"),
)
SHIFT: tuple[SectionName, ...] = (
    "log",
    "alarms",
    "completeness",
    "commands",
    "notes",
    "deviations",
    "signatures",
    "changes",
)
FORMAT = "biogate report 1"
MOST_CHARTS = 24


class ReportFact(Answer):
    title: str
    value: Annotated[str | float | None, about("an instant where `kind` is time")]
    kind: CellKind
    unit: str | None = None
    decimals: int | None = None


class ReportColumn(Answer):
    name: str
    title: str
    kind: CellKind
    unit: str | None = None
    decimals: int | None = None


class ReportTable(Answer):
    title: str
    columns: list[ReportColumn]
    rows: Annotated[list[list[Any]], about("a cell a column; instants are ISO 8601 in UTC")]
    missing: Annotated[int, about("rows that are left out because there are more than a document holds")] = 0


class ReportLine(Answer):
    device: str
    channel: str
    title: str
    is_setpoint: bool
    step: Annotated[bool, about("the value holds until the next")]
    points: Annotated[
        list[list[float] | None],
        about("hours since the begin of the chart, mean, least and greatest of that time; null: a gap"),
    ]


class ReportBand(Answer):
    title: str
    begin: Annotated[float, about("hours since the begin of the chart")]
    end: float


class ReportMark(Answer):
    title: str
    at: Annotated[float, about("hours since the begin of the chart")]


class ReportChart(Answer):
    title: str
    unit: str | None
    decimals: int | None
    hours: Annotated[float, about("length of the chart")]
    lines: list[ReportLine]
    bands: Annotated[list[ReportBand], about("phases")]
    marks: Annotated[list[ReportMark], about("samples")]


class ReportSection(Answer):
    name: str
    title: str
    text: Annotated[str, about("what the template says above, or why the section is empty")] = ""
    facts: list[ReportFact] = msgspec.field(default_factory=list)
    charts: list[ReportChart] = msgspec.field(default_factory=list)
    tables: list[ReportTable] = msgspec.field(default_factory=list)


class ReportDocument(Answer):
    format: str
    software: str
    kind: ReportKind
    title: str
    subtitle: str
    organization: str
    zone: Annotated[str, about("the zone in which HTML and PDF say times")]
    begin: str
    end: str
    made_at: Annotated[str, about("what was known then is in the report")]
    made_by: str
    template: str
    template_version: int
    header: str
    footer: str
    paper: Literal["A4", "letter"]
    sections: list[ReportSection]
    evidence: Annotated[
        EvidenceHead | UnsetType, about("where the audit trail was, and what proves the report; missing in old ones")
    ] = UNSET


class SignedReport(Answer):
    report: ReportDocument
    signatures: list[SignatureAnswer]


class TemplateSection(BaseModel):
    """A section of a report: what it is about, under which title, with which words above it."""

    model_config = body_config(name="charts", title="How it went", channels=["ph", "dissolved_oxygen"])

    name: SectionName
    title: str = Field("", max_length=100, description="empty: the usual one")
    text: str = Field("", max_length=2000, description="stands above the section")
    channels: list[str] = Field(
        [], max_length=MOST_CHARTS, description="charts: names or patterns of channels; none: those that matter most"
    )


def _sections(names: tuple[SectionName, ...]) -> list[TemplateSection]:
    return [TemplateSection(name=name) for name in names]


class NewTemplate(Order):
    """A template: which sections stand in a report, in which order, and what is said around them."""

    model_config = body_config(
        kind="batch",
        title="Batch record",
        zone="Europe/Berlin",
        sections=[{"name": "identity"}, {"name": "charts", "channels": ["ph", "dissolved_oxygen"]}],
        why="the layout that QA agreed to",
    )

    kind: ReportKind
    title: str = Field("", max_length=100, description="of the report; empty: the usual one")
    zone: str = Field("UTC", max_length=64, description="the zone in which people read times, like Europe/Berlin")
    header: str = Field("", max_length=200, description="stands at the head of each page")
    footer: str = Field("", max_length=200, description="stands at the foot of each page")
    paper: Literal["A4", "letter"] = "A4"
    sections: list[TemplateSection] = Field(min_length=1, max_length=30)

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError("no zone of this name is known; write one like Europe/Berlin or UTC")
        return zone


USUAL: dict[ReportKind, NewTemplate] = {
    "batch": NewTemplate(kind="batch", sections=_sections(BATCH), why="usual"),
    "shift": NewTemplate(kind="shift", sections=_sections(SHIFT), why="usual"),
}
"""The templates of an organization that has none of its own. They have version 0."""


class TemplateSectionAnswer(Answer):
    name: str
    title: Annotated[str, about("empty: the usual one")]
    text: str
    channels: list[str]


class TemplateAnswer(Answer):
    name: str
    version: Annotated[int, about("0: the usual one, which nobody has changed")]
    kind: ReportKind
    title: Annotated[str, about("empty: the usual one")]
    zone: str
    header: str
    footer: str
    paper: Literal["A4", "letter"]
    sections: list[TemplateSectionAnswer]
    made_by: str | None
    made_at: str | None


class ReportAnswer(Answer):
    id: str
    kind: ReportKind
    run: Annotated[str | None, about("null: the report of a shift")]
    title: str
    subtitle: str
    begins: str
    ends: str
    template: str
    template_version: int
    made_by: str
    made_at: Annotated[str, about("what was known then is in the report")]
    no_pdf: Annotated[str | None, about("why it has no PDF; null: it has one")]
    bytes: int
    document_sha256: str
    html_sha256: str
    pdf_sha256: str | None


class ReportParameters(ListParameters):
    kind: ReportKind | None = Field(None, description="only reports of this kind")
    run: str | None = Field(None, max_length=100, description="only reports of this run")


class NewReport(BaseModel):
    """The body of a new report: of a run, or of a time."""

    model_config = body_config(kind="batch", run="B-2026-031")

    kind: ReportKind
    run: str | None = Field(None, max_length=100, description="of a batch report: the run")
    device: list[Name] = Field(
        ["*"], max_length=1000, description="of a shift report: names or patterns of devices; none: all of them"
    )
    from_: Instant | None = Field(None, alias="from", description="of a shift report: its begin")
    to: Instant | None = Field(None, description="of a shift report: its end, by default now")
    template: str = Field("", max_length=40, description="name of a template; empty: the one named as the kind is")

    @model_validator(mode="after")
    def _is_of_something(self) -> Self:
        if self.kind == "batch" and self.run is None:
            raise PydanticCustomError("run", "a batch report is of a run: name it", {"parameter": "run"})
        if self.kind == "batch" and (self.from_ is not None or self.to is not None):
            raise PydanticCustomError("run", "a batch report has the time of its run", {"parameter": "from"})
        if self.from_ is not None and self.to is not None and self.from_ >= self.to:
            raise PydanticCustomError("span", "must be before `to`", {"parameter": "from"})
        if self.kind == "shift" and (self.run is not None or self.from_ is None):
            raise PydanticCustomError(
                "from", "a shift report is of a time: give `from`, and no run", {"parameter": "from"}
            )
        return self

    def said(self) -> dict[str, Any]:
        """The body as JSON has it."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class TemplateList(Answer):
    templates: list[TemplateAnswer]


REPORT = example(
    ReportAnswer,
    """{"id": "0b7e9c52-3d1f-4a86-9a2e-6f1c5d0e8b47", "kind": "batch", "run": "B-2026-031", "title": "Batch report",
 "subtitle": "B-2026-031", "begins": "2026-11-01T06:00:00.000000Z", "ends": "2026-11-02T05:15:00.000000Z",
 "template": "batch", "template_version": 0, "made_by": "ada@example.org", "made_at": "2026-11-20T07:45:00.000000Z",
 "no_pdf": null, "bytes": 412873,
 "document_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
 "html_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
 "pdf_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}""",
)
TEMPLATE = example(
    TemplateAnswer,
    """{"name": "batch", "version": 3, "kind": "batch", "title": "Batch record", "zone": "Europe/Berlin", "header": "",
 "footer": "", "paper": "A4", "sections": [{"name": "identity", "title": "", "text": "", "channels": []},
 {"name": "charts", "title": "How it went", "text": "", "channels": ["ph", "dissolved_oxygen"]}],
 "made_by": "ada@example.org", "made_at": "2026-11-20T07:45:00.000000Z"}""",
)
DOCUMENT = example(
    ReportDocument,
    """{"format": "biogate report 1", "software": "biogate 0.1.0", "kind": "batch", "title": "Batch report",
 "subtitle": "B-2026-031", "organization": "main", "zone": "UTC", "begin": "2026-11-01T06:00:00.000000Z",
 "end": "2026-11-02T05:15:00.000000Z", "made_at": "2026-11-20T07:45:00.000000Z", "made_by": "ada@example.org",
 "template": "batch", "template_version": 0, "header": "", "footer": "", "paper": "A4", "sections": [
 {"name": "identity", "title": "What was run", "text": "", "facts": [{"title": "Run", "value": "B-2026-031",
 "kind": "text", "unit": null, "decimals": null}], "charts": [], "tables": [{"title": "States", "columns": [
 {"name": "at", "title": "Since", "kind": "time", "unit": null, "decimals": null}],
 "rows": [["2026-11-01T06:00:00.000000Z"]], "missing": 0}]}]}""",
)
