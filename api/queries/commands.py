"""Commands to devices: asked for once, however often the request is repeated, and only if what they suppose is true."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from api.database import Connection, Database
from api.http import times
from api.http.description import raw
from api.problems import Conflict, NotFound, PreconditionFailed
from api.queries import load
from api.queries.devices import unknown
from api.shapes.commands import CommandAnswer
from api.trace import CURRENT

SQL = load("commands")
LAST_ID = UUID(int=2**128 - 1)
OPEN = frozenset({"waiting", "sent", "accepted"})
"""States that another one follows."""
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Precondition:
    """What has to be true of a device when it is asked; None: does not matter."""

    online: bool | None
    boot: int | None
    channel: str | None
    least: float | None
    most: float | None
    within: timedelta
    """How old the newest good value of the channel may be."""
    said: dict[str, Any]
    """As it was given, to be kept."""


@dataclass(frozen=True, slots=True)
class CommandWish:
    """What is asked for."""

    device: str
    name: str
    parameters: dict[str, Any]
    precondition: Precondition | None
    boot: int | None
    expires_in: timedelta
    why: str

    def digest(self) -> bytes:
        """By which two requests are known to be the same."""
        said = None if self.precondition is None else self.precondition.said
        seconds = self.expires_in.total_seconds()
        content = [self.device, self.name, self.parameters, said, self.boot, seconds, self.why]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()


async def request(database: Database, wish: CommandWish, who: str, key: str) -> tuple[CommandAnswer, bool]:
    """The command, and whether it is new. A repeated request is answered before anything is checked again: what it
    did may be what has changed since."""
    digest = wish.digest()
    async with database.change() as connection:
        row = await connection.fetchrow(SQL["known"], who, key)
        if row is not None:
            if row["request_hash"] != digest:
                raise Conflict(f"the Idempotency-Key {key} was used for another request: take a new one")
            return item(row), False
        said = None
        if wish.precondition is not None:
            said = json.dumps(wish.precondition.said)
            await _check(connection, wish.device, wish.precondition)
        made = await connection.fetchrow(
            SQL["request"],
            *(wish.device, wish.name, json.dumps(wish.parameters), said, wish.boot, wish.expires_in),
            *(who, wish.why, key, digest),
        )
        row = await connection.fetchrow(SQL["one"], made["command_id_"])
        return item(row), bool(made["is_new"])


async def _check(connection: Connection, device: str, wanted: Precondition) -> None:
    row = await connection.fetchrow(SQL["present"], device, wanted.channel, datetime.now(UTC) - wanted.within)
    if row is None:
        raise unknown(device)
    wrong = list(_broken(wanted, row))
    if wrong:
        present = {"online": bool(row["online"]), "boot": row["boot"]}
        if wanted.channel is not None:
            value, instant = row["value"], times.optional_text(row["time"])
            present |= {"channel": wanted.channel, "value": value, "time": instant}
        raise PreconditionFailed(f"nothing was asked of {device}: {'; '.join(wrong)}", present=present)


def _broken(wanted: Precondition, row: asyncpg.Record) -> list[str]:
    """What is not as wanted."""
    wrong = []
    if wanted.online is not None and bool(row["online"]) != wanted.online:
        wrong.append("it is online" if row["online"] else "it is not online")
    if wanted.boot is not None and row["boot"] != wanted.boot:
        wrong.append(f"its boot is {row['boot']}, not {wanted.boot}")
    if wanted.channel is not None:
        value, within = row["value"], times.duration_text(wanted.within)
        if value is None:
            wrong.append(f"{wanted.channel} has no good value of the last {within}")
        elif not (wanted.least is None or value >= wanted.least) or not (wanted.most is None or value <= wanted.most):
            wrong.append(f"{wanted.channel} is {value}")
    return wrong


async def one(database: Database, command: UUID) -> CommandAnswer:
    return item(await database.one(SQL["one"], command, absent=NotFound(f"there is no command {command}")))


async def ended(
    database: Database, command: UUID, patience: timedelta, gone: Callable[[], Awaitable[bool]]
) -> CommandAnswer:
    """The command when it has ended, or as it is when patience has. No connection is held meanwhile."""
    deadline = time.monotonic() + patience.total_seconds()
    while True:
        found = await one(database, command)
        left = deadline - time.monotonic()
        if found.state not in OPEN or left <= 0 or await gone():
            return found
        await asyncio.sleep(min(LOOK_S, left))
        trace = CURRENT.get()
        if trace is not None:
            trace.patience += min(LOOK_S, left)


async def page(
    database: Database, device_id: int, states: Sequence[str] | None, before: Sequence[Any], limit: int
) -> list[asyncpg.Record]:
    """At most `limit` commands, newest first, after the key `before` (requested_at, command_id)."""
    return await database.fetch_planned(SQL["page"], device_id, states, *before, limit)


async def cancel(database: Database, command: UUID, who: str, why: str) -> CommandAnswer:
    await database.execute(SQL["cancel"], command, who, why)
    return await one(database, command)


def item(row: asyncpg.Record) -> CommandAnswer:
    documents = {name: raw(row[name]) for name in ("parameters", "precondition", "result")}
    return CommandAnswer.of(row, id=str(row["command_id"]), **documents)
