"""The sections of a report, each gathered by a function of its own; a template says which ones stand in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import asdict

from api.http.plain_words import channel as called
from api.http.plain_words import lasting, number, signature_state, utc
from api.queries import corrections, delivery, reviews, telemetry_buckets
from api.queries import signatures as signed
from api.queries.deadline import Deadline
from api.queries.selection import Selection
from api.queries.telemetry_buckets import BucketWish
from api.reports.charts import MOST_READING_S, SETPOINT, charts
from api.reports.gathering import Gathering, column, fact, table
from api.series.grid import Division
from api.shapes.reports import ReportMark, ReportSection, ReportTable, SectionName, TemplateSectionAnswer

Check: TypeAlias = Callable[[], None]
Section: TypeAlias = Callable[[Gathering, TemplateSectionAnswer, Check], Awaitable[ReportSection]]
DECIMALS = 4
FIGURES = (("avg", "Mean"), ("min", "Least"), ("max", "Greatest"))
PROPOSED = "nobody: it is proposed"
SECTIONS: dict[SectionName, tuple[str, Section]] = {}
"""By the name that a template gives: the usual title, and what gathers it."""


def section(name: SectionName, title: str) -> Callable[[Section], Section]:
    def register(gather: Section) -> Section:
        SECTIONS[name] = title, gather
        return gather

    return register


def made(wanted: TemplateSectionAnswer, *, said: str = "", **parts: Any) -> ReportSection:
    """Return a section under the title of the template, with its words; `said` follows them."""
    text = " ".join(part for part in (wanted.text, said) if part)
    return ReportSection(wanted.name, wanted.title or SECTIONS[wanted.name][0], text, **parts)  # type: ignore[index]


@section("identity", "What was run")
async def identity(gathering: Gathering, wanted: TemplateSectionAnswer, _: Check) -> ReportSection:
    run, span = gathering.run, gathering.span
    facts = [fact("Devices", ", ".join(gathering.names) or None)]
    if run is None:
        return made(wanted, facts=facts)
    named = ("material", "Material"), ("strain", "Strain"), ("recipe", "Recipe"), ("recipe_version", "Recipe version")
    facts = [
        fact("Run", run.name),
        fact("State", run.state),
        *(fact(title, run.facts[key]) for key, title in named),
        *facts,
        fact("Start", run.begins),
        fact("End", run.ends),
        fact("Duration", lasting(span.end - span.begin)),
        fact("Made by", run.created_by),
        fact("Note", run.facts["note"]),
    ]
    columns = [column("at", "Since", "time"), column("state", "State"), column("who", "Who"), column("why", "Why")]
    states = table("States", columns, [(one.at, one.state, one.who, one.why) for one in run.states])
    return made(wanted, facts=facts, tables=[states])


@section("phases", "Phases: plan and actual")
async def phases(gathering: Gathering, wanted: TemplateSectionAnswer, check: Check) -> ReportSection:
    if not gathering.phases:
        return made(wanted, said="Nobody has said the phases of this run, and no event tells them.")
    listed = table(
        "",
        [
            *(column("phase", "Phase"), column("begins", "From", "time"), column("ends", "To", "time")),
            *(column("lasts", "Lasts"), column("origin", "Found by"), column("confirmed_by", "Confirmed by")),
        ],
        [
            (
                *(phase.name, time.begin, time.end, lasting(time.end - time.begin)),
                *(phase.origin, phase.confirmed_by or PROPOSED),
            )
            for phase, time in gathering.phases
        ],
    )
    return made(wanted, tables=[listed, await _statistics(gathering, wanted.channels, check)])


async def _statistics(gathering: Gathering, channels: Sequence[str], check: Check) -> ReportTable:
    """Return of each phase, device and channel the mean, least and greatest sample, and the mean of its setpoint."""
    deadline, rows = Deadline(MOST_READING_S), []
    for phase, time in gathering.phases:
        for device in gathering.devices:
            known = {one.name: one for one in device.channels}
            for channel in gathering.channels(device, channels):
                if channel.name.endswith(SETPOINT):
                    continue
                pair = [channel, *([known[channel.name + SETPOINT]] if channel.name + SETPOINT in known else [])]
                selection = Selection(device, tuple(pair), time.begin, time.end, False)
                wish = BucketWish(Division(time.end - time.begin, origin=time.begin), ("avg", "min", "max"))
                found = await telemetry_buckets.whole(gathering.database, selection, wish, deadline)
                if len(found.times):
                    cells = [
                        round(float(cell[0]), DECIMALS if (to := channel.terms.decimals) is None else to + 1)
                        for cell in found.cells
                    ]
                    planned = cells[3] if len(cells) > 3 else None
                    title = called(channel.name, channel.terms.title)
                    rows.append((phase.name, device.name, title, channel.unit, planned, *cells[:3]))
                check()
    columns = [
        *(column("phase", "Phase"), column("device", "Device"), column("channel", "Channel"), column("unit", "Unit")),
        *(column(name, title, "number") for name, title in (("setpoint", "Setpoint, mean"), ("avg", "Mean"))),
        *(column(name, title, "number") for name, title in (("min", "Least"), ("max", "Greatest"))),
    ]
    return table("Values in each phase", columns, rows)


@section("charts", "Charts")
async def drawn(gathering: Gathering, wanted: TemplateSectionAnswer, check: Check) -> ReportSection:
    taken = {row["sample"]: row["taken_at"] for row in await gathering.rows("samples")}
    marks = [ReportMark(sample, gathering.hours(at)) for sample, at in taken.items()]
    found = await charts(gathering, wanted.channels, marks, check)
    said = (
        "Each line is the mean, the area around it is from the least to the greatest; broken lines are setpoints,"
        " triangles are samples."
    )
    return made(wanted, said=said if found else "No channel that could be drawn has samples.", charts=found)


@section("alarms", "Alarms")
async def alarms(gathering: Gathering, wanted: TemplateSectionAnswer, _: Check) -> ReportSection:
    raised = await gathering.rows("alarms")
    held_back = await gathering.rows("silenced")
    columns = [
        *(column("raised_at", "Raised", "time"), column("device", "Device"), column("rule", "Rule")),
        *(column("priority", "Priority"), column("value", "Value", "number"), column("detail", "Detail")),
        *(column("returned_at", "Returned", "time"), column("acknowledged_at", "Acknowledged", "time")),
        *(column("acknowledged_by", "By"), column("why", "Comment")),
    ]
    acts = [
        *(column("at", "When", "time"), column("device", "Device"), column("rule", "Rule"), column("action", "Act")),
        *(column("until", "Until", "time"), column("who", "Who"), column("why", "Why")),
    ]
    waiting = sum(one["acknowledged_at"] is None for one in raised)
    facts = [fact("Alarms", len(raised)), fact("Without acknowledgement", waiting)]
    return made(
        wanted, facts=facts, tables=[of_rows("Raised", columns, raised), of_rows("Held back or reset", acts, held_back)]
    )


@section("completeness", "Completeness")
async def completeness(gathering: Gathering, wanted: TemplateSectionAnswer, _: Check) -> ReportSection:
    stored = await gathering.rows("frames")
    missing = {row["device"]: row for row in await delivery.of_span(gathering.database, gathering.span)}
    rows = []
    for one in stored:
        what = missing.get(one["device"])
        rows.append(
            {**one, **({} if what is None else {key: what[key] for key in ("expected", "missing", "lost", "holes")})}
        )
    columns = [
        *(column("device", "Device"), column("frames", "Frames stored", "number"), column("first_at", "First", "time")),
        *(column("last_at", "Last", "time"), column("expected", "Sent, by number", "number")),
        *(column("missing", "Missing", "number"), column("lost", "Lost for ever", "number"), column("holes", "Which")),
    ]
    said = "What was sent is told by the numbers of the frames; a device without numbers has none."
    return made(wanted, said=said, tables=[of_rows("", columns, rows)])


@section("corrections", "Corrections of samples")
async def corrected(gathering: Gathering, wanted: TemplateSectionAnswer, _: Check) -> ReportSection:
    found = await corrections.changed(gathering.database, gathering.names, gathering.span, Deadline(MOST_READING_S))
    columns = [
        *(column("correction", "No.", "number"), column("device", "Device"), column("channel", "Channel")),
        *(column("from_", "From", "time"), column("to", "To", "time"), column("put", "Correction")),
        column("count", "Good samples", "number"),
        *(column(f"sent_{name}", f"{title}, sent", "number") for name, title in FIGURES),
        *(column(f"corrected_{name}", f"{title}, corrected", "number") for name, title in FIGURES),
        *(
            column("why", "Why"),
            column("who", "Who"),
            column("made_at", "Made", "time"),
            column("deviation", "Deviation"),
        ),
    ]
    rows = []
    for one in found:
        row = {**asdict(one.correction), "put": corrections.words(one.correction), "count": one.corrected[0]}
        for kind, figures in (("sent", one.sent), ("corrected", one.corrected)):
            row |= {f"{kind}_{name}": value for (name, _), value in zip(FIGURES, figures[1:], strict=True)}
        rows.append(row)
    said = (
        "Values and charts of this report are corrected. What was sent stays, and can be read with corrections=none."
        if rows
        else "No sample of this report is corrected."
    )
    return made(wanted, said=said, tables=[of_rows("", columns, rows)] if rows else [])


@section("quarantine", "Quarantine")
async def quarantine(gathering: Gathering, wanted: TemplateSectionAnswer, _: Check) -> ReportSection:
    columns = [
        *(column("received_at", "Received", "time"), column("device", "Device"), column("reason", "Reason")),
        *(column("detail", "Detail"), column("state", "State"), column("sha256", "SHA-256")),
    ]
    return made(wanted, tables=[of_rows("", columns, await gathering.rows("quarantined"))])


@section("samples", "Samples")
async def samples(gathering: Gathering, wanted: TemplateSectionAnswer, _: Check) -> ReportSection:
    found = [
        {**row, "value": number(row["value"]) if row["reading"] is None else row["reading"]}
        for row in await gathering.rows("samples")
    ]
    columns = [
        *(column("taken_at", "Taken", "time"), column("sample", "Sample"), column("device", "Device")),
        *(column("analyte", "Analyte"), column("value", "Value"), column("unit", "Unit"), column("method", "Method")),
        *(column("status", "Status"), column("measured_by", "Measured by"), column("approved_by", "Approved by")),
        *(column("version", "Version", "number"), column("note", "Note")),
    ]
    return made(wanted, tables=[of_rows("", columns, found)])


@section("material", "Material")
async def material(gathering: Gathering, wanted: TemplateSectionAnswer, _: Check) -> ReportSection:
    found = await gathering.rows("materials")
    sums: dict[tuple[str, str, str, str], float] = {}
    for row in found:
        key = row["device"], row["kind"], row["material"], row["unit"]
        sums[key] = sums.get(key, 0.0) + row["quantity"]
    of = (column("device", "Device"), column("kind", "Kind"), column("material", "Material"))
    how_much = (column("quantity", "Quantity", "number"), column("unit", "Unit"))
    totals = [*of, column("unit", "Unit"), column("quantity", "Quantity", "number")]
    columns = [
        *(column("begins", "From", "time"), column("ends", "To", "time"), *of, *how_much, column("lot", "Lot")),
        *(column("source", "Recorded by"), column("who", "Who"), column("note", "Note")),
    ]
    return made(
        wanted,
        tables=[
            table("Sums", totals, [(*key, quantity) for key, quantity in sorted(sums.items())]),
            of_rows("Records", columns, found),
        ],
    )


@section("commands", "Commands")
async def commands(gathering: Gathering, wanted: TemplateSectionAnswer, _: Check) -> ReportSection:
    columns = [
        *(column("requested_at", "Asked", "time"), column("device", "Device"), column("name", "Command")),
        *(column("parameters", "Parameters"), column("requested_by", "By"), column("why", "Why")),
        *(column("state", "Became"), column("ended_at", "Ended", "time"), column("detail", "Answer of the device")),
    ]
    return made(wanted, tables=[of_rows("", columns, await gathering.rows("commands"))])


@section("notes", "Notes")
async def notes(gathering: Gathering, wanted: TemplateSectionAnswer, _: Check) -> ReportSection:
    columns = [
        *(column("begins", "From", "time"), column("ends", "To", "time"), column("device", "Device")),
        *(column("text", "Note"), column("who", "Who"), column("created_at", "Written", "time")),
    ]
    return made(wanted, tables=[of_rows("", columns, await gathering.rows("notes"))])


@section("events", "Events of the devices")
async def events(gathering: Gathering, wanted: TemplateSectionAnswer, _: Check) -> ReportSection:
    columns = [
        *(
            column("time", "When", "time"),
            column("device", "Device"),
            column("type", "Event"),
            column("data", "Content"),
        ),
    ]
    return made(wanted, tables=[of_rows("", columns, await gathering.rows("events"))])


@section("deviations", "Deviations")
async def deviations(gathering: Gathering, wanted: TemplateSectionAnswer, _: Check) -> ReportSection:
    found = await gathering.rows("deviations", [] if gathering.run is None else [f"run/{gathering.run.name}"])
    columns = [
        *(column("deviation", "Deviation"), column("title", "Title"), column("severity", "Severity")),
        *(column("state", "State"), column("opened_at", "Opened", "time"), column("opened_by", "By")),
        *(column("closed_at", "Closed", "time"), column("links", "Links"), column("description", "Description")),
    ]
    said = [
        column("deviation", "Deviation"),
        column("at", "When", "time"),
        column("who", "Who"),
        column("text", "Comment"),
    ]
    comments = await gathering.rows("comments", [row["deviation"] for row in found])
    return made(
        wanted, tables=[of_rows("", columns, found), *([of_rows("Comments", said, comments)] if comments else [])]
    )


@section("signatures", "Signatures")
async def signatures(gathering: Gathering, wanted: TemplateSectionAnswer, _: Check) -> ReportSection:
    """Signatures of the samples, deviations and alarm rules that stand in the report, and of reviews of the run."""
    of_run = [] if gathering.run is None else [f"run/{gathering.run.name}"]
    records = {
        *(f"sample/{row['sample']}" for row in await gathering.rows("samples")),
        *(f"deviation/{row['deviation']}" for row in await gathering.rows("deviations", of_run)),
        *(f"rule/{row['rule']}" for row in await gathering.rows("alarms")),
        *(f"review/{number}" for number in await reviews.of_run(gathering.database, gathering.run)),
    }
    found = await signed.of_records(gathering.database, sorted(records))
    columns = [
        *(column("record", "Record"), column("version", "Version"), column("name", "Name"), column("who", "E-mail")),
        *(column("meaning", "Meaning"), column("at", "When"), column("state", "State"), column("digest", "SHA-256")),
    ]
    rows = [
        {
            **{name: getattr(one, name) for name in ("record", "name", "who", "meaning", "digest")},
            **{"version": str(one.version), "at": utc(one.at), "state": signature_state(one)},
        }
        for one in found
    ]
    return made(wanted, tables=[of_rows("", columns, rows)])


@section("log", "Shift log")
async def log(gathering: Gathering, wanted: TemplateSectionAnswer, _: Check) -> ReportSection:
    found = [{**row, "devices": ", ".join(row["devices"])} for row in await gathering.rows("log")]
    columns = [
        *(
            column("at", "When", "time"),
            column("who", "Who"),
            column("location", "Where"),
            column("devices", "Devices"),
        ),
        *(column("text", "Entry"), column("handed_to", "Handed to"), column("accepted_at", "Accepted", "time")),
    ]
    return made(wanted, tables=[of_rows("", columns, found)])


@section("changes", "Who changed what")
async def changes(gathering: Gathering, wanted: TemplateSectionAnswer, _: Check) -> ReportSection:
    subjects = [] if gathering.run is None else [f"run/{gathering.run.name}"]
    columns = [
        *(column("n", "No.", "number"), column("at", "When", "time"), column("who", "Who"), column("action", "What")),
        *(column("subject", "Of"), column("old", "Before"), column("new", "After"), column("why", "Why")),
    ]
    found = [
        {**row, "old": _said(row["old"]), "new": _said(row["new"])}
        for row in await gathering.rows("changes", subjects, gathering.names)
    ]
    return made(wanted, tables=[of_rows("", columns, found)])


def _said(document: str | None) -> str | None:
    """Return a state of the audit trail, which is JSON, as its names with values."""
    content = None if document is None else msgspec.json.decode(document)
    if not isinstance(content, dict):
        return document
    texts = (
        (name, one if isinstance(one, str) else msgspec.json.encode(one).decode()) for name, one in content.items()
    )
    return "; ".join(f"{name}: {text}" for name, text in texts)


def of_rows(title: str, columns: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> ReportTable:
    """Return a table of the columns' names."""
    return table(title, columns, [[row.get(one.name) for one in columns] for row in rows])
