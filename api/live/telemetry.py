"""The feed of telemetry: the newest value of each channel, of the devices that somebody watches.

Committed frames only. A frame that is older than what is shown of its layout is history and is not shown. Each device
is read anew once a minute, which finds what a clock that was set back has hidden; all are when a unit has changed.
Computed channels that somebody names are made of the newest samples when a message is encoded, and kept until the next.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import Any

import msgspec

from api.live.board import Slot
from api.live.boards import BoardFeed
from api.live.computed import LiveSample, is_live, newest
from api.queries import live_data as queries
from api.queries.devices import Channel
from api.queries.live_data import LiveDevice, LiveSettings, NewFrames
from api.shapes.latest import DeviceLatest
from schema import times

ANEW_S = 60.0
"""Seconds after which a device is read anew."""
AT_ONCE = 200
"""Devices that one look reads anew."""
LATELY = timedelta(minutes=1)
"""A layout whose newest frame is older than this, against the device's, is not in use any more."""
RECENT = timedelta(hours=1)
"""How far back news is looked for: older chunks are not opened. What comes later than that is found when read anew."""


class TelemetrySlot(Slot):
    """The newest samples of one device."""

    def __init__(self, device: LiveDevice) -> None:
        super().__init__()
        self.device = device
        self.layouts: dict[int, datetime] = {}
        """The time of the newest frame of each layout in use."""
        self.read_at = 0.0
        """When it was read whole, by the monotonic clock."""
        self._time: str | None = None
        self._samples: dict[str, LiveSample] = {}
        self._units: dict[str, str | None] = {}
        self._units_changed = 0
        self.computed_by: tuple[LiveSettings, frozenset[str]] | None = None
        """The settings and the sent channels by which its computed ones were found; None: nobody names any."""
        self._computed: Mapping[str, Channel] = {}
        self._made: dict[str, LiveSample] = {}
        """The newest samples of computed channels, as far as somebody has wanted them."""
        self._encoded: dict[tuple[frozenset[str], bool], bytes] = {}

    @property
    def after(self) -> datetime:
        """The time after which frames are news."""
        newest = max(self.layouts.values(), default=times.FIRST)
        return min((one for one in self.layouts.values() if one >= newest - LATELY), default=newest)

    @property
    def channels(self) -> frozenset[str]:
        """The channels that the device sends."""
        return frozenset(self._units)

    def read(self, item: DeviceLatest, layouts: Mapping[int, datetime], change: int) -> bool:
        """Take over what was read of the whole device; return whether it is a change, which then is number `change`."""
        samples = {it.channel: LiveSample(it.value, it.quality, it.time) for it in item.values}
        units = {it.channel: it.unit for it in item.values}
        self.layouts = dict(layouts)
        if (samples, units, item.time) == (self._samples, self._units, self._time):
            return False
        if units != self._units:
            self._units_changed = change
        self._samples, self._units, self._time = samples, units, item.time
        self._forget_made()
        return True

    def compute(self, computed: Mapping[str, Channel], change: int) -> bool:
        """Have these computed channels from now on; return whether that is a change, which then is number `change`."""
        if computed == self._computed:
            return False
        self._computed, self._units_changed = computed, change
        self._forget_made()
        return True

    def _forget_made(self) -> None:
        self._made.clear()
        self._encoded.clear()

    def take(self, new: NewFrames, channels: Sequence[str]) -> int:
        """Show a new frame, with these channels in its slots; return how many frames it stands for, 0 if it is none."""
        known = self.layouts.get(new.layout_id)
        if known is not None and new.time <= known:
            return 0
        self.layouts[new.layout_id] = new.time
        said = times.text(new.time)
        self._time = max(said, self._time or "")
        for channel, value, mark in zip(channels, new.values, new.quality or repeat(None), strict=False):
            if value is None and mark is None:
                continue  # was not sent with this frame
            sample = self._samples.get(channel)
            if sample is None or (sample.time or "") <= said:  # these texts sort as times do
                self._samples[channel] = LiveSample(value, mark or 0, said)
        self._forget_made()
        return new.frames if len(self.layouts) == 1 else 1

    def fields(self, channels: frozenset[str], after: int) -> bytes:
        with_units = self._units_changed > after
        encoded = self._encoded.get((channels, with_units))
        if encoded is None:
            encoded = self._encoded[channels, with_units] = self._encode(channels, with_units)
        return encoded

    def _encode(self, channels: frozenset[str], with_units: bool) -> bytes:
        samples = {name: it for name, it in self._samples.items() if not channels or name in channels}
        computed = {name: one for name, one in self._computed.items() if name in channels}
        for name, one in computed.items():
            samples[name] = self._made[name] = self._made.get(name) or newest(one, self._samples)
        content: dict[str, Any] = {
            "device": self.device.name,
            "time": self._time,
            "values": {name: it.value for name, it in samples.items()},
        }
        if quality := {name: it.quality for name, it in samples.items() if it.quality}:
            content["quality"] = quality
        if other := {name: it.time for name, it in samples.items() if it.time != self._time}:
            content["times"] = other
        if with_units:
            units = {**self._units, **{name: one.unit for name, one in computed.items()}}
            content["units"] = {name: units.get(name) for name in samples}
            if computed:
                content["computed"] = list(computed)
        return msgspec.json.encode(content)[1:-1]


