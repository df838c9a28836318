"""Runs many devices on one event loop, each with a connection of its own."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from device_sim import faults
from device_sim.admission import DeviceAdmission, EnrolledAdmission, SharedAdmission
from device_sim.boots import next_boots
from device_sim.clock import SimulatedClock, wall_ms
from device_sim.commands import CommandHandler
from device_sim.connection import Broker
from device_sim.entrance import PlantGate
from device_sim.firmware import FIRMWARE, SimulatedDevice
from device_sim.frame_store import FrameStore
from device_sim.frames import Packing
from device_sim.habits import DeviceCounts, Habits
from device_sim.identity import DeviceLogin, Keeper
from device_sim.incidents import Hands, Incidents
from device_sim.journal import Journal
from device_sim.latency import FrameProbe, Latencies
from device_sim.lines import Lines, wait_until
from device_sim.plant import Plant
from device_sim.plant_memory import PlantMemory
from device_sim.production import Production, Rhythm
from device_sim.scenario import Fault

CONNECTS_A_SECOND = 200
HANDSHAKES_A_SECOND = 15
"""Handshakes begun in a second at the start, so that the gateway's limit turns few away."""
TICK, TICK_PARTS = 0.2, 10
"""Seconds in which each device gets its turn once, and the number of groups that take turns."""
MANY = 100
"""Devices from which on a fleet says, until all are connected, how many are."""
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
    """Frames a second of the plant's time."""
    frames: int | None = None
    """Frames that each device produces; None: until stopped."""
    seed: int = 1
    organism: str | None = None
    """The organism in all vessels; None: the seed chooses one for each."""
    begin: float | None = None
    """When (ms) the run begins; None: now."""
    speed: float = 1.0
    past: float | None = None
    """Seconds between two frames of the past; None: the run has none."""
    named_first: bool = False
    """Whether nothing is produced before all devices have a name."""
    scenario: Sequence[Fault] = ()
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
        self.plan, self._say = plan, say
        self.counts = DeviceCounts()
        self.journal = Journal(plan.journal, Plant.channels, _granted_names(plan)) if plan.journal else None
        begin = wall_ms() if plan.begin is None else plan.begin
        memory = PlantMemory(plan.state, plan.seed, begin)
        if plan.past is not None and (until := min(map(memory.until, plan.names))):
            begin = max(begin, until + plan.past * 1000)
        clock = SimulatedClock(begin, plan.speed)
        self.plant = Plant(
            plan.names, plan.seed, min(memory.begin, int(clock.begin)), organisms=[plan.organism] * len(plan.names)
        )
        self.latencies = Latencies(), Latencies()
        self.lines = Lines(plan.habits.format.content_type, plan.max_backoff, say)
        self.devices = [self._device(i, say) for i in range(len(plan.names))]
        self.admissions = [self._admission(device) for device in self.devices]
        if self.journal:
            self.journal.flush()
        self._chance = random.Random(plan.seed)
        hands = Hands(self.lines.plug, self.lines.cut, self._reboot_one)
        self.production = Production(
            plan.names,
            self.devices,
            self.plant,
            clock,
            incidents=Incidents(
                plan.scenario, clock.begin, self.devices, names=plan.names, plant=self.plant, hands=hands
            ),
            memory=memory,
            rhythm=Rhythm(
                1000 / plan.rate, None if plan.past is None else plan.past * 1000, plan.frames, plan.named_first
            ),
            chance=self._chance,
            journal=self.journal,
        )

    def _device(self, number: int, say: Callable[[str], None]) -> SimulatedDevice:
        plan, name = self.plan, self.plan.names[number]
        store = FrameStore(Packing(Plant.channels), plan.store, plan.state / name if plan.state else None)
        self.counts.recovered += store.total
        if self.journal and (record := store.newest_record()):
            self.journal.produced(number, record)  # the last run may have been killed between store and journal
        chance = random.Random(f"{plan.seed}:{name}")
        after = plan.habits.answer_after
        memory = plan.state / f"{name}.commands" if plan.state else None
        delay = None if after is None else after * 1000
        order = partial(self.plant.order, number)
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
            commands=CommandHandler(FIRMWARE, Plant.channels, order, memory, delay),
            probe=FrameProbe(*self.latencies),
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
        if device.has_name:
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
                    delay = next(delays) / HANDSHAKES_A_SECOND if not device.has_name else 0.0
                    enrollment = admission.run(partial(self.lines.switch, device, admission), delay)
                    background.append(tasks.create_task(enrollment, name=f"enrollment {device.name}"))
            background.append(tasks.create_task(self._tick(), name="tick"))
            background.append(tasks.create_task(self._summarize(summarize), name="summaries"))
            going = [
                tasks.create_task(faults.now_and_then(every, act, self._chance), name="fault")
                for every, act in ((plan.reboot_every, self._reboot), (plan.clock_step_every, self._step_clock))
                if every
            ]
            producing = tasks.create_task(self.production.run(), name="produce")
            stopped = tasks.create_task(stop.wait(), name="stop")
            await asyncio.wait((producing, stopped), return_when=asyncio.FIRST_COMPLETED)
            for task in (producing, stopped, *going):
                task.cancel()
            self.lines.hurry()
            for device in self.devices:
                device.finish()
                device.outbox.flush(wall_ms(), device.clock)
            await wait_until(lambda: not any(device.outbox.pending for device in self.devices), plan.deadline)
            await wait_until(lambda: not any(device.store.total for device in self.devices), plan.until_receipted)
            await self.lines.leave()
            for task in background:
                task.cancel()
        self.production.note()
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
            "unreceipted": (kept := sum(device.store.total for device in self.devices)),
            "missing": counts.lost + kept,
            "events_unacknowledged": counts.events_produced - counts.events_acknowledged - counts.events_lost,
            "devices": len(self.devices),
            "nameless": sum(not device.has_name for device in self.devices),
            "connected": len(self.lines),
            "reconnects": self.lines.reconnects,
            "behind_seconds": round(max(0.0, self.production.behind), 3),
            **self.latencies[0].summary("acknowledged"),
            **self.latencies[1].summary("receipted"),
        }

    # In the background

    async def _tick(self) -> None:
        for part in itertools.cycle(range(TICK_PARTS)):
            await asyncio.sleep(TICK / TICK_PARTS)
            moment = wall_ms()
            for device in self.devices[part::TICK_PARTS]:
                device.tick(moment)
                if device.outbox.hurry and not self.production.catching_up and device.store.waiting == 0:
                    device.outbox.hurry = False

    def _reboot(self) -> None:
        self._reboot_one(self._chance.choice(self.devices))

    def _reboot_one(self, device: SimulatedDevice) -> None:
        if not device.has_name:
            return
        name = self.plan.names[device.number]
        boots = next_boots(self.plan.state, [name]) if self.plan.state else [device.boot + 1]
        device.off_until = wall_ms() + self._chance.randint(*OFF)
        device.reboot(boots[0])
        self.lines.cut(device)

    def _step_clock(self) -> None:
        device = self._chance.choice(self.devices)
        if device.has_name:
            device.step_clock(faults.clock_offset(self._chance))

    async def _summarize(self, summarize: Callable[[dict[str, object]], None]) -> None:
        while len(self.lines) < len(self.devices) >= MANY:
            self._say(f"{len(self.lines)} of {len(self.devices)} devices are connected")
            await asyncio.sleep(1.0)
        while True:
            await asyncio.sleep(self.plan.report_every)
            summarize(self.summary())


def _granted_names(plan: Plan) -> list[str]:
    names = list(plan.names)
    for number, keeper in enumerate(plan.keepers):
        if keeper.state.newest:
            names[number] = keeper.state.newest.identity.device
    return names
