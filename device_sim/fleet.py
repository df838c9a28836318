"""Runs many devices on one event loop, each sampled at its own time in the period, with a connection of its own."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from device_sim import faults
from device_sim.admission import DeviceAdmission, EnrolledAdmission, SharedAdmission
from device_sim.boots import next_boots
from device_sim.commands import CommandHandler
from device_sim.connection import Broker
from device_sim.culture import Phase
from device_sim.entrance import PlantGate
from device_sim.firmware import FIRMWARE, SimulatedDevice
from device_sim.frame_store import FrameStore
from device_sim.frames import Packing
from device_sim.habits import DeviceCounts, Habits, happens
from device_sim.identity import DeviceLogin, Keeper
from device_sim.journal import Journal
from device_sim.lines import Lines, now, wait_until
from device_sim.outbox import OutboxMessage, Sort
from device_sim.vessels import CHANNELS, Vessels, VesselSample, take_sample, vessels
from schema.topics import Kind

SLOT = 0.04
"""Seconds between two groups of devices sampled together, spread over the period: NumPy is cheap by the group."""
MAX_SLOT = 100
"""Devices in a group, at most."""
CONNECTS_A_SECOND = 200
HANDSHAKES_A_SECOND = 15
"""Handshakes begun in a second at the start, so that the gateway's limit turns few away."""
TICK, TICK_PARTS = 0.2, 10
"""Seconds in which each device gets its turn once, and the number of groups that take turns."""
OFF = (1000, 3000)
"""Least and greatest time (ms) for which a rebooting device is off."""


@dataclass(frozen=True)
class Plan:
    """The orders of a fleet."""

    names: list[str]
    """The devices' names; for devices that enroll their serial numbers, by which their files are named."""
    boots: list[int]
    """The devices' boot numbers; 0 for devices that enroll, which boot when they have a login."""
    broker: Broker | PlantGate
    keepers: list[Keeper] = field(default_factory=list)
    """The identity files of devices that enroll."""
    habits: Habits = field(default_factory=Habits)
    rate: float = 1.0
    frames: int | None = None
    """Frames that each device produces; None: until stopped."""
    seed: int = 1
    speed: float = 1.0
    state: Path | None = None
    """The directory of boot counters and stores; None: in memory."""
    store: int = 10_000
    """Frames that a device keeps."""
    journal: Path | None = None
    deadline: float = 10.0
    """Seconds to wait for acknowledgements at the end, and after that for receipts."""
    until_receipted: float = 0.0
    max_backoff: float = 15.0
    report_every: float = 10.0
    reboot_every: float | None = None
    clock_step_every: float | None = None
    """Faults: seconds between two of them, each of which hits one device."""


