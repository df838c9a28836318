"""B31: how soon the API answers while it or the worker exports, beside the same without, asked in turns."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import asyncpg
import numpy as np

from deploy.stack.ports import any_free
from tests.api.accounts import api_key, bearer
from tests.bench.figures import Figure, figure, quotient
from tests.bench.interface import ONE, Client, api, ask
from tests.bench.plant import PREFIX, device_names
from tests.bench.session import Bench, say
from tests.bench.stored import DEVICES, stored

MEANT = f"{PREFIX}*"
EXPORT = {"device": [MEANT], "from": "-30d", "format": "arrow"}
STREAM = f"/api/v1/telemetry.arrow?device={MEANT}&from=-30d"


async def b31(bench: Bench) -> list[Figure]:
    url = await stored(bench)
    connection = await asyncpg.connect(url)
    key = await api_key(connection)
    await connection.close()
    names, chance = device_names(DEVICES), random.Random(1)
    alone, exported, streamed = [], [], []
    with bench.plant.room() as room, api(url, key, BIOGATE_JOBS_DIR=str(room), BIOGATE_API_RATE="0") as client:
        address = f"http://127.0.0.1:{client.port}"

        def p99() -> float:
            times = ask(
                Client(client.port, key), ONE, lambda: f"/api/v1/devices/{chance.choice(names)}/latest", 20, "values"
            )
            return float(np.quantile(times, 0.99))

        with worker(url, room):
            for _ in range(bench.size.repeats):
                alone.append(p99())
                with again_and_again(lambda: export(address, key)):
                    exported.append(p99())
                with again_and_again(lambda: read(address, STREAM, key)):
                    streamed.append(p99())
                said = f"beside an export {exported[-1]:.1f}, beside a stream {streamed[-1]:.1f}"
                say(f"API: latest p99 {alone[-1]:.1f} ms, {said}")
    return [
        figure("B31a", "API: latest values of a device, p99, while jobs export", "ms", exported, 5, at_least=False),
        quotient("B31b", "the same, over without an export", exported, alone, 3, at_least=False),
        figure("B31c", "API: the same, while the API streams a table", "ms", streamed, 20, at_least=False),
    ]  # fmt: skip


@contextlib.contextmanager
def worker(url: str, directory: Path) -> Iterator[None]:
    """`python -m deploy.worker` on this database."""
    given = {
        "DATABASE_URL": url,
        "API_DATABASE_URL": url,
        "JOBS_DIR": str(directory),
        "LOG_LEVEL": "warning",
        "WORKER_LEASE_S": "5",
    }
    environment = {f"BIOGATE_{name}": value for name, value in given.items()}
    environment["BIOGATE_WORKER_HTTP_PORT"] = str(any_free())
    process = subprocess.Popen([sys.executable, "-m", "deploy.worker"], env={**os.environ, **environment})
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def again_and_again(work: Callable[[], Iterator[None]]) -> Iterator[None]:
    """Do the work in a thread, anew whenever it ends; the block begins when it is under way."""
    begun, over = threading.Event(), threading.Event()

    def run() -> None:
        while not over.is_set():
            for _ in work():
                begun.set()
                if over.is_set():
                    return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert begun.wait(60)
        yield
    finally:
        over.set()
        thread.join(60)


def export(address: str, key: str) -> Iterator[None]:
    """Ask for an export and yield while it has rows; it is cancelled when nobody looks any more."""
    job = json.loads(asked(address, "/api/v1/exports", key, EXPORT))
    path = f"/api/v1/jobs/{job['id']}"
    try:
        while (now := json.loads(asked(address, path, key)))["state"] in {"queued", "running"}:
            if now["done"]:
                yield
            time.sleep(0.1)
        assert now["state"] == "done", now
    finally:
        if now["state"] in {"queued", "running"}:
            asked(address, f"{path}/cancel", key, {"why": "measured"})


def read(address: str, path: str, key: str) -> Iterator[None]:
    """Read an answer in pieces of 256 KiB."""
    with urllib.request.urlopen(urllib.request.Request(address + path, headers=bearer(key)), timeout=60) as answer:
        while answer.read(2**18):
            yield


def asked(address: str, path: str, key: str, body: Mapping[str, object] | None = None) -> bytes:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, content, {**bearer(key), "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: bytes = answer.read()
    return found
