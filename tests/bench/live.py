"""B20 and B21: how soon a commit is told to who listens, and what a thousand who listen cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import asyncpg

from deploy.stack.ports import any_free, is_listening
from tests.api.accounts import api_key
from tests.bench.figures import Figure, figure
from tests.bench.meters import Cpu, buckets, difference, forget_peak, peak_mb, quantile
from tests.bench.plant import Load, LoadProcess
from tests.bench.runs import pids
from tests.bench.session import Bench, say
from tests.processes import wait_until

RATE, DEVICES, WATCHED = 10_000, 500, 50
"""Frames/s in all, devices that send, and those of them that somebody watches."""
CLIENTS = 1000
BEGIN_S = 2.0
"""From the first frame to the begin of the measurement."""
DELAY = "biogate_api_live_delay_seconds"
ROOM = {"BIOGATE_API_RATE": "0", "BIOGATE_API_ANONYMOUS_RATE": "0", "BIOGATE_API_LOG_LEVEL": "warning"}
ROOM |= {"BIOGATE_API_CONNECTIONS": "8000", "BIOGATE_API_LIVE_FEEDS": "4000"}


@dataclass
class LiveApi:
    """The API of this plant, and who listens to it."""

    port: int
    process: subprocess.Popen[bytes]
    key: str

    def delays(self) -> dict[float, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            return buckets(DELAY, answer.read().decode())

    @contextlib.contextmanager
    def listeners(self, clients: int, devices: int, rate: float, form: str) -> Iterator[subprocess.Popen[str]]:
        options = [f"--port={self.port}", f"--clients={clients}", f"--devices={devices}", f"--rate={rate:g}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.listeners", *options, f"--form={form}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            say_to(process, self.key)
            assert answer(process)["ready"] == clients
            yield process
        finally:
            process.kill()
            process.wait()


@dataclass
class Sending:
    """A plant whose devices send from `go` on."""

    api: LiveApi
    processes: dict[str, int]
    go: Callable[[], None]


def say_to(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> dict[str, int]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the listeners have failed; their error is above"
    found: dict[str, int] = json.loads(line)
    return found


@contextlib.asynccontextmanager
async def served(url: str) -> AsyncIterator[LiveApi]:
    connection = await asyncpg.connect(url)
    key = await api_key(connection)
    await connection.close()
    port = any_free()
    environment = {**os.environ, **ROOM, "BIOGATE_DATABASE_URL": url, "BIOGATE_API_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "api"], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_listening(port), 30)
        yield LiveApi(port, process, key)
    finally:
        process.terminate()
        process.wait(20)


@contextlib.asynccontextmanager
async def sending(bench: Bench, load: Load) -> AsyncIterator[Sending]:
    """The whole plant, and its devices, ready to send."""
    async with bench.plant.database(load.devices) as url:
        with contextlib.ExitStack() as stack:
            broker = stack.enter_context(bench.plant.broker(load.devices))
            gateway = bench.plant.gateway(url, broker)
            stack.callback(gateway.kill)
            gateway.start()
            process = stack.enter_context(LoadProcess(broker.port, load))
            process.wait_ready()
            gateway.settle(load.before)
            async with served(url) as api:
                processes = {**pids(bench.plant, broker, process), "gateway": gateway.child.pid, "API": api.process.pid}
                yield Sending(api, processes, process.go)
                process.stop()
                assert gateway.terminate() == 0, "the gateway has not ended well"


async def b20(bench: Bench) -> list[Figure]:
    """What is sent to each client is encoded when the histogram ends; the rate that a client chose comes on top."""
    medians, slowest = [], []
    for _ in range(bench.size.repeats):
        seconds = bench.size.lag_s
        load = Load(devices=DEVICES, frames=round(RATE * (seconds + 5)), rate=RATE)
        async with sending(bench, load) as it:
            with it.api.listeners(WATCHED, WATCHED, 10, "socket") as listeners:
                it.go()
                await asyncio.sleep(BEGIN_S)
                before, cpu = it.api.delays(), Cpu(it.processes)
                await asyncio.sleep(seconds)
                since, used = difference(before, it.api.delays()), cpu.used_s()
                say_to(listeners, "enough")
                messages = answer(listeners)["messages"]
        assert messages > WATCHED * seconds, f"only {messages} messages came"
        medians.append(quantile(0.5, since) * 1000)
        slowest.append(quantile(0.99, since) * 1000)
        busy = ", ".join(f"{name} {spent / seconds:.0%}" for name, spent in used.items())
        say(f"live: commit to encoded {medians[-1]:.1f} ms, p99 {slowest[-1]:.1f} ms; of a core: {busy}")
    what = f"live: commit → encoded message, {RATE:,} frames/s, {WATCHED} devices watched"
    return [
        figure("B20a", f"{what}, median", "ms", medians, 15, at_least=False),
        figure("B20b", f"{what}, p99", "ms", slowest, 60, at_least=False),
    ]


async def b21(bench: Bench) -> list[Figure]:
    cpu: dict[str, list[float]] = {"socket": [], "events": []}
    memory: dict[str, list[float]] = {"socket": [], "events": []}
    for form in ("socket", "events"):
        for _ in range(bench.size.repeats):
            seconds = bench.size.lag_s
            load = Load(devices=WATCHED, frames=round(WATCHED * (seconds + 10)), rate=WATCHED)
            async with sending(bench, load) as it:
                process = it.api.process.pid
                with it.api.listeners(CLIENTS, WATCHED, 1, form) as listeners:
                    it.go()
                    await asyncio.sleep(BEGIN_S)
                    forget_peak(process)
                    used = Cpu({"API": process})
                    await asyncio.sleep(seconds)
                    spent, resident = used.used_s()["API"], peak_mb(process)
                    say_to(listeners, "enough")
                    messages = answer(listeners)["messages"]
            memory[form].append(resident)
            assert messages >= CLIENTS * seconds * 0.8, f"only {messages:,} messages came in {seconds:g} s"
            cpu[form].append(spent / seconds * 100)
            cost = spent / (messages * seconds / (seconds + BEGIN_S)) * 1e6
            said = f"{cpu[form][-1]:.1f} % of a core, {cost:.0f} µs a message, {memory[form][-1]:.0f} MB"
            say(f"live, {CLIENTS:,} by {form}: {said}")
    who = f"live: the API with {CLIENTS:,} clients at 1 Hz"
    return [
        figure("B21a", f"{who} by socket, of a core", "%", cpu["socket"], 5, at_least=False),
        figure("B21b", "the same by server-sent events", "%", cpu["events"], 5, at_least=False),
        figure("B21c", f"{who} by socket, resident", "MB", memory["socket"], 120, at_least=False),
    ]
