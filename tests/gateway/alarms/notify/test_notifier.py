"""Who is told what and when: rows as the evaluator writes them → messages at real servers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from schema.alarms.notification_routes import DAYS
from tests.gateway.alarms.notify.plant import Plant, notifying, until
from tests.gateway.alarms.notify.receivers import Mailbox, Webhook
from tests.gateway.cell import eventually


async def test_an_alarm_is_told_with_what_the_operator_is_to_do(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook, mail: Mailbox
) -> None:
    await plant.devices("r7")
    await plant.sql.execute("update devices set title = 'Pilot 7', location = 'Hall 2'")
    when = {"kind": "limit", "channel": "temperature", "level": "high", "limit": 37.5}
    await plant.rule(when=when, message="Cooling water?", response="Open valve <V3>.\nCall Eva.")
    await plant.route("chat", hook.url, time_zone="Europe/Berlin")
    await plant.route("mail", mail.url)
    async with notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", "r7")
        await until(lambda: bool(hook.received and mail.mails))
    [told], [letter] = hook.received, mail.mails
    assert told.title == "[critical] r7: Temperature high"
    first, *rest = told.text.split("\n")
    assert first.startswith("not acknowledged, since 20")
    assert first.endswith((" CET", " CEST"))
    assert rest == [
        *("value 38.25 °C (above 37.5)", "limit: temperature above 37.5 °C", "r7: Pilot 7, Hall 2"),
        *("Cooling water?", "To do: Open valve <V3>.", "Call Eva."),
    ]
    assert told.tone == "failure"
    assert letter["subject"] == "[critical] r7: Temperature high"
    body = letter.get_body(("plain", "html"))
    assert body is not None
    assert "Open valve &lt;V3&gt;." in body.get_content() or body.get_content_type() == "text/plain"
    assert await plant.states() == {"done": 2}


async def test_a_burst_is_one_message(plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook) -> None:
    names = [f"r{n}" for n in range(25)]
    await plant.devices(*names)
    await plant.rule()
    await plant.rule("cold", priority="low")
    await plant.route("chat", hook.url, group_wait_s=0.5)
    async with notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", names[24], rule="cold")
        await plant.becomes("unacknowledged", *names[:24])
        await until(lambda: bool(hook.received))
        await plant.looked_at()
    [told] = hook.received
    assert told.title == "[critical] 25 alarms (24 critical, 1 low): r0, r1, r10, …"
    lines = told.text.split("\n")
    assert len(lines) == 21
    assert lines[-1] == "and 5 more"
    assert lines[0].startswith("[critical] r0: Temperature high; not acknowledged; value 38.25 (above 37.5); since 20")


async def test_each_route_tells_what_it_is_for(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook, other_hook: Webhook
) -> None:
    north = await plant.sql.fetchval("insert into organizations (name, title) values ('n', 'N') returning 1 + 1")
    await plant.devices("r1", tags=("pilot", "hall 2"))
    await plant.devices("r2", "r3")
    await plant.devices("n1", organization_id=north)
    for name, priority in (("hot", "critical"), ("warm", "low")):
        await plant.rule(name, priority=priority, title=name)
        await plant.rule(name, north, priority=priority, title=name)
    await plant.route("by-priority-and-device", hook.url, priorities=["critical"], devices=["r1", "r2"])
    await plant.route("by-tags", other_hook.url, tags=["hall 2"])
    await plant.route("off", hook.url, enabled=False)
    for rule in ("warm", "hot"):
        await plant.becomes("unacknowledged", "r1", "r2", "r3", "n1", rule=rule)
    async with notifying(database_url, secrets_dir):
        await until(lambda: bool(hook.received and other_hook.received))
        await plant.looked_at()
    assert sorted(line.split(";")[0] for line in hook.texts.split("\n")[1:]) == [
        "[critical] r1: hot",
        "[critical] r2: hot",
    ]
    assert [line.split(";")[0] for line in other_hook.texts.split("\n")[1:]] == ["[critical] r1: hot", "[low] r1: warm"]


async def test_it_is_told_again_until_somebody_acknowledges(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook
) -> None:
    await plant.devices("r1", "r2")
    await plant.rule()
    await plant.route("chat", hook.url, repeat_after_s=1)
    async with notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", "r1", "r2")
        await until(lambda: len(hook.received) >= 2)
        assert "nobody has acknowledged it for" not in hook.received[0].text
        assert hook.received[1].text.count("nobody has acknowledged it for") == 2
        await plant.becomes("acknowledged", "r1")
        await plant.becomes("returned-unacknowledged", "r2")  # that is not acknowledged either
        seen = len(hook.received)
        await until(lambda: len(hook.received) >= seen + 2)
        assert "returned, not acknowledged" in hook.received[-1].text
        assert hook.received[-1].title == "[critical] r2: Temperature high"
        await plant.becomes("normal", "r2", who="eva@example.org")
        await plant.looked_at(0.5)
        seen = len(hook.received)
        await plant.looked_at(1.5)
        assert len(hook.received) == seen


async def test_an_alarm_that_comes_and_goes_does_not_put_its_escalation_off(plant: Plant) -> None:
    """Until somebody has acknowledged it: then it is another occurrence."""
    await plant.devices("r1")
    await plant.rule()
    await plant.route("chat", "json://127.0.0.1:1", escalate_after_s=60, escalate_to="manager")
    for state in ("unacknowledged", "returned-unacknowledged", "unacknowledged"):
        await plant.becomes(state, "r1")
    times = "select escalate_at from alarm_notifications where kind = 'raised' order by n"
    first, again = [row["escalate_at"] for row in await plant.sql.fetch(times)]
    assert first == again is not None
    for state in ("acknowledged", "normal", "unacknowledged"):
        await plant.becomes(state, "r1")
    assert [row["escalate_at"] > first for row in await plant.sql.fetch(times)] == [False, False, True]


async def test_what_nobody_acknowledges_is_escalated(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook, other_hook: Webhook
) -> None:
    await plant.devices("r1", "r2", "r3")
    await plant.rule()
    await plant.route("manager", other_hook.url, priorities=[])
    await plant.route("chat", hook.url, escalate_after_s=4, escalate_to="manager")
    async with notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", "r1", "r2", "r3")
        await until(lambda: bool(hook.received))
        await plant.becomes("acknowledged", "r1")
        await plant.becomes("shelved", "r2")
        await plant.becomes("returned-unacknowledged", "r3")
        await plant.becomes("unacknowledged", "r3")  # coming and going puts it off no more
        await until(lambda: bool(other_hook.received))
        await plant.looked_at()
    assert other_hook.titles == ["[critical, escalated] r3: Temperature high"]
    assert "nobody has acknowledged it for" in other_hook.received[0].text
    assert set(await plant.states()) == {"done"}


async def test_a_return_and_an_acknowledgement_are_told_once_where_wanted(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook, other_hook: Webhook
) -> None:
    await plant.devices("r1", "r2")
    await plant.rule()
    await plant.route("chat", hook.url, send_returns=True)
    await plant.route("silent", other_hook.url)
    async with notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", "r1")
        await until(lambda: len(hook.received) == 1)
        await plant.becomes("acknowledged", "r1", who="eva@example.org")
        await until(lambda: len(hook.received) == 2)
        await plant.becomes("normal", "r1")
        await until(lambda: len(hook.received) == 3)
        await plant.looked_at()
    assert hook.titles == [
        "[critical] r1: Temperature high",
        "[acknowledged by eva@example.org] r1: Temperature high",
        "[normal again] r1: Temperature high",
    ]
    assert hook.received[2].tone == "success"
    assert len(other_hook.received) == 1


async def test_nothing_is_told_of_what_was_over_before(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook
) -> None:
    names = ("shelved", "suppressed", "out-of-service", "acknowledged", "returned-unacknowledged")
    await plant.devices(*names)
    await plant.rule()
    await plant.route("chat", hook.url, group_wait_s=1, send_returns=True)
    async with notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", *names)
        for state in names:
            await plant.becomes(state, state)
        await until(lambda: bool(hook.received))
        await plant.looked_at()
    assert hook.titles == ["[critical] returned-unacknowledged: Temperature high"]
    assert await plant.states() == {"done": 1, "dropped": 6}


async def test_outside_its_hours_a_route_waits(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook, other_hook: Webhook
) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1, hours=12)
    await plant.devices("r1")
    await plant.rule()
    await plant.route(
        "day", hook.url, hours=[{"days": [DAYS[tomorrow.weekday()]]}], escalate_after_s=1, escalate_to="night"
    )
    await plant.route("night", other_hook.url, hours=[{"days": [*DAYS]}])
    async with notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", "r1")
        await until(lambda: bool(other_hook.received))
        await plant.looked_at()
    assert hook.received == []
    assert other_hook.titles == ["[critical] r1: Temperature high"]
    waits = await plant.sql.fetchrow("select due_at, escalate_at from alarm_notifications where state = 'pending'")
    assert waits["due_at"].hour == 0
    assert waits["due_at"].weekday() == tomorrow.weekday()
    assert waits["escalate_at"] == waits["due_at"] + timedelta(seconds=1)


async def test_a_test_message_is_sent_at_once(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook
) -> None:
    await plant.route("chat", hook.url, hours=[{"days": ["mon"], "begins": "03:00", "ends": "03:01"}])
    await plant.route("dead", "json://127.0.0.1:1/")
    async with notifying(database_url, secrets_dir):
        await plant.sql.execute(
            "insert into alarm_notifications (route_id, kind, due_at) select route_id, 'test', now() from alarm_routes"
        )

        async def ended() -> bool:
            return await plant.states() == {"done": 1, "failed": 1}

        await eventually(ended, 30)
    assert hook.titles == ["Biogate: a test"]
    dead = await plant.sql.fetchrow("select last_error, failing_since from alarm_routes where name = 'dead'")
    assert tuple(dead) == ("the service cannot be reached, or broke off", None)
