"""Which samples a request means: `resolve` finds the devices, their channels and the time of each.

Whatever reads samples begins here: routes for telemetry, and jobs that write files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import filter as fitting

from api.database import Database
from api.http.parameters import Applied, known, listed, nearest, recent
from api.http.run_times import instant
from api.problems import BadParameter, NotFound, TooMuch
from api.queries import devices, load, run_times
from api.queries.computed import WithComputed, with_computed
from api.queries.devices import Channel, DeviceChannels
from api.queries.shown_units import ShownUnits
from api.series.corrected import Correction
from api.shapes.corrections import CorrectedTime
from api.shapes.selection import SelectionParameters
from schema import times
from schema.times import Span

SQL = load("selection")
MOST_DEVICES = 1000
"""The most devices of one request."""
SILENT_TOLD = 10
TOLD = 10
"""The most numbers of corrections in a warning."""
USUAL_TIME = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Selection:
    """The samples that a request asks for: these channels of `device` in [begin, end), only good samples or all."""

    device: DeviceChannels
    channels: tuple[Channel, ...]
    begin: datetime
    end: datetime
    everything: bool
    corrected: bool = True
    """Whether corrections are applied."""
    as_of: datetime | None = None
    """Only what was received by then; None: all."""

    def corrections(self, channel: Channel) -> list[Correction]:
        """Return the corrections of a channel, or of its inputs, that reach into the time, applied or not."""
        begin, end = times.microseconds(self.begin), times.microseconds(self.end)
        return [one for it in channel.stored if it.corrected for one in it.corrected.within(begin, end)]

    def has_originals(self, channel: Channel) -> bool:
        """Whether samples of a channel have something that was sent in their place."""
        return self.corrected and channel.computed is None and bool(self.corrections(channel))

    def is_by_frames(self, channel: Channel) -> bool:
        """Whether samples of a channel are made of frames by `blocks`: they are computed, corrected, or of what was
        known at a time. Neither other statements nor aggregates know these."""
        is_corrected = self.corrected and bool(self.corrections(channel))
        return channel.computed is not None or self.as_of is not None or is_corrected

    @property
    def corrected_times(self) -> list[CorrectedTime]:
        """The corrections that reach into the time, as answers have them."""
        name, found = self.device.name, {}
        for channel in (it for one in self.channels for it in one.stored):
            for one in self.corrections(channel):
                begin, end = (times.text(times.from_microseconds(at)) for at in (one.begin, one.end))
                put = one.value, one.factor, one.added, one.quality
                found[one.number] = CorrectedTime(one.number, name, channel.name, begin, end, *put)
        return list(found.values())

    @property
    def correction_notes(self) -> list[str]:
        """What an answer has to say of corrections: a line for each channel that has one."""
        numbers: dict[str, list[int]] = {}
        for one in self.corrected_times:
            numbers.setdefault(one.channel, []).append(one.correction)
        how = (
            "applied; corrections=none gives what was sent"
            if self.corrected
            else "not applied; corrections=applied applies them"
        )
        return [
            f"{channel} of {self.device.name} has corrections ({', '.join(map(str, some[:TOLD]))}"
            f"{', …' if len(some) > TOLD else ''}): {how}"
            for channel, some in numbers.items()
        ]


@dataclass(frozen=True, slots=True)
class Selected:
    """What a request means: a selection for each device, by name, and what the answer has to say about it."""

    selections: tuple[Selection, ...]
    notes: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """The notes, and what there is to say of corrections."""
        return (*self.notes, *(note for one in self.selections for note in one.correction_notes))

    @property
    def corrections(self) -> list[CorrectedTime]:
        """The corrections of what is meant, applied or not."""
        return [one for it in self.selections for one in it.corrected_times]

    @property
    def applied(self) -> Applied:
        return "applied" if all(one.corrected for one in self.selections) else "none"

    @property
    def as_of(self) -> str | None:
        return times.optional_text(self.selections[0].as_of)


async def resolve(database: Database, asked: SelectionParameters, time: Span | None = None) -> Selected:
    """Return the samples that a request means, device by device in the order of their names.

    A device without any of the channels, or that was never in the phase, is left out and named in the warnings. Raises
    NotFound for a device that there is not and where nothing is left, BadParameter for a channel that no device has,
    TooMuch for more than MOST_DEVICES devices. A channel whose unit changed in that time, or in `time` if that is
    given, is converted to its newest unit, or is several channels.
    """
    asked, _ = await run_times.placed_selection(database, asked)
    devices_asked, warnings = await _devices(database, asked)
    found = await devices.many(database, devices_asked, known(asked.as_of))
    names = listed(asked.channel, asked.channels)
    computed = await with_named(database, found, names, time or asked_time(asked))
    found = computed.devices
    warnings += computed.notes
    _check_channels(names, found, computed.lacking)
    spans = await _spans(database, asked, found)
    units = ShownUnits(asked.unit)
    selections = []
    for one in found:
        channels = matching(one.channels, names)
        if one.device_id not in spans:
            warnings.append(f"{one.name} was not in phase {asked.phase} in that time")
        elif names and not channels:
            lacking = [computed.lacking[name] for name in names if name in computed.lacking]
            warnings.append(lacking[0] if lacking else f"{one.name} has never sent such a channel")
        else:
            span = spans[one.device_id]
            channels = units.of(channels, time or span)
            how = asked.quality == "all", asked.corrections != "none", asked.as_of
            selections.append(Selection(one, channels, span.begin, span.end, *how))
    if not selections:
        raise NotFound(f"no device was in phase {asked.phase} in that time")
    units.check()
    notes = (note for one in selections for channel in one.channels for note in channel.notes)
    return Selected(tuple(selections), (*warnings, *dict.fromkeys(notes)))


def asked_time(asked: SelectionParameters) -> Span:
    """Return the time asked for, anywhere in which a phase may lie. Raises BadParameter."""
    begin = times.FIRST if asked.from_ is None and asked.phase is not None else instant("from", asked.from_)
    return recent(begin, instant("to", asked.to), USUAL_TIME)


async def silence(database: Database, selected: Selected) -> list[str]:
    """Return when the devices have sent, for an answer without a sample: of the first SILENT_TOLD of them."""
    found = []
    for one in selected.selections[:SILENT_TOLD]:
        extent = await devices.extent(database, one.device.device_id)
        told = (
            "has never sent" if extent is None else f"has sent from {times.text(extent[0])} to {times.text(extent[1])}"
        )
        found.append(f"{one.device.name} {told}")
    return found


async def _devices(database: Database, asked: SelectionParameters) -> tuple[list[str], list[str]]:
    """Return the names of the devices, and a warning for each that was named and does not fit."""
    given = listed([], asked.device)
    if not (given or asked.tag or asked.location):
        raise BadParameter("device", "name devices, or give tag, location or run; device=* means every device")
    plain, patterns = [name for name in given if not is_pattern(name)], [name for name in given if is_pattern(name)]
    arguments = (plain, [expression(pattern) for pattern in patterns]) if given else (None, None)
    rows = await database.fetch_planned(SQL["devices"], *arguments, asked.tag or None, asked.location, MOST_DEVICES + 1)
    names = [row["name"] for row in rows]
    missing = sorted(set(plain).difference(names))
    if len(names) > MOST_DEVICES:
        raise TooMuch(f"more than {MOST_DEVICES} devices in one request: name fewer, or ask part by part")
    if missing and not (asked.tag or asked.location):
        raise devices.unknown(missing[0])
    if not names:
        raise NotFound("no device fits; /api/v1/devices lists those that are registered, with tags and locations")
    return names, [f"{name} does not fit tag and location, or is not registered" for name in missing]


async def with_named(
    database: Database, found: Sequence[DeviceChannels], names: Sequence[str], span: Span
) -> WithComputed:
    """Return the devices with their computed channels, where a name can mean one: of those that a device sends, none
    does, and without names only what is sent is meant."""
    known = [{channel.name for channel in one.channels} for one in found]
    if all(name in some for name in names for some in known):
        return WithComputed(list(found), {}, [])
    return await with_computed(database, found, span)


def is_pattern(name: str) -> bool:
    """Whether the name holds `*` or `?`."""
    return "*" in name or "?" in name


def expression(pattern: str) -> str:
    """The regular expression of a pattern for PostgreSQL: `*` is any characters, `?` is one."""
    return "^" + "".join({"*": ".*", "?": "."}.get(sign) or re.escape(sign) for sign in pattern) + "$"


def matching(channels: Sequence[Channel], names: Sequence[str]) -> tuple[Channel, ...]:
    """Return the channels that the names and patterns mean, each once, in the order of the names; all without any."""
    if not names:
        return tuple(channels)
    known = {channel.name: channel for channel in channels}
    found: dict[str, Channel] = {}
    for name in names:
        if name in known:
            found[name] = known[name]
        elif is_pattern(name):
            found |= {one: known[one] for one in _fitting(name, known)}
    return tuple(found.values())


def _fitting(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that fit. As an expression of `re`, a pattern with many `*` would take hours."""
    return fitting(names, pattern.replace("[", "[[]"))


def _check_channels(names: Sequence[str], found: Sequence[DeviceChannels], lacking: Mapping[str, str]) -> None:
    known = {channel.name for one in found for channel in one.channels}
    for name in names:
        if name in known or (is_pattern(name) and _fitting(name, known)):
            continue
        if name in lacking:
            raise BadParameter("channel", lacking[name])
        near = nearest(name, known)
        meant = f"did you mean {near}?" if near else "/api/v1/devices/{device}/channels lists those of a device"
        who = found[0].name if len(found) == 1 else f"none of these {len(found)} devices"
        raise BadParameter("channel", f"{who} has {'never' if len(found) == 1 else 'ever'} sent {name!r}; {meant}")


async def _spans(database: Database, asked: SelectionParameters, found: Sequence[DeviceChannels]) -> dict[int, Span]:
    """Return the time of each device by its id; a device that was not in the phase is not there."""
    span = asked_time(asked)
    begin, end = span.begin, span.end
    ids = [one.device_id for one in found]
    if asked.phase is None:
        return dict.fromkeys(ids, span)
    rows = await database.fetch(SQL["phases"], ids, asked.phase, begin, end)
    return {row["device_id"]: Span(max(begin, row["begins"]), min(end, row["ends"] or end)) for row in rows}
