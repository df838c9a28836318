"""SQL for acts on alarms: people ask by a row, and the process that evaluates alarms does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

import asyncpg

from api.database import Database
from api.http.patience import seen
from api.queries import load
from api.shapes.alarm_acts import Act

SQL = load("alarm_acts")
ActArguments: TypeAlias = tuple[str, datetime | None, timedelta | None, bool, str, str, str]
"""Action, end and duration of a shelving, whether it ends when the alarm returns; who asks, and why; the longest
shelving in s by priority, as JSON."""
ChosenAlarm: TypeAlias = tuple[str, str, int | None]
"""Device, rule, and the number of the transition that the person saw last."""
FIRST_LOOK_S = 0.02
"""The time before the second look at what was asked for: soon, as it usually takes a moment only."""


async def act(database: Database, alarm: ChosenAlarm, arguments: ActArguments) -> int:
    """Ask for an act on an alarm; returns the number of the act."""
    device, rule, seen = alarm
    async with database.change() as connection:
        return int(await connection.fetchval(SQL["act"], device, rule, *arguments, seen))


async def act_on_many(database: Database, alarms: Sequence[ChosenAlarm], arguments: ActArguments) -> list[int | None]:
    """Ask for the same act on many alarms, all or none; None where there is no such device or rule."""
    async with database.change() as connection:
        devices, rules, seen = ([alarm[place] for alarm in alarms] for place in range(3))
        rows = await connection.fetch(SQL["act_on_many"], devices, rules, *arguments, seen)
    return [row["act_id"] for row in rows]


async def acts(database: Database, numbers: Sequence[int]) -> dict[int, Act]:
    return {row["act_id"]: _act(row) for row in await database.fetch(SQL["acts"], list(numbers))}


async def settled(
    database: Database, numbers: Sequence[int], patience: float, gone: Callable[[], Awaitable[bool]]
) -> dict[int, Act]:
    """Return the acts when all are done or refused, or as they are when patience (s) ends or the client has gone."""

    def over(found: dict[int, Act]) -> bool:
        return all(one.state != "waiting" for one in found.values())

    return await seen(lambda: acts(database, numbers), over, patience, gone, FIRST_LOOK_S)


def _act(row: asyncpg.Record) -> Act:
    done = "done" if row["refused"] is None else "refused"
    return Act.of(row, id=row["act_id"], state="waiting" if row["done_at"] is None else done)
