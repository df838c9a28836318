"""Alarms and their transitions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from api.database import Database
from api.http import times
from api.problems import NotFound
from api.queries import load

SQL = load("alarms")
LAST_ID = 2**63 - 1
SHOWN = 20
"""Transitions of one alarm."""
AT_A_TIME = 1000


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


async def page(database: Database, wanted: Filter, after: Sequence[str], limit: int) -> list[asyncpg.Record]:
    """At most `limit` alarms after the key `after` (device, rule)."""
    return await database.fetch_planned(
        SQL["page"],
        *(*after, wanted.states, wanted.standing, wanted.priorities, wanted.device, wanted.tags, wanted.rule),
        *(wanted.unacknowledged, limit),
    )


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


async def history(database: Database, wanted: Wanted, limit: int) -> list[asyncpg.Record]:
    """Newest first."""
    return await database.fetch_planned(
        SQL["history"],
        *(wanted.begin, wanted.end, wanted.before, wanted.device, wanted.rule, wanted.priorities, wanted.causes, limit),
    )


async def all_history(database: Database, wanted: Wanted) -> AsyncIterator[list[asyncpg.Record]]:
    """All of it; no connection is held while a slow client reads."""
    while True:
        rows = await history(database, wanted, AT_A_TIME)
        yield rows
        if len(rows) < AT_A_TIME:
            return
        wanted = replace(wanted, before=rows[-1]["transition_id"])


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
