"""SQL for live feeds of telemetry: which devices there are to watch, and what is new of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg

from api.database import Database
from api.queries import latest, load
from api.queries.computed import with_computed
from api.queries.devices import Channel
from api.queries.devices import many as devices_with_channels
from api.queries.latest import NEAR, RECENT, WantedLatest
from api.shapes.latest import DeviceLatest

SQL = load("live_data")
WANTED = WantedLatest(timedelta(hours=1), None, everything=True)
"""What `latest` is asked for: a channel is looked for in the hour before the device's newest frame."""


class LiveDevice(NamedTuple):
    device_id: int
    name: str
    set_back: bool
    """Its clock was set back: its newest frame is not the one with the greatest time."""


class LiveSettings(NamedTuple):
    """What the organization has said that decides what is told of frames; another one, if it has said more since."""

    units: str
    computed: frozenset[str]
    """The names of its computed channels."""
    versions: tuple[str, ...]
    """Of their definitions, and of the constants of devices."""


class NewFrames(NamedTuple):
    """The newest new frame of a device's layout, and how many new ones there are."""

    device_id: int
    layout_id: int
    time: datetime
    values: list[float | None]
    quality: list[int | None] | None
    frames: int


async def devices(database: Database, names: Sequence[str] | None) -> list[LiveDevice]:
    """Return the devices with these names that there are, or all, in the order of their names."""
    return [LiveDevice(*row) for row in await database.fetch(SQL["devices"], names)]


async def settings(database: Database) -> LiveSettings:
    [row] = await database.fetch(SQL["settings"])
    units, names, *versions = row
    return LiveSettings(units, frozenset(names), tuple(versions))


async def computed(database: Database, names: Sequence[str]) -> dict[str, list[Channel]]:
    """Return the computed channels of the devices with these names."""
    found = await with_computed(database, await devices_with_channels(database, names))
    return {one.name: [channel for channel in one.channels if channel.computed is not None] for one in found.devices}


async def whole(database: Database, wanted: Sequence[LiveDevice]) -> list[tuple[DeviceLatest, dict[int, datetime]]]:
    """Return the newest samples of each device, and the time of the newest frame of each layout that it has used
    lately. What is committed between the two is new to who asks for news after these times."""
    ids = [device.device_id for device in wanted]
    layouts: dict[int, dict[int, datetime]] = {device_id: {} for device_id in ids}
    for row in await database.fetch(latest.SQL["many"], ids, NEAR, datetime.now(UTC) - RECENT):
        if row["time"] is not None:
            layouts[row["device_id"]][row["layout_id"]] = row["time"]
    items = await latest.of_devices(database, [(device.device_id, device.name) for device in wanted], WANTED)
    return [(item, layouts[device_id]) for item, device_id in zip(items, ids, strict=True)]


async def news(database: Database, after: Mapping[int, datetime]) -> list[NewFrames]:
    """Return what came of each device (its id) after its time."""
    rows: list[asyncpg.Record] = []
    if after:
        rows = await database.fetch(SQL["news"], list(after), list(after.values()), min(after.values()))
    return [NewFrames(*row) for row in rows]


async def layouts(database: Database, numbers: Sequence[int]) -> dict[int, list[str]]:
    """Return the names of the channels of each layout, in the order of its slots."""
    found = await database.fetch(latest.SQL["layouts"], numbers)
    ids = list({channel for _, in_order in found for channel in in_order})
    names = {row["channel_id"]: row["name"] for row in await database.fetch(latest.SQL["channels"], ids)}
    return {number: [names[channel] for channel in in_order] for number, in_order in found}
