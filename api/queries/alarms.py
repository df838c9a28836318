"""SQL for alarms and their transitions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from fastapi import Request, Response

from api.database import Database
from api.http import cursors
from api.http.answers import Table
from api.http.description import raw
from api.problems import NotFound
from api.queries import load, run_times
from api.shapes.alarm_acts import AlarmFilter
from api.shapes.alarms import (
    AlarmAnswer,
    AlarmDetail,
    DeviceAlarmParameters,
    HistoryParameters,
    SilencedAlarm,
    SilencedParameters,
    TransitionAnswer,
)
from schema.alarms.machine import AlarmState
from schema.alarms.rules import Priority

SQL = load("alarms")
LAST_ID = 2**63 - 1
SHOWN = 20
"""The most transitions that one alarm shows."""
AT_A_TIME = 1000


async def page(
    database: Database,
    asked: DeviceAlarmParameters | AlarmFilter,
    after: Sequence[str],
    limit: int,
    *,
    device: str | None = None,
    tags: Sequence[str] = (),
) -> list[asyncpg.Record]:
    """Return at most `limit` alarms after the key `after` (device, rule), of this device, with these tags."""
    filters = asked.state or None, asked.standing, asked.priority or None, device, tags or None, asked.rule
    return await database.fetch_planned(SQL["page"], *after, *filters, asked.unacknowledged, limit)


@dataclass(frozen=True, slots=True)
class Urgent:
    """Filters of the list that people work with; None and an empty one let everything pass."""

    states: Sequence[AlarmState] = ()
    standing: bool | None = None
    not_evaluated: bool | None = None
    priorities: Sequence[Priority] = ()
    device: str | None = None
    tags: Sequence[str] = ()


async def urgent(database: Database, wanted: Urgent, limit: int) -> list[AlarmAnswer]:
    """Return at most `limit` alarms: first those that wait for an acknowledgement, then by priority and time."""
    filters = list(wanted.states) or None, wanted.standing, wanted.not_evaluated, list(wanted.priorities) or None
    rows = await database.fetch_planned(
        SQL["urgent"], *filters, wanted.device or None, list(wanted.tags) or None, limit
    )
    return [item(row) for row in rows]


async def silenced(
    database: Database, asked: SilencedParameters, after: Sequence[str], limit: int, tags: Sequence[str] = ()
) -> list[asyncpg.Record]:
    """Return at most `limit` alarms that are held back, after the key `after` (device, rule), with these tags."""
    filters = asked.state or None, asked.priority or None, asked.device, list(tags) or None
    return await database.fetch_planned(SQL["silenced"], *after, *filters, limit)


async def one(database: Database, device: str, rule: str) -> AlarmDetail:
    async with database.connection() as connection:
        row = await connection.fetchrow(SQL["one"], device, rule)
        if row is None:
            raise absent(device, rule)
        last = await connection.fetch(SQL["last"], row["rule_id"], row["device_id"], SHOWN)
    shown = [transition(one) for one in last]
    return AlarmDetail.of(row, definition=raw(row["definition"]), transitions=shown)


def absent(device: str, rule: str) -> NotFound:
    return NotFound(f"there is no alarm {rule} of {device}: no such rule covers the device")


async def history(database: Database, asked: HistoryParameters, before: int, limit: int) -> list[asyncpg.Record]:
    """Return the newest transitions whose number is less than `before`, newest first."""
    question = await run_times.placed(database, asked, asked.device)
    span, filters = question.span, (question.devices, asked.rule, asked.priority or None, asked.cause or None)
    return await database.fetch_planned(SQL["history"], span.begin, span.end, before, *filters, limit)


async def all_history(database: Database, asked: HistoryParameters) -> AsyncIterator[list[asyncpg.Record]]:
    """Yield all transitions in parts; no connection is held while a slow client reads."""
    before = LAST_ID
    while True:
        rows = await history(database, asked, before, AT_A_TIME)
        yield rows
        if len(rows) < AT_A_TIME:
            return
        before = rows[-1]["transition_id"]


async def history_page(request: Request, database: Database, asked: HistoryParameters) -> Response:
    """Answer with transitions, newest first: a page, or in CSV all of them."""

    async def rows(before: list[Any], limit: int) -> list[asyncpg.Record]:
        return await history(database, asked, before[0], limit)

    return await TRANSITIONS.page(request, asked, rows, everything=lambda: all_history(database, asked))


def item(row: asyncpg.Record) -> AlarmAnswer:
    return AlarmAnswer.of(row)


def silenced_item(row: asyncpg.Record) -> SilencedAlarm:
    return SilencedAlarm.of(row)


def transition(row: asyncpg.Record) -> TransitionAnswer:
    return TransitionAnswer.of(row, id=row["transition_id"])


TRANSITIONS = Table(
    name="transitions",
    title="History",
    of=TransitionAnswer,
    item=transition,
    key={"transition_id": cursors.number},
    first=(LAST_ID,),
)
