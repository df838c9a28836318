"""The processes that notify: what the sending one has, what a kill loses, and which of two notifiers tells."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from gateway.alarms.notify import channel
from gateway.alarms.notify.notifier import LOCK
from tests.gateway.alarms.notify.plant import Plant, notifying, until
from tests.gateway.alarms.notify.receivers import Webhook
from tests.gateway.cell import eventually


async def test_the_sending_process_has_no_secrets_and_ends_with_the_one_that_started_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BIOGATE_DATABASE_URL", "postgresql://s3cret")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    process = await channel.started()
    environment = Path(f"/proc/{process.pid}/environ").read_text()
    assert "s3cret" not in environment
    assert "BIOGATE" not in environment
    assert "HTTPS_PROXY=http://proxy.example:3128" in environment
    assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n"
    assert process.stdin is not None
    process.stdin.close()  # as if the other process had died
    async with asyncio.timeout(30):
        assert await process.wait() == 0
    await channel.end(process)


async def test_of_a_sending_process_that_is_ended_nothing_is_left() -> None:
    """A pipe that outlives its event loop is an error in whatever runs later."""
    process = await channel.started()
    await channel.end(process)
    assert process.returncode == -signal.SIGKILL
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdin.is_closing()
    assert process.stdout.at_eof()


async def test_a_sending_process_that_is_killed_loses_no_message(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook
) -> None:
    await plant.devices("r1")
    await plant.rule()
    await plant.route("chat", hook.url)
    hook.hangs_s = 60
    async with notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", "r1")
        await until(lambda: hook.waiting == 1)
        for pid in senders():
            os.kill(pid, signal.SIGKILL)

        async def failed() -> bool:
            return bool(await plant.sql.fetchval("select last_error = $1 from alarm_routes", channel.ENDED))

        await eventually(failed, 30)
        hook.hangs_s = 0
        await until(lambda: bool(hook.received))
    assert senders() == []


def senders() -> list[int]:
    """The sending processes of this one."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if b"notify.sender" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_a_kill_loses_nothing_and_repeats_one_message_at_most(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook
) -> None:
    names = [f"r{n}" for n in range(18)]
    await plant.devices(*names)
    await plant.rule()
    await plant.route("chat", hook.url)
    hook.hangs_s = 0.1
    environment = {
        **os.environ,
        "BIOGATE_DATABASE_URL": database_url,
        "BIOGATE_MQTT_URL": "mqtt://127.0.0.1:1",
        "BIOGATE_SECRETS_DIR": str(secrets_dir),
        "BIOGATE_NOTIFY_PRIVATE": "true",
    }

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "tests.gateway.alarms.notify.process"], env=environment)

    process = start()
    try:
        for n, name in enumerate(names):
            await plant.becomes("unacknowledged", name)
            await asyncio.sleep(0.1)
            if n in {5, 11}:
                taken = len(hook.received)
                await until(lambda taken=taken: len(hook.received) > taken)  # type: ignore[misc]
                process.send_signal(signal.SIGKILL)
                process.wait()
                process = start()
        await until(lambda: all(f" {name}: " in hook.texts for name in names))

        async def noted() -> bool:
            return await plant.states() == {"done": len(names)}

        await eventually(noted, 30)
    finally:
        process.kill()
        process.wait()
    told = Counter(name for one in hook.received for name in names if f" {name}: " in f"{one.title}\n{one.text}")
    assert set(told) == set(names)
    assert max(told.values()) <= 3  # by two kills


async def test_of_two_notifiers_one_tells(plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook) -> None:
    await plant.devices("r1", "r2", "r3")
    await plant.rule()
    await plant.route("chat", hook.url)
    async with notifying(database_url, secrets_dir), notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", "r1")
        await until(lambda: bool(hook.received))
        await plant.becomes("unacknowledged", "r2")
        await until(lambda: len(hook.received) == 2)
        await plant.looked_at()
        assert len(hook.received) == 2
        await plant.sql.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name like 'biogate-notify%' and datname = current_database()"
        )
        await plant.becomes("unacknowledged", "r3")
        await until(lambda: len(hook.received) == 3)
        await plant.looked_at()
    assert len(hook.received) == 3


async def test_who_finds_the_lock_taken_after_its_connection_was_lost_tells_nothing(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook
) -> None:
    await plant.devices("r1", "r2")
    await plant.rule()
    await plant.route("chat", hook.url)
    async with notifying(database_url, secrets_dir), connected(database_url) as other:
        await plant.becomes("unacknowledged", "r1")
        await until(lambda: len(hook.received) == 1)
        taking = asyncio.create_task(other.execute(LOCK.replace("_try", "")))  # as another process, and before this one
        await eventually(lambda: plant.sql.fetchval(f"select exists ({WAITS})"), 30)
        await plant.sql.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where {LISTENS}")
        await taking
        await plant.becomes("unacknowledged", "r2")

        async def listens_again() -> bool:
            return bool(await plant.sql.fetchval(f"select exists (select from pg_stat_activity where {LISTENS})"))

        await eventually(listens_again, 30)
        await asyncio.sleep(0.5)  # for a message that shall not be sent
        assert len(hook.received) == 1
        await other.execute("select pg_advisory_unlock_all()")
        await until(lambda: len(hook.received) == 2)


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


WAITS = """
select from pg_locks l join pg_database d on d.oid = l.database
 where d.datname = current_database() and l.locktype = 'advisory' and not l.granted"""
LISTENS = "application_name like 'biogate-notify%' and datname = current_database()"
