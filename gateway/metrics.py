"""All metrics of the gateway process."""

from __future__ import annotations

from importlib.metadata import version

from prometheus_client import Counter, Gauge, Info, disable_created_metrics

from gateway.items import ITEM_KINDS
from gateway.runtime.metric_kinds import SECONDS, BulkHistogram, Busy, Known
from schema.enrollment import Refusal
from schema.reasons import Reason

disable_created_metrics()  # type: ignore[no-untyped-call]  # they say nothing that a restart counter does not


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
LAST_COMMIT = Known("biogate_last_commit_timestamp_seconds", "when a batch was committed last; absent before the first")
WRITER_BUSY = Busy("biogate_writer_busy_seconds", "time the writer had a batch in hand: its rate is its saturation")
BATCH = BulkHistogram(
    "biogate_batch_frames", "frames in a batch", (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000, 8000)
)
WRITE_FAILURES = Counter("biogate_write_failures", "batches that failed and were tried again or split", ["sqlstate"])

WAITING_MESSAGES = Gauge("biogate_waiting_messages", "messages received and not yet decoded")
WAITING_BYTES = Gauge("biogate_waiting_bytes", "bytes received and not yet committed")
WINDOW_LIMIT = Gauge("biogate_window_limit_bytes", "of those, from where on the socket is not read")
UNACKNOWLEDGED = Gauge(
    "biogate_unacknowledged_messages", "QoS 1 messages of this connection received and not yet acknowledged"
)
RECEIVE_MAXIMUM = Gauge("biogate_receive_maximum", "of those, beyond which the broker sends no more")
RECEIPTS = Counter("biogate_receipts", "commit receipts published")
HOLES = Gauge("biogate_holes", "holes in the sequence of a device, older than the reorder window and not filled")
MISSING_FRAMES = Gauge("biogate_missing_frames", "frames missing in those holes")
OLDEST_HOLE = Gauge("biogate_oldest_hole_seconds", "for how long the oldest of those holes is known")
BACKFILL_REQUESTS = Counter("biogate_backfill_requests", "times a device was asked for missing frames")
LOST_FRAMES = Counter("biogate_lost_frames", "frames that never arrived and that the device does not have any more")
STREAMS_OVERFLOWED = Counter(
    "biogate_streams_overflowed", "merges that left ranges of seq out, for a boot of a device had too many"
)

DEFECTS = Counter("biogate_defects", "times a part of the gateway failed by a defect and began anew", ["what"])
EVENT_LOOP_LAG = BulkHistogram(
    "biogate_event_loop_lag_seconds", "how much later than asked for a task gets its turn", SECONDS
)
LEADER = Gauge("biogate_leader", "1 while this gateway leads its cell, 0 on standby")
MQTT_CONNECTED = Gauge("biogate_mqtt_connected", "1 while connected and subscribed")
MQTT_CONNECTS = Counter("biogate_mqtt_connects", "connections made", ["session_present"])
WINDOW_FULL = Counter("biogate_window_full", "times the byte bound stopped the reading of the socket")
CERTIFICATE_EXPIRY = Known(
    "biogate_certificate_expiry_timestamp_seconds",
    "until when it holds: broker and authority are files of BIOGATE_SECRETS_DIR, crl the revocation list broker/crl.pem"
    " there, if there is one; served is what the broker shows",
    ["certificate"],
)

BUILD = Info("biogate_build", "version of the gateway")
BUILD.info({"version": version("biogate")})

for _present in ("yes", "no"):
    MQTT_CONNECTS.labels(_present)
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

# -- what the broker says of itself, to the gateway that is connected

BROKER_DROPPED = Known(
    "biogate_broker_dropped_messages",
    "messages the broker has dropped, for any client, since its start",
    kind="counter",
)
BROKER_CLIENTS = Known("biogate_broker_clients_connected", "clients connected to the broker")
BROKER_AWAY = Known("biogate_broker_clients_disconnected", "sessions the broker keeps for clients that are away")
BROKER_STORED_MESSAGES = Known("biogate_broker_stored_messages", "messages the broker holds, the retained ones too")
BROKER_STORED_BYTES = Known("biogate_broker_stored_bytes", "payload of those")
BROKER_QUEUE_LIMIT = Known(
    "biogate_broker_queue_limit_bytes", "max_queued_bytes of the broker, if BIOGATE_BROKER_CONF tells it"
)
BROKER_HEAP = Known("biogate_broker_heap_bytes", "memory in use at the broker")
BROKER_RECEIVED = Known(
    "biogate_broker_received_messages", "MQTT packets the broker has received since its start", kind="counter"
)
BROKER_SENT = Known("biogate_broker_sent_messages", "the same, sent", kind="counter")
BROKER_UPTIME = Known("biogate_broker_uptime_seconds", "since the broker's start")

# -- what the database says of itself, to the gateway that leads, once a minute

