"""One run of a load against one receiver. A run in which a frame is missing, doubled or miscounted has failed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg

from deploy.stack import Mosquitto
from tests.bench.meters import Cpu, difference, forget_peak, lag_buckets, peak_mb, quantile
from tests.bench.plant import Load, LoadProcess, Plant
from tests.processes import GatewayProcess, assert_adds_up

LOOK_S = 0.02
"""How often the database is asked how much is committed: a row by its key."""
SLOWEST = 1500
"""Messages/s; a run that is slower has failed."""
CELL = "main"
COMMITTED = "select coalesce(sum(committed), 0)::bigint from intake_totals where cell = $1 and kind = 'frame'"


@dataclass(frozen=True)
class Run:
    """From the first publication of the load until its last frame was received: committed, for a gateway."""

    frames: int
    seconds: float
    cpu_us: dict[str, float]
    """A frame: gateway or reference, broker, PostgreSQL, load."""
    publish_s: float = 0
    """Until the broker had acknowledged all of it to the load."""
    memory_mb: float = 0
    lag_ms: tuple[float, float] = (0, 0)
    """Median and 99th percentile of publication to commit."""

    @property
    def rate(self) -> float:
        return self.frames / self.seconds


class Committed:
    """How many frames the cell has committed, by its totals in the database."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.before = 0

    async def count(self) -> int:
        return int(await self._connection.fetchval(COMMITTED, CELL)) - self.before

    async def until(self, frames: int, timeout_s: float, load: LoadProcess | None = None) -> float:
        """The moment at which so many are."""
        deadline = time.monotonic() + timeout_s
        while (count := await self.count()) < frames:
            assert time.monotonic() < deadline, f"only {count:,} of {frames:,} frames after {timeout_s:.0f} s"
            assert load is None or load.child.poll() is None, "the load has failed"
            await asyncio.sleep(LOOK_S)
        return time.monotonic()


@contextlib.asynccontextmanager
async def watched(url: str) -> AsyncIterator[Committed]:
    """What is committed there from now on."""
    connection = await asyncpg.connect(url)
    try:
        committed = Committed(connection)
        committed.before = await committed.count()
        yield committed
    finally:
        await connection.close()


async def by_gateway(plant: Plant, load: Load, database_url: str | None = None) -> Run:
    """The gateway, from a fresh database or the one given."""
    async with contextlib.AsyncExitStack() as stack:
        if database_url is None:
            database_url = await stack.enter_async_context(plant.database(load.devices))
        broker = stack.enter_context(plant.broker(load.devices))
        gateway = plant.gateway(database_url, broker)
        stack.callback(gateway.kill)
        gateway.start()
        committed = await stack.enter_async_context(watched(database_url))
        process = stack.enter_context(LoadProcess(broker.port, load))
        process.wait_ready()
        await committed.until(load.before, patience_s(load.before), process)
        await settle(database_url)
        forget_peak(gateway.child.pid)
        lag = lag_buckets(gateway.get("/metrics")[1])
        cpu = Cpu({**pids(plant, broker, process), "gateway": gateway.child.pid})
        process.go()
        end = await committed.until(load.before + load.counted, patience_s(load.messages, load), process)
        used, peak = cpu.used_s(), peak_mb(gateway.child.pid)
        result = process.result()
        lag = difference(lag, lag_buckets(gateway.get("/metrics")[1]))
        await account(gateway, database_url, load, load.before + load.counted)
    return Run(
        load.counted,
        end - result["begun"],
        per_frame(used, load.counted),
        result["acknowledge_s"],
        peak,
        (quantile(0.5, lag) * 1000, quantile(0.99, lag) * 1000),
    )


async def account(gateway: GatewayProcess, url: str, load: Load, frames: int) -> None:
    """Everything that was published is committed, once, by the metrics and in the table; and the gateway ends well."""
    counts = gateway.settle(frames)
    assert_adds_up(counts)
    assert counts == {
        "received": frames, "committed": frames, "duplicate": 0, "quarantined": 0, "discarded": 0, "in_flight": 0
    }, counts  # fmt: skip
    assert gateway.terminate() == 0, "the gateway has not ended well"
    connection = await asyncpg.connect(url)
    rows = await connection.fetchval(
        "select count(*) from frames where boot = $1 and time > now() - interval '1 hour'", load.boot
    )
    await connection.close()
    assert rows == frames, f"{rows:,} rows of {frames:,} frames"


async def by_subscriber(plant: Plant, load: Load) -> Run:
    """`mosquitto_sub -q 1`, which throws away what it receives."""
    with (
        plant.broker(load.devices) as broker,
        plant.subscriber(broker, load.messages + load.warm_up * load.devices) as subscriber,
    ):
        await asyncio.sleep(0.5)  # subscribed
        assert subscriber.poll() is None, "mosquitto_sub has failed; its error is above"
        return await until_it_ends(plant, broker, load, subscriber, "mosquitto_sub")


