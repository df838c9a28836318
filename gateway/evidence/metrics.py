"""All metrics of the process that signs the audit trails."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from gateway.runtime.metric_kinds import SECONDS, BulkHistogram, OptionalGauge, build_info, show_zeros

PLACES = ("table", "file", "broker")

LEADER = Gauge("biogate_evidence_leader", "1 while this process signs, 0 on standby")
LEADERS_FROZEN = Counter(
    "biogate_evidence_leaders_frozen", "times that this process ended the database sessions of a leader that hung"
)
DATABASE_REACHABLE = OptionalGauge(
    "biogate_evidence_database_reachable",
    "1 if the database answered this process within 2 s, 0 if not; asked every 2 s",
)
CHECKPOINTS = Counter("biogate_evidence_checkpoints", "checkpoints of audit trails that were signed")
UNSIGNED_AGE = OptionalGauge(
    "biogate_evidence_unsigned_seconds", "age of the oldest event of an audit trail that no checkpoint vouches for"
)
HALTED = OptionalGauge(
    "biogate_evidence_halted", "audit trails that are not signed because they do not go on from what was signed"
)
CAUGHT_UP = Counter(
    "biogate_evidence_caught_up", "checkpoints that were missing in a place, and were put there", ["place"]
)
PUBLISHED = Counter("biogate_evidence_published", "checkpoints that the broker has acknowledged")
RECORDS = Counter("biogate_evidence_records", "records of which a digest was written into an audit trail", ["kind"])
STAMPS = Counter("biogate_evidence_stamps", "time stamps of checkpoints, by outcome", ["outcome"])
VERIFIED = OptionalGauge(
    "biogate_audit_verified", "1 if the last verification of all audit trails found all as it was signed, 0 if not"
)
VERIFIED_AT = OptionalGauge("biogate_audit_verified_timestamp_seconds", "when the last verification ended")
FAULTS = OptionalGauge("biogate_audit_faults", "what the last verification of all audit trails found")
VERIFICATION = BulkHistogram("biogate_audit_verification_seconds", "duration of a verification of all", SECONDS)
FAILURES = Counter("biogate_evidence_failures", "times that signing failed and began again", ["sqlstate"])
DEFECTS = Counter(
    "biogate_evidence_defects", "times a part of the process failed by a defect and began again", ["what"]
)
EVENT_LOOP_LAG = BulkHistogram(
    "biogate_evidence_event_loop_lag_seconds", "how late the event loop runs a task", SECONDS
)
BUILD = build_info("biogate_evidence_build", "version of the evidence process")
OF_THE_LEADER = (UNSIGNED_AGE, HALTED, VERIFIED, VERIFIED_AT, FAULTS)
"""Figures that the process forgets with the lead."""

show_zeros(PLACES, CAUGHT_UP)
show_zeros(("made", "failed"), STAMPS)
show_zeros(("alarm_transitions", "device_events", "lab_samples", "materials"), RECORDS)