FIGURES_AT = Gauge("biogate_figures_timestamp_seconds", "when the figures below were asked for last", ["what"])
FIGURES_FAILURES = Counter("biogate_figures_failures", "times they could not be had", ["what"])
DATABASE_BYTES = Known("biogate_database_bytes", "size of the database")
DATABASE_LIMIT = Known("biogate_database_limit_bytes", "BIOGATE_DATABASE_BYTES, if it is set")
DATABASE_BACKENDS = Known("biogate_database_backends", "connections of clients to the server")
DATABASE_MAX_CONNECTIONS = Known("biogate_database_max_connections", "of those, at most")
DATABASE_WAITING = Known("biogate_database_waiting_backends", "of those, waiting for a lock of another")
DATABASE_OLDEST_TRANSACTION = Known("biogate_database_oldest_transaction_seconds", "age of the oldest open transaction")
DATABASE_XID_AGE = Known(
    "biogate_database_xid_age", "transactions since the oldest row not frozen; at 2.1e9 the server stops writing"
)
DATABASE_DEADLOCKS = Known("biogate_database_deadlocks", "deadlocks since the statistics began", kind="counter")
DATABASE_JOBS = Known("biogate_database_jobs", "TimescaleDB's background jobs, by how their last run ended", ["status"])
WAL_WRITTEN = Known("biogate_database_wal_bytes", "write-ahead log written since the server was made", kind="counter")
WAL_RETAINED = Known("biogate_database_wal_retained_bytes", "of it, kept for the slowest replication slot")
REPLICAS = Known("biogate_database_replicas", "servers that replicate from this one")
REPLICA_BEHIND = Known("biogate_database_replica_behind_bytes", "how far the slowest of those is behind")
HYPERTABLE_BYTES = Known("biogate_hypertable_bytes", "size of a hypertable with its indexes", ["hypertable"])
HYPERTABLE_CHUNKS = Known("biogate_hypertable_chunks", "chunks of a hypertable", ["hypertable"])
CHUNKS_AHEAD = Known("biogate_hypertable_chunks_ahead", "of those, chunks that begin in the future", ["hypertable"])
CHUNK_OLDEST = Known(
    "biogate_hypertable_oldest_chunk_timestamp_seconds", "where the oldest of those begins", ["hypertable"]
)
QUARANTINE_ROWS = Known("biogate_quarantine_open_messages", "messages open in quarantine")
QUARANTINE_BYTES = Known("biogate_quarantine_open_bytes", "bytes of those")
QUARANTINE_DEVICE_BYTES = Known("biogate_quarantine_largest_device_bytes", "of those, of the device that has most")
QUARANTINE_LIMIT = Gauge("biogate_quarantine_limit_bytes", "BIOGATE_QUARANTINE_TOTAL_BYTES")
QUARANTINE_DEVICE_LIMIT = Gauge("biogate_quarantine_device_limit_bytes", "BIOGATE_QUARANTINE_BYTES")
ENROLLMENTS_PENDING = Known("biogate_enrollments_pending", "handshakes that wait for a person")
DEVICES = Known("biogate_devices", "active devices, by what their last status said", ["presence"])
RETENTION_HOLDS = Known("biogate_retention_holds", "holds in force, which forbid to drop what is of their time")
BACKUP_TAKEN = Known("biogate_backup_timestamp_seconds", "when the newest backup was begun; absent while there is none")
BACKUP_VERIFIED = Known(
    "biogate_backup_verified_timestamp_seconds",
    "when a backup was restored and found whole last; absent while none was",
)
BACKUP_FAULTY = Known("biogate_backup_faulty", "1 if the backup that was verified last was not whole")

DATABASE_FIGURES = (
    *(DATABASE_BYTES, DATABASE_BACKENDS, DATABASE_MAX_CONNECTIONS, DATABASE_WAITING, DATABASE_OLDEST_TRANSACTION),
    *(DATABASE_XID_AGE, DATABASE_DEADLOCKS, DATABASE_JOBS, WAL_WRITTEN, WAL_RETAINED, REPLICAS, REPLICA_BEHIND),
    *(HYPERTABLE_BYTES, HYPERTABLE_CHUNKS, CHUNKS_AHEAD, CHUNK_OLDEST, QUARANTINE_ROWS, QUARANTINE_BYTES),
    *(QUARANTINE_DEVICE_BYTES, ENROLLMENTS_PENDING, DEVICES),
    *(RETENTION_HOLDS, BACKUP_TAKEN, BACKUP_VERIFIED, BACKUP_FAULTY),
)

# -- what is dropped by its age

RETENTION_AT = Known("biogate_retention_timestamp_seconds", "when was looked for what is older than its retention")
RETENTION_CHUNKS = Counter("biogate_retention_dropped_chunks", "chunks dropped by their age", ["kind"])
RETENTION_ROWS = Counter("biogate_retention_dropped_rows", "rows dropped by their age", ["kind"])
RETENTION_HELD = Known("biogate_retention_held_chunks", "chunks older than their retention that a hold keeps", ["kind"])

for _name in ("frame", "event"):
    RETENTION_CHUNKS.labels(_name)
for _name in ("frame", "event", "status", "quarantined"):
    RETENTION_ROWS.labels(_name)
