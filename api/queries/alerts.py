"""The alarms that stand and the transitions after one, each encoded once, for all who listen."""

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
    """A transition, or an alarm that stands."""

    number: int
    """Of the transition; of an alarm 0."""
    device: str
    rule: str
    priority: str
    json: bytes


async def standing(database: Database) -> tuple[int, list[Told]]:
    """All alarms that are not normal, longest first, and the number of the newest transition, of the same moment."""
    rows = await database.fetch(SQL["standing"])
    return rows[0]["newest"], [_told(0, row, item(row)) for row in rows if row["device"] is not None]


async def after(database: Database, number: int, limit: int) -> list[Told]:
    """The oldest transitions after that number, in their order."""
    return _transitions(await database.fetch(SQL["after"], number, limit))


async def newest_after(database: Database, number: int, limit: int) -> list[Told]:
    """The newest transitions after that number, in their order."""
    return _transitions((await database.fetch(SQL["newest_after"], number, limit))[::-1])


async def bounds(database: Database) -> tuple[int, int]:
    """The numbers of the oldest transition that is kept, and of the newest. (1, 0): there is none."""
    [row] = await database.fetch(SQL["bounds"])
    return (1, 0) if row["oldest"] is None else (row["oldest"], row["newest"])


def _transitions(rows: Sequence[asyncpg.Record]) -> list[Told]:
    return [_told(row["transition_id"], row, transition(row)) for row in rows]


def _told(number: int, row: asyncpg.Record, content: AlarmAnswer | TransitionAnswer) -> Told:
    return Told(number, row["device"], row["rule"], row["priority"], msgspec.json.encode(content))
