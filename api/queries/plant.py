"""A plant at a glance: each vessel with its state, its alarms and the newest values of its main channels."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from api.database import Database
from api.queries import device_cards, device_status, devices, latest, load
from api.queries.devices import DeviceChannels
from api.queries.latest import WantedLatest
from api.shapes.device_status import LivePresence
from api.shapes.latest import Latest
from schema.channels import ChannelTerms

SQL = load("plant")
MAIN = ("temperature", "ph", "dissolved_oxygen", "agitation")
"""Channels that a vessel shows first; others fill its rows where it has no such channel."""
ROWS = 4
WANTED = WantedLatest(timedelta(hours=1), None, everything=False)
ALARMING = ("critical", "high", "medium", "low")


@dataclass(frozen=True, slots=True)
class Reading:
    """A process value with its setpoint, its unit and the range of usual values."""

    channel: str
    terms: ChannelTerms
    value: float | None
    setpoint: float | None
    setpoint_channel: str | None
    unit: str | None

    def place(self, value: float | None) -> float | None:
        """Where a value stands in the range, from 0 to 100; None without a value or a range."""
        low, high = self.terms.low, self.terms.high
        if value is None or low is None or high is None:
            return None
        return max(0.0, min(100.0, (value - low) / (high - low) * 100))


@dataclass(frozen=True, slots=True)
class StandingAlarm:
    device: str
    rule: str
    title: str
    priority: str
    state: str
    since: datetime
    n: int
    not_evaluated: str | None


@dataclass(frozen=True, slots=True)
class Vessel:
    """What the plant shows of one device."""

    device: str
    title: str | None
    location: str | None
    tags: list[str]
    phase: str | None
    phase_since: datetime | None
    run: str | None
    run_begins: datetime | None
    presence: LivePresence
    readings: list[Reading]
    alarms: list[StandingAlarm]
    """Those that are not normal, the most urgent first."""
    calibrations: int
    """How many of its probes have to be calibrated."""

    @property
    def blind(self) -> int:
        """How many rules are not evaluated on it."""
        return sum(one.not_evaluated is not None for one in self.alarms)

    @property
    def priority(self) -> str | None:
        """The priority of its most urgent alarm."""
        return next((one.priority for one in self.alarms if one.state != "normal"), None)


@dataclass(frozen=True, slots=True)
class WantedVessels:
    """Filters; None and an empty one let everything pass."""

    location: str | None = None
    tags: Sequence[str] = ()
    words: str | None = None
    state: str | None = None
    """`alarm`, `online`, `offline` or `silent`."""

    def fits(self, vessel: Vessel) -> bool:
        match self.state:
            case "alarm":
                return vessel.priority is not None or vessel.blind > 0
            case "online":
                return vessel.presence.online is True
            case "offline":
                return vessel.presence.online is not True
            case "silent":
                return vessel.presence.freshness != "fresh"
        return True


async def vessels(database: Database, wanted: WantedVessels) -> list[Vessel]:
    """Return the vessels, by name."""
    words = wanted.words.lower() if wanted.words else None
    rows = await database.fetch(SQL["vessels"], wanted.location or None, list(wanted.tags) or None, words)
    names = [row["name"] for row in rows]
    if not names:
        return []
    presence, known, newest, standing, due = await asyncio.gather(
        device_status.presence(database, names),
        devices.many(database, names),
        latest.of_devices(database, [(row["device_id"], row["name"]) for row in rows], WANTED),
        alarms(database),
        device_cards.due(database),
    )
    by_name = {one.device: one for one in presence}
    channels = {one.name: one for one in known}
    values = {one.device: {value.channel: value for value in one.values} for one in newest}
    found = [
        _vessel(
            row,
            by_name[row["name"]],
            channels.get(row["name"]),
            values[row["name"]],
            (standing.get(row["name"], []), due.get(row["name"], 0)),
        )
        for row in rows
        if row["name"] in by_name
    ]
    return [one for one in found if wanted.fits(one)]


async def alarms(database: Database) -> Mapping[str, list[StandingAlarm]]:
    """Return the alarms that somebody has to see to, by device, the most urgent first."""
    found: dict[str, list[StandingAlarm]] = defaultdict(list)
    for row in await database.fetch(SQL["alarms"]):
        found[row["device"]].append(StandingAlarm(**row))
    return found


async def choices(database: Database) -> tuple[list[str], list[str]]:
    """Return the tags and the locations that devices have."""
    [row] = await database.fetch(SQL["tags"])
    return row["tags"], row["locations"]


def _vessel(
    row: asyncpg.Record,
    presence: LivePresence,
    channels: DeviceChannels | None,
    values: Mapping[str, Latest],
    standing: tuple[list[StandingAlarm], int],
) -> Vessel:
    terms = {one.name: one.terms for one in channels.channels} if channels else {}
    facts: dict[str, Any] = {
        name: row[name] for name in ("title", "location", "tags", "phase", "phase_since", "run", "run_begins")
    }
    shown = [_reading(name, terms, values) for name in _main(terms)]
    found, calibrations = standing
    return Vessel(row["name"], presence=presence, readings=shown, alarms=found, calibrations=calibrations, **facts)


def _main(terms: Mapping[str, ChannelTerms]) -> list[str]:
    first = [name for name in MAIN if name in terms]
    return [*first, *(name for name, one in terms.items() if name not in MAIN and one.kind in {None, "PV"})][:ROWS]


def _reading(name: str, terms: Mapping[str, ChannelTerms], values: Mapping[str, Latest]) -> Reading:
    setpoint = f"{name}_setpoint" if f"{name}_setpoint" in terms else None
    newest, wanted = values.get(name), values.get(setpoint) if setpoint else None
    return Reading(
        name,
        terms[name],
        newest.value if newest else None,
        wanted.value if wanted else None,
        setpoint,
        newest.unit if newest else terms[name].unit,
    )
