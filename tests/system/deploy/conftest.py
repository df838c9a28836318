"""`make up` as a process, under a name of its own beside one that may be running."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from deploy.stack import Local
from deploy.stack.local import TEMPORARY, erase
from deploy.stack.paths import BIOGATE, CHECKOUT, Paths
from deploy.stack.ports import any_free
from deploy.stack.process import acquire, holders
from schema.owner import OWNER_FILE
from tests.processes import wait_until

PORTS = (
    "BIOGATE_POSTGRES_PORT", "BIOGATE_MQTT_PORT", "BIOGATE_MQTTS_PORT", "BIOGATE_ENROLL_PORT",
    "BIOGATE_CERTIFICATE_PORT", "BIOGATE_API_PORT", "BIOGATE_GATEWAY_HTTP_PORT", "BIOGATE_ALARMS_HTTP_PORT",
    "BIOGATE_CANARY_HTTP_PORT", "BIOGATE_WORKER_HTTP_PORT", "BIOGATE_EVIDENCE_HTTP_PORT",
    "BIOGATE_SIMULATOR_HTTP_PORT",
)  # fmt: skip
PARTS = ("postgres", "mosquitto", "API", "gateway", "alarms", "evidence", "worker", "simulator")
FLOWING = re.compile(r"\d\d:\d\d:\d\d [1-9][\d.]* frames/s .*committed [1-9]\d* .*lag p50 \d+ ms p99 \d+ ms")


class Up:
    """`biogate up --name …` without a terminal; may be started again after an end of any sort."""

    def __init__(self, name: str, output: Path) -> None:
        self.paths, self.output = Paths(name), output
        self.ports = {variable: str(any_free()) for variable in PORTS}
        """Its own, so that stacks that start at the same time do not take each other's."""
        self.child: subprocess.Popen[bytes] | None = None
        self.history = "0"
        self.canary = False
        """To make its login and key takes longer than most tests."""

    def start(self, **environment: str) -> None:
        options = [
            "--devices",
            "3",
            "--rate",
            "5",
            "--history",
            self.history,
            *(() if self.canary else ("--no-canary",)),
        ]
        with self.output.open("wb") as output:
            self.child = subprocess.Popen(
                [*BIOGATE, "up", "--name", self.paths.name, *options],
                env={**without_servers(), **self.ports, **environment},
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def said(self) -> str:
        return self.output.read_text()

    def wait_for(self, pattern: str, timeout_s: float = 240, since: int = 0) -> re.Match[str]:
        """The first such text; `since`: after so many characters."""
        sought = re.compile(pattern)
        wait_until(lambda: sought.search(self.said, since) is not None, timeout_s, lambda: self.said)
        match = sought.search(self.said, since)
        assert match is not None
        return match

    def end(self, number: signal.Signals) -> int:
        assert self.child is not None
        self.child.send_signal(number)
        return self.child.wait(60)

    def running(self) -> list[str]:
        return [
            part for part in (*PARTS, "canary") if (lock := self.paths.run / f"{part}.lock").exists() and holders(lock)
        ]

    def endpoints(self) -> dict[str, str]:
        """What a shell gets from the env file."""
        script = f". {shlex.quote(str(self.paths.env))} && set"
        shell = subprocess.run(["sh", "-c", script], env={}, capture_output=True, text=True, check=True).stdout
        return dict(re.findall(r"^(BIOGATE_\w+)='(.*)'$", shell, re.MULTILINE))

    def owner_url(self) -> str:
        """The database with its owner's login."""
        return Path(self.endpoints()[OWNER_FILE]).read_text().strip()

    async def fetch(self, statement: str) -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(self.owner_url())
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    async def frames(self) -> int:
        [(count,)] = await self.fetch("select count(*) from frames")
        assert isinstance(count, int)
        return count


def without_servers() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("BIOGATE_")}


@contextmanager
def gone_afterwards(up: Up) -> Iterator[Up]:
    """Whatever becomes of it. If this process is killed, `sweep` does it, before other tests."""
    lock = acquire(up.paths.run / "test.lock", up.paths.name)
    (up.paths.run / TEMPORARY).touch()
    try:
        yield up
    finally:
        if up.child is not None and up.child.poll() is None:
            up.child.kill()
            up.child.wait()
        wait_until(lambda: not up.running(), 40)
        os.close(lock)
        erase(up.paths)


def fresh(stack: Local, directory: Path) -> Up:
    return Up(f"{stack.paths.name}-up-{uuid.uuid4().hex[:8]}", directory / "output")


@pytest.fixture
def up(stack: Local, tmp_path: Path) -> Iterator[Up]:
    with gone_afterwards(fresh(stack, tmp_path)) as up:
        yield up


@pytest.fixture(scope="module")
def running(stack: Local, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One for the cases of a module that leave it running: to start takes longer than most of them."""
    with gone_afterwards(fresh(stack, tmp_path_factory.mktemp("running"))) as up:
        up.start()
        up.wait_for("3 enrolled\n")
        up.wait_for(FLOWING.pattern)
        yield up
        assert up.end(signal.SIGINT) == 0
