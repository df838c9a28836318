"""B4: the gateway's writer alone, from decoded frames, beside psql with the same bytes in one COPY."""

from __future__ import annotations

import time
from collections.abc import Sequence

import asyncpg
import numpy as np

from gateway.intake.cell import prepare
from gateway.intake.registry import Registry
from gateway.items import Device, Frame, SlotMapping, TopicRoute
from gateway.runtime.database import create_pool
from gateway.settings import Settings
from gateway.storage import encode
from gateway.storage.write import Writer
from schema.topics import Kind, topic
from tests.bench.figures import Figure, quotient
from tests.bench.plant import device_names
from tests.bench.session import Bench, say
from tests.bench.stored import LAYOUT
from tests.roles import forced

CHANNELS = 20
DEVICES = 500
MOST = 400_000
"""Decoded frames in memory."""


async def b4(bench: Bench) -> list[Figure]:
    ours, whole, parts = zip(*[await samples_per_s(bench, psql=True) for _ in range(bench.size.repeats)], strict=True)
    note = f"{np.median(ours) / 1e6:.2f} against {np.median(whole) / 1e6:.2f} million samples/s"
    return [
        quotient(
            "B4", "the writer alone: samples/s over one COPY of the same bytes by psql", ours, whole, 0.85, note=note
        ),
        quotient("B4b", "the same, psql with as many transactions", ours, parts, 0.85),
    ]


async def samples_per_s(bench: Bench, *, psql: bool = False) -> tuple[float, float, float]:
    """The writer's, psql's with all in one COPY, and psql's with the writer's transactions (0 without `psql`)."""
    count = min(bench.size.frames, MOST)
    async with bench.plant.database(DEVICES) as url:
        settings = Settings(database_url=url, mqtt_url="mqtt://127.0.0.1")
        connection = await asyncpg.connect(url)
        layout_id = await connection.fetchval(LAYOUT, [f"channel_{n:03d}" for n in range(CHANNELS)])
        device_ids = [row["device_id"] for row in await connection.fetch("select device_id from devices")]
        frames = decoded(count, device_ids, layout_id)
        batches = [frames[n : n + settings.batch_frames] for n in range(0, count, settings.batch_frames)]
        rates = []
        async with create_pool(settings) as pool:
            _, chunk_ms = await prepare(pool, settings)
            registry = Registry(pool, settings.max_channels, settings.max_layouts)
            writer = Writer(pool, registry, {}, cell=settings.cell, chunk_ms=chunk_ms, max_chunks=settings.batch_chunks)
            await writer.write(frames[:1])  # connected, statements planned
            await empty(connection)
            begun = time.perf_counter()
            for batch in batches:
                await writer.write(batch)
            rates.append(await stored_rate(connection, count, time.perf_counter() - begun))
        for copies in (frames,), batches:
            if psql:
                await empty(connection)
                rates.append(await stored_rate(connection, count, by_psql(bench, url, copies)))
        await connection.close()
    said = ", ".join(f"{rate / 1e6:.2f}" for rate in rates)
    say(f"million samples/s of the writer{', psql at once, psql in parts' if psql else ''}: {said}")
    return rates[0], rates[1] if psql else 0.0, rates[2] if psql else 0.0


def by_psql(bench: Bench, url: str, copies: Sequence[Sequence[Frame]]) -> float:
    """Seconds that psql says these took; one COPY each."""
    columns = ", ".join(f'"{column}"' for column in encode.COLUMNS)
    commands = []
    with bench.plant.room() as room:
        for n, frames in enumerate(copies):
            file = room / f"{n}.copy"
            file.write_bytes(encode.copy(frames))
            inside = bench.plant.stack.postgres.place.inside(file)
            commands.append(f"\\copy frames ({columns}) from '{inside}' with (format binary)")
        said = bench.plant.psql(url, "\\timing on", *commands)
    return sum(float(line.split()[1]) for line in said.splitlines() if line.startswith("Time:")) / 1000


def decoded(count: int, device_ids: Sequence[int], layout_id: int) -> list[Frame]:
    """Frames as the decoder leaves them, of all devices in turn, 20 ms apart."""
    names = tuple(f"channel_{n:03d}" for n in range(CHANNELS))
    mapping = SlotMapping(names, layout_id, CHANNELS, np.arange(CHANNELS))
    routes = [
        TopicRoute(topic(name, Kind.TELEMETRY), Kind.TELEMETRY, Device(device_id, name))
        for name, device_id in zip(device_names(len(device_ids)), device_ids, strict=True)
    ]
    begun = time.time() * 1000 - count / len(routes) * 20
    values = np.random.default_rng(1).random((count, CHANNELS)).tolist()
    return [
        Frame(
            routes[n % len(routes)],
            mapping,
            begun + n // len(routes) * 20,
            1,
            n // len(routes),
            begun + n / 50,
            tuple(values[n]),
            None,
        )
        for n in range(count)
    ]


async def empty(connection: asyncpg.Connection) -> None:
    await forced(connection, "truncate frames")
    await connection.execute("checkpoint")


async def stored_rate(connection: asyncpg.Connection, count: int, seconds: float) -> float:
    """Samples/s, if all of them are there."""
    rows = await connection.fetchval("select count(*) from frames")
    assert rows == count, f"{rows:,} rows of {count:,}"
    return count * CHANNELS / seconds
