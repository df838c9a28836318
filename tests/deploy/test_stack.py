"""The stack as a library: real servers, real kills."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.stack import Local, Postgres, StackError, StartError, local, ports
from deploy.stack.errors import tail
from deploy.stack.local import erase, hold
from deploy.stack.paths import CHECKOUT, Paths
from deploy.stack.process import Process, holders
from deploy.stack.servers import Mosquitto
from deploy.stack.service import Module
from tests.processes import wait_until


@pytest.fixture
def paths(stack: Local) -> Iterator[Paths]:
    """A stack of the test's own, below the session's, which is removed whatever happens."""
    paths = Paths(f"{stack.paths.name}/own-{uuid.uuid4().hex[:8]}")
    yield paths
    erase(paths)


@pytest.fixture
def postgres(stack: Local, paths: Paths) -> Iterator[Postgres]:
    with Postgres(stack.postgres.place, paths, port=ports.any_free(), programs=stack.postgres.programs) as server:
        yield server


def another_mosquitto(stack: Local, paths: Paths, **options: object) -> Mosquitto:
    like = stack.mosquitto
    return Mosquitto(like.place, paths, port=ports.any_free(), program=like.program, **options)  # type: ignore[arg-type]


async def test_committed_rows_survive_kill_and_restart(postgres: Postgres) -> None:
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("create table t (n int)")
    for number, end in enumerate((signal.SIGKILL, signal.SIGINT)):
        await connection.execute("insert into t values ($1)", number)
        postgres.kill(end)
        assert postgres.process.wait(30)
        postgres.start()
        connection = await asyncpg.connect(postgres.url)
        assert await connection.fetchval("select count(*) from t") == number + 1
    await connection.close()


async def test_a_stop_does_not_wait_for_open_connections(postgres: Postgres) -> None:
    connection = await asyncpg.connect(postgres.url)
    assert postgres.stop()
    connection.terminate()


async def test_timescaledb_is_there_and_settings_reach_the_server(postgres: Postgres) -> None:
    connection = await asyncpg.connect(postgres.url)
    assert await connection.fetchval("select default_version from pg_available_extensions where name = 'timescaledb'")
    shown = {
        name: await connection.fetchval(f"show {name}")
        for name in ("synchronous_commit", "tcp_keepalives_idle", "fsync")
    }
    assert shown == {"synchronous_commit": "on", "tcp_keepalives_idle": "30", "fsync": "on"}
    assert await connection.fetchval("select current_setting('timescaledb.telemetry_level')") == "off"
    await connection.close()


async def test_the_database_asks_for_its_password(stack: Local) -> None:
    """Every user of the machine can reach loopback."""
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(stack.database_url, password="guess")
    assert (stack.postgres.data / "password").stat().st_mode & 0o007 == 0


def test_a_broken_configuration_is_named_with_the_log(stack: Local, paths: Paths) -> None:
    server = another_mosquitto(stack, paths, settings={"max_inflight_mesages": "1"})
    with pytest.raises(StartError) as error:
        server.start()
    text = str(error.value)
    assert text.startswith("Mosquitto did not start: exit code")
    assert "max_inflight_mesages" in text
    assert str(server.log.relative_to(CHECKOUT)) in text


def test_a_taken_port_is_named(stack: Local, paths: Paths) -> None:
    server = another_mosquitto(stack, paths)
    server.port = stack.mosquitto.port
    with pytest.raises(StartError, match=f"Mosquitto did not start: port {server.port} is taken"):
        server.start()


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    process = Process("Gauge", ["/no/such/gauge"], log=tmp_path / "gauge.log", lock=tmp_path / "lock")
    with pytest.raises(StartError, match=f"Gauge did not start: /no/such/gauge: {os.strerror(errno.ENOENT)}"):
        process.start()


def test_more_configuration_can_be_added(stack: Local, paths: Paths) -> None:
    port = ports.any_free()
    with another_mosquitto(stack, paths, extra=f"listener {port} 127.0.0.1\n") as server:
        assert ports.is_listening(port)
        assert ports.is_listening(server.port)


def test_the_next_free_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not ports.is_free(port)
        assert ports.next_free(port) > port
        assert ports.next_free(port, {port + 1}) > port + 1


def test_a_stack_runs_once(paths: Paths) -> None:
    descriptor = hold(paths)
    with pytest.raises(StackError, match=f"is running already, under process {os.getpid()}"):
        hold(paths)
    os.close(descriptor)
    os.close(hold(paths))


def test_an_old_process_on_the_same_lock_is_waited_for(tmp_path: Path) -> None:
    def process(script: str) -> Process:
        return Process("it", ["sh", "-c", script], log=tmp_path / "it.log", lock=tmp_path / "lock")

    old, new = process("sleep 0.5 & wait"), process("true")
    old.start()
    began = time.monotonic()
    new.start()
    assert time.monotonic() - began > 0.3
    assert not old.running


def test_servers_die_with_a_parent_that_is_killed_and_their_data_are_swept(stack: Local) -> None:
    name = f"{stack.paths.name}-killed"
    script = f"""
        import deploy.stack, time
        with deploy.stack.local({name!r}) as stack:
            print(stack.postgres.pid, stack.mosquitto.pid, flush=True)
            time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, cwd=CHECKOUT, text=True
    )
    assert parent.stdout is not None
    assert len(parent.stdout.readline().split()) == 2
    locks = [Paths(name).run / "postgres.lock", Paths(name).run / "mosquitto.lock"]
    assert all(holders(lock) for lock in locks)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not any(holders(lock) for lock in locks), 20)
    data, key = stack.postgres.place.data / name, Paths(name).key  # a key as `make up` makes it
    key.touch()
    assert data.exists()
    with local(f"{stack.paths.name}-next"):
        assert not data.exists()
        assert not key.exists()


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert tail(log) == []
    log.write_text("".join(f"line {n}\n" for n in range(5000)))
    assert tail(log, 2) == ["line 4998", "line 4999"]


def test_a_port_that_another_program_has_taken_is_noticed(paths: Paths) -> None:
    """Also where that program answers, and ours has not yet ended for it."""
    with socket.socket() as other:
        other.bind((ports.LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        part = web_server(paths, port)
        with pytest.raises(StartError, match="API did not start"):
            part.start()
    part = web_server(paths, port)
    with part:
        assert ports.listens(part.pid, port)
        assert not ports.listens(os.getpid(), port)


def web_server(paths: Paths, port: int) -> Module:
    return Module(
        paths,
        "API",
        ["http.server", "--bind", ports.LOOPBACK, str(port)],
        environment=os.environ,
        url=f"http://{ports.LOOPBACK}:{port}",
        ready=lambda: ports.is_listening(port),
    )


def test_a_log_is_bounded_while_its_process_writes(paths: Paths) -> None:
    lines = "import itertools, time\nfor n in itertools.count(): print(n, 'x' * 100, flush=True); time.sleep(0.001)"
    lock = paths.run / "chatty.lock"
    process = Process("chatty", [sys.executable, "-c", lines], log=paths.log / "chatty.log", lock=lock)
    kept, most = paths.log / "chatty.log.1", 20_000
    process.start()
    try:
        for _ in range(3):
            wait_until(lambda: process.log.stat().st_size > most, 20)
            process.bound_log(most)
            assert process.log.stat().st_size < most
            assert kept.stat().st_size > most
        before = process.log.stat().st_size
        wait_until(lambda: process.log.stat().st_size > before, 20)
        assert b"\0" not in process.log.read_bytes(), "it goes on where the file ends now"
    finally:
        process.stop()
