"""All metrics of the gateway process."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from gateway.items import ITEM_KINDS
from gateway.runtime.metric_kinds import SECONDS, BulkHistogram, BusyCounter, OptionalGauge, build_info, show_zeros
from schema.enrollment import Refusal
from schema.reasons import Reason

RECEIVED = Counter("biogate_intake_received", "items (frames, statuses, events, results) taken from messages", ["kind"])
COMMITTED = Counter("biogate_intake_committed", "items stored in the database", ["kind"])
DUPLICATE = Counter("biogate_intake_duplicate", "items that were stored already, with the same content", ["kind"])
QUARANTINED = Counter("biogate_intake_quarantined", "items stored in quarantine with a reason", ["kind"])
DISCARDED = Counter("biogate_intake_discarded", "items over the quarantine's quota: counted, not kept", ["kind"])
IN_FLIGHT = Gauge("biogate_intake_in_flight", "items received of which none of the above is known yet", ["kind"])
QUARANTINED_BY_REASON = Counter("biogate_quarantined", "items stored in quarantine, by reason", ["reason"])
DISCARDED_BY_REASON = Counter("biogate_discarded", "items over the quarantine's quota, by reason", ["reason"])

LAG = BulkHistogram("biogate_lag_seconds", "from a live frame's time, by its device's clock, to its commit", SECONDS)
COMMIT = BulkHistogram("biogate_commit_seconds", "time to write and commit a batch", SECONDS)
LAST_COMMIT = OptionalGauge("biogate_last_commit_timestamp_seconds", "last commit of a batch; absent before the first")
WRITER_BUSY = BusyCounter("biogate_writer_busy_seconds", "time the writer had work: its rate is its saturation")
BATCH = BulkHistogram(
    "biogate_batch_frames", "frames in a batch", (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000, 8000)
)
COMMIT_NOTICES = Counter("biogate_commit_notices", "notifications of commits, for live feeds: sent, failed", ["result"])
WRITE_FAILURES = Counter("biogate_write_failures", "batches that failed and were tried again or split", ["sqlstate"])

WAITING_MESSAGES = Gauge("biogate_waiting_messages", "messages received and not yet decoded")
WAITING_BYTES = Gauge("biogate_waiting_bytes", "bytes received and not yet committed")
WINDOW_LIMIT = Gauge("biogate_window_limit_bytes", "waiting bytes from which on the socket is not read")
UNACKNOWLEDGED = Gauge("biogate_unacknowledged_messages", "QoS 1 messages received and not yet acknowledged")
RECEIVE_MAXIMUM = Gauge("biogate_receive_maximum", "unacknowledged messages beyond which the broker sends no more")
RECEIPTS = Counter("biogate_receipts", "commit receipts published")
HOLES = OptionalGauge("biogate_holes", "holes in sequences of devices, older than the reorder window and not filled")
MISSING_FRAMES = OptionalGauge("biogate_missing_frames", "frames missing in those holes, at most 10,000,000 a hole")
OLDEST_HOLE = OptionalGauge("biogate_oldest_hole_seconds", "time for which the oldest of those holes is known")
OF_HOLES = (HOLES, MISSING_FRAMES, OLDEST_HOLE)
"""What only the gateway that leads knows."""
BACKFILL_REQUESTS = Counter("biogate_backfill_requests", "times a device was asked for missing frames")
LOST_FRAMES = Counter("biogate_lost_frames", "frames that never arrived and that their device does not have any more")
LOSSES_UNBELIEVED = Counter(
    "biogate_losses_unbelieved", "times a device gave up frames far above all that have arrived: none is lost by it"
)
STREAMS_OVERFLOWED = Counter("biogate_streams_overflowed", "merges that left ranges of a boot out: it had too many")

DEFECTS = Counter("biogate_defects", "times that a part failed by a defect and was started again", ["what"])
EVENT_LOOP_LAG = BulkHistogram("biogate_event_loop_lag_seconds", "how late a task of the event loop runs", SECONDS)
LEADER = Gauge("biogate_leader", "1 while this gateway leads its cell, 0 on standby")
LEADERS_FROZEN = Counter(
    "biogate_leaders_frozen", "times that this gateway ended the database sessions of a leader that hung"
)
MQTT_CONNECTED = Gauge("biogate_mqtt_connected", "1 while connected and subscribed")
MQTT_CONNECTS = Counter("biogate_mqtt_connects", "connections made to the broker", ["session_present"])
WINDOW_FULL = Counter("biogate_window_full", "times that the window was full, so that the socket was not read")
CERTIFICATE_EXPIRY = OptionalGauge(
    "biogate_certificate_expiry_timestamp_seconds",
    "until when a certificate is valid: broker and authority are files of BIOGATE_SECRETS_DIR, crl the revocation list"
    " broker/crl.pem there, if there is one; served is the certificate that the broker shows",
    ["certificate"],
)

BUILD = build_info("biogate_build", "version of the gateway")

show_zeros(("yes", "no"), MQTT_CONNECTS)
show_zeros(ITEM_KINDS, RECEIVED, COMMITTED, DUPLICATE, QUARANTINED, DISCARDED, IN_FLIGHT)
show_zeros(Reason, QUARANTINED_BY_REASON, DISCARDED_BY_REASON)

CREDENTIALS_APPLIED = Counter("biogate_credentials_applied", "logins applied at the broker, by resulting state", ["to"])
CREDENTIALS_ACTIVATED = Counter("biogate_credentials_activated", "logins that were used for the first time")
CREDENTIALS_DUE = OptionalGauge("biogate_credentials_due", "logins whose wanted state is not yet applied at the broker")
CREDENTIALS_STUCK = OptionalGauge("biogate_credentials_stuck", "due logins that failed, and wait for their next try")
CREDENTIALS_MISSING = OptionalGauge(
    "biogate_credentials_missing", "logins that the broker has lost, with passwords unknown"
)
CREDENTIALS_FOREIGN = OptionalGauge("biogate_credentials_foreign", "logins at the broker that no gateway made")
CREDENTIALS = (CREDENTIALS_DUE, CREDENTIALS_STUCK, CREDENTIALS_MISSING, CREDENTIALS_FOREIGN)
"""What only the gateway that leads knows."""
CREDENTIALS_REPAIRED = Counter("biogate_credentials_repaired", "repaired differences to the database", ["what"])
RECONCILIATIONS = Counter("biogate_credentials_reconciliations", "comparisons of broker and database")

# -- commands

COMMANDS_SENT = Counter("biogate_commands_sent", "commands for devices that the broker has taken")
COMMANDS_UNDELIVERED = Counter("biogate_commands_undelivered", "times that a command had no subscriber")
COMMANDS_EXPIRED = Counter("biogate_commands_expired", "commands that were not sent, or not answered, in time", ["was"])
COMMANDS_WAITING = OptionalGauge("biogate_commands_waiting", "commands not yet sent to devices of this cell")

show_zeros(("waiting", "sent", "accepted"), COMMANDS_EXPIRED)

# -- enrollment

ENROLL_REQUESTS = Counter("biogate_enroll_requests", "requests of controllers that have no login yet", ["type"])
ENROLL_REPLIES = Counter("biogate_enroll_replies", "replies to these requests", ["type"])
ENROLL_REFUSED = Counter("biogate_enroll_refused", "requests that were refused, or dropped unread", ["reason"])
ENROLL_STEP = BulkHistogram("biogate_enroll_step_seconds", "time to decide a request and commit what follows", SECONDS)
ENROLL_CONNECTED = Gauge("biogate_enroll_connected", "1 while the gateway takes requests from the broker")

show_zeros(("hello", "proof", "unreadable"), ENROLL_REQUESTS)
show_zeros(("challenge", "pending", "grant", "reject"), ENROLL_REPLIES)
show_zeros((*Refusal, "retained", "oversized", "no-proof", "flood", "defect"), ENROLL_REFUSED)

# -- figures of the broker, in the gateway that is connected

BROKER_DROPPED = OptionalGauge("biogate_broker_dropped_messages", "messages dropped, for any client", kind="counter")
BROKER_CLIENTS = OptionalGauge("biogate_broker_clients_connected", "clients connected to the broker")
BROKER_AWAY = OptionalGauge("biogate_broker_clients_disconnected", "sessions of clients that are away")
BROKER_STORED_MESSAGES = OptionalGauge("biogate_broker_stored_messages", "messages in the broker, with retained ones")
BROKER_STORED_BYTES = OptionalGauge("biogate_broker_stored_bytes", "payload bytes of messages in the broker")
BROKER_QUEUE_LIMIT = OptionalGauge("biogate_broker_queue_limit_bytes", "max_queued_bytes in BIOGATE_BROKER_CONF")
BROKER_HEAP = OptionalGauge("biogate_broker_heap_bytes", "memory that the broker uses")
BROKER_RECEIVED = OptionalGauge("biogate_broker_received_messages", "packets that the broker received", kind="counter")
BROKER_SENT = OptionalGauge("biogate_broker_sent_messages", "packets that the broker sent", kind="counter")
BROKER_OVERSIZE = Counter(
    "biogate_broker_oversize_packets", "connections that the broker ended for a packet above max_packet_size"
)
BROKER_UPTIME = OptionalGauge("biogate_broker_uptime_seconds", "time since the broker's start")

DATABASE_REACHABLE = OptionalGauge(
    "biogate_database_reachable", "1 if the database answered this gateway within 2 s, 0 if not; asked every 2 s"
)

# -- figures of the database, in the gateway that leads, read once a minute

FIGURES_AT = Gauge("biogate_figures_timestamp_seconds", "when the figures below were last read", ["what"])
FIGURES_FAILURES = Counter("biogate_figures_failures", "times that the figures below could not be read", ["what"])
DATABASE_BYTES = OptionalGauge("biogate_database_bytes", "size of the database")
DATABASE_LIMIT = OptionalGauge("biogate_database_limit_bytes", "BIOGATE_DATABASE_BYTES, if it is set")
DATABASE_BACKENDS = OptionalGauge("biogate_database_backends", "connections of clients to the server")
DATABASE_MAX_CONNECTIONS = OptionalGauge("biogate_database_max_connections", "most connections that the server allows")
DATABASE_WAITING = OptionalGauge("biogate_database_waiting_backends", "connections that wait for a lock")
DATABASE_OLDEST_TRANSACTION = OptionalGauge(
    "biogate_database_oldest_transaction_seconds", "age of the oldest open transaction"
)
NOTIFICATION_QUEUE = OptionalGauge(
    "biogate_database_notification_queue_ratio", "how full the server's queue of notifications is; at 1 commits fail"
)
DATABASE_XID_AGE = OptionalGauge(
    "biogate_database_xid_age", "transactions since the oldest row not frozen; at 2.1e9 the server stops writing"
)
DATABASE_DEADLOCKS = OptionalGauge("biogate_database_deadlocks", "deadlocks since the statistics began", kind="counter")
DATABASE_JOBS = OptionalGauge("biogate_database_jobs", "TimescaleDB's jobs, by result of their last run", ["status"])
WAL_WRITTEN = OptionalGauge("biogate_database_wal_bytes", "write-ahead log written since initdb", kind="counter")
WAL_RETAINED = OptionalGauge("biogate_database_wal_retained_bytes", "write-ahead log kept for the slowest slot")
REPLICAS = OptionalGauge("biogate_database_replicas", "servers that replicate from this one")
REPLICA_BEHIND = OptionalGauge("biogate_database_replica_behind_bytes", "how far the slowest replica is behind")
HYPERTABLE_BYTES = OptionalGauge("biogate_hypertable_bytes", "size of a hypertable with its indexes", ["hypertable"])
HYPERTABLE_CHUNKS = OptionalGauge("biogate_hypertable_chunks", "chunks of a hypertable", ["hypertable"])
CHUNKS_AHEAD = OptionalGauge("biogate_hypertable_chunks_ahead", "chunks that begin in the future", ["hypertable"])
CHUNK_OLDEST = OptionalGauge(
    "biogate_hypertable_oldest_chunk_timestamp_seconds", "when the oldest chunk of a hypertable begins", ["hypertable"]
)
QUARANTINE_ROWS = OptionalGauge("biogate_quarantine_open_messages", "messages open in quarantine")
QUARANTINE_BYTES = OptionalGauge("biogate_quarantine_open_bytes", "bytes of the messages open in quarantine")
QUARANTINE_DEVICE_BYTES = OptionalGauge("biogate_quarantine_largest_device_bytes", "open bytes of the device with most")
QUARANTINE_LIMIT = Gauge("biogate_quarantine_limit_bytes", "BIOGATE_QUARANTINE_TOTAL_BYTES")
QUARANTINE_DEVICE_LIMIT = Gauge("biogate_quarantine_device_limit_bytes", "BIOGATE_QUARANTINE_BYTES")
ENROLLMENTS_PENDING = OptionalGauge("biogate_enrollments_pending", "handshakes that wait for an operator")
CALIBRATIONS_DUE = OptionalGauge("biogate_calibrations_due", "devices with a probe whose calibration is due")
DEVICES = OptionalGauge("biogate_devices", "active devices, by their last status", ["presence"])
RETENTION_HOLDS = OptionalGauge("biogate_retention_holds", "holds in force: data of their time are not dropped")
BACKUP_TAKEN = OptionalGauge("biogate_backup_timestamp_seconds", "begin of the newest backup; absent without one")
BACKUP_VERIFIED = OptionalGauge(
    "biogate_backup_verified_timestamp_seconds", "when a backup was last restored and found whole; absent without one"
)
BACKUP_FAULTY = OptionalGauge("biogate_backup_faulty", "1 if the backup that was verified last was not whole")

SQL_LOGINS_ENDED = Counter("biogate_sql_logins_ended", "sessions of logins for SQL that were ended", ["why"])

show_zeros(("sent", "failed"), COMMIT_NOTICES)
show_zeros(("transaction", "idle", "notifications"), SQL_LOGINS_ENDED)

# -- clocks

CLOCK_SYNCHRONIZED = OptionalGauge(
    "biogate_clock_synchronized",
    "1 while a time source disciplines the clock of this machine, 0 while none does",
    ["source"],
)
CLOCK_OFFSET = OptionalGauge("biogate_clock_offset_seconds", "what is still to be corrected of this machine's clock")
CLOCK_ERROR = OptionalGauge("biogate_clock_error_seconds", "how wrong this machine's clock is at most, says the kernel")
DATABASE_CLOCK_OFFSET = OptionalGauge(
    "biogate_database_clock_offset_seconds", "how far the clock of the database is ahead of this machine's"
)

# -- retention

RETENTION_AT = OptionalGauge("biogate_retention_timestamp_seconds", "when old data were last looked for")
RETENTION_CHUNKS = Counter("biogate_retention_dropped_chunks", "chunks dropped as older than their retention", ["kind"])
RETENTION_ROWS = Counter("biogate_retention_dropped_rows", "rows dropped as older than their retention", ["kind"])
RETENTION_HELD = OptionalGauge("biogate_retention_held_chunks", "chunks past retention in which all is held", ["kind"])

show_zeros(("frame", "event"), RETENTION_CHUNKS)
show_zeros(("frame", "event", "status", "quarantined"), RETENTION_ROWS)