class TelemetryFeed(BoardFeed):
    """Reads new frames by their key."""

    PAUSE_S = 0.01
    KINDS = frozenset({"frame"})

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._slots: dict[int, TelemetrySlot] = {}
        self._layouts: dict[int, list[str]] = {}
        self._settings: LiveSettings | None = None

    async def look_at_all(self) -> None:
        names = self.watched()
        there = await queries.devices(self._database, None if names is None else sorted(names))
        self.lost({device.name for device in there})
        known = {device.device_id for device in there}
        self._slots = {number: slot for number, slot in self._slots.items() if number in known}
        said, before = await queries.settings(self._database), self._settings
        await self._read_anew(self._to_read(there) if before is not None and said.units == before.units else there)
        await self._find_computed(said, is_new=said != before)
        self._settings = said

    async def _find_computed(self, settings: LiveSettings, *, is_new: bool) -> None:
        """Find the computed channels of each device, if somebody names one; tell of them if they are others now."""
        named = frozenset().union(*self._wanted)
        is_wanted = not named.isdisjoint(settings.computed)
        stale: list[tuple[TelemetrySlot, tuple[LiveSettings, frozenset[str]] | None]] = []
        for slot in self._slots.values():
            by = (settings, slot.channels) if is_wanted else None
            if by != slot.computed_by:
                stale.append((slot, by))
        names = [slot.device.name for slot, _ in stale]
        found = await queries.computed(self._database, names) if is_wanted and names else {}
        for slot, by in stale:
            is_news, slot.computed_by = is_new or (is_wanted and slot.computed_by is not None), by
            live = {one.name: one for one in found.get(slot.device.name, ()) if is_live(one)}
            if slot.compute(live, self.board.version + 1) and is_news:
                self.board.put(slot.device.name, slot)
        self.board.forget_told()

    def _to_read(self, there: Sequence[LiveDevice]) -> list[LiveDevice]:
        """All that are new, or whose clock was set back; of the others the ones that were read longest ago."""
        at_once, others = [], []
        for device in there:
            slot = self._slots.get(device.device_id)
            if slot is None or device.set_back or slot.device != device or device.name not in self.board:
                at_once.append(device)
            elif slot.read_at <= time.monotonic() - ANEW_S:
                others.append(slot)
        others.sort(key=lambda slot: slot.read_at)
        return at_once + [slot.device for slot in others[:AT_ONCE]]

    async def _read_anew(self, devices: Sequence[LiveDevice]) -> None:
        if not devices:
            return
        found = await queries.whole(self._database, devices)
        for device, (item, layouts) in zip(devices, found, strict=True):
            slot = self._slots.setdefault(device.device_id, TelemetrySlot(device))
            slot.device, slot.read_at = device, time.monotonic()
            if slot.read(item, layouts, self.board.version + 1) or device.name not in self.board:
                self.board.put(device.name, slot)

    async def look_for_news(self) -> None:
        since = datetime.now(UTC) - RECENT
        after = {n: max(slot.after, since) for n, slot in self._slots.items() if not slot.device.set_back}
        new = await queries.news(self._database, after)
        if unknown := {one.layout_id for one in new} - self._layouts.keys():
            self._layouts |= await queries.layouts(self._database, list(unknown))
        strange = []
        for one in new:
            slot = self._slots[one.device_id]
            if one.layout_id not in slot.layouts:
                strange.append(slot.device)
            elif updates := slot.take(one, self._layouts[one.layout_id]):
                self.board.put(slot.device.name, slot, updates)
        await self._read_anew(list(dict.fromkeys(strange)))
