"""The newest value of every channel, of one device or of many.

A hot path: whole frames are fetched and taken apart here, and a sample is a struct that msgspec encodes as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import NamedTuple

import asyncpg

from api.database import Connection, Database
from api.queries import load
from api.queries.devices import unknown
from api.queries.units import Units
from api.shapes.latest import DeviceLatest, Latest
from schema import times

SQL = load("latest")
RECENT = timedelta(hours=1)
"""The newest frame of a device is looked for in this time first, and in all chunks only if there is none."""
NEAR = timedelta(minutes=1)
"""Most devices have sent shortly before what a frame leaves open: a gap is first looked for in this time before it."""
AT_ONCE = 500
"""Devices in one query: the database reads some while the answers for others are built here."""


class Layout(NamedTuple):
    """The wanted channels of a layout; `places` are their indexes in frames.values, from 0."""

    layout_id: int
    ids: list[int]
    names: list[str]
    units: list[str | None]
    places: list[int]


@dataclass(frozen=True, slots=True, eq=False)
class Gap:
    """A channel without a value in the newest frame of its layout; `samples[at]` is still to be filled."""

    samples: list[Latest]
    at: int
    row: asyncpg.Record
    place: int


@dataclass(frozen=True, slots=True)
class WantedLatest:
    """Samples at most `within` older than the device's newest frame, of these channels, only good ones or all."""

    within: timedelta
    channels: frozenset[str] | None
    everything: bool


async def of_device(database: Database, name: str, wanted: WantedLatest) -> DeviceLatest:
    """Return the time of a device's newest frame and the newest sample of each channel. Raises NotFound."""
    async with database.connection() as connection:
        rows = await connection.fetch(SQL["one"], name, wanted.within, datetime.now(UTC) - RECENT)
        if rows and rows[0]["newest"] is None and rows[0]["layout_id"] is not None:
            rows = await connection.fetch(SQL["one"], name, wanted.within, times.FIRST)
        if not rows:
            raise unknown(name)
        rows = [row for row in rows if row["newest"] is not None and row["layout_id"] is not None]
        layouts = {}
        for row in rows:
            channels = zip(row["channel_ids"], row["names"], row["units"], strict=True)
            layouts[row["layout_id"]] = _layout(row["layout_id"], channels, wanted.channels)
        units = rows[0]["said_units"] if rows else None
        [item] = await _items(
            connection, [(rows[0]["device_id"] if rows else 0, name)], rows, layouts, wanted, units=units
        )
        return item


async def of_devices(
    database: Database, devices: Sequence[tuple[int, str]], wanted: WantedLatest
) -> list[DeviceLatest]:
    """Return the newest samples of each of `devices` (id, name), in their order."""
    some = [devices[first : first + AT_ONCE] for first in range(0, len(devices) or 1, AT_ONCE)]
    parts = await asyncio.gather(*(_part(database, part, wanted) for part in some))
    return [item for items in parts for item in items]


async def _part(database: Database, devices: Sequence[tuple[int, str]], wanted: WantedLatest) -> list[DeviceLatest]:
    async with database.connection() as connection:
        numbers = [number for number, _ in devices]
        rows = await connection.fetch(SQL["many"], numbers, wanted.within, datetime.now(UTC) - RECENT)
        silent = {row["device_id"] for row in rows if row["newest"] is None}
        if silent:
            rows = [row for row in rows if row["newest"] is not None]
            found = await connection.fetch(SQL["many"], list(silent), wanted.within, times.FIRST)
            rows += [row for row in found if row["newest"] is not None]
        used = await connection.fetch(SQL["layouts"], list({row["layout_id"] for row in rows}))
        ids = {channel for _, in_order in used for channel in in_order}
        channels = {row["channel_id"]: tuple(row) for row in await connection.fetch(SQL["channels"], list(ids))}
        layouts = {
            number: _layout(number, (channels[channel] for channel in in_order), wanted.channels)
            for number, in_order in used
        }
        units = await connection.fetchval(SQL["units"], numbers)
        return await _items(connection, devices, rows, layouts, wanted, units=units)


def _layout(number: int, channels: Iterable[tuple[int, str, str | None]], names: frozenset[str] | None) -> Layout:
    kept = [(place, *it) for place, it in enumerate(channels) if names is None or it[1] in names]
    ids, called, units = [it[1] for it in kept], [it[2] for it in kept], [it[3] for it in kept]
    return Layout(number, ids, called, units, [it[0] for it in kept])


