"""Metrics of notifications, in the process that evaluates alarms."""

from __future__ import annotations

from prometheus_client import Counter

from gateway.runtime.metric_kinds import OptionalGauge

QUEUE = OptionalGauge(
    "biogate_notifications",
    "notifications that wait to be told, or are watched until they are acknowledged; told by who sends",
    ["state"],
)
OLDEST = OptionalGauge("biogate_notifications_oldest_seconds", "since when the oldest is due that was not told yet")
ROUTES_FAILING = OptionalGauge("biogate_notification_routes_failing", "routes whose channel refused the last message")
SENT = Counter("biogate_notification_messages_sent", "messages that a channel has taken", ["scheme"])
FAILED = Counter(
    "biogate_notification_messages_failed", "messages that a channel has not taken: tried again", ["scheme"]
)
GIVEN_UP = Counter(
    "biogate_notifications_given_up", "notifications that were never told, as their channel was dead for too long"
)
ESCALATED = Counter(
    "biogate_notifications_escalated", "alarms told by a further route, as nobody had acknowledged them"
)
