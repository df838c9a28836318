"""Has the devices of a fleet produce frames by the plant's clock: those of the past in blocks, the others singly.

The past is produced as fast as broker and gateway take it: no device has more than some thousand frames without a
receipt. It ends at the wall clock, and the next frame is one period later: there is no seam.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from device_sim import faults
from device_sim.clock import SimulatedClock
from device_sim.firmware import SimulatedDevice
from device_sim.fitted import not_fitted
from device_sim.frames import NOT_SENT, FrameBlock
from device_sim.habits import happens
from device_sim.incidents import Incidents
from device_sim.journal import Journal
from device_sim.outbox import HURRY_BLOCK, NOTES, OutboxMessage, Sort
from device_sim.plant import Plant
from device_sim.plant_memory import AHEAD, PlantMemory
from schema.messages import BAD
from schema.topics import Kind

SLOT = 0.05
"""Seconds between two groups of devices sampled together, spread over the period: NumPy is cheap by the group."""
MAX_SLOT = 250
"""Devices in a group, at most."""
UNRECEIPTED = 10_000
"""Frames of the past without a receipt that a device has, at most; its store may hold less."""
NAMES_WAIT = 5.0
"""Seconds without a new login after which the past begins without the devices that have none; they tell no past."""
LOOK = 0.02
"""Seconds between two looks at whether there is room for more of the past."""
NOTED = 10.0
"""Seconds between two notes in the memory."""


@dataclass(frozen=True)
class Rhythm:
    """Periods in ms of the plant's time."""

    live: float
    past: float | None = None
    """The period of the past; None: no past is told, and what is behind the wall clock is late, not past."""
    frames: int | None = None
    """Frames that each device produces in all; None: until stopped."""
    named_first: bool = False
    """Whether nothing is produced before all devices have a name."""


