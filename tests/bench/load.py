"""A steady load, cheap for the machine: `python -m tests.bench.load --port 1883 --rate 10000 --seconds 60`.

One connection a device, QoS 1, MessagePack frames of 20 channels, made from a prebuilt packet: only times and numbers
are written into it. At the end it prints, as JSON, what was published and acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from typing import Annotated

import mqtt5
import msgpack
import typer

CHANNELS = 20
WINDOW = 1000
"""Messages a device may have unacknowledged."""


class Device(asyncio.Protocol):
    def __init__(self, name: str, boot: int) -> None:
        self.connected = asyncio.get_running_loop().create_future()
        self.published = self.acknowledged = 0
        self._partial = b""
        self._transport: asyncio.Transport | None = None
        values = {f"channel_{n:02d}": 37.0 + n * 1.234567 for n in range(CHANNELS)}
        seq, t, packet_id = 2**52, 2**52, 0x7EEF
        payload = msgpack.packb({"boot": boot, "seq": seq, "t": t, "v": values})
        topic = f"bioreactors/{name}/telemetry"
        packet = mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id).write()
        self._packet = bytearray(packet)
        self._id_at = packet.index(packet_id.to_bytes(2, "big"))
        self._seq_at = packet.index(b"\xa3seq\xcf") + 5
        self._t_at = packet.index(b"\xa1t\xcf") + 3

    @property
    def may_publish(self) -> bool:
        return self.published - self.acknowledged < WINDOW

    def publish(self) -> None:
        struct.pack_into(">H", self._packet, self._id_at, self.published % 65535 + 1)
        struct.pack_into(">Q", self._packet, self._seq_at, self.published)
        struct.pack_into(">Q", self._packet, self._t_at, int(time.time() * 1000))
        self.published += 1
        assert self._transport is not None, "the broker has closed the connection"
        self._transport.write(bytes(self._packet))

    def connect(self, client_id: str) -> None:
        assert self._transport is not None
        self._transport.write(mqtt5.ConnectPacket(client_id, clean_start=True, keep_alive=60).write())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        data = self._partial + data
        at = 0
        while len(data) - at >= 2 and len(data) - at >= 2 + data[at + 1]:  # no packet here has 128 bytes
            kind = data[at] >> 4
            if kind == 2:
                self.connected.set_result(None)
            elif kind == 4:
                self.acknowledged += 1
            at += 2 + data[at + 1]
        self._partial = data[at:]


async def run(port: int, devices: int, rate: float, seconds: float, prefix: str) -> dict[str, int]:
    loop = asyncio.get_running_loop()
    boot = int(time.time())
    plant = []
    for number in range(devices):
        name = f"{prefix}{number:04d}"
        _, device = await loop.create_connection(lambda name=name: Device(name, boot), "127.0.0.1", port)  # type: ignore[misc]
        device.connect(f"load-{name}")
        await device.connected
        plant.append(device)
    begun, sent, total = loop.time(), 0, int(rate * seconds)
    while sent < total:
        due = min(total, int((loop.time() - begun) * rate) + 1)
        while sent < due:
            device = plant[sent % devices]
            if not device.may_publish:
                break
            device.publish()
            sent += 1
        await asyncio.sleep(0.005)
    deadline = loop.time() + 60
    while any(device.acknowledged < device.published for device in plant) and loop.time() < deadline:
        await asyncio.sleep(0.05)
    return {
        "published": sum(device.published for device in plant),
        "acknowledged": sum(device.acknowledged for device in plant),
    }


def main(
    port: Annotated[int, typer.Option(help="of the broker on loopback")],
    devices: Annotated[int, typer.Option(min=1)] = 500,
    rate: Annotated[float, typer.Option(help="frames a second, of all devices")] = 10_000,
    seconds: float = 60,
    prefix: str = "load-",
) -> None:
    """Publish, and say how much."""
    print(json.dumps(asyncio.run(run(port, devices, rate, seconds, prefix))))


if __name__ == "__main__":
    typer.run(main)
