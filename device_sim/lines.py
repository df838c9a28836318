"""Keeps the connections of a fleet, one a device, and makes each again when it is lost."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress

import mqtt5

from device_sim.admission import DeviceAccess, DeviceAdmission
from device_sim.clock import wall_ms
from device_sim.connection import ACCEPTED, ConnectionFailed, DeviceConnection, NotAuthorized, connect
from device_sim.firmware import SimulatedDevice
from device_sim.outbox import Sort
from schema.topics import Down, Kind, topic

FIRST_BACKOFF = 0.5
PLUGGED_CHECK = 0.1
"""Seconds after which a device without network looks again."""
GOODBYE = 2.0
"""Seconds to wait for the acknowledgement of the offline status."""


class Lines:
    def __init__(self, content_type: str, max_backoff: float, say: Callable[[str], None]) -> None:
        """`say` takes a line of text for people."""
        self.reconnects = 0
        self.unplugged: set[SimulatedDevice] = set()
        """Fault: devices without network or power."""
        self._content_type, self._max_backoff, self._say = content_type, max_backoff, say
        self._links: dict[SimulatedDevice, tuple[DeviceConnection, DeviceAccess]] = {}
        self._hurry = asyncio.Event()
        self._stopping = False
        self._last_say = 0.0

    def __len__(self) -> int:
        """The number of connected devices."""
        return len(self._links)

    def hurry(self) -> None:
        """Shorten the waits before connecting again, because the fleet is about to leave."""
        self._hurry.set()

    def plug(self, device: SimulatedDevice, plugged: bool) -> None:
        """Take the device from the network, or back to it."""
        if plugged:
            self.unplugged.discard(device)
        else:
            self.unplugged.add(device)
            self.cut(device)

    def cut(self, device: SimulatedDevice) -> None:
        """Cut the device's connection, if there is one: the broker publishes the will."""
        if device in self._links:
            self._links[device][0].abort()

    async def stay_connected(self, device: SimulatedDevice, admission: DeviceAdmission, delay: float) -> None:
        await asyncio.sleep(delay)
        backoff, connected_before = FIRST_BACKOFF, False
        while not self._stopping:
            pause = None
            while device in self.unplugged and not self._stopping:  # noqa: ASYNC110 - a fault, of few devices
                await asyncio.sleep(PLUGGED_CHECK)
            try:
                access = await admission.access()
                try:
                    begun, connection = await self._connect(device, access, admission)
                except NotAuthorized:
                    pause = await admission.refused(access)
                    raise
            except ConnectionFailed as error:
                self.say_some(f"{device.name}: {error}")
            else:
                self._take(device, connection, access, begun)
                backoff = FIRST_BACKOFF
                self.reconnects += connected_before
                connected_before = True
                reason = await self._lost(device)
                if self._stopping:
                    return
                self.say_some(f"{device.name}: {reason}")
            await self._pause(backoff * random.uniform(0.5, 1.0) if pause is None else pause)
            await asyncio.sleep(max(0.0, device.off_until - wall_ms()) / 1000)
            backoff = min(backoff * 2, self._max_backoff)

    async def switch(self, device: SimulatedDevice, admission: DeviceAdmission, access: DeviceAccess) -> None:
        """Move a device to another login without a gap: the new connection is there before the old one ends. A device
        that is not connected, or already uses this login, is left alone. Raises ConnectionFailed."""
        if device not in self._links or self._links[device][1].generation == access.generation:
            return
        begun, connection = await self._connect(device, access, admission)
        if self._stopping or device not in self._links:
            connection.disconnect()  # the old connection was lost meanwhile, and is made again anyway
            return
        old, _ = self._links[device]
        device.disconnected()
        old.disconnect()
        self._take(device, connection, access, begun)

    async def leave(self) -> None:
        """Sign off and disconnect all devices."""
        self._stopping = True
        leaving = []
        for device, (connection, _) in list(self._links.items()):
            if device.sign_off(wall_ms()):
                leaving.append((device, connection))
            else:
                connection.abort()  # the will says that the device has left
        await wait_until(lambda: not any(device.outbox.in_flight for device, _ in leaving), GOODBYE)
        for _, connection in leaving:
            connection.disconnect()
        await wait_until(lambda: not self._links, GOODBYE)

    async def _pause(self, seconds: float) -> None:
        if self._hurry.is_set():
            await asyncio.sleep(min(seconds, FIRST_BACKOFF))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def _connect(
        self, device: SimulatedDevice, access: DeviceAccess, admission: DeviceAdmission
    ) -> tuple[int, DeviceConnection]:
        """Connect; return when this began (ms) and the connection, on which nothing was published yet."""
        begun = max(wall_ms(), int(device.session) + 1)
        will = mqtt5.Will(
            topic(device.name, Kind.STATUS),
            payload=device.status("offline", begun, access.generation),
            qos=mqtt5.QoS.AT_LEAST_ONCE,
            retain=True,
            content_type=self._content_type,
        )
        heard: dict[str, Callable[[bytes, float], None]] = {
            topic(device.name, Down.RECEIPT): device.receipt,
            topic(device.name, Down.BACKFILL): device.backfill,
            topic(device.name, Down.COMMAND): device.command,
        }
        if admission.renewal:
            heard[topic(device.name, Down.IDENTITY)] = admission.renewal

        def acknowledged(packet_id: int, code: mqtt5.PubAckReasonCode) -> None:
            message = device.outbox.in_flight.get(packet_id)
            if message and message.sort is Sort.STATUS and code in ACCEPTED:
                admission.used(access)
            device.outbox.acknowledged(packet_id, code, wall_ms())
            if code != mqtt5.PubAckReasonCode.SUCCESS:
                self.say_some(f"{device.name}: the broker answers {code.name}: the message is sent again")

        boot = device.boot
        connection = await connect(
            access.broker,
            access.client_id,
            will,
            list(heard),
            acknowledged=acknowledged,
            received=lambda name, payload: heard[name](payload, wall_ms()),
            ready=lambda: device.outbox.flush(wall_ms(), device.clock),
        )
        if device.boot != boot:
            connection.abort()
            raise ConnectionFailed("rebooted while connecting")
        return begun, connection

    def _take(self, device: SimulatedDevice, connection: DeviceConnection, access: DeviceAccess, begun: int) -> None:
        self._links[device] = connection, access
        device.generation = access.generation
        device.connected(connection, begun, wall_ms())

    async def _lost(self, device: SimulatedDevice) -> ConnectionFailed:
        """Wait until the connection, and any that replaces it, is lost."""
        try:
            while True:
                connection, _ = self._links[device]
                reason = await connection.closed
                if self._links[device][0] is connection:
                    return reason
        finally:
            self._links.pop(device)[0].abort()
            device.disconnected()

    def say_some(self, line: str) -> None:
        """Report a line, at most one a second: a lost broker is one event, not one for each of 500 devices."""
        moment = time.monotonic()
        if moment - self._last_say >= 1.0:
            self._say(line)
            self._last_say = moment


async def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until the condition is true, at most so many seconds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110 - the condition reads hundreds of queues
        await asyncio.sleep(0.02)
