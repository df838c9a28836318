"""B13: requests a second of the API beside a bare FastAPI route with the same query, both asked by wrk."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from deploy.stack.ports import any_free, is_listening
from tests.api.accounts import api_key
from tests.bench.figures import Figure, quotient
from tests.bench.plant import device_names
from tests.bench.session import Bench, say
from tests.bench.stored import stored
from tests.processes import wait_until

SECONDS = 5
CONNECTIONS = 16
UNLIMITED = {"BIOGATE_API_RATE": "0", "BIOGATE_API_ANONYMOUS_RATE": "0"}
RATE = re.compile(r"Requests/sec:\s+([\d.]+)")


async def b13(bench: Bench) -> list[Figure]:
    if shutil.which("wrk") is None:
        say("wrk is not installed: B13 is left out (apt install wrk)")
        return []
    url = await stored(bench)
    connection = await asyncpg.connect(url)
    key = await api_key(connection)
    await connection.close()
    device = next(iter(device_names(1)))
    rates: dict[str, list[float]] = {name: [] for name in ("health", "bare health", "latest", "bare latest")}
    with bench.plant.room() as room:
        header = room / "wrk.lua"  # not an argument, which all could see
        header.write_text(f'wrk.headers["Authorization"] = "Bearer {key}"\n')
        for _ in range(bench.size.repeats):
            with served(["tests.bench.bare"], url) as port:
                rates["bare health"].append(wrk(f"http://127.0.0.1:{port}/health"))
                rates["bare latest"].append(wrk(f"http://127.0.0.1:{port}/latest/{device}"))
            with served(["api"], url) as port:
                rates["health"].append(wrk(f"http://127.0.0.1:{port}/health"))
                rates["latest"].append(wrk(f"http://127.0.0.1:{port}/api/v1/devices/{device}/latest", header))
            say("requests/s: " + ", ".join(f"{name} {some[-1]:,.0f}" for name, some in rates.items()))
    return [
        quotient("B13a", "API: /health, over a bare FastAPI route", rates["health"], rates["bare health"], 0.8),
        quotient("B13b", "API: latest of a device, over the same query", rates["latest"], rates["bare latest"], 0.8),
    ]


@contextlib.contextmanager
def served(module: list[str], url: str) -> Iterator[int]:
    """The API or what it is compared with, and its port."""
    port = any_free()
    environment = {**os.environ, **UNLIMITED, "BIOGATE_DATABASE_URL": url, "BIOGATE_API_PORT": str(port)}
    words = [*module, str(port)] if module != ["api"] else module
    process = subprocess.Popen([sys.executable, "-m", *words], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_listening(port), 30)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def wrk(url: str, script: Path | None = None) -> float:
    """Requests a second, after a warm-up; all of them answered with 2xx."""
    options = ["-t1", f"-c{CONNECTIONS}", *(["-s", str(script)] if script else [])]
    said = ""
    for seconds in (1, SECONDS):
        command = ["wrk", *options, f"-d{seconds}s", url]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "Non-2xx" not in said, said
    found = RATE.search(said)
    assert found is not None, said
    return float(found[1])
