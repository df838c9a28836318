"""SQL for what is said of channels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from api.database import Connection, Database
from api.http.parameters import nearest
from api.problems import NotFound
from api.queries import computed, load
from api.queries.devices import Channel, terms, unknown
from api.shapes import channels as shapes
from api.shapes.channels import ChannelAnswer, ChannelChange, ChannelDetail, UnitSince
from schema import times
from schema.channels import ChannelTerms, UnitSpan

SQL = load("channels")
DEVICE = load("devices")["id"]


@dataclass(frozen=True, slots=True)
class Which:
    """A channel of all devices of the organization (device None), or of one."""

    channel: str
    device: str | None = None

    @property
    def text(self) -> str:
        return f"channel {self.channel}" + ("" if self.device is None else f" of device {self.device}")


async def page(database: Database, after: str, limit: int) -> list[Mapping[str, Any]]:
    """Return at most `limit` channels of the organization whose name comes after `after`, computed ones among them."""
    sent = await database.fetch(SQL["page"], after, limit)
    rows = {row["channel"]: row for row in await computed.page(database, after, limit)}
    rows |= {row["channel"]: row for row in sent}
    return [rows[name] for name in sorted(rows)][:limit]


def item(row: Mapping[str, Any]) -> ChannelAnswer:
    if "definition" in row:
        said = json.loads(row["definition"])
        terms_ = ChannelTerms(said["unit"], None, said["title"], None, None, None, said["decimals"], step=False)
        return shapes.answer(row["channel"], terms_, said["formula"], said["source"])
    return shapes.answer(row["channel"], terms(row))


def item_of_device(channel: Channel) -> ChannelAnswer:
    how = channel.computed
    if how is None:
        return shapes.answer(channel.name, channel.terms)
    return shapes.answer(channel.name, channel.terms, how.formula, how.source)


async def detail(database: Database, which: Which) -> ChannelDetail:
    """Return what holds of a channel. Raises NotFound."""
    async with database.connection() as connection:
        row = await _row(connection, which)
        if row is None or not (row["sent"] or row["said"] or row["description"]):
            device_id = await _device_id(connection, which)
            near = nearest(which.channel, await _names(connection, device_id))
            meant = f"did you mean {near}?" if near else "nobody has sent it, or said anything of it"
            raise NotFound(f"there is no {which.text}; {meant}")
        return _detail(row, [])


async def describe(
    database: Database, which: Which, given: ChannelChange, version: int | None, who: str
) -> ChannelDetail:
    """Say something of a channel, whose version must be `version` unless that is None; returns it afterwards."""
    async with database.change() as connection:
        await _device_id(connection, which)
        before = await _row(connection, which)
        said = json.dumps(given.said)
        await connection.execute(
            SQL["describe"], which.device, which.channel, said, given.unit_since, version, who, given.why
        )
        row = await _row(connection, which)
        assert row is not None, "its name is in the database now"
        changed = row["unit"] != (before["unit"] if before else None)
        return _detail(row, await _warnings(connection, which, row, changed=changed))


async def models(database: Database) -> list[asyncpg.Record]:
    """Return the models of devices, with how many are of each."""
    return await database.fetch(SQL["models"])


async def describe_model(database: Database, channel: str, model: str, given: ChannelChange, who: str) -> list[str]:
    """Say something of a channel of each device of that model that has sent it: of all or of none. Returns the devices.
    Raises NotFound."""
    async with database.change() as connection:
        found = [row["device"] for row in await connection.fetch(SQL["of_model"], model, channel)]
        if not found:
            raise NotFound(f"no device of the model {model} has sent a channel {channel}")
        said = json.dumps(given.said)
        for device in found:
            await connection.execute(SQL["describe"], device, channel, said, given.unit_since, None, who, given.why)
    return found


async def _device_id(connection: Connection, which: Which) -> int | None:
    if which.device is None:
        return None
    number = await connection.fetchval(DEVICE, which.device)
    if number is None:
        raise unknown(which.device)
    return int(number)


async def _row(connection: Connection, which: Which) -> asyncpg.Record | None:
    if which.device is None:
        return await connection.fetchrow(SQL["one"], which.channel)
    number = await _device_id(connection, which)
    return await connection.fetchrow(SQL["of_device"], number, which.channel)


async def _names(connection: Connection, device_id: int | None) -> list[str]:
    return [row["name"] for row in await connection.fetch(SQL["names"], device_id)]


async def _warnings(connection: Connection, which: Which, row: asyncpg.Record, *, changed: bool) -> list[str]:
    found = []
    if not row["sent"]:
        near = nearest(which.channel, await _names(connection, await _device_id(connection, which)))
        found.append("no device has sent it so far" + (f"; did you mean {near}?" if near else ""))
    rules = [row["name"] for row in await connection.fetch(SQL["rules"], which.channel)] if changed else []
    if rules:
        found.append(f"the unit is another one: look at the limits of the alarm rules {', '.join(rules)}")
    return found


def _detail(row: asyncpg.Record, warnings: list[str]) -> ChannelDetail:
    units = terms(row).units or (UnitSpan(times.FIRST, row["unit"]),)
    history = [UnitSince(unit=unit, since=None if since == times.FIRST else times.text(since)) for since, unit in units]
    sent = {"computed": False, "formula": None, "source": None}
    return ChannelDetail.of(row, units=history, warnings=warnings, **sent)
