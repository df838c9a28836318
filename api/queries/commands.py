"""SQL for commands: one for each Idempotency-Key, and only if the precondition holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from api.database import Connection, Database
from api.http.description import raw
from api.http.patience import seen
from api.problems import Conflict, NotFound, PreconditionFailed
from api.queries import devices, load, pending_acts
from api.queries.devices import unknown
from api.queries.pending_acts import WantedAct
from api.shapes.commands import CommandAnswer, CommandOrder, Precondition
from schema import times

SQL = load("commands")
NEWEST = timedelta(days=1)
"""How old the value of a setpoint is at most that is told beside another one."""
SETPOINT = "setpoint"
LAST_ID = UUID(int=2**128 - 1)
OPEN = frozenset({"waiting", "sent", "accepted"})
"""The states that another state follows."""


def _digest(device: str, given: CommandOrder, said: dict[str, Any] | None) -> bytes:
    """Return the hash by which a repeated request is recognized."""
    content = [device, given.name, given.parameters, said, given.boot, given.expires_in.total_seconds(), given.why]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()


async def request(
    database: Database, device: str, given: CommandOrder, who: str, key: str
) -> tuple[CommandAnswer, bool]:
    """Ask a device for a command. Returns the command, and whether it is new. Raises Waits for a setpoint where a
    second person has to confirm it.

    A repeated request is answered before anything is checked again: what it did may be what has changed since.
    """
    said = None if given.precondition is None else given.precondition.said()
    digest = _digest(device, given, said)
    is_later = given.name == SETPOINT and await pending_acts.is_demanded(database, "setpoints")
    async with database.change() as connection:
        row = await connection.fetchrow(SQL["known"], who, key)
        if row is not None:
            if row["request_hash"] != digest:
                raise Conflict(f"the Idempotency-Key {key} was used for another request: take a new one")
            return item(row), False
        if is_later and (waits := await pending_acts.known(connection, who, key, digest)) is not None:
            raise waits
        if given.precondition is not None:
            await _check(connection, device, given.precondition)
        if not is_later:
            precondition = None if said is None else json.dumps(said)
            made = await connection.fetchrow(
                SQL["request"],
                *(device, given.name, json.dumps(given.parameters), precondition, given.boot),
                *(given.expires_in, who, given.why, key, digest),
            )
            row = await connection.fetchrow(SQL["one"], made["command_id_"])
            return item(row), bool(made["is_new"])
    asked: dict[str, Any] = {"device": device, "parameters": given.parameters, "precondition": said, "boot": given.boot}
    asked["expires_in_s"] = given.expires_in.total_seconds()
    await devices.device_id(database, device)
    raise await pending_acts.ask(
        database, WantedAct("setpoints", f"device/{device}", asked, who, given.why, key, digest)
    )


async def newest(database: Database, device: str, channel: str) -> float | None:
    """Return the newest good value that a channel of a device has had within a day."""
    row = await database.one(SQL["present"], device, channel, datetime.now(UTC) - NEWEST, absent=unknown(device))
    return None if row["value"] is None else float(row["value"])


async def check_again(connection: Connection, asked: Mapping[str, Any]) -> None:
    """Raise PreconditionFailed if the precondition of a setpoint that has waited does not hold any more."""
    if asked["precondition"] is not None:
        await _check(connection, asked["device"], Precondition.model_validate(asked["precondition"]))


async def _check(connection: Connection, device: str, wanted: Precondition) -> None:
    row = await connection.fetchrow(SQL["present"], device, wanted.channel, datetime.now(UTC) - wanted.age)
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
    """Return in words what does not hold of a precondition."""
    wrong = []
    if wanted.online is not None and bool(row["online"]) != wanted.online:
        wrong.append("it is online" if row["online"] else "it is not online")
    if wanted.boot is not None and row["boot"] != wanted.boot:
        wrong.append(f"its boot is {row['boot']}, not {wanted.boot}")
    if wanted.channel is not None:
        value, within = row["value"], times.duration_text(wanted.age)
        if value is None:
            wrong.append(f"{wanted.channel} has no good value of the last {within}")
        elif not (wanted.min is None or value >= wanted.min) or not (wanted.max is None or value <= wanted.max):
            wrong.append(f"{wanted.channel} is {value}")
    return wrong


async def one(database: Database, command: UUID) -> CommandAnswer:
    return item(await database.one(SQL["one"], command, absent=NotFound(f"there is no command {command}")))


async def ended(
    database: Database, command: UUID, patience: timedelta, gone: Callable[[], Awaitable[bool]]
) -> CommandAnswer:
    """Return the command when it has ended, or as it is when patience ends or the client has gone."""
    seconds = patience.total_seconds()
    return await seen(lambda: one(database, command), lambda found: found.state not in OPEN, seconds, gone)


async def page(
    database: Database, device_id: int, states: Sequence[str] | None, before: Sequence[Any], limit: int
) -> list[asyncpg.Record]:
    """Return at most `limit` commands, newest first, after the key `before` (requested_at, command_id)."""
    return await database.fetch_planned(SQL["page"], device_id, states, *before, limit)


async def cancel(database: Database, command: UUID, who: str, why: str) -> CommandAnswer:
    await database.execute(SQL["cancel"], command, who, why)
    return await one(database, command)


def item(row: asyncpg.Record) -> CommandAnswer:
    documents = {name: raw(row[name]) for name in ("parameters", "precondition", "result")}
    return CommandAnswer.of(row, id=str(row["command_id"]), **documents)
