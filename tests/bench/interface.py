"""B11 and B12: how soon the API answers, and how soon a gateway is ready."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import numpy as np

from deploy.stack.ports import any_free
from tests.api.accounts import api_key, bearer
from tests.bench.figures import Figure, figure
from tests.bench.plant import device_names
from tests.bench.session import Bench, say
from tests.bench.stored import DAILY, DEVICES, last_day, stored
from tests.processes import wait_until

ONE, MANY = 1000, 25
"""Requests for one device, and of the larger sort."""
BUCKETS = 1440


class Client:
    """One connection that is kept, over which one request follows the other."""

    def __init__(self, port: int, key: str | None = None) -> None:
        self.port = port
        self._headers = {} if key is None else bearer(key)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def get(self, path: str) -> tuple[int, bytes]:
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()


async def b11(bench: Bench) -> list[Figure]:
    url = await stored(bench)
    yesterday = last_day(datetime.now(UTC))
    names = device_names(DEVICES)
    chance = random.Random(1)
    day = (
        f"/api/v1/devices/{DAILY}/telemetry?channel=channel_007&bucket=1m"
        f"&from={yesterday:%Y-%m-%dT%H:%M:%SZ}&to={yesterday + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    )
    one, every, overview, buckets = [], [], [], []
    connection = await asyncpg.connect(url)
    key = await api_key(connection)
    await connection.close()
    with api(url, key) as client:
        for _ in range(bench.size.repeats):
            times = ask(client, ONE, lambda: f"/api/v1/devices/{chance.choice(names)}/latest", 20, "values")
            one.append(float(np.quantile(times, 0.99)))
            times = ask(client, MANY, lambda: "/api/v1/latest?limit=1000", 1000, "devices")
            every.append(float(np.median(times)))
            times = ask(client, MANY, lambda: "/api/v1/latest?limit=1000&channel=channel_007", 1000, "devices")
            overview.append(float(np.median(times)))
            times = ask(client, MANY, lambda: day, BUCKETS, "rows")
            buckets.append(float(np.median(times)))
            said = f"of 1,000 devices {every[-1]:.1f}, of one channel {overview[-1]:.1f}, a day {buckets[-1]:.1f}"
            say(f"API: latest p99 {one[-1]:.1f} ms, {said}")
    return [
        figure("B11a", "API: latest values of a device, p99", "ms", one, 5, at_least=False),
        figure("B11b", "API: latest of 1,000 devices, 20 channels each, median", "ms", every, 20, at_least=False),
        figure("B11c", "the same, one channel each", "ms", overview, 20, at_least=False),
        figure("B11d", "API: a channel, a day at 1 Hz in minutes, median", "ms", buckets, 60, at_least=False),
    ]


def ask(client: Client, count: int, path: Callable[[], str], items: int, key: str) -> list[float]:
    """ms of each request; each answer must have so many items."""
    times = []
    for n in range(count + 5):
        begun = time.perf_counter()
        status, body = client.get(path())
        took = (time.perf_counter() - begun) * 1000
        assert status == 200, f"{status} {body[:300]!r}"
        answer: dict[str, Any] = json.loads(body)
        assert len(answer[key]) == items, f"{len(answer[key])} {key}, not {items}"
        if n >= 5:  # the first find the server cold
            times.append(took)
    return times


@contextlib.contextmanager
def api(url: str, key: str, **settings: str) -> Iterator[Client]:
    """`python -m api` on this database, with these settings."""
    port = any_free()
    environment = {"BIOGATE_DATABASE_URL": url, "BIOGATE_API_PORT": str(port), "BIOGATE_API_LOG_LEVEL": "warning"}
    environment |= settings
    process = subprocess.Popen([sys.executable, "-m", "api"], env={**os.environ, **environment})

    def ready() -> bool:
        with contextlib.suppress(OSError):
            return Client(port).get("/ready")[0] == 200
        return False

    try:
        wait_until(ready, 30)
        yield Client(port, key)
    finally:
        process.terminate()
        process.wait(20)


async def b12(bench: Bench) -> list[Figure]:
    took = []
    async with bench.plant.database(500) as url:
        with bench.plant.broker(500) as broker:
            for _ in range(max(bench.size.repeats, 3)):
                gateway = bench.plant.gateway(url, broker)
                begun = time.perf_counter()
                gateway.start(ready=False)
                try:
                    while gateway.get("/ready")[0] != 200:
                        assert time.perf_counter() - begun < 30, gateway.log.read_text()
                        time.sleep(0.005)
                    took.append(time.perf_counter() - begun)
                    assert gateway.terminate() == 0
                finally:
                    gateway.kill()
    say(f"ready after {', '.join(f'{seconds:.2f}' for seconds in took)} s")
    return [figure("B12", "start of the gateway until it is ready", "s", took, 1, at_least=False)]
