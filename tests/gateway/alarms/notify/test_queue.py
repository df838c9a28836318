"""What the notifier's statements touch: what is of this organization, enabled, and of this version of a route."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateway.alarms.notify.queue import ENDED_KEPT, Due, Queue
from gateway.runtime.database import Pool
from schema.alarms.notification_routes import NotificationRoute
from tests.gateway.alarms.notify.plant import Plant

TOLD = """
select r.name, o.name, q.kind, q.about
  from alarm_notifications q join alarm_routes r using (route_id) join organizations o using (organization_id)
 where q.kind in ('escalated', 'failing', 'works') order by 2, 1, q.notification_id"""
ROUTE = NotificationRoute(group_wait_s=0.0)


@pytest.fixture
def queue(plant: Plant, pool: Pool) -> Queue:
    return Queue(pool)


async def told(plant: Plant) -> list[tuple[str, str, str, str | None]]:
    return [tuple(row) for row in await plant.sql.fetch(TOLD)]


async def neighbours(plant: Plant) -> int:
    """A second organization, whose routes have the names of the first one's."""
    north = int(await plant.sql.fetchval("insert into organizations (name, title) values ('north', 'N') returning 2"))
    for name in ("chat", "dead", "manager"):
        await plant.route(name, "json://127.0.0.1:1", north, priorities=[])
    return north


@pytest.mark.parametrize(
    ("chain", "off", "expected"),
    [
        (["manager"], "", ["manager"]),
        (["manager"], "manager", ["mail", "owner"]),  # there is no next one: all others
        (["manager"], "manager mail owner", []),
        (["manager", "owner"], "manager", ["owner"]),
        (["manager", "owner", "mail"], "manager owner", ["mail"]),
        (["manager", "owner"], "manager owner", ["mail"]),
        (["manager", "chat"], "manager", ["mail", "owner"]),  # the next one has told it
        (["manager", "owner", "manager"], "manager owner", ["mail"]),  # in a circle
    ],
)
async def test_an_escalation_goes_to_the_next_enabled_route_of_its_organization_or_to_all_others(
    plant: Plant, queue: Queue, chain: list[str], off: str, expected: list[str]
) -> None:
    await neighbours(plant)
    await plant.devices("v1")
    await plant.rule()
    after = dict(zip(["chat", *chain], chain, strict=False))
    for name in ("chat", "manager", "owner", "mail"):
        chosen: dict[str, Any] = {} if name == "chat" else {"priorities": []}
        if name in after:
            chosen |= {"escalate_after_s": 60, "escalate_to": after[name]}
        await plant.route(name, "json://127.0.0.1:1", enabled=name not in off.split(), **chosen)
    await plant.becomes("unacknowledged", "v1")
    assert await queue.escalate() == (0, 0)  # it is not due yet
    await plant.sql.execute("update alarm_notifications set escalate_at = now()")
    assert await queue.escalate() == (len(expected), int("manager" in off))
    assert await told(plant) == [(name, "main", "escalated", None) for name in expected]
    assert await queue.escalate() == (0, 0)


async def test_of_a_dead_route_the_other_enabled_ones_of_its_organization_are_told_and_of_its_recovery_too(
    plant: Plant, queue: Queue
) -> None:
    await neighbours(plant)
    dead = await plant.route("dead", "json://127.0.0.1:1")
    await plant.route("chat", "json://127.0.0.1:1")
    await plant.route("off", "json://127.0.0.1:1", enabled=False)
    fails = "update alarm_routes set failing_since = now() - interval '1 h' where route_id = $1"
    await plant.sql.execute(fails, dead)
    await queue.report(timedelta(hours=2))
    assert await told(plant) == []
    await queue.report(timedelta(minutes=59))
    assert await told(plant) == [("chat", "main", "failing", "dead")]
    await queue.report(timedelta(minutes=59))
    await queue.sent(await due(plant, dead), ROUTE, [])
    assert await told(plant) == [("chat", "main", "failing", "dead"), ("chat", "main", "works", "dead")]
    await queue.sent(await due(plant, dead), ROUTE, [])  # it was told
    assert len(await told(plant)) == 2


async def test_a_report_has_the_failure_of_the_route_of_its_organization(plant: Plant, queue: Queue) -> None:
    north = await neighbours(plant)
    await plant.route("dead", "json://127.0.0.1:1")
    chat = await plant.route("chat", "json://127.0.0.1:1")
    says = "update alarm_routes set failing_since = now(), last_error = $2 where name = 'dead' and organization_id = $1"
    await plant.sql.execute(says, 1, "ours")
    await plant.sql.execute(says, north, "theirs")
    await queue.report(timedelta(seconds=-1))
    rows, _ = await queue.take(await due(plant, chat), ROUTE, timedelta(days=1))
    assert [(row["about"], row["last_error"]) for row in rows] == [("dead", "ours")]


