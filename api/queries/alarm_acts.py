"""What people ask for: they ask by a row, and the process that evaluates alarms does it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from api.database import Database
from api.queries import load
from api.shapes.alarm_acts import Act
from api.trace import CURRENT

SQL = load("alarm_acts")
FIRST_LOOK_S, LAST_LOOK_S = 0.02, 0.2
"""Between two looks at what was asked for: soon at first, as it takes a moment only."""


@dataclass(frozen=True, slots=True)
class ActWish:
    """What is to be done to an alarm. `until` or `span`: of a shelving."""

    action: str
    until: datetime | None
    span: timedelta | None
    once: bool
    who: str
    why: str


async def act(database: Database, device: str, rule: str, wish: ActWish) -> int:
    """Asks for it; its number."""
    async with database.change() as connection:
        return int(await connection.fetchval(SQL["act"], device, rule, *_arguments(wish)))


async def act_on_many(database: Database, alarms: Sequence[tuple[str, str]], wish: ActWish) -> list[int | None]:
    """The same of many (device, rule), all or none; None: there is no such device or no such rule."""
    async with database.change() as connection:
        devices, rules = [device for device, _ in alarms], [rule for _, rule in alarms]
        rows = await connection.fetch(SQL["act_on_many"], devices, rules, *_arguments(wish))
    return [row["act_id"] for row in rows]


def _arguments(wish: ActWish) -> tuple[Any, ...]:
    return wish.action, wish.until, wish.span, wish.once, wish.who, wish.why


async def acts(database: Database, numbers: Sequence[int]) -> dict[int, Act]:
    return {row["act_id"]: _act(row) for row in await database.fetch(SQL["acts"], list(numbers))}


async def settled(
    database: Database, numbers: Sequence[int], patience: float, gone: Callable[[], Awaitable[bool]]
) -> dict[int, Act]:
    """The acts when all are done or refused, or as they are when patience ends. No connection is held meanwhile."""
    deadline, pause = time.monotonic() + patience, FIRST_LOOK_S
    while True:
        found = await acts(database, numbers)
        left = deadline - time.monotonic()
        if left <= 0 or all(one.state != "waiting" for one in found.values()) or await gone():
            return found
        await asyncio.sleep(min(pause, left))
        trace = CURRENT.get()
        if trace is not None:
            trace.patience += min(pause, left)
        pause = min(pause * 1.5, LAST_LOOK_S)


def _act(row: asyncpg.Record) -> Act:
    done = "done" if row["refused"] is None else "refused"
    return Act.of(row, id=row["act_id"], state="waiting" if row["done_at"] is None else done)
