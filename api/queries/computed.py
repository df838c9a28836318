"""SQL for computed channels: their definitions, the constants of devices, and what becomes of both on a device."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
from pydantic import ValidationError

from api.database import Database
from api.http.description import raw
from api.http.preconditions import Expected
from api.problems import NotFound
from api.queries import load
from api.queries.devices import Channel, Computed, DeviceChannels, unknown
from api.queries.shown_units import expected_unit
from api.series.computed import Computation
from api.shapes.computed import ComputedDefinition, ComputedDetail, DeviceConstants, NewConstants, SavedComputedAnswer
from schema import times
from schema.channels import ChannelTerms
from schema.times import Span

SQL = load("computed")
MOST = 100
"""Computed channels of an organization."""
WHOLE = Span(times.FIRST, times.LAST)


@dataclass(frozen=True, slots=True)
class ComputedOrder:
    """Who changes definitions or constants, and why."""

    who: str
    why: str


async def page(database: Database, after: str, limit: int) -> list[asyncpg.Record]:
    """Return at most `limit` computed channels whose name comes after `after`."""
    return await database.fetch(SQL["page"], after, limit)


def item(row: Mapping[str, Any]) -> SavedComputedAnswer:
    said = json.loads(row["definition"])
    named = {name: said.get(name) for name in ("unit", "title", "formula", "source")}
    return SavedComputedAnswer.of(row, **named | {"definition": raw(row["definition"])})


async def detail(database: Database, name: str) -> ComputedDetail:
    row = await database.one(SQL["one"], name, absent=not_there(name))
    return await _detail(database, row)


def not_there(name: str) -> NotFound:
    return NotFound(f"there is no computed channel {name}; /api/v1/computed-channels lists those that there are")


async def put(
    database: Database, name: str, given: ComputedDefinition, expected: Expected, order: ComputedOrder
) -> tuple[ComputedDetail, bool]:
    """Store a definition; returns it and whether it is new."""
    async with database.change() as connection:
        known = await connection.fetchrow(SQL["one"], name)
        version = expected.version_of(known, f"computed channel {name}")
        await connection.execute(SQL["put"], name, given.model_dump_json(), version, order.who, order.why)
        saved = await connection.fetchrow(SQL["one"], name)
    return await _detail(database, saved), known is None


async def remove(database: Database, name: str, version: int | None, order: ComputedOrder) -> SavedComputedAnswer:
    """Remove a definition; returns it as it was."""
    async with database.change() as connection:
        before = await connection.fetchrow(SQL["one"], name)
        if before is None:
            raise not_there(name)
        await connection.execute(SQL["remove"], name, version, order.who, order.why)
        return item(before)


async def _detail(database: Database, row: asyncpg.Record) -> ComputedDetail:
    name, inputs = row["channel"], json.loads(row["definition"])["inputs"]
    sent = {one["name"]: one["device"] for one in await database.fetch(SQL["sent"], [name, *inputs])}
    found = [f"no device has sent {one} so far" for one in inputs if one not in sent]
    if name in sent:
        found.insert(0, f"{sent[name]} sends a channel of this name: what a device sends is shown, and not computed")
    plain = item(row)
    return ComputedDetail(**{one: getattr(plain, one) for one in plain.__struct_fields__}, warnings=found)


async def constants(database: Database, device: str) -> DeviceConstants:
    """Return the constants of a device. Raises NotFound."""
    row = await database.one(SQL["of_device"], device, absent=unknown(device))
    own = json.loads(row["constants"] or "{}")
    missing = {
        name
        for said in (await definitions(database)).values()
        for name, value in said.constants.items()
        if value is None and name not in own
    }
    return DeviceConstants(device=device, constants=own, missing=sorted(missing), version=row["version"])


async def set_constants(
    database: Database, device: str, given: NewConstants, version: int | None, who: str
) -> DeviceConstants:
    """Set constants of a device, whose version must be `version` unless that is None; returns all afterwards."""
    said = json.dumps(given.constants)
    async with database.change() as connection:
        await connection.execute(SQL["set_constants"], device, said, version, who, given.why)
    return await constants(database, device)


# -- what they are on devices


async def definitions(database: Database) -> dict[str, ComputedDefinition]:
    """Return the definitions by name; one that another version has saved and this one cannot read is left out."""
    found = {}
    for row in await database.fetch(SQL["page"], "", MOST):
        try:
            found[row["channel"]] = ComputedDefinition.model_validate_json(row["definition"])
        except ValidationError:
            continue
    return found


@dataclass(frozen=True, slots=True)
class WithComputed:
    """Devices with their computed channels beside those that they send."""

    devices: list[DeviceChannels]
    lacking: dict[str, str]
    """For names of computed channels: why some device does not have it."""
    notes: list[str]


async def with_computed(database: Database, found: Sequence[DeviceChannels], span: Span = WHOLE) -> WithComputed:
    """Return the devices with the computed channels of which they have sent all inputs; of the units of inputs, those
    of `span` are told."""
    said = await definitions(database)
    rows = await database.fetch(SQL["constants"], [one.device_id for one in found]) if said else []
    own = {row["device_id"]: json.loads(row["constants"]) for row in rows}
    result = WithComputed([], {}, [])
    for device in found:
        on_device = _OnDevice(device, own.get(device.device_id, {}), span)
        channels: list[Channel] = []
        for number, (name, definition) in enumerate(said.items(), 1):
            lacks = [one for one in definition.inputs if one not in on_device.sent]
            if name in on_device.sent:
                result.notes.append(f"{device.name} sends a channel named {name}: that is shown, and not computed")
            elif lacks:
                result.lacking[name] = f"{name} is computed of {lacks[0]}, which {device.name} has never sent"
            else:
                channels.append(on_device.channel(-number, name, definition))
        result.devices.append(replace(device, channels=(*device.channels, *channels)))
    return result


class _OnDevice:
    """Makes channels of a device out of definitions and its own constants."""

    def __init__(self, device: DeviceChannels, own: Mapping[str, Any], span: Span) -> None:
        self._device, self._own, self._span = device.name, own, span
        self.sent = {channel.name: channel for channel in device.channels}

    def channel(self, number: int, name: str, definition: ComputedDefinition) -> Channel:
        formula, given = definition.compiled, {**definition.constants, **self._own}
        notes = [
            f"{name} of {self._device} is unknown: nobody has said {constant}; PATCH "
            f"/api/v1/devices/{self._device}/constants says it"
            for constant in definition.constants
            if not isinstance(given[constant], str if constant in formula.starts else int | float)
        ]
        inputs = []
        for one, unit in definition.inputs.items():
            shown, said = expected_unit(self.sent[one], unit, self._span)
            inputs.append(shown)
            notes += (f"{name} of {self._device}: {note}" for note in said)
        what = Computation(
            formula=formula,
            inputs=tuple(definition.inputs),
            steps=frozenset(one.name for one in inputs if one.step),
            constants={
                one: float(value)
                for one, value in given.items()
                if one in formula.names and isinstance(value, int | float)
            },
            starts={one: _start(given[one]) for one in formula.starts if isinstance(given[one], str)},
            max_age=times.parse_duration(definition.max_age) // times.MICROSECOND,
        )
        terms = ChannelTerms(definition.unit, None, definition.title, None, None, None, definition.decimals, step=False)
        computed = Computed(definition.formula, definition.source, what, tuple(inputs), tuple(notes))
        return Channel(number, name, terms, 0, {}, computed=computed)


def _start(said: str) -> int:
    return times.microseconds(times.parse_instant(said))
