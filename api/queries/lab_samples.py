"""SQL for lab samples. A change of a sample is a new version of it; what was said before stays readable."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import asyncpg

from api.database import Connection, Database
from api.http.parameters import known
from api.problems import BadParameter, Conflict, NotFound, PreconditionFailed
from api.queries import load, pending_acts
from api.queries.pending_acts import WantedAct
from api.queries.run_times import PlacedQuestion
from api.shapes.lab_samples import (
    MOST_ANALYTES,
    Analyte,
    Approval,
    LabSample,
    NewAnalyte,
    NewSample,
    RecordSource,
    SampleAct,
    SampleChange,
    SampleParameters,
)
from schema import times, units
from schema.times import Span

SQL = load("lab_samples")
LAST_ID = 2**63 - 1
Asked = TypeVar("Asked", bound=SampleParameters)
SAID = ("value", "reading", "unit", "method")
INSTANTS = ("measured_at", "approved_at")


class Version(NamedTuple):
    """A version of a sample that is to be stored."""

    device: str
    sample: str | None
    after: int
    """The version before; 0: there is none."""
    act: SampleAct
    said: dict[str, Any]
    analytes: Sequence[dict[str, Any]]
    source: RecordSource
    who: str
    why: str


async def page(
    database: Database, question: PlacedQuestion[Asked], before: Sequence[Any], limit: int
) -> list[asyncpg.Record]:
    """Return the newest versions of samples after the key `before` (taken_at, lab_sample_id), last first."""
    asked, span = question.asked, question.span
    filters = question.devices, span.begin, span.end, asked.analyte, asked.status, asked.withdrawn
    return await database.fetch_planned(SQL["page"], *filters, *before, limit, known(asked.as_of))


async def of_device(database: Database, device: str, span: Span, limit: int) -> list[LabSample]:
    """Return the samples of a device that were taken in a time, the last first."""
    filters = [device], span.begin, span.end, None, None, False, span.end, LAST_ID
    return [item(row) for row in await database.fetch_planned(SQL["page"], *filters, limit, None)]


async def one(database: Database, sample: str, as_of: datetime | None = None) -> LabSample:
    """Return the newest version of a sample, or what it was then. Raises NotFound."""
    if (then := known(as_of)) is not None:
        found = [row for row in await versions(database, sample) if row["created_at"] <= then]
        if not found:
            raise NotFound(f"sample {sample} was not there yet at {times.text(then)}")
        return item(found[0])
    return item(await database.one(SQL["one"], sample, absent=unknown(sample)))


async def versions(database: Database, sample: str) -> list[asyncpg.Record]:
    """Return all versions of a sample, the newest first. Raises NotFound."""
    found = await database.fetch(SQL["versions"], sample)
    if not found:
        raise unknown(sample)
    return found


async def analytes(database: Database) -> list[str]:
    """Return names of analytes that samples have."""
    return [row["analyte"] for row in await database.fetch(SQL["analytes"])]


async def add(database: Database, given: NewSample, who: str) -> LabSample:
    version = first_version(given, "person", who, given.why)
    async with database.change() as connection:
        name = await put(connection, version)
        return item(await connection.fetchrow(SQL["one"], name))


async def change(database: Database, sample: str, given: SampleChange, who: str) -> LabSample:
    """Store a new version with what is given. Raises NotFound, Conflict, PreconditionFailed, BadParameter."""
    was = await _expected(database, sample, given.version)
    return await _next(database, changed(was, given, who))


async def approve(database: Database, sample: str, given: Approval, who: str) -> LabSample:
    """Approve analytes that are measured; of all that are named, or none. Raises Conflict for one that is not, and
    Waits where a second person has to confirm it."""
    was = await _expected(database, sample, given.version)
    wanted = [one.analyte for one in was.analytes] if given.analytes is None else given.analytes
    if not wanted:
        raise Conflict(f"sample {sample} has no analyte: nothing can be approved")
    there = {one.analyte: one for one in was.analytes}
    for name in wanted:
        if name not in there:
            raise BadParameter("analytes", f"sample {sample} has no analyte {name}")
        if there[name].status == "taken":
            raise Conflict(f"{name} of sample {sample} is not measured yet")
    rows = [_row(one) for one in was.analytes]
    now = times.text(datetime.now(UTC))
    for row in rows:
        if row["analyte"] in wanted and row["status"] == "measured":
            row |= {"status": "approved", "approved_at": now, "approved_by": who}
    if all(there[row["analyte"]].status == row["status"] for row in rows):
        raise Conflict(f"sample {sample} is approved already")
    version = _following(was, "approve", {}, rows, (who, given.why))
    if await pending_acts.is_demanded(database, "samples"):
        request = {"device": version.device, "sample": sample, "version": was.version, "said": version.said}
        # approved when it is confirmed, not now
        request |= {"analytes": [row | {"approved_at": None} if row["approved_at"] == now else row for row in rows]}
        raise await pending_acts.ask(database, WantedAct("samples", f"sample/{sample}", request, who, given.why))
    return await _next(database, version)


async def withdraw(database: Database, sample: str, who: str, why: str) -> LabSample:
    """Leave a sample out of lists from now on; its versions stay readable. Raises NotFound, Conflict."""
    was = await _expected(database, sample, None)
    rows = [_row(one) for one in was.analytes]
    return await _next(database, _following(was, "withdraw", {"withdrawn": True}, rows, (who, why)))


async def put(connection: Connection | asyncpg.Connection, one: Version) -> str:
    """Store a version in a transaction; return the name of the sample."""
    said, rows = json.dumps(one.said), json.dumps(list(one.analytes))
    given = one.device, one.sample, one.after, one.act, said, rows, one.source, one.who, one.why
    return str(await connection.fetchval(SQL["put"], *given))


def first_version(given: NewSample, source: RecordSource, who: str, why: str) -> Version:
    """Return the first version of a sample. Pure, but that what was measured at no time was measured now."""
    said = {"taken_at": times.text(given.taken_at), "location": given.location, "note": given.note}
    rows = [measured(one, who) for one in given.analytes]
    return Version(given.device, given.sample, 0, "take", said, rows, source, who, why)


def changed(was: LabSample, given: SampleChange, who: str, source: RecordSource = "person") -> Version:
    """Return the version that follows. What a correction changes of an analyte takes its approval away. Raises
    BadParameter."""
    before = {one.analyte: one for one in was.analytes}
    for name in given.without:
        if name not in before:
            raise BadParameter("without", f"sample {was.sample} has no analyte {name}")
    rows = {name: _row(one) for name, one in before.items() if name not in given.without}
    for new in given.analytes:
        rows[new.analyte] = _completed(new, before.get(new.analyte), who)
    if len(rows) > MOST_ANALYTES:
        raise BadParameter("analytes", f"a sample has at most {MOST_ANALYTES}")
    other: dict[str, Any] = {
        name: getattr(given, name) for name in ("location", "note") if name in given.model_fields_set
    }
    if given.taken_at is not None:
        other["taken_at"] = times.text(given.taken_at)
    is_first = all(before[new.analyte].status == "taken" for new in given.analytes if new.analyte in before)
    act: SampleAct = (
        "measure" if is_first and given.analytes and not (other or given.without or given.device) else "correct"
    )
    said = other.items() <= {name: getattr(was, name) for name in other}.items()
    if said and list(rows.values()) == [_row(one) for one in was.analytes] and given.device in {None, was.device}:
        raise BadParameter("body", "says nothing else than what is stored")
    version = _following(was, act, other, list(rows.values()), (who, given.why))
    return version._replace(device=given.device or was.device, source=source)


def measured(given: NewAnalyte, who: str) -> dict[str, Any]:
    """Return a new analyte as it is stored."""
    number = given.value if isinstance(given.value, float) else None
    reading = given.value if isinstance(given.value, str) else None
    is_measured = given.value is not None
    at = times.text(given.measured_at or datetime.now(UTC)) if is_measured else None
    return {
        "analyte": given.analyte,
        "value": number,
        "reading": reading,
        "unit": None if given.unit is None else units.named(given.unit),
        "method": given.method,
        "status": "measured" if is_measured else "taken",
        "measured_at": at,
        "measured_by": who if is_measured else None,
    }


def _completed(new: NewAnalyte, was: Analyte | None, who: str) -> dict[str, Any]:
    """Return an analyte of a change: unit and method that are not given stay; so does the value.
    What says the same as before stays as it is, with its approval."""
    if was is None:
        return measured(new, who)
    row = measured(new, who)
    for name in ("unit", "method"):
        row[name] = row[name] or getattr(was, name)
    if "value" not in new.model_fields_set:
        row |= {name: getattr(was, name) for name in ("value", "reading", "measured_at", "measured_by")}
        row["status"] = "taken" if was.status == "taken" else "measured"
    before = _row(was)
    is_same = new.measured_at is None and all(row[name] == before[name] for name in SAID)
    return before if is_same else row


def _row(one: Analyte) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Analyte.__struct_fields__}


def _following(
    was: LabSample, act: SampleAct, other: dict[str, Any], rows: Sequence[dict[str, Any]], said: tuple[str, str]
) -> Version:
    who, why = said
    kept = {name: getattr(was, name) for name in ("taken_at", "location", "note", "withdrawn")}
    return Version(was.device, was.sample, was.version, act, kept | other, rows, "person", who, why)


async def _expected(database: Database, sample: str, version: int | None) -> LabSample:
    was = await one(database, sample)
    if version is not None and version != was.version:
        raise PreconditionFailed(f"sample {sample} was changed meanwhile: its newest version is {was.version}")
    if was.withdrawn:
        raise Conflict(f"sample {sample} was withdrawn")
    return was


async def _next(database: Database, version: Version) -> LabSample:
    async with database.change() as connection:
        name = await put(connection, version)
        return item(await connection.fetchrow(SQL["one"], name))


async def named(database: Database, names: Iterable[str]) -> dict[str, LabSample]:
    """Return the newest versions of those of these samples that there are, by name."""
    return {row["sample"]: item(row) for row in await database.fetch(SQL["some"], list(names))}


def unknown(sample: str) -> NotFound:
    return NotFound(f"there is no sample {sample}")


def item(row: asyncpg.Record) -> LabSample:
    return LabSample.of(row, analytes=[_analyte(one) for one in json.loads(row["analytes"])])


def _analyte(found: dict[str, Any]) -> Analyte:
    said = {name: found[name] for name in Analyte.__struct_fields__}
    for name in INSTANTS:
        said[name] = None if said[name] is None else times.text(datetime.fromisoformat(said[name]))
    return Analyte(**said)
