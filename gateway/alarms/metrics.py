"""All metrics of the process that evaluates alarms. Those of its notifications are in notify/."""

from __future__ import annotations

from importlib.metadata import version

from prometheus_client import Counter, Gauge, Info, disable_created_metrics

from gateway.runtime.metric_kinds import SECONDS, BulkHistogram, OptionalGauge
from schema.alarms.machine import Action

disable_created_metrics()  # type: ignore[no-untyped-call]  # they say nothing that a restart counter does not

CAUSES = (
    *("condition", "return", "unknown", "known", "shelving-ended", "phase", "rule-changed", "removed"),
    *(action.value for action in Action),
)

LEADER = Gauge("biogate_alarm_leader", "1 while this process evaluates alarms, 0 on standby")
STANDING = OptionalGauge(
    "biogate_alarms", "alarms that are not normal, by state and priority; told by who leads", ["state", "priority"]
)
UNKNOWN = OptionalGauge("biogate_alarms_unknown", "alarms of which it cannot be told whether their condition holds")
WATCHED = OptionalGauge("biogate_alarm_devices", "devices under at least one rule")
UNREADABLE = Gauge("biogate_alarm_rules_unreadable", "enabled rules that this version cannot read and so skips")
TRANSITIONS = Counter("biogate_alarm_transitions", "transitions of alarms stored", ["cause"])
RAISED = Counter("biogate_alarms_raised", "alarms that became unacknowledged", ["priority"])
LAG = BulkHistogram(
    "biogate_alarm_lag_seconds", "receipt of a frame by the gateway to the transition it makes being stored", SECONDS
)
TURN = BulkHistogram("biogate_alarm_turn_seconds", "time to read, evaluate and store what is new", SECONDS)
NEWEST_AGE = OptionalGauge("biogate_alarm_newest_frame_age_seconds", "since the newest frame evaluated was received")
BEHIND = OptionalGauge("biogate_alarm_devices_behind", "devices with frames that wait for evaluation, after a turn")
EVALUATED = Counter("biogate_alarm_frames_evaluated", "frames read for evaluation")
SKIPPED = Counter("biogate_alarm_frames_skipped", "frames too old to be evaluated after the process was away")
ACTS = Counter("biogate_alarm_acts", "what people asked for, by what became of it", ["outcome"])
UNPUBLISHED = OptionalGauge("biogate_alarm_unpublished", "alarms whose last transition the broker has not been told of")
PUBLISHED = Counter("biogate_alarm_published", "messages about alarms that the broker has taken")
FAILURES = Counter("biogate_alarm_failures", "times evaluation failed and began anew from what is stored", ["sqlstate"])
DEFECTS = Counter("biogate_alarm_defects", "times a part of the process failed by a defect and began anew", ["what"])
EVENT_LOOP_LAG = BulkHistogram(
    "biogate_alarm_event_loop_lag_seconds", "how much later than asked for a task gets its turn", SECONDS
)
BUILD = Info("biogate_alarm_build", "version of the alarms process")
BUILD.info({"version": version("biogate")})

for _cause in CAUSES:
    TRANSITIONS.labels(_cause)
for _priority in ("low", "medium", "high", "critical"):
    RAISED.labels(_priority)
for _outcome in ("done", "refused"):
    ACTS.labels(_outcome)
