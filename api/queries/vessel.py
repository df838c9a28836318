"""One vessel: its newest values, its phases, and the limits of the rules that cover it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from api.database import Database
from api.queries import device_status, devices, latest, load, runs
from api.queries.devices import Channel, DeviceChannels
from api.queries.latest import WantedLatest
from api.queries.plant import MAIN
from api.queries.runs import StoredRun
from api.shapes.device_status import LivePresence
from api.shapes.devices import DeviceDetail
from api.shapes.latest import Latest
from schema.channels import ChannelTerms

SQL = load("vessel")
MOST_PHASES = 200
FIRST_CHARTS = 6
"""Charts of a vessel for which nobody has chosen channels."""
INOCULATION = "inoculation"
SETPOINT = "_setpoint"
WANTED = WantedLatest(timedelta(hours=1), None, everything=True)
NEVER = Latest("", None)


@dataclass(frozen=True, slots=True)
class VesselReading:
    """The newest sample of a channel, whatever its quality, with that of its setpoint."""

    channel: str
    terms: ChannelTerms
    newest: Latest
    setpoint: Latest | None
    """None: it has none."""

    @property
    def unit(self) -> str | None:
        return self.newest.unit or self.terms.unit


@dataclass(frozen=True, slots=True)
class PhaseBegin:
    phase: str
    since: datetime


@dataclass(frozen=True, slots=True)
class ChannelRule:
    """A rule about one channel; `level` and `limit` are None where it does not compare it with a number."""

    rule: str
    title: str
    priority: str
    channel: str
    level: str | None
    limit: float | None
    phases: list[str]


@dataclass(frozen=True, slots=True)
class OneVessel:
    """What holds of a vessel now."""

    device: DeviceDetail
    presence: LivePresence
    channels: DeviceChannels
    phases: list[PhaseBegin]
    """Those in a row, oldest first, each once."""
    rules: list[ChannelRule]
    run: StoredRun | None
    """The run that it is in."""

    @property
    def number(self) -> int:
        return self.channels.device_id

    @property
    def terms(self) -> Mapping[str, ChannelTerms]:
        return {one.name: one.terms for one in self.channels.channels}

    @property
    def setpoints(self) -> list[Channel]:
        return [one for one in self.channels.channels if one.terms.kind == "SP"]

    @property
    def phase(self) -> str | None:
        """The phase of its run that is now, else the one that it has told last."""
        phases = [] if self.run is None else self.run.phases
        now = datetime.now(UTC)
        at_once = [one.name for one in phases if one.begins <= now and (one.ends is None or now < one.ends)]
        return at_once[-1] if at_once else self.phases[-1].phase if self.phases else None

    @property
    def inoculated(self) -> datetime | None:
        """Since when hours count: the start of its run, or without one what its phases tell."""
        return inoculated(self.phases) if self.run is None else self.run.begins


async def vessel(database: Database, name: str) -> OneVessel:
    """Return a vessel. Raises NotFound."""
    channels = await devices.device(database, name)
    detail, [presence], phases, rules, run = await asyncio.gather(
        devices.detail(database, name),
        device_status.presence(database, [name]),
        database.fetch(SQL["phases"], channels.device_id, MOST_PHASES),
        database.fetch(SQL["rules"], channels.device_id),
        runs.of_device(database, name),
    )
    begins = _in_a_row(PhaseBegin(**row) for row in reversed(phases))
    return OneVessel(detail, presence, channels, begins, [ChannelRule(**row) for row in rules], run)


async def readings(database: Database, channels: DeviceChannels) -> list[VesselReading]:
    """Return the newest value of each channel; that of a setpoint stands beside its process value."""
    [found] = await latest.of_devices(database, [(channels.device_id, channels.name)], WANTED)
    values = {one.channel: one for one in found.values}
    terms = {one.name: one.terms for one in channels.channels}
    return [
        VesselReading(
            name, one, values.get(name, NEVER), values.get(name + SETPOINT, NEVER) if name + SETPOINT in terms else None
        )
        for name, one in terms.items()
        if not (name.endswith(SETPOINT) and name.removesuffix(SETPOINT) in terms)
    ]


def charts(terms: Mapping[str, ChannelTerms], wanted: Sequence[str], joined: Sequence[str]) -> list[list[str]]:
    """Return the channels of each chart: those that are wanted, one of `joined` in the chart above it; without any the
    main ones. A name that the device has never sent is left out."""
    if not wanted:
        usual = [name for name in MAIN if name in terms]
        others = [name for name, one in terms.items() if name not in usual and one.kind in {None, "PV"}]
        return [[name] for name in (*usual, *others)[:FIRST_CHARTS]]
    found: list[list[str]] = []
    for name in dict.fromkeys(wanted):
        if name in terms and name in joined and found:
            found[-1].append(name)
        elif name in terms:
            found.append([name])
    return found


def inoculated(phases: Sequence[PhaseBegin]) -> datetime | None:
    """Return the begin of the newest inoculation, or if no phase is called so, of the first phase of the newest run:
    one begins where a phase comes back. None without phases."""
    named = [one.since for one in phases if one.phase.lower() == INOCULATION]
    if named:
        return named[-1]
    run: dict[str, datetime] = {}
    for one in phases:
        if one.phase in run:
            run.clear()
        run[one.phase] = one.since
    return min(run.values(), default=None)


def _in_a_row(phases: Iterable[PhaseBegin]) -> list[PhaseBegin]:
    found: list[PhaseBegin] = []
    for one in phases:
        if not found or found[-1].phase != one.phase:
            found.append(one)
    return found
