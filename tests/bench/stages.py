"""CPU of the gateway's stages for a frame: `python -m tests.bench.stages`. µs a frame, minimum and median of 9 runs."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

import mqtt5
import msgspec
import numpy as np

from gateway.broker import sys_topics
from gateway.broker.connection import IntakeConnection
from gateway.broker.outbox import Outbox
from gateway.broker.window import IntakeWindow
from gateway.intake import decode
from gateway.intake.accounting import received
from gateway.intake.admit import Admission
from gateway.intake.batch import Batch
from gateway.intake.registry import Registry
from gateway.items import Delivery, Device, Frame, SlotMapping
from gateway.pipeline import DECODED_AT_ONCE
from gateway.settings import Settings
from gateway.storage import encode

FRAMES = 4000
RUNS = 9


class OneDevice(Registry):
    """A registry that knows one device, without a database."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def device(self, name: str) -> Device | None:
        return self._device


def measure(channels: int) -> dict[str, tuple[float, float]]:
    """Least and median µs a frame of each stage; parts of a stage are indented. Called where an event loop runs."""
    names = tuple(f"channel_{n:02d}" for n in range(channels))
    device = Device(1, "r1")
    device.mappings[names] = SlotMapping(names, 1, channels, np.arange(channels))
    now = time.time() * 1000
    payloads = [
        msgspec.msgpack.encode(
            {"boot": 1, "seq": n, "t": int(now) - n, "v": {name: 37.0 + n / 7 + i for i, name in enumerate(names)}}
        )
        for n in range(FRAMES)
    ]
    topic = "bioreactors/r1/telemetry"
    stream = b"".join(
        mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=n + 1).write()
        for n, payload in enumerate(payloads)
    )
    settings = Settings(database_url="postgresql://user@127.0.0.1/name", mqtt_url="mqtt://127.0.0.1")
    admission = Admission(settings, OneDevice(device))
    connection = IntakeConnection(IntakeWindow(2**40), Outbox(), sys_topics.on_change)
    deliveries = [Delivery(connection, n + 1, topic, payload, None, now) for n, payload in enumerate(payloads)]
    frames = [item for delivery in deliveries for item in admission.admit(delivery) if isinstance(item, Frame)]

    def batch() -> None:
        grown = Batch()
        for first in range(0, FRAMES, DECODED_AT_ONCE):
            grown.add(deliveries[first : first + DECODED_AT_ONCE], frames[first : first + DECODED_AT_ONCE])

    stages = {
        "packets to deliveries": lambda: connection.data_received(stream),
        "decode and admit": lambda: [admission.admit(delivery) for delivery in deliveries],
        "    of which decode": lambda: [decode.telemetry(payload, None) for payload in payloads],
        "account": lambda: received(frames),
        "batch": batch,
        "encode as COPY": lambda: encode.copy(frames),
        "acknowledge": lambda: connection.acknowledge(range(1, FRAMES + 1)),
    }
    return {name: cost(stage) for name, stage in stages.items()}


def costs(channels: int) -> dict[str, float]:
    """Median µs of each stage."""
    return {name: median for name, (_, median) in measure(channels).items() if not name.startswith(" ")}


def cost(stage: Callable[[], object]) -> tuple[float, float]:
    """µs a frame: minimum and median."""
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        stage()
        times.append((time.perf_counter() - begun) / FRAMES * 1e6)
    return min(times), statistics.median(times)


async def main() -> None:
    for channels in (1, 20):
        print(f"\n{channels} channels a frame, {FRAMES} frames")
        measured = measure(channels)
        for name, (least, median) in measured.items():
            print(f"{name:36}{least:7.2f}{median:7.2f}")
        print(f"{'all':36}{sum(median for name, (_, median) in measured.items() if name[0] != ' '):14.2f}")


if __name__ == "__main__":
    asyncio.run(main())
