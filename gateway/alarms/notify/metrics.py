"""All metrics of notifications, which the process that evaluates alarms sends."""

from __future__ import annotations

from prometheus_client import Counter

from gateway.runtime.metric_kinds import OptionalGauge

QUEUE = OptionalGauge("biogate_notifications", "notifications pending, or watched until acknowledged", ["state"])
OLDEST = OptionalGauge("biogate_notifications_oldest_seconds", "how long the oldest unsent notification has been due")
ROUTES_FAILING = OptionalGauge("biogate_notification_routes_failing", "enabled routes whose last message failed")
SENT = Counter("biogate_notification_messages_sent", "messages that a channel has accepted", ["scheme"])
FAILED = Counter("biogate_notification_messages_failed", "failed attempts to send a message", ["scheme"])
GIVEN_UP = Counter("biogate_notifications_given_up", "notifications never sent, because their channel failed too long")
ESCALATED = Counter("biogate_notifications_escalated", "notifications of unacknowledged alarms to a further route")
DIVERTED = Counter(
    "biogate_notifications_diverted", "escalations whose route was off, so that the next one or all others were told"
)
