"""SQL for the quarantine: rejected messages, newest first."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import asyncpg

from api.database import Database
from api.problems import Conflict, NotFound
from api.queries import jobs, load
from api.queries.run_times import PlacedQuestion
from api.shapes.jobs import JobAnswer
from api.shapes.quarantine import Quarantined, QuarantineParameters
from schema.reasons import Reason

SQL = load("quarantine")
SHOWN = 16 * 1024
"""A list shows payloads up to this number of bytes: with 200 of them an answer has a few MB."""
LAST_ID = 2**63 - 1


async def quarantine(
    database: Database, question: PlacedQuestion[QuarantineParameters], before: Sequence[Any], limit: int
) -> list[asyncpg.Record]:
    """Return rejected messages after the key `before` (received_at, id), newest first."""
    asked, span = question.asked, question.span
    reasons = [str(reason) for reason in dict.fromkeys(asked.reason or Reason)]
    arguments = (reasons, list(dict.fromkeys(asked.state)), span.begin, span.end, *before, limit, SHOWN)
    if question.devices is None:
        return await database.fetch(SQL["quarantine"], *arguments)
    return await database.fetch(SQL["quarantine_of_devices"], *arguments, question.devices)


async def quarantined(database: Database, number: int) -> Quarantined:
    return item(await database.one(SQL["quarantined"], number, absent=_absent(number)))


async def discard(database: Database, messages: Sequence[int], who: str, why: str) -> int:
    """Throw the payloads of open messages away; how many. Raises NotFound, and Conflict if one is settled already."""
    async with database.change() as connection:
        return int(await connection.fetchval(SQL["discard"], list(messages), who, why))


async def replay(database: Database, messages: Sequence[int], who: str, why: str) -> JobAnswer:
    """Ask the worker to take open messages in again. Raises NotFound and Conflict as above."""
    wanted = sorted(set(messages))
    states = {row["quarantine_id"]: row["state"] for row in await database.fetch(SQL["states"], wanted)}
    for number in wanted:
        if number not in states:
            raise _absent(number)
        if states[number] != "open":
            raise Conflict(f"message {number} is settled already: it is {states[number]}")
    return await jobs.make(database, "replay", {"messages": wanted, "why": why}, who)


def _absent(number: int) -> NotFound:
    return NotFound(f"no message in quarantine has the number {number}; /api/v1/quarantine lists what is there")


def item(row: asyncpg.Record) -> Quarantined:
    payload = row["payload"]
    encoded = None if payload is None else base64.b64encode(payload).decode()
    return Quarantined.of(row, id=row["quarantine_id"], payload=encoded)
