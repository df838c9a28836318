"""Dead and slow channels, kills, and URLs that lead where they shall not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from gateway.alarms.notify.notifier import LOCK
from tests.gateway.alarms.notify.plant import Plant, notifying, until
from tests.gateway.alarms.notify.receivers import Webhook
from tests.gateway.cell import eventually


async def test_a_dead_channel_is_reported_and_nothing_is_lost(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook, other_hook: Webhook
) -> None:
    await plant.devices("r1", "r2")
    await plant.rule()
    await plant.route("dead", hook.url)
    await plant.route("well", other_hook.url, priorities=[])
    hook.status = 503
    async with notifying(database_url, secrets_dir, notify_report_s=1):
        await plant.becomes("unacknowledged", "r1")
        await until(lambda: "Alarm route dead fails" in other_hook.titles)
        assert "the service answered 5xx" in other_hook.texts
        await plant.becomes("unacknowledged", "r2")
        route = await plant.sql.fetchrow("select * from alarm_routes where name = 'dead'")
        assert route["failing_since"] is not None
        assert route["last_error"] == "the service answered 5xx"
        hook.status = 200
        await until(lambda: "r1" in hook.texts and "r2" in hook.texts)
        await until(lambda: "Alarm route dead works again" in other_hook.titles)
        await plant.looked_at()
    assert hook.refused >= 2
    assert len(other_hook.titles) == 2
    route = await plant.sql.fetchrow("select * from alarm_routes where name = 'dead'")
    assert (route["failing_since"], route["last_error"], route["failures"]) == (None, None, 0)
    assert await plant.states() == {"done": 4}


async def test_what_cannot_be_told_for_too_long_is_given_up(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook
) -> None:
    before = REGISTRY.get_sample_value("biogate_notifications_given_up_total") or 0
    await plant.devices("r1")
    await plant.rule()
    await plant.route("dead", hook.url)
    hook.status = 500
    async with notifying(database_url, secrets_dir, notify_give_up_s=1):
        await plant.becomes("unacknowledged", "r1")

        async def failed() -> bool:
            return await plant.states() == {"failed": 1}

        await eventually(failed, 30)
    assert REGISTRY.get_sample_value("biogate_notifications_given_up_total") == before + 1


async def test_hanging_channels_delay_no_other(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook, other_hook: Webhook
) -> None:
    names = [f"r{n}" for n in range(5)]
    await plant.devices(*names)
    await plant.rule()
    hook.hangs_s = 60
    for n in range(12):  # more than may be under way
        await plant.route(f"slow-{n}", hook.url)
    await plant.route("well", other_hook.url)
    async with notifying(database_url, secrets_dir, notify_timeout_s=0.5):
        await plant.becomes("unacknowledged", names[0])
        for n, name in enumerate(names[1:], 1):
            await until(lambda n=n: len(other_hook.received) == n)  # type: ignore[misc]
            await plant.becomes("unacknowledged", name)
        await until(lambda: len(other_hook.received) == 5)
        errors = {row[0] for row in await plant.sql.fetch("select last_error from alarm_routes where failures > 0")}
    assert errors == {"no answer within 0.5 s"}
    assert await plant.sql.fetchval("select max(failures) from alarm_routes") == 1  # as long as it hangs


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
    async with notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", "r1")
        await until(lambda: len(hook.received) == 1)
        await plant.sql.execute(f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where {LISTENS}")
        assert await plant.sql.fetchval(LOCK)  # as another process does that has noticed before it
        await plant.becomes("unacknowledged", "r2")

        async def listens_again() -> bool:
            return bool(await plant.sql.fetchval(f"select exists (select from pg_stat_activity where {LISTENS})"))

        await eventually(listens_again, 30)
        await asyncio.sleep(0.5)  # for a message that shall not be sent
        assert len(hook.received) == 1
        await plant.sql.execute("select pg_advisory_unlock_all()")
        await until(lambda: len(hook.received) == 2)


LISTENS = "application_name like 'biogate-notify%' and datname = current_database()"

UNREACHED = "the service cannot be reached at a public address, or broke off"
ASTRAY = {
    "json://127.0.0.1:{port}/s3cret-token": UNREACHED,
    "json://localhost:{port}/s3cret-token?redirect=yes": UNREACHED,
    "mailto://u:s3cret-token@example.org?smtp=127.0.0.1&port={port}&to=a@example.org": UNREACHED,
    "json://s3cret-token.invalid/": UNREACHED,  # a name that there is not looks the same
    "exec://s3cret-token": "URLs of the kind exec are not allowed here",
    "json://:s3cret-token@/": "the URL is none that its kind understands",
}


async def test_a_url_leads_nowhere_else_and_is_never_shown(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    await plant.devices("r1")
    await plant.rule()
    for n, url in enumerate(ASTRAY):
        await plant.route(f"astray-{n}", url.format(port=hook.port))
    async with notifying(database_url, secrets_dir, notify_private=False):
        await plant.becomes("unacknowledged", "r1")

        async def failed() -> bool:
            return bool(await plant.sql.fetchval("select bool_and(failures > 0) from alarm_routes"))

        await eventually(failed, 30)
    errors = [row[0] for row in await plant.sql.fetch("select last_error from alarm_routes order by name")]
    assert errors == list(ASTRAY.values())
    assert hook.received == []
    said = "".join(capsys.readouterr())
    assert all(error in said for error in errors)
    assert "s3cret" not in said


async def test_a_defect_in_what_one_route_tells_is_its_own(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook
) -> None:
    await plant.devices("r1")
    await plant.rule()
    await plant.route("broken", hook.url)
    await plant.route("well", hook.url)
    await plant.sql.execute("update alarm_routes set url = 'too short' where name = 'broken'")
    await plant.route("nonsense", hook.url)
    atlantis = """definition || '{"time_zone": "Europe/Atlantis"}'"""
    await plant.sql.execute(f"update alarm_routes set definition = {atlantis} where name = 'nonsense'")
    async with notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", "r1")
        await until(lambda: len(hook.received) == 1)
        await plant.looked_at()
    assert hook.titles == ["[critical] r1: Temperature high"]
    errors = {row["name"]: row["last_error"] for row in await plant.sql.fetch("select * from alarm_routes")}
    assert errors == {
        "broken": "the route's URL was sealed to another key: enter it again",
        "well": None,
        "nonsense": None,
    }
