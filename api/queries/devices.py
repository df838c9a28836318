"""SQL for devices: registration, presence, channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import itemgetter

import asyncpg

from api.database import Database
from api.problems import NotFound
from api.queries import load
from api.queries.units import Said
from api.series.computed import Computation, Computing
from api.series.corrected import Corrected
from api.series.shown import ShownUnit
from api.shapes import devices as shapes
from api.shapes.devices import DeviceChange, DeviceDetail, Presence
from schema import times
from schema.channels import ChannelTerms, UnitSpan

SQL = load("devices")
MOST_STATES = 3


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of one device; `slots` maps a layout_id to the place in frames.values, counted from 1."""

    channel_id: int
    name: str
    terms: ChannelTerms
    since: int
    """The position of the device's first layout with this channel."""
    slots: dict[int, int]
    shown: ShownUnit | None = None
    """None: as it is stored, which is in one unit."""
    computed: Computed | None = None
    """None: devices send it. A computed channel is in no layout."""
    corrected: Corrected | None = None
    """What people have corrected of it; None: nothing. A computed channel is corrected in its inputs."""

    @property
    def unit(self) -> str | None:
        """The unit in which it is shown."""
        return self.terms.unit if self.shown is None else self.shown.unit

    @property
    def step(self) -> bool:
        """Whether a value holds until the next one, as a setpoint does: between two samples there is no other value."""
        return self.terms.step

    @property
    def notes(self) -> tuple[str, ...]:
        """What an answer has to say of it."""
        return (*(self.computed.notes if self.computed else ()), *(self.shown.notes if self.shown else ()))

    @property
    def stored(self) -> tuple[Channel, ...]:
        """The channels in whose samples it is, or of whose samples it is made."""
        return (self,) if self.computed is None else self.computed.inputs


@dataclass(frozen=True, slots=True)
class Computed:
    """How a channel is computed on one device, and where that has come to in this request."""

    formula: str
    source: str | None
    what: Computation
    inputs: tuple[Channel, ...]
    """In the units that the formula expects."""
    notes: tuple[str, ...]
    states: dict[int, Computing] = field(default_factory=dict)
    """After all frames before some instants, in µs: a total that is read part by part is not begun anew each time."""

    def keep(self, at: int, state: Computing) -> None:
        if not self.what.formula.over_time:
            return
        self.states[at] = state.copy()
        while len(self.states) > MOST_STATES:
            del self.states[min(self.states)]


@dataclass(frozen=True, slots=True)
class DeviceChannels:
    """A device with its channels."""

    device_id: int
    name: str
    position: int
    """The position of the newest layout; 0 if there is none."""
    channels: tuple[Channel, ...]
    """The channels in the order of the channel list."""


def unknown(name: str) -> NotFound:
    return NotFound(f"no device {name} is registered; /api/v1/devices lists those that are")


async def device_id(database: Database, name: str) -> int:
    return int((await database.one(SQL["id"], name, absent=unknown(name)))["device_id"])


async def device(database: Database, name: str, as_of: datetime | None = None) -> DeviceChannels:
    """Return a device with its channels, as `many` does. Raises NotFound."""
    found = await many(database, [name], as_of)
    if not found:
        raise unknown(name)
    return found[0]


async def many(database: Database, names: Sequence[str], as_of: datetime | None = None) -> list[DeviceChannels]:
    """Return those of these devices that there are, by name, with their channels, their places in the layouts, and the
    corrections that held at `as_of` (None: now)."""
    async with database.connection() as connection:
        rows = await connection.fetch(SQL["slots"], names)
        numbers = list({row["device_id"] for row in rows})
        said = Said.of(*await connection.fetchrow(SQL["said"], numbers, as_of))
    return [_with_channels(name, list(some), said) for name, some in groupby(rows, itemgetter("device"))]


def _with_channels(name: str, rows: Sequence[asyncpg.Record], said: Said) -> DeviceChannels:
    channels: dict[int, Channel] = {}
    for row in rows:
        if row["channel_id"] is None:
            continue
        found = channels.get(row["channel_id"])
        if found is None:
            what = said.terms(row["device_id"], row)
            corrected = said.corrected.get((row["device_id"], row["channel_id"]))
            found = Channel(row["channel_id"], row["name"], what, row["position"], {}, corrected=corrected)
            channels[row["channel_id"]] = found
        found.slots[row["layout_id"]] = row["ordinal"]
    position = max(row["position"] or 0 for row in rows)
    return DeviceChannels(rows[0]["device_id"], name, position, tuple(channels.values()))


def terms(row: asyncpg.Record) -> ChannelTerms:
    """What is said of a channel, as a row of the view `channel_terms` has it."""
    # The driver gives -infinity as an instant without a zone.
    spans = () if row["units"] is None else zip(row["since"], row["units"], strict=True)
    history = tuple(UnitSpan(since if since.tzinfo else times.FIRST, unit or None) for since, unit in spans)
    return ChannelTerms(units=history, **{name: row[name] for name in ChannelTerms._fields if name != "units"})


async def page(database: Database, wanted: shapes.DeviceParameters, after: str, limit: int) -> list[asyncpg.Record]:
    """Return at most `limit` devices whose name comes after `after`."""
    words = None if wanted.q is None else wanted.q.lower()
    filters = wanted.state or None, wanted.tag or None, wanted.location, words, wanted.online
    return await database.fetch(SQL["page"], after, limit, *filters)


async def detail(database: Database, name: str) -> DeviceDetail:
    return _detail(await database.fetchrow(SQL["one"], name), name)


async def change(database: Database, name: str, given: DeviceChange, version: int | None, who: str) -> DeviceDetail:
    """Change a device, whose version must be `version` unless that is None; returns the device afterwards."""
    tags = None if given.tags is None else sorted(set(given.tags))
    async with database.change() as connection:
        await connection.execute(SQL["change"], name, given.title, given.location, tags, version, who, given.why)
        return _detail(await connection.fetchrow(SQL["one"], name), name)


def _detail(row: asyncpg.Record | None, name: str) -> DeviceDetail:
    if row is None:
        raise unknown(name)
    return DeviceDetail.of(row, device=row["name"], presence=_presence(row))


def item(row: asyncpg.Record) -> shapes.DeviceAnswer:
    return shapes.DeviceAnswer.of(row, device=row["name"], presence=_presence(row))


def _presence(row: asyncpg.Record) -> Presence | None:
    return None if row["since"] is None else Presence.of(row)


async def names(database: Database, after: str, limit: int) -> list[tuple[int, str]]:
    """Return id and name of at most `limit` devices whose name comes after `after`."""
    return [(row["device_id"], row["name"]) for row in await database.fetch(SQL["names"], after, limit)]


async def extent(database: Database, number: int) -> tuple[datetime, datetime] | None:
    """Return the times of the device's first and last frame; None if it has none."""
    row = await database.fetchrow(SQL["extent"], number)
    return None if row is None or row["first"] is None else (row["first"], row["last"])
