"""All metrics of the gateway process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version

import numpy as np
from prometheus_client import REGISTRY, Counter, Gauge, Info, disable_created_metrics
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.items import ITEM_KINDS
from schema.enrollment import Refusal
from schema.reasons import Reason

disable_created_metrics()  # type: ignore[no-untyped-call]  # they say nothing that a restart counter does not


class BulkHistogram(Collector):
    """A histogram that takes a whole batch of observations at once (the client's own takes one at a time)."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name, self._documentation = name, documentation
        self._bounds = np.asarray(bounds, dtype=np.float64)
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._sum = 0.0
        REGISTRY.register(self)

    def observe(self, values: np.ndarray | float) -> None:
        """Count `values` (any shape) into their buckets."""
        flat = np.atleast_1d(np.asarray(values, dtype=np.float64))
        self._counts += np.bincount(np.searchsorted(self._bounds, flat), minlength=len(self._counts))
        self._sum += float(flat.sum())

    def collect(self) -> Iterable[Metric]:
        bounds = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        buckets = list(zip(bounds, np.cumsum(self._counts).astype(float).tolist(), strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)


SECONDS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3,
    0.4, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 300, 3600,
)  # fmt: skip

RECEIVED = Counter("biogate_intake_received", "frames, statuses and events taken from messages", ["kind"])
COMMITTED = Counter("biogate_intake_committed", "stored in the database", ["kind"])
DUPLICATE = Counter("biogate_intake_duplicate", "stored already, with the same content", ["kind"])
QUARANTINED = Counter("biogate_intake_quarantined", "stored in quarantine with a reason", ["kind"])
DISCARDED = Counter("biogate_intake_discarded", "over the quarantine's quota: counted, not kept", ["kind"])
IN_FLIGHT = Gauge("biogate_intake_in_flight", "received and not yet one of the others", ["kind"])
QUARANTINED_BY_REASON = Counter("biogate_quarantined", "frames, statuses and events quarantined", ["reason"])
DISCARDED_BY_REASON = Counter("biogate_discarded", "the same, over the quarantine's quota and so not kept", ["reason"])

LAG = BulkHistogram(
    "biogate_lag_seconds",
    "time stamp of a live frame to its commit; needs the device's clock to be right",
    SECONDS,
)
COMMIT = BulkHistogram("biogate_commit_seconds", "time to write and commit a batch", SECONDS)
BATCH = BulkHistogram(
    "biogate_batch_frames", "frames in a batch", (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000, 8000)
)
WRITE_FAILURES = Counter("biogate_write_failures", "batches that failed and were tried again or split", ["sqlstate"])

WAITING_MESSAGES = Gauge("biogate_waiting_messages", "messages received and not yet decoded")
WAITING_BYTES = Gauge("biogate_waiting_bytes", "bytes received and not yet committed")
RECEIPTS = Counter("biogate_receipts", "commit receipts published")
HOLES = Gauge("biogate_holes", "holes in the sequence of a device, older than the reorder window and not filled")
MISSING_FRAMES = Gauge("biogate_missing_frames", "frames missing in those holes")
BACKFILL_REQUESTS = Counter("biogate_backfill_requests", "times a device was asked for missing frames")
LOST_FRAMES = Counter("biogate_lost_frames", "frames that never arrived and that the device does not have any more")
STREAMS_OVERFLOWED = Counter(
    "biogate_streams_overflowed", "merges that left ranges of seq out, for a boot of a device had too many"
)

DEFECTS = Counter("biogate_defects", "times a part of the gateway failed by a defect and began anew", ["what"])
LEADER = Gauge("biogate_leader", "1 while this gateway leads its cell, 0 on standby")
BROKER_DROPPED = Gauge(
    "biogate_broker_dropped", "messages the broker says it has dropped, for any client, since its start"
)
MQTT_CONNECTED = Gauge("biogate_mqtt_connected", "1 while connected and subscribed")
MQTT_CONNECTS = Counter("biogate_mqtt_connects", "connections made", ["session_present"])
WINDOW_FULL = Counter("biogate_window_full", "times the byte bound stopped the reading of the socket")

Info("biogate_build", "version of the gateway").info({"version": version("biogate")})

for _kind in ITEM_KINDS:
    for _metric in (RECEIVED, COMMITTED, DUPLICATE, QUARANTINED, DISCARDED, IN_FLIGHT):
        _metric.labels(_kind)
for _reason in Reason:
    QUARANTINED_BY_REASON.labels(_reason.value)
    DISCARDED_BY_REASON.labels(_reason.value)

CREDENTIALS_APPLIED = Counter("biogate_credentials_applied", "logins the broker was told of, by what became", ["to"])
CREDENTIALS_ACTIVATED = Counter("biogate_credentials_activated", "logins that were used for the first time")
CREDENTIALS_DUE = Gauge("biogate_credentials_due", "logins of which the broker has still to be told")
CREDENTIALS_STUCK = Gauge("biogate_credentials_stuck", "those of them that failed, and wait for their next try")
CREDENTIALS_MISSING = Gauge(
    "biogate_credentials_missing", "logins the broker has lost, and whose passwords nobody knows any more"
)
CREDENTIALS_FOREIGN = Gauge("biogate_credentials_foreign", "logins at the broker that are none of ours, and left alone")
CREDENTIALS_REPAIRED = Counter("biogate_credentials_repaired", "differences of broker and database made good", ["what"])
RECONCILIATIONS = Counter("biogate_credentials_reconciliations", "comparisons of broker and database")

# -- commands

COMMANDS_SENT = Counter("biogate_commands_sent", "commands to devices that the broker has taken")
COMMANDS_UNDELIVERED = Counter("biogate_commands_undelivered", "times nobody was there for a command: tried again")
COMMANDS_EXPIRED = Counter("biogate_commands_expired", "commands not sent, or not answered, in time", ["was"])
COMMANDS_WAITING = Gauge("biogate_commands_waiting", "commands not sent yet, of the devices of this cell")

for _name in ("waiting", "sent", "accepted"):
    COMMANDS_EXPIRED.labels(_name)

# -- enrollment

ENROLL_REQUESTS = Counter("biogate_enroll_requests", "requests of controllers that have no login yet", ["type"])
ENROLL_REPLIES = Counter("biogate_enroll_replies", "replies to them", ["type"])
ENROLL_REFUSED = Counter("biogate_enroll_refused", "requests that were refused, or not looked at", ["reason"])
ENROLL_STEP = BulkHistogram("biogate_enroll_step_seconds", "time to decide a request and commit what follows", SECONDS)
ENROLL_CONNECTED = Gauge("biogate_enroll_connected", "1 while requests of controllers are taken from the broker")

for _name in ("hello", "proof", "unreadable"):
    ENROLL_REQUESTS.labels(_name)
for _name in ("challenge", "pending", "grant", "reject"):
    ENROLL_REPLIES.labels(_name)
for _name in (*(code.value for code in Refusal), "retained", "oversized", "flood", "defect"):
    ENROLL_REFUSED.labels(_name)
