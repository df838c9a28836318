"""All metrics of the process that evaluates alarms, but for those of notifications (notify/metrics.py)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from gateway.runtime.metric_kinds import SECONDS, BulkHistogram, OptionalGauge, build_info, show_zeros
from schema.alarms.machine import Action
from schema.alarms.rules import PRIORITIES

CAUSES = (
    *("condition", "return", "unknown", "known", "late", "late-return", "shelving-ended", "phase", "rule-changed"),
    *("removed", *Action),
)

LEADER = Gauge("biogate_alarm_leader", "1 while this process evaluates alarms, 0 on standby")
LEADERS_FROZEN = Counter(
    "biogate_alarm_leaders_frozen", "times that this process ended the database sessions of a leader that hung"
)
DATABASE_REACHABLE = OptionalGauge(
    "biogate_alarm_database_reachable", "1 if the database answered this process within 2 s, 0 if not; asked every 2 s"
)
STANDING = OptionalGauge("biogate_alarms", "alarms that are not normal; set by the leader", ["state", "priority"])
NOT_EVALUATED = OptionalGauge(
    "biogate_alarms_not_evaluated", "alarms whose rule is not evaluated on the device just now, by why", ["why"]
)
CLOCKS_SET_BACK = Counter("biogate_alarm_clocks_set_back", "times the clock of a device was found to be set back")
NUMBERS_BACK = Counter("biogate_alarm_numbers_back", "times the numbers (boot, seq) of a device went back")
WATCHED = OptionalGauge("biogate_alarm_devices", "devices under at least one rule")
UNREADABLE = OptionalGauge("biogate_alarm_rules_unreadable", "enabled rules that this version cannot read or evaluate")
TRANSITIONS = Counter("biogate_alarm_transitions", "stored transitions of alarms, by cause", ["cause"])
RAISED = Counter("biogate_alarms_raised", "alarms that became unacknowledged", ["priority"])
LAG = BulkHistogram("biogate_alarm_lag_seconds", "from a frame's receipt until its transition is stored", SECONDS)
TURN = BulkHistogram("biogate_alarm_turn_seconds", "duration of a turn: read, evaluate and store what is new", SECONDS)
NEWEST_AGE = OptionalGauge(
    "biogate_alarm_newest_frame_age_seconds", "time since the newest evaluated frame was received"
)
BEHIND = OptionalGauge("biogate_alarm_devices_behind", "devices that have unread frames after a turn")
EVALUATED = Counter("biogate_alarm_frames_evaluated", "frames read for evaluation")
SKIPPED = Counter("biogate_alarm_frames_skipped", "frames that were too old to be evaluated when the process came back")
ACTS = Counter("biogate_alarm_acts", "acts of people on alarms, by outcome", ["outcome"])
UNPUBLISHED = OptionalGauge("biogate_alarm_unpublished", "alarms whose last transition is not published at the broker")
PUBLISHED = Counter("biogate_alarm_published", "messages about alarms that the broker has acknowledged")
FAILURES = Counter("biogate_alarm_failures", "times the evaluation failed and began again", ["sqlstate"])
DEFECTS = Counter("biogate_alarm_defects", "times a part of the process failed by a defect and began again", ["what"])
EVENT_LOOP_LAG = BulkHistogram("biogate_alarm_event_loop_lag_seconds", "how late the event loop runs a task", SECONDS)
BUILD = build_info("biogate_alarm_build", "version of the alarms process")
OF_THE_LEADER = (STANDING, NOT_EVALUATED, WATCHED, UNREADABLE, NEWEST_AGE, BEHIND)
"""Figures that the evaluator forgets with the lead."""

show_zeros(CAUSES, TRANSITIONS)
show_zeros(PRIORITIES, RAISED)
show_zeros(("done", "refused"), ACTS)
