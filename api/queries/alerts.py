"""SQL for live feeds: standing alarms and new transitions, each encoded once for all listeners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import msgspec

from api.database import Database
from api.queries import load
from api.queries.alarms import item, transition
from api.shapes.alarms import AlarmAnswer, TransitionAnswer

SQL = load("alerts")


@dataclass(frozen=True, slots=True)
class Told:
    """A transition or a standing alarm, encoded as JSON."""

    number: int
    """The number of the transition; 0 for an alarm."""
    device: str
    rule: str
    priority: str
    json: bytes


async def standing(database: Database) -> tuple[int, list[Told]]:
    """Return the newest transition's number and, of the same moment, all alarms that are not normal, oldest first."""
    rows = await database.fetch(SQL["standing"])
    return rows[0]["newest"], [_told(0, row, item(row)) for row in rows if row["device"] is not None]


async def after(database: Database, number: int, limit: int) -> list[Told]:
    """Return the oldest transitions after that number, in their order."""
    return _transitions(await database.fetch(SQL["after"], number, limit))


async def newest_after(database: Database, number: int, limit: int) -> list[Told]:
    """Return the newest transitions after that number, in their order."""
    return _transitions((await database.fetch(SQL["newest_after"], number, limit))[::-1])


async def bounds(database: Database) -> tuple[int, int]:
    """Return the numbers of the oldest and the newest stored transition; (1, 0) if there is none."""
    [row] = await database.fetch(SQL["bounds"])
    return (1, 0) if row["oldest"] is None else (row["oldest"], row["newest"])


def _transitions(rows: Sequence[asyncpg.Record]) -> list[Told]:
    return [_told(row["transition_id"], row, transition(row)) for row in rows]


def _told(number: int, row: asyncpg.Record, content: AlarmAnswer | TransitionAnswer) -> Told:
    return Told(number, row["device"], row["rule"], row["priority"], msgspec.json.encode(content))
