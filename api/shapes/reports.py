"""Reports: what is asked for, what a report says, and the template by which it is laid out.

The document is the report; the pages of HTML and PDF say the same for people. A section is made of the same four parts
whatever it is about, so that one template draws all of them and a program reads all of them in one way.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import BaseModel, Field, field_validator

from api.http.bodies import Order, body_config
from api.http.description import Answer, about

ReportKind = Literal["batch", "shift"]
ReportFormat = Literal["html", "pdf", "json"]
CellKind = Literal["text", "time", "number"]
SectionName = Literal[
    "identity",
    "phases",
    "charts",
    "alarms",
    "completeness",
    "quarantine",
    "samples",
    "material",
    "commands",
    "notes",
    "events",
    "deviations",
    "changes",
    "log",
]
BATCH: tuple[SectionName, ...] = (
    *("identity", "phases", "charts", "alarms", "completeness", "quarantine", "samples", "material"),
    *("commands", "notes", "events", "deviations", "changes"),
)
SHIFT: tuple[SectionName, ...] = ("log", "alarms", "completeness", "commands", "notes", "deviations", "changes")
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
    missing: Annotated[int, about("rows that are left out because the table would be too long")] = 0


class ReportLine(Answer):
    device: str
    channel: str
    title: str
    is_setpoint: bool
    step: Annotated[bool, about("the value holds until the next")]
    points: Annotated[list[tuple[float, float | None]], about("hours since the begin of the chart, value; null: a gap")]


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
    facts: list[ReportFact] = []
    charts: list[ReportChart] = []
    tables: list[ReportTable] = []


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
