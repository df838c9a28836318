"""The newest value of every channel, of one device or of many.

A hot path: whole frames are fetched and taken apart here, and a sample is a struct that msgspec encodes as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import msgspec

from api import times
from api.database import Connection, Database
from api.queries import load
from api.queries.devices import unknown

SQL = load("latest")
RECENT = timedelta(hours=1)
"""A device's newest frame is looked for in this time first, and only if there is none in all chunks."""


class Sample(msgspec.Struct, frozen=True, gc=False):
    """As answers have it: without time, nothing was found."""

    channel: str
    unit: str | None
    value: float | None = None
    quality: int | None = None
    time: str | None = None


class Slot(NamedTuple):
    place: int
    """In frames.values, from 0."""
    channel_id: int
    name: str
    unit: str | None


class Gap(NamedTuple):
    """A slot that the newest frame of its layout leaves open; `samples[at]` is to be filled."""

    samples: list[Sample]
    at: int
    row: asyncpg.Record
    place: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Samples at most `within` older than their device's newest frame, of these channels, only good ones or all."""

    within: timedelta
    channels: frozenset[str] | None
    everything: bool


async def of_device(database: Database, name: str, wanted: Wanted) -> dict[str, Any]:
    """Time of its newest frame, and of each channel the newest sample."""
    async with database.connection() as connection:
        rows = await connection.fetch(SQL["one"], name, wanted.within, datetime.now(UTC) - RECENT)
        if rows and rows[0]["newest"] is None and rows[0]["layout_id"] is not None:
            rows = await connection.fetch(SQL["one"], name, wanted.within, times.FIRST)
        if not rows:
            raise unknown(name)
        rows = [row for row in rows if row["newest"] is not None and row["layout_id"] is not None]
        layouts = {
            row["layout_id"]: _slots(zip(row["channel_ids"], row["names"], row["units"], strict=True), wanted)
            for row in rows
        }
        [item] = await _items(connection, [(rows[0]["device_id"] if rows else 0, name)], rows, layouts, wanted)
        return item


async def of_devices(database: Database, devices: Sequence[tuple[int, str]], wanted: Wanted) -> list[dict[str, Any]]:
    """The same for each of `devices` (id, name), in their order."""
    async with database.connection() as connection:
        numbers = [number for number, _ in devices]
        rows = await connection.fetch(SQL["many"], numbers, wanted.within, datetime.now(UTC) - RECENT)
        silent = {row["device_id"] for row in rows if row["newest"] is None}
        if silent:
            rows = [row for row in rows if row["newest"] is not None]
            found = await connection.fetch(SQL["many"], list(silent), wanted.within, times.FIRST)
            rows += [row for row in found if row["newest"] is not None]
        used = await connection.fetch(SQL["layouts"], list({row["layout_id"] for row in rows}))
        ids = {channel for row in used for channel in row["channel_ids"]}
        channels = {row["channel_id"]: tuple(row) for row in await connection.fetch(SQL["channels"], list(ids))}
        layouts = {
            row["layout_id"]: _slots((channels[channel] for channel in row["channel_ids"]), wanted) for row in used
        }
        return await _items(connection, devices, rows, layouts, wanted)


def _slots(channels: Iterable[tuple[int, str, str | None]], wanted: Wanted) -> list[Slot]:
    names = wanted.channels
    return [Slot(place, *it) for place, it in enumerate(channels) if names is None or it[1] in names]


async def _items(
    connection: Connection,
    devices: Sequence[tuple[int, str]],
    rows: Sequence[asyncpg.Record],
    layouts: Mapping[int, Sequence[Slot]],
    wanted: Wanted,
) -> list[dict[str, Any]]:
    newest: dict[int, str] = {}
    found: dict[int, list[tuple[Sequence[Slot], list[Sample]]]] = {number: [] for number, _ in devices}
    gaps: list[Gap] = []
    for row in rows:
        slots = layouts[row["layout_id"]]
        samples = _samples(row, slots, wanted.everything)
        if row["time"] is not None:
            gaps += [Gap(samples, n, row, slots[n].place) for n, sample in enumerate(samples) if sample.time is None]
        newest[row["device_id"]] = times.text(row["newest"])
        found[row["device_id"]].append((slots, samples))
    if gaps:
        await _fill(connection, gaps, wanted)
    return [{"device": name, "time": newest.get(number), "values": _merged(found[number])} for number, name in devices]


def _samples(row: asyncpg.Record, slots: Sequence[Slot], everything: bool) -> list[Sample]:
    """What this frame has of each slot."""
    if row["time"] is None:
        return [Sample(name, unit) for _, _, name, unit in slots]
    time, values, marks = times.text(row["time"]), row["values"], row["quality"]
    if marks is None:
        return [
            Sample(name, unit) if values[place] is None else Sample(name, unit, values[place], 0, time)
            for place, _, name, unit in slots
        ]
    return [
        Sample(name, unit, values[place], marks[place] or 0, time)
        if _counts(values[place], marks[place], everything)
        else Sample(name, unit)
        for place, _, name, unit in slots
    ]


def _counts(value: float | None, mark: int | None, everything: bool) -> bool:
    if everything:
        return value is not None or mark is not None
    return value is not None and not mark


async def _fill(connection: Connection, gaps: Sequence[Gap], wanted: Wanted) -> None:
    since = [gap.row["newest"] - wanted.within for gap in gaps]
    rows = await connection.fetch(
        SQL["older"],
        [gap.row["device_id"] for gap in gaps],
        [gap.row["layout_id"] for gap in gaps],
        [gap.place + 1 for gap in gaps],
        [gap.row["time"] for gap in gaps],
        since,
        wanted.everything,
        min(since),
    )
    for number, time, value, quality in rows:
        samples, at, _, _ = gaps[number - 1]
        empty = samples[at]
        samples[at] = Sample(empty.channel, empty.unit, value, quality or 0, times.text(time))


def _merged(found: Sequence[tuple[Sequence[Slot], list[Sample]]]) -> list[Sample]:
    """Of the channels of several layouts the newest sample each, in the order of the channel list."""
    if len(found) == 1:
        return found[0][1]
    newest: dict[int, Sample] = {}
    for slots, samples in found:
        for slot, sample in zip(slots, samples, strict=True):
            known = newest.get(slot.channel_id)
            if known is None or (known.time or "") < (sample.time or ""):  # these texts sort as times do
                newest[slot.channel_id] = sample
    return [newest[channel] for channel in sorted(newest)]
