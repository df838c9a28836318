"""What the notifier counts: messages by the kind of channel, escalations, and what waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY

from tests.gateway.alarms.notify.plant import Plant, notifying, until
from tests.gateway.alarms.notify.receivers import Webhook
from tests.gateway.samples import counted, more

NAMES = ("biogate_notification_messages", "biogate_notifications_escalated", "biogate_notifications_diverted")


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_messages_are_counted_by_what_became_of_them(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook, other_hook: Webhook
) -> None:
    await plant.devices("r1")
    await plant.rule()
    await plant.route("first", hook.url, escalate_to="off", escalate_after_s=1)
    settings: dict[str, Any] = {"enabled": False, "priorities": [], "escalate_to": "last", "escalate_after_s": 3600}
    await plant.route("off", other_hook.url, **settings)
    await plant.route("last", other_hook.url, priorities=[])
    kind, before = hook.url.partition(":")[0], counted()
    async with notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", "r1")
        await until(lambda: bool(other_hook.received))
        expected = {
            f"biogate_notification_messages_sent_total{{scheme={kind}}}": 2,
            "biogate_notifications_escalated_total": 1,
            "biogate_notifications_diverted_total": 1,
        }
        await until(lambda: more(before, *NAMES) == expected)


async def test_what_waits_and_what_fails_is_told(
    plant: Plant, database_url: str, secrets_dir: Path, hook: Webhook, other_hook: Webhook
) -> None:
    await plant.devices("r1", "r2")
    await plant.rule()
    hook.status = 503
    await plant.route("dead", hook.url)
    await plant.route("watching", other_hook.url, repeat_after_s=3600)
    kind, before = hook.url.partition(":")[0], counted()
    async with notifying(database_url, secrets_dir):
        await plant.becomes("unacknowledged", "r1", "r2")
        await until(lambda: value("biogate_notifications", state="pending") == 2)
        await until(lambda: value("biogate_notifications", state="watched") == 2)
        await until(lambda: value("biogate_notification_routes_failing") == 1)
        told = more(before, *NAMES)
        assert told[f"biogate_notification_messages_failed_total{{scheme={kind}}}"] >= 1
        assert told[f"biogate_notification_messages_sent_total{{scheme={kind}}}"] == 1
        await plant.sql.execute("update alarm_notifications set due_at = due_at - interval '1000 s'")
        await until(lambda: 1000 <= (value("biogate_notifications_oldest_seconds") or 0) < 1600)
