"""SQL for corrections of samples, and what they change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from api.database import Database
from api.http.plain_words import quality as named_quality
from api.problems import BadParameter, NotFound
from api.queries import devices, load, telemetry_buckets
from api.queries.deadline import Deadline
from api.queries.devices import Channel
from api.queries.selection import Selection
from api.queries.telemetry_buckets import BucketWish
from api.series.grid import Division
from api.shapes.corrections import CorrectionAct, CorrectionAnswer, CorrectionDetail, NewCorrection
from schema import times
from schema.times import Span
from schema.units import named

SQL = load("corrections")
LAST_ID = 2**63 - 1
FIGURES = ("count", "avg", "min", "max")


class CorrectionOrder(NamedTuple):
    """Which correction somebody puts in which place."""

    who: str
    device: str
    number: int | None = None
    """None: a new one."""
    version: int | None = None
    """The version that must be the newest; None: any."""


class Changed(NamedTuple):
    """What a correction made of the good samples of its time: count, mean, least and greatest, before and after."""

    correction: CorrectionAnswer
    sent: tuple[float | None, ...]
    corrected: tuple[float | None, ...]


async def page(
    database: Database,
    device_id: int,
    span: Span,
    before: int,
    limit: int,
    *,
    as_of: datetime | None,
    channel: str | None,
) -> list[asyncpg.Record]:
    """Return the newest versions of corrections that overlap with the span, newest first."""
    return await database.fetch_planned(SQL["page"], device_id, span.begin, span.end, before, limit, as_of, channel)


async def holding(
    database: Database, names: Sequence[str], span: Span, channels: Sequence[str] | None = None
) -> list[CorrectionAnswer]:
    """Return the corrections of devices that hold and overlap with the span, in the order in which they were made."""
    rows = await database.fetch_planned(SQL["holding"], list(names), span.begin, span.end, channels)
    return [item(row) for row in rows]


async def detail(database: Database, device: str, number: int) -> CorrectionDetail:
    """Return a correction with all its versions. Raises NotFound."""
    rows = await database.fetch(SQL["versions"], device, number)
    if not rows:
        raise NotFound(f"there is no correction {number} of device {device}")
    return CorrectionDetail(number, rows[-1]["version"], [item(row) for row in rows])


async def put(database: Database, order: CorrectionOrder, given: NewCorrection) -> CorrectionDetail:
    """Correct samples, or replace the newest version of a correction. Raises NotFound, Conflict, PreconditionFailed,
    and BadParameter for a unit in which the channel is not stored."""
    known = {one.name: one for one in (await devices.device(database, order.device)).channels}
    if given.channel not in known:
        meant = "a computed channel is corrected in its inputs"
        raise BadParameter("channel", f"{order.device} has never sent {given.channel!r}; {meant}")
    span, (factor, added) = given.span(), given.change()
    document = {
        "channel": given.channel,
        "begins": times.text(span.begin),
        "ends": times.text(span.end),
        **{"value": given.value, "factor": factor, "added": added, "quality": given.quality},
        **{"unit": _unit(known[given.channel], span, given.unit), "deviation": given.deviation},
    }
    return await _put(database, order, "make" if order.number is None else "change", document, given.why)


async def withdraw(database: Database, order: CorrectionOrder, why: str) -> CorrectionDetail:
    """Say that a correction holds no more. Raises NotFound, Conflict, PreconditionFailed."""
    return await _put(database, order, "withdraw", {}, why)


async def _put(
    database: Database, order: CorrectionOrder, act: CorrectionAct, document: Mapping[str, Any], why: str
) -> CorrectionDetail:
    said = order.device, order.number, order.version, act, json.dumps(document), order.who, why
    async with database.change() as connection:
        number = await connection.fetchval(SQL["put"], *said)
    return await detail(database, order.device, number)


def _unit(channel: Channel, span: Span, given: str | None) -> str | None:
    """Return the unit in which the channel is stored in a time. Raises BadParameter if that is not one, or not the
    given one."""
    units = {one.unit for one in channel.terms.units_in(span.begin, span.end)}
    if len(units) > 1:
        raise BadParameter("from", f"the unit of {channel.name} changes in that time: correct each part by itself")
    [unit] = units
    if given is not None and named(given) != unit:
        raise BadParameter("unit", f"{channel.name} is stored in {unit or 'an unknown unit'} in that time")
    return unit


def item(row: asyncpg.Record) -> CorrectionAnswer:
    return CorrectionAnswer.of(row, correction=row["number"], from_=row["begins"], to=row["ends"], offset=row["added"])


def words(one: CorrectionAnswer) -> str:
    """Return what a correction puts in place of what was sent, for people."""
    unit = f" {one.unit}" if one.unit else ""
    if one.value is not None:
        found = [f"{one.value:g}{unit}"]
    elif one.factor is not None and one.offset is not None:
        factor = "" if one.factor == 1 else f"{one.factor:g} × "
        found = [f"{factor}sent {'−' if one.offset < 0 else '+'} {abs(one.offset):g}{unit}"]
    else:
        found = []
    return ", ".join([*found, *([] if one.quality is None else [f"quality {named_quality(one.quality)}"])])


async def changed(database: Database, names: Sequence[str], span: Span, deadline: Deadline) -> list[Changed]:
    """Return the corrections of devices in a time, each with figures of the samples of both. Raises TooLong."""
    known = {one.name: one for one in await devices.many(database, names)}
    found = []
    for one in await holding(database, names, span):
        device = known[one.device]
        channels = tuple(it for it in device.channels if it.name == one.channel)
        begin, end = max(span.begin, times.parse_instant(one.from_)), min(span.end, times.parse_instant(one.to))
        wanted = Selection(device, channels, begin, end, everything=False)
        both = [await _figures(database, it, deadline) for it in (replace(wanted, corrected=False), wanted)]
        found.append(Changed(one, both[0], both[1]))
    return found


async def _figures(database: Database, wanted: Selection, deadline: Deadline) -> tuple[float | None, ...]:
    wish = BucketWish(Division(wanted.end - wanted.begin, origin=wanted.begin), FIGURES, empty=True)
    rows = await telemetry_buckets.whole(database, wanted, wish, deadline)
    return tuple(None if cell[0] != cell[0] else float(cell[0]) for cell in rows.cells)
