"""All metrics of the canary."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from gateway.runtime.metric_kinds import SECONDS, BulkHistogram, build_info, show_zeros

PUBLISHED = Counter("biogate_canary_published", "values that were due, also those that the broker did not accept")
SEEN = Counter("biogate_canary_seen", "values read back from the API in time and unchanged")
LOST = Counter(
    "biogate_canary_lost",
    "values not read back in time, by reason: publish (the broker did not accept it), read (the API "
    "did not answer), absent (it answered without the value), wrong (it had another value)",
    ["why"],
)
SECONDS_TO_SEE = BulkHistogram("biogate_canary_seconds", "time from publishing a value to reading it back", SECONDS)
CONNECTED = Gauge("biogate_canary_connected", "1 while connected to the broker")
REFUSED = Gauge("biogate_canary_refused", "1 while the API refuses the canary's key, or the broker its login", ["by"])
EVENT_LOOP_LAG = BulkHistogram("biogate_canary_event_loop_lag_seconds", "how late the event loop runs a task", SECONDS)
BUILD = build_info("biogate_canary_build", "version of the canary")

show_zeros(("publish", "read", "absent", "wrong"), LOST)
show_zeros(("api", "broker"), REFUSED)