async def by_naive(plant: Plant, load: Load) -> Run:
    """The reference of B3."""
    async with plant.database(load.devices) as url:
        with plant.broker(load.devices) as broker:
            options = ["--port", str(broker.port), "--frames", str(load.before + load.counted)]
            login = ["--username", "gateway", "--password", plant.password]
            naive = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.naive", *options, *login, url], stdout=subprocess.PIPE
            )
            with naive:
                assert naive.stdout is not None
                assert json.loads(naive.stdout.readline())["ready"]
                run = await until_it_ends(plant, broker, load, naive, "naive")
        connection = await asyncpg.connect(url)
        rows = await connection.fetchval("select count(*) from frames")
        await connection.close()
        assert rows == load.before + load.counted, f"{rows:,} rows"
    return run


async def by_nobody(plant: Plant, load: Load) -> Run:
    """Nobody subscribes: how fast the load and the broker are by themselves."""
    with plant.broker(load.devices) as broker, LoadProcess(broker.port, load) as process:
        process.wait_ready()
        cpu = Cpu(pids(plant, broker, process))
        process.go()
        result = process.result()
        used = cpu.used_s()
    return Run(load.counted, result["acknowledge_s"], per_frame(used, load.counted), result["acknowledge_s"])


async def until_it_ends(
    plant: Plant, broker: Mosquitto, load: Load, receiver: subprocess.Popen[bytes], name: str
) -> Run:
    """A receiver that ends when it has had all."""
    try:
        with LoadProcess(broker.port, load) as process:
            process.wait_ready()
            await asyncio.sleep(1)  # the warm-up is received
            cpu = Cpu({**pids(plant, broker, process), name: receiver.pid})
            process.go()
            patience = patience_s(load.messages, load)
            watch = os.pidfd_open(receiver.pid)
            try:
                # a child that has ended is a zombie until it is waited for: its times can still be read
                assert select.select([watch], [], [], patience)[0], f"{name} has not had all after {patience:.0f} s"
            finally:
                os.close(watch)
            end, used = time.monotonic(), cpu.used_s()
            assert receiver.wait() == 0, f"{name} has failed"
            result = process.result()
    finally:
        if receiver.poll() is None:
            receiver.kill()
    return Run(load.counted, end - result["begun"], per_frame(used, load.counted), result["acknowledge_s"])


async def catch_up(plant: Plant, load: Load) -> Run:
    """The load is published while the gateway is away; the run is from its first commit to its last."""
    async with plant.database(load.devices) as url:
        with contextlib.ExitStack() as stack:
            broker = stack.enter_context(plant.broker(load.devices))
            gateway = plant.gateway(url, broker)
            stack.callback(gateway.kill)
            gateway.start()
            with LoadProcess(broker.port, load) as process:
                process.wait_ready()
                gateway.settle(load.before)
                assert gateway.terminate() == 0
                process.go()
                result = process.result()
                async with watched(url) as committed:
                    gateway.start(ready=False)
                    begun = await committed.until(1, 30)
                    cpu = Cpu({**pids(plant, broker, process), "gateway": gateway.child.pid})
                    first = await committed.count()
                    end = await committed.until(load.counted, patience_s(load.messages))
                    used, peak = cpu.used_s(), peak_mb(gateway.child.pid)
            await account_of_two_lives(gateway, url, load)
    frames = load.counted - first
    return Run(frames, end - begun, per_frame(used, frames), result["acknowledge_s"], peak)


async def account_of_two_lives(gateway: GatewayProcess, url: str, load: Load) -> None:
    """As `account`, for a gateway that was started again after the warm-up."""
    counts = gateway.settle(load.counted)
    assert counts["committed"] == counts["received"] == load.counted, counts
    assert gateway.terminate() == 0
    connection = await asyncpg.connect(url)
    rows = await connection.fetchval("select count(*) from frames")
    await connection.close()
    assert rows == load.counted + load.before, f"{rows:,} rows"


async def settle(url: str) -> None:
    """Begin with clean buffers: what runs before has dirtied is not this run's to write."""
    connection = await asyncpg.connect(url)
    await connection.execute("checkpoint")
    await connection.close()


def pids(plant: Plant, broker: Mosquitto, process: LoadProcess) -> dict[str, int]:
    return {"broker": broker.pid, "postgres": plant.stack.postgres.pid, "load": process.child.pid}


def per_frame(used_s: dict[str, float], frames: int) -> dict[str, float]:
    """In µs."""
    return {name: seconds / frames * 1e6 for name, seconds in used_s.items()}


def patience_s(messages: int, load: Load | None = None) -> float:
    """How long they may take."""
    scheduled = load.counted / load.rate if load is not None and load.rate else 0
    return 20 + messages / SLOWEST + scheduled
