"""The servers of a run, and what is done to them: killed with all their children, frozen, robbed of their disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import asyncpg

import deploy.stack
from deploy.stack import Local, Mosquitto, Postgres, StackServer
from deploy.stack.paths import Paths
from deploy.stack.ports import any_free
from tests.databases import make_template, with_database
from tests.processes import wait_until

TEMPLATE = "biogate_template"
SMALL_DISK_MB = 640
OWN_MOUNTS = "BIOGATE_FAULTS_OWN_MOUNTS"


def family(pid: int) -> list[int]:
    """A process and all its descendants: PostgreSQL's are in process groups of their own."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                found += map(int, children.read_text().split())
    return found


def signal_all(server: StackServer, number: signal.Signals) -> None:
    """To a server and its children. For SIGKILL they are frozen first, so that none sees another one die."""
    if not server.process.running:
        return
    members = family(server.pid)
    for each in (signal.SIGSTOP, number) if number is signal.SIGKILL else (number,):
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, each)
    if number is signal.SIGKILL:
        server.process.wait(10)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in members), 10)


def start_again(server: StackServer, patience_s: float = 60) -> None:
    """Start a server that was killed. PostgreSQL recovers first."""
    server.spawn()
    server.wait_ready(patience_s)


def wipe(broker: Mosquitto) -> None:
    """Forget everything that the broker has saved: sessions, queues, retained messages."""
    for file in (broker.data / "data").glob("mosquitto.db*"):
        file.unlink()


class Site:
    """A PostgreSQL server for several runs one after the other; each has its own database, and its own broker."""

    def __init__(self, stack: Local) -> None:
        self.stack = stack
        self.postgres = stack.postgres

    @contextlib.contextmanager
    def new_broker(self) -> Iterator[Mosquitto]:
        usual = self.stack.mosquitto
        paths = Paths(f"{self.stack.paths.name}/broker-{uuid.uuid4().hex[:8]}")
        broker = Mosquitto(usual.place, paths, port=any_free(), program=usual.program)
        try:
            with broker:
                yield broker
        finally:
            signal_all(broker, signal.SIGCONT)
            broker.stop()
            shutil.rmtree(broker.data, ignore_errors=True)


async def new_database(server_url: str) -> str:
    """The URL of a fresh, migrated one: a copy of a template, which is made for the first."""
    name = f"run_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(with_database(server_url, "postgres"))
    try:
        if not await admin.fetchval("select exists (select from pg_database where datname = $1)", TEMPLATE):
            await make_template(with_database(server_url, "postgres"), TEMPLATE)
        await admin.execute(f"create database {name} template {TEMPLATE}")
    finally:
        await admin.close()
    return with_database(server_url, name)


async def drop_database(url: str) -> None:
    name = url.rpartition("/")[2]
    admin = await asyncpg.connect(with_database(url, "postgres"))
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@contextlib.contextmanager
def site(name: str) -> Iterator[Site]:
    """Processes start from the main thread: see deploy/stack/process.py."""
    with deploy.stack.local(name) as stack:
        yield Site(stack)


def second_postgres(site: Site, name: str, settings: dict[str, str]) -> Postgres:
    """Another PostgreSQL of the site, not started yet, with data of its own."""
    usual = site.postgres
    paths = site.stack.paths
    return Postgres(usual.place, paths, port=any_free(), programs=usual.programs, settings=settings, name=name)


def in_own_mounts() -> None:
    """Go on in a mount namespace of our own, if we may: a small disk is then gone with us, however we end."""
    if os.geteuid() != 0 or may_mount() or not shutil.which("unshare"):
        return
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0:
        os.environ[OWN_MOUNTS] = "yes"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, "-m", "tests.faults", *sys.argv[1:]])


def may_mount() -> bool:
    """Whether this process is one that `in_own_mounts` has made."""
    return OWN_MOUNTS in os.environ


@contextlib.contextmanager
def small_disk(postgres: Postgres) -> Iterator[Path]:
    """A tmpfs under a PostgreSQL that has not been started yet. Where a ballast file fills it."""
    postgres.data.mkdir(parents=True)
    size = f"size={SMALL_DISK_MB}m,mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "biogate-small-disk", str(postgres.data)], check=True)
    try:
        yield postgres.data / "ballast"
    finally:
        postgres.stop()
        subprocess.run(["umount", str(postgres.data)], check=True)
        shutil.rmtree(postgres.data, ignore_errors=True)


def fill(ballast: Path) -> None:
    """Leave nothing free."""
    with ballast.open("ab") as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 2**20)
            file.flush()


class Replica(Postgres):
    """A standby that follows `primary` synchronously, until it is promoted."""

    def __init__(self, primary: Postgres, paths: Paths, name: str) -> None:
        self.primary = primary
        super().__init__(primary.place, paths, port=any_free(), programs=primary.programs, name=name)

    def _initialise(self) -> None:
        cluster = self.data / "17"
        self.place.make(cluster, self.user)
        password = self.data / "password"
        password.write_text((self.primary.data / "password").read_text())
        self.place.show(password, self.user)
        self.place.run(
            [
                f"{self.programs}/pg_basebackup", "-D", self.place.inside(cluster), "-d", self.primary.url,
                "-X", "stream", "-c", "fast", "-R",
            ],
            self.user,
        )  # fmt: skip

    async def promote(self) -> None:
        connection = await asyncpg.connect(self.url)
        assert await connection.fetchval("select pg_promote(true, 60)")
        await connection.close()


async def wait_synchronous(primary: Postgres) -> None:
    """Until commits wait for the standby."""
    connection = await asyncpg.connect(primary.url)
    deadline = time.monotonic() + 30
    while not await connection.fetchval("select exists (select from pg_stat_replication where sync_state = 'sync')"):
        assert time.monotonic() < deadline, "the standby does not follow"
        await asyncio.sleep(0.1)
    await connection.close()
