"""Alarms, their transitions, and what people ask for: they ask by a row, and the process that evaluates does it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from api import times
from api.database import Database
from api.edge.trace import CURRENT
from api.problems import NotFound
from api.queries import load

SQL = load("alarms")
LAST_ID = 2**63 - 1
SHOWN = 20
"""Transitions of one alarm."""
AT_A_TIME = 1000
FIRST_LOOK_S, LAST_LOOK_S = 0.02, 0.2
"""Between two looks at what was asked for: soon at first, as it takes a moment only."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which alarms: all of what is not None holds."""

    states: Sequence[str] | None = None
    standing: bool | None = None
    """Not normal."""
    priorities: Sequence[str] | None = None
    device: str | None = None
    tags: Sequence[str] | None = None
    """All of them."""
    rule: str | None = None
    unacknowledged: bool | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which transitions; None is any. Times are of recording."""

    begin: datetime
    end: datetime
    device: str | None = None
    rule: str | None = None
    priorities: Sequence[str] | None = None
    causes: Sequence[str] | None = None
    before: int = LAST_ID


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done to an alarm. `until` or `span`: of a shelving."""

    action: str
    until: datetime | None
    span: timedelta | None
    once: bool
    who: str
    why: str


async def page(database: Database, wanted: Filter, after: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """At most `limit` alarms after the key `after` (device, rule)."""
    rows = await database.fetch_planned(
        SQL["page"],
        *(*after, wanted.states, wanted.standing, wanted.priorities, wanted.device, wanted.tags, wanted.rule),
        *(wanted.unacknowledged, limit),
    )
    return [item(row) for row in rows]


async def one(database: Database, device: str, rule: str) -> dict[str, Any]:
    async with database.connection() as connection:
        row = await connection.fetchrow(SQL["one"], device, rule)
        if row is None:
            raise absent(device, rule)
        last = await connection.fetch(SQL["last"], row["rule_id"], row["device_id"], SHOWN)
    return item(row) | {
        **{name: row[name] for name in ("acknowledged", "latched", "shelved_once", "suppressed", "out_of_service")},
        "definition": msgspec.Raw(row["definition"].encode()),
        "transitions": [transition(one) for one in last],
    }


def absent(device: str, rule: str) -> NotFound:
    return NotFound(f"there is no alarm {rule} of {device}: it is there from its first transition on")


async def history(database: Database, wanted: Wanted, limit: int) -> list[dict[str, Any]]:
    """Newest first."""
    rows = await database.fetch_planned(
        SQL["history"],
        *(wanted.begin, wanted.end, wanted.before, wanted.device, wanted.rule, wanted.priorities, wanted.causes, limit),
    )
    return [transition(row) for row in rows]


async def all_history(database: Database, wanted: Wanted) -> AsyncIterator[list[dict[str, Any]]]:
    """All of it; no connection is held while a slow client reads."""
    while True:
        items = await history(database, wanted, AT_A_TIME)
        yield items
        if len(items) < AT_A_TIME:
            return
        wanted = replace(wanted, before=items[-1]["id"])


async def act(database: Database, device: str, rule: str, wish: Wish) -> int:
    """Asks for it; its number."""
    async with database.change() as connection:
        return int(await connection.fetchval(SQL["act"], device, rule, *_arguments(wish)))


async def act_on_many(database: Database, alarms: Sequence[tuple[str, str]], wish: Wish) -> list[int | None]:
    """The same of many (device, rule), all or none; None: there is no such device or no such rule."""
    async with database.change() as connection:
        devices, rules = [device for device, _ in alarms], [rule for _, rule in alarms]
        rows = await connection.fetch(SQL["act_on_many"], devices, rules, *_arguments(wish))
    return [row["act_id"] for row in rows]


def _arguments(wish: Wish) -> tuple[Any, ...]:
    return wish.action, wish.until, wish.span, wish.once, wish.who, wish.why


async def acts(database: Database, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
    return {row["act_id"]: _act(row) for row in await database.fetch(SQL["acts"], list(numbers))}


async def settled(
    database: Database, numbers: Sequence[int], patience: float, gone: Callable[[], Awaitable[bool]]
) -> dict[int, dict[str, Any]]:
    """The acts when all are done or refused, or as they are when patience ends. No connection is held meanwhile."""
    deadline, pause = time.monotonic() + patience, FIRST_LOOK_S
    while True:
        found = await acts(database, numbers)
        left = deadline - time.monotonic()
        if left <= 0 or all(one["state"] != "waiting" for one in found.values()) or await gone():
            return found
        await asyncio.sleep(min(pause, left))
        trace = CURRENT.get()
        if trace is not None:
            trace.patience += min(pause, left)
        pause = min(pause * 1.5, LAST_LOOK_S)


def item(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "device": row["device"],
        "rule": row["rule"],
        "title": row["title"],
        "state": row["state"],
        "condition": row["condition"],
        "priority": row["priority"],
        "since": times.text(row["since"]),
        "raised_at": times.optional_text(row["raised_at"]),
        "value": row["value"],
        "detail": row["detail"],
        "shelved_until": times.optional_text(row["shelved_until"]),
        "message": row["message"],
        "response": row["response"],
        "n": row["n"],
    }


def transition(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "id": row["transition_id"],
        "device": row["device"],
        "rule": row["rule"],
        "title": row["title"],
        "n": row["n"],
        "at": times.text(row["at"]),
        "recorded_at": times.text(row["recorded_at"]),
        "cause": row["cause"],
        "before": row["before"],
        "after": row["after"],
        "condition": row["condition"],
        "priority": row["priority"],
        "value": row["value"],
        "detail": row["detail"],
        "who": row["who"],
        "why": row["why"],
    }


def _act(row: asyncpg.Record) -> dict[str, Any]:
    done = "done" if row["refused"] is None else "refused"
    return {
        "id": row["act_id"],
        "device": row["device"],
        "rule": row["rule"],
        "action": row["action"],
        "until": times.optional_text(row["until"]),
        "once": row["once"],
        "who": row["who"],
        "why": row["why"],
        "asked_at": times.text(row["asked_at"]),
        "state": "waiting" if row["done_at"] is None else done,
        "done_at": times.optional_text(row["done_at"]),
        "refused": row["refused"],
        "n": row["n"],
    }
