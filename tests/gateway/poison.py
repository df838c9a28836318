"""A device gone mad, as a process: `python -m tests.gateway.poison PORT DEVICE COUNT RATE SEED` publishes COUNT
mutations of a frame at QoS 1, RATE a second; 0: as fast as the broker acknowledges them."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Iterator

import mqtt5
import msgpack

UNDER_WAY = 2000


def mutations(device: str, seed: int) -> Iterator[tuple[str, bytes]]:
    """(topic, payload) without end: bytes changed, cut off, put in twice; other topics; other names of devices."""
    dice = random.Random(seed)
    now = time.time() * 1000
    names = ["temperature", "ph", "dissolved_oxygen", *(f"channel_{n}" for n in range(17))]
    frame = msgpack.packb({"boot": 1, "seq": 1, "t": now, "v": dict.fromkeys(names, 37.5), "q": {"ph": 1}})
    while True:
        payload = bytearray(frame)
        for _ in range(dice.randrange(1, 6)):
            payload[dice.randrange(len(payload))] = dice.randrange(256)
        kind = dice.random()
        if kind < 0.1:
            del payload[dice.randrange(len(payload)) :]
        elif kind < 0.2:
            payload += payload[dice.randrange(len(payload)) :]
        name = f"{device}-{dice.randrange(10**9)}" if kind > 0.95 else device
        yield (
            f"bioreactors/{name}/{dice.choice(['telemetry', 'telemetry', 'history', 'status', 'event'])}",
            bytes(payload),
        )


class Poisoner(asyncio.Protocol):
    def __init__(self, device: str, count: int, rate: float, seed: int) -> None:
        self._device, self._seed, self._count, self._left, self._rate = device, seed, count, count, rate
        self._unacknowledged = 0
        self._partial = b""
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self.done = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._source = mutations(self._device, self._seed)
        transport.write(mqtt5.ConnectPacket(f"mad-{self._device}", clean_start=True, keep_alive=60).write())

    def data_received(self, data: bytes) -> None:
        data = self._partial + data
        start = 0
        while start < len(data):
            try:
                packet, size = mqtt5.read(memoryview(data)[start:])
            except IndexError:
                break
            start += size
            if isinstance(packet, mqtt5.PubAckPacket):
                self._unacknowledged -= 1
        self._partial = data[start:]
        if not self._rate or self._left == self._count or not self._left:
            self._publish()

    def _publish(self) -> None:
        due = self._count
        if self._rate:
            due = min(due, int((self._loop.time() - self._begun) * self._rate) + 1)
            if self._left:
                self._loop.call_later(0.005, self._publish)
        packets = []
        while self._left > self._count - due and self._unacknowledged < UNDER_WAY:
            topic, payload = next(self._source)
            packets.append(
                mqtt5.PublishPacket(
                    topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=self._left % 60_000 + 1
                ).write()
            )
            self._left -= 1
            self._unacknowledged += 1
        self._transport.write(b"".join(packets))
        if not self._left and not self._unacknowledged and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed by the broker"))


async def main(port: int, device: str, count: int, rate: float, seed: int) -> None:
    loop = asyncio.get_running_loop()
    begun = time.monotonic()
    _, poisoner = await loop.create_connection(lambda: Poisoner(device, count, rate, seed), "127.0.0.1", port)
    await poisoner.done
    print(f"{count / (time.monotonic() - begun):.0f} messages/s")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))