class Fleet:
    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        """Open stores and journal. `say` takes a line of text for people. Raises OSError, and ValueError on damage."""
        self.plan = plan
        self.counts = DeviceCounts()
        self.journal = Journal(plan.journal, CHANNELS, _granted_names(plan)) if plan.journal else None
        self.lines = Lines(plan.habits.format.content_type, plan.max_backoff, say)
        self.devices = [self._device(i, say) for i in range(len(plan.names))]
        self.admissions = [self._admission(device) for device in self.devices]
        if self.journal:
            self.journal.flush()
        self._vessels = vessels(plan.names, plan.seed)
        self._phases = np.full(len(plan.names), -1)
        self._doses = np.zeros(len(plan.names), dtype=np.int64)
        self._chance = random.Random(plan.seed)
        self._behind = 0.0

    def _device(self, number: int, say: Callable[[str], None]) -> SimulatedDevice:
        plan, name = self.plan, self.plan.names[number]
        store = FrameStore(Packing(CHANNELS), plan.store, plan.state / name if plan.state else None)
        self.counts.recovered += store.total
        if self.journal and (record := store.newest_record()):
            self.journal.produced(number, record)  # the last run may have been killed between store and journal
        chance = random.Random(f"{plan.seed}:{name}")
        after = plan.habits.answer_after
        memory = plan.state / f"{name}.commands" if plan.state else None
        commands = CommandHandler(FIRMWARE, memory, plan.speed, None if after is None else after * 1000)
        return SimulatedDevice(
            name,
            plan.boots[number],
            store,
            plan.habits,
            self.counts,
            chance=chance,
            report=say,
            journal=self.journal,
            number=number,
            commands=commands,
        )

    def _admission(self, device: SimulatedDevice) -> DeviceAdmission:
        broker = self.plan.broker
        if isinstance(broker, Broker):
            return SharedAdmission(broker, device.name)
        device.off_until = math.inf
        keeper = self.plan.keepers[device.number]
        return EnrolledAdmission(keeper, broker, lambda login: self._join(device, login), self.lines.say_some)

    def _join(self, device: SimulatedDevice, login: DeviceLogin) -> None:
        """Switch the device on under its granted name, with the first login of this run."""
        if device.off_until < math.inf:
            return
        assert self.plan.state
        [boot] = next_boots(self.plan.state, [self.plan.names[device.number]], login.identity.boot)
        device.join(login.identity.device, boot)
        if self.journal:
            self.journal.name(device.number, device.name)

    async def run(self, stop: asyncio.Event, summarize: Callable[[dict[str, object]], None]) -> dict[str, object]:
        """Produce until done or `stop` is set, wait for acknowledgements, disconnect; return the summary."""
        plan = self.plan
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(
                    self.lines.stay_connected(device, admission, number / CONNECTS_A_SECOND), name=device.name
                )
                for number, (device, admission) in enumerate(zip(self.devices, self.admissions, strict=True))
            ]
            delays = itertools.count()
            for device, admission in zip(self.devices, self.admissions, strict=True):
                if isinstance(admission, EnrolledAdmission):
                    delay = next(delays) / HANDSHAKES_A_SECOND if device.off_until == math.inf else 0.0
                    enrollment = admission.run(partial(self.lines.switch, device, admission), delay)
                    background.append(tasks.create_task(enrollment, name=f"enrollment {device.name}"))
            background.append(tasks.create_task(self._tick(), name="tick"))
            background.append(tasks.create_task(self._summarize(summarize), name="summaries"))
            going = [
                tasks.create_task(faults.now_and_then(every, act, self._chance), name="fault")
                for every, act in ((plan.reboot_every, self._reboot), (plan.clock_step_every, self._step_clock))
                if every
            ]
            producing = tasks.create_task(self._produce(), name="produce")
            stopped = tasks.create_task(stop.wait(), name="stop")
            await asyncio.wait((producing, stopped), return_when=asyncio.FIRST_COMPLETED)
            for task in (producing, stopped, *going):
                task.cancel()
            self.lines.hurry()
            for device in self.devices:
                device.finish()
                device.outbox.flush(now(), device.clock)
            await wait_until(lambda: not any(device.outbox.pending for device in self.devices), plan.deadline)
            await wait_until(lambda: not any(device.store.total for device in self.devices), plan.until_receipted)
            await self.lines.leave()
            for task in background:
                task.cancel()
        for device in self.devices:
            device.store.close()
        if self.journal:
            self.journal.close()
        return self.summary()

    def summary(self) -> dict[str, object]:
        """Counts of frames and events, and the present state of devices and connections."""
        counts = self.counts
        return {
            **asdict(counts),
            "lost_by_device": {device.name: device.lost for device in self.devices if device.lost},
            "unacknowledged": sum(device.store.unacknowledged for device in self.devices),
            "unreceipted": sum(device.store.total for device in self.devices),
            "events_unacknowledged": counts.events_produced - counts.events_acknowledged - counts.events_lost,
            "devices": len(self.devices),
            "nameless": sum(device.off_until == math.inf for device in self.devices),
            "connected": len(self.lines),
            "reconnects": self.lines.reconnects,
            "behind_seconds": round(max(0.0, self._behind), 3),
        }

    # Producing

    async def _produce(self) -> None:
        """Sample each group at its own instant of every period; a missed instant is made up for, with its own time."""
        period, count = 1 / self.plan.rate, len(self.devices)
        groups = min(count, max(1, round(period / SLOT), -(-count // MAX_SLOT)))
        bounds = [count * i // groups for i in range(groups + 1)]
        slots = list(itertools.pairwise(bounds))
        parts = [self._vessels[first:last] for first, last in slots]
        begin, begin_wall = time.monotonic(), now()
        for number in itertools.count() if self.plan.frames is None else range(self.plan.frames):
            for i, (first, last) in enumerate(slots):
                due = (number + i / groups) * period
                self._behind = time.monotonic() - begin - due
                await asyncio.sleep(max(0.0, -self._behind))
                self._sample(first, last, parts[i], begin_wall + round(due * 1000))

    def _sample(self, first: int, last: int, vessels: Vessels, at: int) -> None:
        sample = take_sample(vessels, at, self.plan.speed)
        self._events(first, last, sample, at)
        columns, qualities = sample.fault_channel.tolist(), sample.fault_quality.tolist()
        moment, devices = now(), self.devices[first:last]
        for device, values, column, quality in zip(devices, sample.values.tolist(), columns, qualities, strict=True):
            if device.off_until <= at:
                device.frame(at, device.commands.show(values, at), None if column < 0 else (column, quality))
                if happens(self.plan.habits.poison, self._chance):
                    payload = faults.poison(self._chance, self.plan.habits.format)
                    device.outbox.note(OutboxMessage(Sort.POISON, Kind.TELEMETRY, payload))
        if self.journal:
            self.journal.flush()
        for device in devices:
            device.outbox.flush(moment, device.clock)

    def _events(self, first: int, last: int, sample: VesselSample, at: int) -> None:
        """Publish events: the phase at the start and at each change, a calibration in the setup, and doses."""
        named = np.array([device.off_until < math.inf for device in self.devices[first:last]])
        changed = (sample.phase != self._phases[first:last]) & named
        dosed = (sample.dosing > self._doses[first:last]) & (self._phases[first:last] >= 0)
        for i in np.flatnonzero(changed | dosed).tolist():
            device, phase = self.devices[first + i], Phase(int(sample.phase[i]))
            if changed[i]:
                before = int(self._phases[first + i])
                was = Phase(before).text if before >= 0 else None
                device.event(at, "phase", {"phase": phase.text, "previous": was})
                if phase is Phase.SETUP:
                    device.event(at, "calibration", {"channel": "dissolved_oxygen", "points": [0.0, 100.0]})
            if dosed[i]:
                device.event(at, "dosing", {"what": "antifoam", "volume_ml": 0.5})
        self._phases[first:last] = np.where(named, sample.phase, -1)
        self._doses[first:last] = sample.dosing

    # In the background

    async def _tick(self) -> None:
        for part in itertools.cycle(range(TICK_PARTS)):
            await asyncio.sleep(TICK / TICK_PARTS)
            moment = now()
            for device in self.devices[part::TICK_PARTS]:
                device.tick(moment)

    def _reboot(self) -> None:
        device = self._chance.choice(self.devices)
        if device.off_until == math.inf:
            return
        name = self.plan.names[device.number]
        boots = next_boots(self.plan.state, [name]) if self.plan.state else [device.boot + 1]
        device.off_until = now() + self._chance.randint(*OFF)
        device.reboot(boots[0])
        self.lines.cut(device)

    def _step_clock(self) -> None:
        device = self._chance.choice(self.devices)
        if device.off_until < math.inf:
            device.step_clock(faults.clock_offset(self._chance))

    async def _summarize(self, summarize: Callable[[dict[str, object]], None]) -> None:
        while True:
            await asyncio.sleep(self.plan.report_every)
            summarize(self.summary())


def _granted_names(plan: Plan) -> list[str]:
    names = list(plan.names)
    for number, keeper in enumerate(plan.keepers):
        if keeper.state.newest:
            names[number] = keeper.state.newest.identity.device
    return names
