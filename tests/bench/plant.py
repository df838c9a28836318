"""The servers of a bench: one PostgreSQL, and a fresh broker and database for each run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

import deploy.stack
from deploy.stack import Local, Mosquitto
from deploy.stack.local import erase
from deploy.stack.paths import MOSQUITTO_CONF, Paths
from deploy.stack.place import Place
from deploy.stack.ports import any_free
from gateway.logins.roles import LoginEntry, device_role, fixed_login, new_salt, security, verifier
from gateway.operators.setup import SECURITY, setup
from tests.bench.packets import Shape
from tests.faults.servers import drop_database, new_database
from tests.processes import GatewayProcess

PREFIX = "load-"
PASSWORD = "of-every-device-of-the-bench"
FRAME = Shape()
CLIENTS = 1000
"""max_connections of the plain listener in mosquitto.conf."""


@dataclass(frozen=True)
class Load:
    """What is published: `frames` after the warm-up, at `rate` frames/s or (0) at full speed."""

    shape: Shape = FRAME
    devices: int = 500
    frames: int = 300_000
    rate: float = 0
    warm_up: int = 2
    """Messages of each device before the measurement: connections, layouts and plans are then in place."""
    boot: int = 1

    @property
    def messages(self) -> int:
        """Published in the measurement, a whole number for each device."""
        return self.frames // self.shape.block // self.devices * self.devices

    @property
    def counted(self) -> int:
        """Frames in the measurement."""
        return self.messages * self.shape.block

    @property
    def before(self) -> int:
        """Frames of the warm-up."""
        return self.warm_up * self.devices * self.shape.block


class LoadProcess:
    """`python -m tests.bench.load`, connected and warmed up when made."""

    def __init__(self, port: int, load: Load, *, logins: bool = True) -> None:
        options = {
            "port": port,
            "devices": load.devices,
            "messages": load.messages,
            "rate": load.rate / load.shape.block,
            "nominal": 40_000 / load.shape.block,
            "warm-up": load.warm_up,
            "form": load.shape.form,
            "channels": load.shape.channels,
            "block": load.shape.block,
            "boot": load.boot,
            "prefix": PREFIX,
        } | ({"password": PASSWORD} if logins else {})
        words = [f"--{name}={value}" for name, value in options.items()]
        self.child = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.load", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _line(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        assert line, "the load has failed; its error is above"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def wait_ready(self) -> None:
        self._line()

    def go(self) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write("go\n")
        self.child.stdin.flush()

    def result(self) -> dict[str, Any]:
        """What was published and acknowledged; waits for it."""
        result = self._line()
        assert result["published"] == result["acknowledged"], f"not all was acknowledged: {result}"
        return result

    def __enter__(self) -> LoadProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@dataclass
class Plant:
    """PostgreSQL of the whole bench, secrets of all its brokers, and room for files."""

    stack: Local
    scratch: Path

    @property
    def place(self) -> Place:
        return self.stack.mosquitto.place

    @property
    def log(self) -> Path:
        """Of all gateways so far."""
        return self.scratch / "gateway.log"

    @property
    def password(self) -> str:
        """Of the login `gateway`."""
        return (self.scratch / "secrets" / "gateway.password").read_text().strip()

    @contextlib.contextmanager
    def broker(self, devices: int) -> Iterator[Mosquitto]:
        """A fresh one in the shape of mosquitto.conf: a login and a role for each device, TLS beside, persistence."""
        given = self._security(devices)
        usual = self.stack.mosquitto
        paths = Paths(f"{self.stack.paths.name}/broker")
        broker = Mosquitto(
            usual.place,
            paths,
            port=any_free(),
            security=given,
            tls_port=any_free(),
            enroll_port=any_free(),
            certificate_port=any_free(),
            program=usual.program,
            conf=self._conf(devices),
        )
        erase(paths)
        try:
            broker.start()
            yield broker
        finally:
            if broker.process.running:
                broker.process.kill()  # nobody needs what it would save
                broker.process.wait(10)
            erase(paths)

    def _conf(self, devices: int) -> Path:
        """The checkout's; for more devices than its plain listener lets in, with room for them."""
        if devices < CLIENTS - 10:
            return MOSQUITTO_CONF
        text = MOSQUITTO_CONF.read_text()
        usual = f"max_connections {CLIENTS}\n"
        assert usual in text
        path = self.scratch / "mosquitto.conf"
        path.write_text(text.replace(usual, f"max_connections {devices + 100}\n", 1))
        return path

    def _security(self, devices: int) -> Path:
        """The broker's directory of secrets, with the logins of so many devices."""
        directory = self.scratch / f"broker-{devices}"
        if not directory.exists():
            setup(self.scratch / "secrets")
            shutil.copytree(self.scratch / "secrets" / "broker", directory)
            salt = new_salt()
            proof = verifier(PASSWORD, salt)
            names = device_names(devices)
            logins = [LoginEntry(f"{name}.1", device_role(name).name, salt, proof) for name in names]
            content = security([fixed_login("gateway", self.password), *logins], map(device_role, names))
            (directory / SECURITY).write_text(json.dumps(content))
        return directory

    @contextlib.asynccontextmanager
    async def database(self, devices: int) -> AsyncIterator[str]:
        """A fresh one, in which the devices of a load are registered."""
        url = await new_database(self.stack.database_url)
        try:
            await register(url, device_names(devices))
            yield url
        finally:
            await drop_database(url)

    def gateway(self, database_url: str, broker: Mosquitto) -> GatewayProcess:
        process = GatewayProcess(database_url, broker.url, self.log)
        process.forked = False
        process.environment |= {"BIOGATE_MQTT_USERNAME": "gateway", "BIOGATE_MQTT_PASSWORD": self.password}
        return process

    def subscriber(self, broker: Mosquitto, messages: int) -> subprocess.Popen[bytes]:
        """`mosquitto_sub -q 1`, which ends after so many messages."""
        argv = [
            self._program("mosquitto_sub", Path(broker.program).parent.parent / "bin"),
            *("-h", "127.0.0.1", "-p", str(broker.port), "-i", "reference", "-u", "gateway", "-P", self.password),
            *("-q", "1", "-t", "bioreactors/+/telemetry", "-C", str(messages)),
        ]
        return subprocess.Popen(self.place.command(argv, broker.user, broker.stop_signal), stdout=subprocess.DEVNULL)

    @contextlib.contextmanager
    def room(self) -> Iterator[Path]:
        """A directory that psql can read."""
        directory = self.stack.postgres.place.data / self.stack.paths.name / "room"
        directory.mkdir()
        try:
            yield directory
        finally:
            shutil.rmtree(directory)

    def psql(self, url: str, *commands: str) -> str:
        """What psql says to these commands."""
        postgres = self.stack.postgres
        argv = [f"{postgres.programs}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"]
        argv += [word for command in commands for word in ("-c", command)]
        command = postgres.place.command([*argv, url], postgres.user, postgres.stop_signal)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def _program(self, name: str, usual: Path) -> str:
        return str(usual / name) if self.place.root is not None else (shutil.which(name) or str(usual / name))


def device_names(count: int) -> Sequence[str]:
    return [f"{PREFIX}{n:05d}" for n in range(count)]


async def register(url: str, names: Sequence[str]) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("insert into devices (name) select unnest($1::text[]) on conflict do nothing", names)
    await connection.close()


@contextlib.contextmanager
def plant() -> Iterator[Plant]:
    with (
        deploy.stack.local(f"bench-{os.getpid()}") as stack,
        tempfile.TemporaryDirectory(prefix="biogate-bench-") as scratch,
    ):
        yield Plant(stack, Path(scratch))
