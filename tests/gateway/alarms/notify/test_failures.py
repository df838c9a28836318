"""Dead and slow channels, answers without bounds, and URLs that lead where they shall not."""

from __future__ import annotations

import asyncio
import functools
import resource
import zlib
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from gateway.alarms.notify.channel import AT_ONCE, OF_ONE, SendingPlaces
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
    for n in range(OF_ONE + 2):  # more than may be under way
        await plant.route(f"slow-{n}", hook.url)
    await plant.route("well", other_hook.url)
    async with notifying(database_url, secrets_dir, notify_timeout_s=2):
        await plant.becomes("unacknowledged", names[0])
        for n, name in enumerate(names[1:], 1):
            await until(lambda n=n: len(other_hook.received) == n)  # type: ignore[misc]
            await plant.becomes("unacknowledged", name)
        await until(lambda: len(other_hook.received) == 5)
        errors = {row[0] for row in await plant.sql.fetch("select last_error from alarm_routes where failures > 0")}
    assert errors == {"no answer within 2 s"}


async def test_slow_services_of_one_organization_delay_no_other_organization(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook, other_hook: Webhook
) -> None:
    north = await plant.sql.fetchval("insert into organizations (name, title) values ('n', 'N') returning 1 + 1")
    await plant.devices("n1", organization_id=north)
    await plant.rule("hot", north)
    await plant.devices("r1")
    await plant.rule()
    hook.hangs_s = 60
    for n in range(60):
        await plant.route(f"slow-{n}", hook.url, north)
    await plant.route("well", other_hook.url)
    async with notifying(database_url, secrets_dir, notify_timeout_s=60):
        await plant.becomes("unacknowledged", "n1")

        async def share_is_taken() -> bool:
            return hook.waiting == OF_ONE

        await eventually(share_is_taken, 30)
        await plant.becomes("unacknowledged", "r1")
        await until(lambda: bool(other_hook.received))
        assert (hook.waiting, hook.received) == (OF_ONE, [])
        assert await plant.sql.fetchval("select count(*) from alarm_routes where failures > 0") == 0


async def test_each_organization_has_a_share_of_the_places() -> None:
    places, free = SendingPlaces(), asyncio.Event()
    under_way: Counter[int] = Counter()

    async def send(organization_id: int) -> None:
        async with places.place(organization_id, failing=False):
            under_way[organization_id] += 1
            await free.wait()

    organizations = range(AT_ONCE // OF_ONE + 1)
    tasks = [asyncio.create_task(send(one)) for one in organizations for _ in range(60)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert under_way == dict.fromkeys(organizations[:-1], OF_ONE), "all places"
    free.set()
    await asyncio.gather(*tasks)
    assert set(under_way.values()) == {60}
    assert places.shares == 0


@functools.cache
def bomb(size: int = 400 << 20) -> bytes:
    """So many zeros, packed."""
    packer, part = zlib.compressobj(wbits=31), bytes(1 << 20)
    return b"".join(packer.compress(part) for _ in range(size >> 20)) + packer.flush()


def memory() -> int:
    """The most memory that this process has had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def test_an_answer_without_bounds_harms_nobody_else(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook, other_hook: Webhook
) -> None:
    await plant.devices("r1")
    await plant.rule()
    await plant.route("bomb", hook.url)
    await plant.route("well", other_hook.url)
    hook.packed = bomb()
    assert len(hook.packed) < 1 << 20
    before = memory()

    async def failed() -> bool:
        return bool(await plant.sql.fetchval("select failures from alarm_routes where name = 'bomb'"))

    async with notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", "r1")
        await until(lambda: bool(other_hook.received))
        await eventually(failed, 30)
    assert memory() - before < 64 << 20
    error = await plant.sql.fetchval("select last_error from alarm_routes where name = 'bomb'")
    assert error == "the service's answer is too large, or cannot be read"


async def test_an_answer_without_an_end_is_broken_off(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook
) -> None:
    await plant.devices("r1")
    await plant.rule()
    await plant.route("endless", hook.url)
    hook.trickles = True
    async with notifying(database_url, secrets_dir, notify_timeout_s=0.5):
        await plant.becomes("unacknowledged", "r1")
        await until(lambda: hook.broken > 0)
        hook.trickles = False
        seen = len(hook.received)
        await until(lambda: len(hook.received) > seen)  # it is tried again

        async def works() -> bool:
            return await plant.states() == {"done": 1}

        await eventually(works, 30)


async def test_a_channel_in_its_pause_after_a_failure_is_left_alone_but_for_a_test(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook
) -> None:
    await plant.devices("r1")
    await plant.rule()
    route_id = await plant.route("chat", hook.url)
    await plant.sql.execute("update alarm_routes set failures = 3, retry_at = now() + interval '1 hour'")
    async with notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", "r1")
        await plant.looked_at()
        assert hook.titles == []
        ask = "insert into alarm_notifications (route_id, kind, due_at) values ($1, 'test', now())"
        await plant.sql.execute(ask, route_id)
        await until(lambda: len(hook.received) == 2)  # the test; and what has waited, as the channel works
    assert hook.titles == ["Biogate: a test", "[critical] r1: Temperature high"]
    route = await plant.sql.fetchrow("select failures, retry_at from alarm_routes")
    assert tuple(route) == (0, None)


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
