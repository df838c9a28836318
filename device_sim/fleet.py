"""Many devices on one event loop: sampled at times spread over the period, each with a connection of its own."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field

import mqtt5
import numpy as np

from device_sim import process
from device_sim.connection import Broker, Connection, ConnectionFailed, connect
from device_sim.culture import Phase
from device_sim.firmware import Counts, Device, Habits
from schema.topics import Kind, topic

SLOT = 0.04
"""Devices are sampled in groups about so far apart (s), spread over the period: NumPy is cheap by the group."""
MAX_SLOT = 100
"""Devices a group, at most."""
CONNECTS_A_SECOND = 200
FIRST_BACKOFF = 0.5
RETRY = 0.2
"""How often to look whether a device that was told to wait may send again (s)."""
GOODBYE = 2.0
"""How long to wait for the acknowledgement of the offline status (s)."""


@dataclass(frozen=True)
class Plan:
    """What a fleet is asked to do."""

    names: list[str]
    boots: list[int]
    broker: Broker
    habits: Habits = field(default_factory=Habits)
    rate: float = 1.0
    frames: int | None = None
    """Frames a device; None: until stopped."""
    seed: int = 1
    speed: float = 1.0
    deadline: float = 10.0
    """How long to wait for acknowledgements at the end (s)."""
    max_backoff: float = 15.0
    report_every: float = 10.0


class Fleet:
    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        """`say` takes a line of text for people."""
        self.plan, self._say = plan, say
        self.counts = Counts()
        self.connects = 0
        self.reconnects = 0
        self.devices = [
            Device(name, boot, plan.habits, self.counts, random.Random(f"{plan.seed}:{name}"), say)
            for name, boot in zip(plan.names, plan.boots, strict=True)
        ]
        self._vessels = process.vessels(plan.names, plan.seed)
        self._phases = np.full(len(plan.names), -1)
        self._doses = np.zeros(len(plan.names), dtype=np.int64)
        self._links: dict[Device, Connection] = {}
        self._draining = asyncio.Event()
        self._stopping = False
        self._last_say = 0.0
        self._behind = 0.0

    async def run(self, stop: asyncio.Event, summarize: Callable[[dict[str, object]], None]) -> dict[str, object]:
        """Produce until done or `stop` is set, wait for what is not acknowledged, leave; return the summary."""
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(self._stay_connected(device, number / CONNECTS_A_SECOND), name=device.name)
                for number, device in enumerate(self.devices)
            ]
            background.append(tasks.create_task(self._retry(), name="retry"))
            background.append(tasks.create_task(self._summarize(summarize), name="summaries"))
            producing = tasks.create_task(self._produce(), name="produce")
            stopped = tasks.create_task(stop.wait(), name="stop")
            await asyncio.wait((producing, stopped), return_when=asyncio.FIRST_COMPLETED)
            producing.cancel()
            stopped.cancel()
            self._draining.set()
            for device in self.devices:
                device.finish(process.CHANNELS)
                device.flush(_now())
            await self._wait_until(lambda: not any(device.pending for device in self.devices), self.plan.deadline)
            await self._leave()
            for task in background:
                task.cancel()
        return self.summary()

    def summary(self) -> dict[str, object]:
        counts = self.counts
        return {
            **asdict(counts),
            "lost_by_device": {device.name: device.lost for device in self.devices if device.lost},
            "unacknowledged": counts.produced - counts.acknowledged,
            "events_unacknowledged": counts.events_produced - counts.events_acknowledged,
            "devices": len(self.devices),
            "connected": len(self._links),
            "reconnects": self.reconnects,
            "behind_seconds": round(max(0.0, self._behind), 3),
        }

    # Producing

    async def _produce(self) -> None:
        """Sample each group at its own instant of every period; one that is missed is made up for, with its time."""
        period, count = 1 / self.plan.rate, len(self.devices)
        groups = min(count, max(1, round(period / SLOT), -(-count // MAX_SLOT)))
        bounds = [count * i // groups for i in range(groups + 1)]
        slots = list(itertools.pairwise(bounds))
        vessels = [self._vessels[first:last] for first, last in slots]
        begin, begin_wall = time.monotonic(), _now()
        for number in itertools.count() if self.plan.frames is None else range(self.plan.frames):
            for i, (first, last) in enumerate(slots):
                due = (number + i / groups) * period
                self._behind = time.monotonic() - begin - due
                await asyncio.sleep(max(0.0, -self._behind))
                self._sample(first, last, vessels[i], begin_wall + round(due * 1000))

    def _sample(self, first: int, last: int, vessels: process.Vessels, at: int) -> None:
        sample = process.sample(vessels, at, self.plan.speed)
        self._events(first, last, sample, at)
        columns, qualities = sample.fault_channel.tolist(), sample.fault_quality.tolist()
        now = _now()
        for device, values, column, quality in zip(
            self.devices[first:last], sample.values.tolist(), columns, qualities, strict=True
        ):
            device.frame(at, process.CHANNELS, values, None if column < 0 else (column, quality))
            device.flush(now)

    def _events(self, first: int, last: int, sample: process.Sample, at: int) -> None:
        """Tell of the phase at the start and when it changes, of calibration in the setup, and of doses."""
        changed = sample.phase != self._phases[first:last]
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
        self._phases[first:last] = sample.phase
        self._doses[first:last] = sample.dosing

    # Connections

    async def _stay_connected(self, device: Device, delay: float) -> None:
        await asyncio.sleep(delay)
        backoff, connected_before = FIRST_BACKOFF, False
        while not self._stopping:
            try:
                connection = await self._connect(device)
            except ConnectionFailed as error:
                self._say_some(f"{device.name}: {error}")
            else:
                backoff = FIRST_BACKOFF
                self.reconnects += connected_before
                connected_before = True
                reason = await self._lost(device, connection)
                if self._stopping:
                    return
                self._say_some(f"{device.name}: {reason}")
            await self._pause(backoff * random.uniform(0.5, 1.0))
            backoff = min(backoff * 2, self.plan.max_backoff)

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt: when the fleet is about to leave, not for long."""
        if self._draining.is_set():
            await asyncio.sleep(min(seconds, FIRST_BACKOFF))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._draining.wait()

    async def _connect(self, device: Device) -> Connection:
        begun = max(_now(), int(device.session) + 1)
        will = mqtt5.Will(
            topic(device.name, Kind.STATUS),
            payload=device.status("offline", begun),
            qos=mqtt5.QoS.AT_LEAST_ONCE,
            retain=True,
            content_type=self.plan.habits.format.content_type,
        )
        connection = await connect(
            self.plan.broker,
            device.name,
            will,
            lambda packet_id, code: self._acknowledged(device, packet_id, code),
            lambda: device.flush(_now()),
        )
        self._links[device] = connection
        device.connected(connection, begun, _now())
        return connection

    def _acknowledged(self, device: Device, packet_id: int, code: mqtt5.PubAckReasonCode) -> None:
        device.acknowledged(packet_id, code, _now())
        if code != mqtt5.PubAckReasonCode.SUCCESS:
            self._say_some(f"{device.name}: not delivered, the broker says {code.name}; will be sent again")

    async def _lost(self, device: Device, connection: Connection) -> ConnectionFailed:
        """Wait until the connection is gone."""
        try:
            return await connection.closed
        finally:
            connection.abort()
            device.disconnected()
            del self._links[device]

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(RETRY)
            now = _now()
            for device in self.devices:
                if device.refused_until:
                    device.flush(now)

    async def _leave(self) -> None:
        self._stopping = True
        leaving = []
        for device, connection in list(self._links.items()):
            if device.sign_off(_now()):
                leaving.append((device, connection))
            else:
                connection.abort()  # the will says it
        await self._wait_until(lambda: not any(device.link and device.in_flight for device, _ in leaving), GOODBYE)
        for _, connection in leaving:
            connection.disconnect()
        await self._wait_until(lambda: not self._links, GOODBYE)

    async def _wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:  # noqa: ASYNC110 - it looks at hundreds of queues
            await asyncio.sleep(0.02)

    # Telling

    async def _summarize(self, summarize: Callable[[dict[str, object]], None]) -> None:
        while True:
            await asyncio.sleep(self.plan.report_every)
            summarize(self.summary())

    def _say_some(self, line: str) -> None:
        """A broker that goes away is news once, not once for each of 500 devices."""
        now = time.monotonic()
        if now - self._last_say >= 1.0:
            self._say(line)
            self._last_say = now


def _now() -> int:
    """Milliseconds since the Unix epoch, UTC."""
    return time.time_ns() // 1_000_000