async def test_a_failure_under_an_old_address_is_none_of_the_route_that_was_changed_meanwhile(
    plant: Plant, queue: Queue
) -> None:
    chat = await plant.route("chat", "json://127.0.0.1:1")
    before = await due(plant, chat)
    failing = "select failures, last_error, retry_at is not null from alarm_routes where route_id = $1"
    await queue.not_sent(before, [], "no answer", 60)
    assert tuple(await plant.sql.fetchrow(failing, chat)) == (1, "no answer", True)
    saved = "update alarm_routes set version = version + 1, failures = 0, last_error = null, retry_at = null"
    await plant.sql.execute(saved)
    await queue.not_sent(before, [], "no answer", 60)
    assert tuple(await plant.sql.fetchrow(failing, chat)) == (0, None, False)


async def test_it_is_given_up_so_long_after_the_first_try_and_not_after_it_was_made(plant: Plant, queue: Queue) -> None:
    """A route may have waited for its hours."""
    chat = await plant.route("chat", "json://127.0.0.1:1")
    add = "insert into alarm_notifications (route_id, kind, about, created_at, tried_at, due_at)"
    for about, tried in (("never", None), ("now", timedelta(0)), ("long-ago", timedelta(hours=25))):
        values = " values ($1, 'failing', $2, now() - interval '3 days', now() - $3::interval, now())"
        await plant.sql.execute(add + values, chat, about, tried)
    rows, given_up = await queue.take(await due(plant, chat), ROUTE, timedelta(days=1))
    assert ([row["about"] for row in rows], given_up) == (["never", "now"], 1)


async def test_who_waits_for_the_hours_waits_with_the_escalation_too(plant: Plant, queue: Queue) -> None:
    await plant.devices("v1")
    await plant.rule()
    chat = await plant.route("chat", "json://127.0.0.1:1", escalate_after_s=600, escalate_to="chat-2")
    await plant.becomes("unacknowledged", "v1")
    found = "select due_at, escalate_at from alarm_notifications"
    begins = await queue.now() + timedelta(hours=1)
    route = NotificationRoute(group_wait_s=0.0, escalate_after_s=600, escalate_to="chat-2")
    for until in (begins, begins - timedelta(hours=2)):  # what waits longer already goes on waiting
        await queue.postpone(await due(plant, chat), route, until)
        assert tuple(await plant.sql.fetchrow(found)) == (begins, begins + timedelta(seconds=600))


async def test_what_has_ended_is_deleted_after_a_while_and_nothing_else(plant: Plant, queue: Queue) -> None:
    await plant.route("chat", "json://127.0.0.1:1")
    for age in (ENDED_KEPT + timedelta(minutes=1), ENDED_KEPT - timedelta(minutes=1)):
        await plant.sql.execute(
            "insert into alarm_notifications (route_id, kind, state, created_at, due_at)"
            " select route_id, 'failing', state, now() - $1::interval, now() from alarm_routes,"
            " unnest('{pending,watched,done,dropped,failed}'::text[]) as state",
            age,
        )
    await queue.clear()
    left = await plant.sql.fetch("select state, count(*) from alarm_notifications group by 1")
    assert {row["state"]: row["count"] for row in left} == {"pending": 2, "watched": 2} | dict.fromkeys(
        ("done", "dropped", "failed"), 1
    )


async def test_what_is_measured_is_what_is_untold_and_which_routes_fail_that_are_on(plant: Plant, queue: Queue) -> None:
    for name, enabled in (("well", True), ("dead", True), ("off", False)):
        await plant.route(name, "json://127.0.0.1:1", enabled=enabled)
    await plant.sql.execute("update alarm_routes set failing_since = now(), failures = 1 where name <> 'well'")
    assert await queue.measure() == ({"pending": 0, "watched": 0}, 0.0, 1)
    await plant.sql.execute(
        "insert into alarm_notifications (route_id, kind, state, due_at)"
        " select route_id, 'failing', state, now() - age * interval '1 s' from alarm_routes,"
        " (values ('pending', 50), ('pending', -50), ('watched', 900), ('done', 900)) as w (state, age)"
        " where name = 'well'"
    )
    counts, oldest, failing = await queue.measure()
    assert (counts, failing) == ({"pending": 2, "watched": 1}, 1)
    assert 50 <= oldest < 350


async def due(plant: Plant, route_id: int) -> Due:
    row = await plant.sql.fetchrow(
        "select route_id, organization_id, name, definition, enabled, url, version, failures, null::bigint as test"
        " from alarm_routes where route_id = $1",
        route_id,
    )
    return Due(*row)
