"""SQL for cards of devices, which say what a device is, and for places. Days are those of UTC."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import asyncpg

from api.database import Database
from api.queries import computed, load
from api.queries.devices import unknown
from api.shapes.device_cards import DeviceCard, LocationAnswer, NewDeviceCard, NewLocation, ProbeAnswer

SQL = load("device_cards")
LITRES = {"L": 1.0, "mL": 0.001}


def today() -> date:
    return datetime.now(UTC).date()


async def card(database: Database, device: str) -> DeviceCard:
    """Return the card of a device, which is empty if nobody has written it. Raises NotFound."""
    return _card(await database.one(SQL["card"], device, absent=unknown(device)), today())


def _card(row: asyncpg.Record, day: date) -> DeviceCard:
    said = json.loads(row["card"])
    probes = [
        ProbeAnswer(
            serial=one["serial"],
            kind=one["kind"],
            due_on=one["due_on"],
            due=one["due_on"] is not None and one["due_on"] <= day.isoformat(),
        )
        for one in said.get("probes", [])
    ]
    texts = {name: said.get(name, "") for name in ("description", "model")}
    return DeviceCard.of(row, **texts, probes=probes, due=sum(one.due for one in probes))


async def put(database: Database, device: str, given: NewDeviceCard, version: int | None, who: str) -> DeviceCard:
    """Write the card of a device, whose version must be `version` unless that is None. Raises NotFound."""
    said = given.model_dump(mode="json", include={"description", "model", "probes"})
    due_on = min((one.due_on for one in given.probes if one.due_on is not None), default=None)
    async with database.change() as connection:
        await connection.execute(SQL["put"], device, json.dumps(said), due_on, version, who, given.why)
        if given.working_volume is not None:
            litres = json.dumps({"working_volume": given.working_volume * LITRES[given.working_volume_unit]})
            await connection.execute(computed.SQL["set_constants"], device, litres, None, who, given.why)
    return await card(database, device)


async def due(database: Database, device: str | None = None) -> dict[str, int]:
    """Return how many probes of each device, or of this one, have to be calibrated."""
    rows = await database.fetch_planned(SQL["due"], today(), device)
    return {row["device"]: row["probes"] for row in rows}


async def locations(database: Database, after: str, limit: int) -> list[asyncpg.Record]:
    """Return places whose path comes after `after`, so that each follows the one that it is in."""
    return await database.fetch(SQL["locations"], after, limit)


async def put_location(database: Database, given: NewLocation, who: str) -> LocationAnswer:
    """Make a place, or say something else of it. Raises Conflict if what it is in is not there."""
    async with database.change() as connection:
        await connection.execute(SQL["put_location"], given.path, given.kind, given.description, who, given.why)
        return LocationAnswer.of(await connection.fetchrow(SQL["location"], given.path))


async def remove_location(database: Database, path: str, who: str, why: str) -> None:
    """Remove a place in which nothing is. Raises NotFound, Conflict."""
    await database.execute(SQL["remove_location"], path, who, why)
