"""The connections of a fleet: one a device, made again when it is lost."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress

import mqtt5

from device_sim.connection import Broker, Connection, ConnectionFailed, connect
from device_sim.firmware import Device
from schema.topics import Down, Kind, topic

FIRST_BACKOFF = 0.5
GOODBYE = 2.0
"""How long to wait for the acknowledgement of the offline status (s)."""


class Lines:
    def __init__(self, broker: Broker, content_type: str, max_backoff: float, say: Callable[[str], None]) -> None:
        """`say` takes a line of text for people."""
        self.reconnects = 0
        self._broker, self._content_type, self._max_backoff, self._say = broker, content_type, max_backoff, say
        self._links: dict[Device, Connection] = {}
        self._hurry = asyncio.Event()
        self._stopping = False
        self._last_say = 0.0

    def __len__(self) -> int:
        """Devices connected."""
        return len(self._links)

    def hurry(self) -> None:
        """The fleet is about to leave: wait no longer than need be before connecting again."""
        self._hurry.set()

    def cut(self, device: Device) -> None:
        """Cut the connection, if there is one: the broker publishes the will."""
        if device in self._links:
            self._links[device].abort()

    async def stay_connected(self, device: Device, delay: float) -> None:
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
            await asyncio.sleep(max(0.0, device.off_until - now()) / 1000)
            backoff = min(backoff * 2, self._max_backoff)

    async def leave(self) -> None:
        """Sign off and disconnect, all together."""
        self._stopping = True
        leaving = []
        for device, connection in list(self._links.items()):
            if device.sign_off(now()):
                leaving.append((device, connection))
            else:
                connection.abort()  # the will says it
        await wait_until(lambda: not any(self._busy(device) for device, _ in leaving), GOODBYE)
        for _, connection in leaving:
            connection.disconnect()
        await wait_until(lambda: not self._links, GOODBYE)

    def _busy(self, device: Device) -> bool:
        return device in self._links and bool(device.outbox.in_flight)

    async def _pause(self, seconds: float) -> None:
        if self._hurry.is_set():
            await asyncio.sleep(min(seconds, FIRST_BACKOFF))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def _connect(self, device: Device) -> Connection:
        begun = max(now(), int(device.session) + 1)
        will = mqtt5.Will(
            topic(device.name, Kind.STATUS),
            payload=device.status("offline", begun),
            qos=mqtt5.QoS.AT_LEAST_ONCE,
            retain=True,
            content_type=self._content_type,
        )
        heard = {topic(device.name, Down.RECEIPT): device.receipt, topic(device.name, Down.BACKFILL): device.backfill}
        boot = device.boot
        connection = await connect(
            self._broker,
            device.name,
            will,
            list(heard),
            acknowledged=lambda packet_id, code: self._acknowledged(device, packet_id, code),
            received=lambda name, payload: heard[name](payload, now()),
            ready=lambda: device.outbox.flush(now(), device.clock),
        )
        if device.boot != boot:
            connection.abort()
            raise ConnectionFailed("rebooted while connecting")
        self._links[device] = connection
        device.connected(connection, begun, now())
        return connection

    def _acknowledged(self, device: Device, packet_id: int, code: mqtt5.PubAckReasonCode) -> None:
        device.outbox.acknowledged(packet_id, code, now())
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

    def _say_some(self, line: str) -> None:
        """A broker that goes away is news once, not once for each of 500 devices."""
        moment = time.monotonic()
        if moment - self._last_say >= 1.0:
            self._say(line)
            self._last_say = moment


async def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Until it is true, or the time is over."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110 - it looks at hundreds of queues
        await asyncio.sleep(0.02)


def now() -> int:
    """Milliseconds since the Unix epoch, UTC."""
    return time.time_ns() // 1_000_000