async def _items(
    connection: Connection,
    devices: Sequence[tuple[int, str]],
    rows: Sequence[asyncpg.Record],
    layouts: Mapping[int, Layout],
    wanted: WantedLatest,
    *,
    units: str | None,
) -> list[DeviceLatest]:
    newest: dict[int, str] = {}
    found: dict[int, list[tuple[Layout, list[Latest]]]] = {number: [] for number, _ in devices}
    gaps: list[Gap] = []
    for row in rows:
        number, layout = row["device_id"], layouts[row["layout_id"]]
        latest, time = row["newest"], row["time"]
        newest[number] = said = times.text(latest)
        samples = _samples(row, said if time == latest else times.optional_text(time), layout, gaps, wanted.everything)
        found[number].append((layout, samples))
    if gaps:
        await _fill(connection, gaps, wanted)
    if units is not None:
        _name_units(found, Units.of(units))
    return [
        DeviceLatest(device=name, time=newest.get(number), values=_merged(found[number])) for number, name in devices
    ]


def _name_units(found: Mapping[int, list[tuple[Layout, list[Latest]]]], units: Units) -> None:
    """Give each sample the unit that held at its time, where the organization has said one."""
    for device_id, parts in found.items():
        for layout, samples in parts:
            for channel_id, sample in zip(layout.ids, samples, strict=True):
                if channel_id in units.channels:
                    sample.unit = units.at(device_id, channel_id, sample.unit, sample.time)


def _samples(row: asyncpg.Record, time: str | None, layout: Layout, gaps: list[Gap], everything: bool) -> list[Latest]:
    """Return the samples that this frame, of `time`, has of each channel; add a gap for each missing one."""
    _, _, names, units, places = layout
    if time is None:
        return list(map(Latest, names, units))
    values, marks = row["values"], row["quality"]
    if len(places) < len(values):
        values, marks = [values[place] for place in places], marks and [marks[place] for place in places]
    qualities: Iterable[int] = repeat(0) if marks is None else (mark or 0 for mark in marks)
    samples = list(map(Latest, names, units, values, qualities, repeat(time)))
    if marks is not None or None in values:
        for at, value in enumerate(values):
            mark = None if marks is None else marks[at]
            there = value is not None or mark is not None if everything else value is not None and not mark
            if not there:
                samples[at] = Latest(names[at], units[at])
                gaps.append(Gap(samples, at, row, places[at]))
    return samples


async def _fill(connection: Connection, gaps: Sequence[Gap], wanted: WantedLatest) -> None:
    """Look for each gap shortly before its frame; for those that are left, in all of the time at once."""
    since = {gap: gap.row["newest"] - wanted.within for gap in gaps}
    near = {gap: max(since[gap], gap.row["time"] - NEAR) for gap in gaps}
    left = await _fill_by(connection, "older", near, wanted)
    if wanted.within > NEAR and left:
        await _fill_by(connection, "oldest", {gap: since[gap] for gap in left}, wanted)


async def _fill_by(
    connection: Connection, name: str, since: Mapping[Gap, datetime], wanted: WantedLatest
) -> Sequence[Gap]:
    """Fill what this statement finds since then; returns the gaps that are left."""
    gaps = list(since)
    rows = await connection.fetch(
        SQL[name],
        [gap.row["device_id"] for gap in gaps],
        [gap.row["layout_id"] for gap in gaps],
        [gap.place + 1 for gap in gaps],
        [gap.row["time"] for gap in gaps],
        list(since.values()),
        wanted.everything,
        min(since.values()),
    )
    for number, time, value, quality in rows:
        gap = gaps[number - 1]
        empty = gap.samples[gap.at]
        gap.samples[gap.at] = Latest(empty.channel, empty.unit, value, quality or 0, times.text(time))
    found = {number - 1 for number, *_ in rows}
    return [gap for number, gap in enumerate(gaps) if number not in found]


def _merged(found: Sequence[tuple[Layout, list[Latest]]]) -> list[Latest]:
    """Merge the samples of several layouts: the newest of each channel, in the order of the channel list."""
    if len(found) == 1:
        return found[0][1]
    newest: dict[int, Latest] = {}
    for layout, samples in sorted(found, key=lambda pair: pair[0].layout_id):  # of one instant, the newer layout's
        for channel, sample in zip(layout.ids, samples, strict=True):
            known = newest.get(channel)
            if known is None or (known.time or "") <= (sample.time or ""):  # these texts sort as times do
                newest[channel] = sample
    return [newest[channel] for channel in sorted(newest)]