class Production:
    def __init__(
        self,
        names: Sequence[str],
        devices: Sequence[SimulatedDevice],
        plant: Plant,
        clock: SimulatedClock,
        *,
        incidents: Incidents,
        memory: PlantMemory,
        rhythm: Rhythm,
        chance: random.Random,
        journal: Journal | None,
    ) -> None:
        self._names, self._devices, self._plant, self._clock = names, devices, plant, clock
        self._incidents, self._memory, self._rhythm = incidents, memory, rhythm
        self._chance, self._journal = chance, journal
        self._missing = not_fitted(plant)
        self._since = [max(memory.until(name), int(clock.begin) - 1) for name in names]
        """What happened up to this time was told by an earlier run, or is not to be told."""
        self._told = [False] * len(devices)
        """Whether the phase of the vessel has been published."""
        self._noted = -NOTED
        self.behind = 0.0
        """Seconds that the newest frames were produced later than due."""
        self.catching_up = rhythm.past is not None

    async def run(self) -> None:
        time, done = self._clock.begin, 0
        if self._rhythm.named_first:
            await self._wait(lambda: all(device.has_name for device in self._devices))
            time = self._clock.now()
        if self._rhythm.past is not None:
            time, done = await self._past(round(self._rhythm.past))
        await self._live(time, done)

    def note(self, ahead: float = 0.0) -> None:
        """Note in the memory how far the devices are."""
        named = [name for name, device in zip(self._names, self._devices, strict=True) if device.has_name]
        self._memory.note(named, self._plant.now + ahead)

    # The past

    async def _past(self, every: int) -> tuple[float, int]:
        """Produce the past; return when the next frame is due, and how many there were of each device."""
        known = -1
        while known < (known := sum(device.has_name for device in self._devices)) < len(self._devices):
            await self._wait(partial(self._has_names, known + 1), NAMES_WAIT)
        time, done = int(self._clock.begin), 0
        while (frames := self._chunk(time, every, done)) > 0:
            self.behind = -self._clock.seconds_until(time)
            await self._wait(self._has_room)
            self._incidents.until(time)
            end = time + frames * every
            for row, device in enumerate(self._devices):
                if device.has_name and device.powered:
                    self._tell(row, device, range(time, end, every))
            self._plant.advance(end - every)
            self._events()
            self._after(self._devices)
            time, done = end, done + frames
            await asyncio.sleep(max(0.0, self._clock.seconds_until(time - every)))
        self.catching_up = False
        return time - every + self._rhythm.live if done else time, done

    def _has_names(self, count: int) -> bool:
        return sum(device.has_name for device in self._devices) >= count

    def _chunk(self, time: int, every: int, done: int) -> int:
        """The number of frames that come next: none when the wall clock is reached."""
        end = self._clock.now() if self._clock.speed <= 1 else self._clock.wall()
        count = min(HURRY_BLOCK, int((end - time) // every) + 1)
        moment = self._incidents.next
        if moment is not None and moment > time:
            count = min(count, -int((time - moment) // every))
        return count if self._rhythm.frames is None else min(count, self._rhythm.frames - done)

    def _tell(self, row: int, device: SimulatedDevice, times: range) -> None:
        begin = max(times.start, self._since[row] + 1)
        times = times[-(-(begin - times.start) // times.step) :]
        if times:
            values = self._plant.history(row, times.start, times.stop, times.step)
            dead = np.isnan(values) & ~self._missing[row]
            columns = np.where(dead.any(axis=1), dead.argmax(axis=1), -1)
            values[:, self._missing[row]] = NOT_SENT
            device.past(FrameBlock(np.array(times, dtype=float), values, columns, np.full(len(times), BAD)))
            device.outbox.hurry = True

    def _has_room(self) -> bool:
        for device in self._devices:
            most = min(UNRECEIPTED, device.store.limit // 2)
            if device.has_name and (
                device.store.total + HURRY_BLOCK > max(most, HURRY_BLOCK) or len(device.outbox.notes) > NOTES // 2
            ):
                return False
        return True

    async def _wait(self, condition: Callable[[], bool], seconds: float | None = None) -> None:
        """Wait until the condition holds, while devices go on sending."""
        end = None if seconds is None else asyncio.get_running_loop().time() + seconds
        while not condition() and (end is None or asyncio.get_running_loop().time() < end):
            for device in self._devices:
                device.outbox.send_past(self._clock.wall())
            await asyncio.sleep(LOOK)

    # The present

    async def _live(self, begin: float, done: int) -> None:
        """Sample each group at its own instant of every period; a missed instant is made up for, with its own time."""
        count, period = len(self._devices), self._rhythm.live
        groups = min(count, max(1, round(period / 1000 / SLOT), -(-count // MAX_SLOT)))
        bounds = [count * i // groups for i in range(groups + 1)]
        slots = list(itertools.pairwise(bounds))
        frames = itertools.count() if self._rhythm.frames is None else range(self._rhythm.frames - done)
        for number in frames:
            for i, (first, last) in enumerate(slots):
                due = begin + (number + i / groups) * period
                self.behind = -self._clock.seconds_until(due)
                await asyncio.sleep(max(0.0, -self.behind))
                self._sample(first, last, round(due))

    def _sample(self, first: int, last: int, at: int) -> None:
        self._incidents.until(at)
        self._plant.advance(at)
        sample, moment = self._plant.sample(slice(first, last)), self._clock.wall()
        sample.values[self._missing[first:last]] = NOT_SENT
        columns, qualities = sample.fault_channel.tolist(), sample.fault_quality.tolist()
        devices = self._devices[first:last]
        for device, values, column, quality in zip(devices, sample.values.tolist(), columns, qualities, strict=True):
            if device.off_until <= moment and device.powered:
                device.commands.shown = values
                device.frame(at, values, None if column < 0 else (column, quality), moment)
                if happens(device.habits.poison, self._chance):
                    payload = faults.poison(self._chance, device.habits.format)
                    device.outbox.note(OutboxMessage(Sort.POISON, Kind.TELEMETRY, payload))
        self._events()
        self._tell_phases(first, last, at)
        self._after(devices)

    # Both

    def _events(self) -> None:
        """Publish what has happened in the vessels."""
        for row, time, type_, data in self._plant.events():
            device = self._devices[row]
            if device.has_name and device.powered and time > self._since[row]:
                device.event(time, type_, data)
                self._told[row] = self._told[row] or type_ == "phase"

    def _tell_phases(self, first: int, last: int, at: int) -> None:
        """Publish the present phase of vessels whose device has just got its name."""
        new = [row for row in range(first, last) if not self._told[row] and self._devices[row].has_name]
        if new:
            phases = self._plant.phases()
            for row in new:
                self._devices[row].event(at, "phase", {"phase": phases[row], "previous": None})
                self._told[row] = True

    def _after(self, devices: Sequence[SimulatedDevice]) -> None:
        moment = self._clock.wall()
        if moment / 1000 - self._noted >= NOTED:
            self._noted = moment / 1000
            self.note(AHEAD)
        if self._journal:
            self._journal.flush()
        for device in devices:
            if self.catching_up:
                device.outbox.send_past(moment)
            device.outbox.flush(moment, device.clock)
