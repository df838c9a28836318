"""The settings of the gateway: environment variables `BIOGATE_…`, checked before any I/O."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex
from typing import Annotated, ClassVar, Self

from pydantic import AnyUrl, Field, PostgresDsn, SecretStr, UrlConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MqttUrl = Annotated[AnyUrl, UrlConstraints(allowed_schemes=["mqtt", "mqtts"], host_required=True)]

REPLAY = "replay"
"""The cell under which replays from quarantine are counted."""
IMPORT = "import"
"""The cell under which imported history is counted."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Intervals in seconds at which the parts of a process look and pause. Installations do not change them, tests do:
    they are waits alone, never a deadline that a busy machine could miss."""

    look_s: float = 1.0
    """Interval of looks for work that no notification has announced."""
    resend_s: float = 2.0
    """Wait until a command is sent again to a device that was not connected."""
    prove_s: float = 1.0
    """Interval at which the leading process proves that it still leads."""
    holes_s: float = 30.0
    """Interval of looks at all holes, which a person or another gateway may have closed."""
    standby_s: float = 0.5
    """Interval at which a standby tries to take the lead."""
    give_up_s: float = 5.0
    """Time after which a process that could not prove its lead has lost it."""
    frozen_s: float = 10.0
    """Time without a beat after which a standby ends the leading process's database sessions."""
    reconnect_s: float = 0.2
    """First wait before the broker is tried again; it doubles with each failure."""
    longest_reconnect_s: float = 10.0
    """Longest wait before the broker is tried again."""
    beat_s: float = 2.0
    """Interval at which the intake tells that it is well."""
    sweep_s: float = 10.0
    """Interval of looks for handshakes that have taken too long."""
    listen_s: float = 2.0
    """Interval of looks whether a listening connection still stands, and wait until it is made again."""
    flood_s: float = 5.0
    """Time for which the enrollment leaves the broker in a flood of requests."""
    sql_logins_s: float = 5.0
    """Interval of looks for transactions of logins for SQL that take too long."""
    wide_views_s: float = 30.0
    """Interval of looks whether there are new models and channels for the wide views of logins for SQL."""
    rules_s: float = 5.0
    """Interval of looks at alarm rules and devices that no notification has announced."""
    tick_s: float = 1.0
    """Interval of looks at what time alone changes in alarms."""
    remember_s: float = 30.0
    """Interval at which the position of a device without transitions is written."""
    notify_pause_s: float = 0.2
    """Least time between two looks for notifications."""
    notify_measure_s: float = 10.0
    """Interval at which the queue of notifications is measured."""
    notify_retry_s: float = 0.8
    """First wait before a failed route is tried again; it doubles with each failure."""


class Settings(BaseSettings):
    """All settings of the gateway. Each is the environment variable `BIOGATE_` plus its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="BIOGATE_", frozen=True, extra="ignore")
    timing: ClassVar[Timing] = Timing()

    database_url: PostgresDsn = Field(description="PostgreSQL with TimescaleDB, `postgresql://user@host:port/name`")
    mqtt_url: MqttUrl = Field(description="broker, `mqtt://host:port`, or `mqtts://host:port` for TLS")
    mqtt_username: str | None = Field(
        None,
        description="login at the broker; without it, `gateway` (of the alarms process: `alarms`) with its password "
        "from BIOGATE_SECRETS_DIR",
    )
    mqtt_password: SecretStr | None = Field(None, description="password of that login")
    mqtt_ca_file: Path | None = Field(None, description="certificate of the broker's CA; without it, the machine's CAs")
    insecure: bool = Field(False, description="allow a broker without TLS that is not on loopback")
    cell: str = Field(
        "main",
        pattern=r"^[a-z0-9-]{1,32}$",
        description="name of this broker-and-gateway pair; its MQTT client id and its totals are kept under it",
    )
    shared_group: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="gateways with the same group share a broker's messages (`$share/…`), each with a BIOGATE_CELL of "
        "its own; none of them administers the logins at that broker",
    )
    gateway_http_host: str = Field("127.0.0.1", description="where /health, /ready and /metrics listen")
    gateway_http_port: int = Field(8001, ge=0, le=65535, description="port of /health, /ready and /metrics")

    receive_maximum: int = Field(
        16384,
        ge=1,
        le=65534,
        description="unacknowledged messages the broker may have under way to the gateway; not above its "
        "max_inflight_messages",
    )
    window_bytes: int = Field(16 * 2**20, ge=2**20, description="uncommitted bytes above which the socket is not read")
    keep_alive_s: int = Field(
        15, ge=1, le=300, description="MQTT keep alive; a dead link is noticed after 1.5 times this"
    )
    session_expiry_s: int = Field(
        30 * 86400,
        ge=60,
        le=2**32 - 2,
        description="how long the broker keeps the gateway's session and queue while the gateway is away",
    )

    secrets_dir: Path | None = Field(
        None,
        description="keys and passwords as made by `biogate setup`; without it there is no enrollment, and "
        "logins at the broker are not administered",
    )
    device_broker_url: MqttUrl = Field(MqttUrl("mqtts://localhost:8883"), description="broker for enrolled devices")
    device_certificate_broker_url: MqttUrl | None = Field(
        None, description="broker for devices with a certificate; without it no certificates are issued"
    )
    enroll_sessions: int = Field(
        200,
        ge=1,
        description="proved handshakes at once that are on their way to a login; as many may wait for an operator",
    )
    enroll_hellos_per_s: int = Field(
        20,
        ge=1,
        description="challenges in a second at this gateway for known serials, and as many for those with their "
        "identity key; unknown serials get a quarter",
    )
    enroll_tries_per_minute: int = Field(5, ge=1, description="handshakes proved in a minute for one serial")
    enroll_challenge_s: int = Field(120, ge=1, le=3600, description="how long a device may take for its proof")
    enroll_approval_s: int = Field(86400, ge=1, description="how long a handshake waits for an operator")
    enroll_unused_s: int = Field(900, ge=1, description="a login that is granted and not used for so long is deleted")
    enroll_pending_s: int = Field(60, ge=1, le=3600, description="how often a device that waits is told to ask again")
    reconcile_interval_s: int = Field(3600, ge=1, description="how often logins of broker and database are compared")

    command_grace_s: int = Field(30, ge=1, description="how long after its expiry a command may still be answered")

    alarms_http_host: str = Field("127.0.0.1", description="where `biogate alarms` serves /health, /ready and /metrics")
    alarms_http_port: int = Field(8002, ge=0, le=65535, description="port of `biogate alarms`")
    alarms_interval_ms: int = Field(250, ge=10, le=5000, description="least time between two looks at committed frames")
    alarms_catch_up_s: int = Field(
        3600, ge=60, le=30 * 86400, description="how far back frames are evaluated after an absence of the process"
    )

    notify_schemes: str | None = Field(
        None,
        description="kinds of apprise URLs for notifications of alarms, separated by commas; without it the kinds that"
        " only speak to a service: docs/notifications.md",
    )
    notify_private: bool = Field(False, description="allow notifications to private and loopback addresses")
    notify_timeout_s: float = Field(20, ge=0.1, le=300, description="how long a channel may take for a message")
    notify_report_s: float = Field(
        300, ge=1, description="how long a route fails before the organization's other routes report it"
    )
    notify_give_up_s: float = Field(86400, ge=1, description="how long a failing route tries to send a notification")

    broker_conf: Path | None = Field(
        None, description="the broker's mosquitto.conf, if the gateway can read it: limits that cannot work are refused"
    )
    plan_messages_per_s: int = Field(500, ge=1, description="rate of live messages that broker and gateway must carry")
    plan_outage_s: int = Field(3600, ge=1, description="how long the broker must be able to queue at that rate")
    plan_message_bytes: int = Field(400, ge=1, description="payload bytes of a message at BIOGATE_PLAN_MESSAGES_PER_S")

    linger_ms: int = Field(50, ge=0, le=5000, description="least time from the start of one commit to the next")
    batch_frames: int = Field(8000, ge=1, description="frames in a commit; a message is not split")
    batch_bytes: int = Field(4 * 2**20, ge=1024, description="payload bytes in a commit; a message is not split")
    batch_chunks: int = Field(32, ge=1, description="hypertable chunks a single COPY may touch")

    max_age_s: int = Field(30 * 86400, ge=1, description="older frames and events go to quarantine as too-old")
    max_skew_s: int = Field(300, ge=0, description="frames further in the future go to quarantine as too-new")
    max_channels: int = Field(256, ge=1, le=1600, description="channels of a frame, and of a device over its life")
    max_layouts: int = Field(64, ge=1, description="different sets of channels a device may use")
    max_event_bytes: int = Field(65536, ge=256, description="JSON bytes of the data of an event or a command's result")

    quarantine_bytes: int = Field(16 * 2**20, ge=0, description="bytes that may be open in quarantine for a device")
    quarantine_rows: int = Field(10_000, ge=0, description="messages that may be open in quarantine for a device")
    quarantine_total_bytes: int = Field(
        2**30,
        ge=0,
        description="bytes that may be open in quarantine in all; messages of devices that are not registered may fill "
        "half of them; messages over a bound are counted, not kept",
    )

    receipt_interval_s: float = Field(1, gt=0, le=60, description="how often devices are told which frames are stored")
    receipts_per_s: int = Field(
        1000, ge=1, description="receipts a second: with more devices, each is told less often, but within 10 s"
    )
    reorder_window_s: float = Field(10, ge=0, le=3600, description="how long a missing frame may be late")
    backfill_retry_s: float = Field(
        30, ge=1, le=3600, description="time until a missing frame is asked for again; doubled each time, to an hour"
    )

    retention_frames_days: int | None = Field(
        None, ge=1, description="age at which frames are dropped, by whole chunks"
    )
    retention_events_days: int | None = Field(
        None, ge=1, description="age at which events are dropped, by whole chunks"
    )
    retention_statuses_days: int | None = Field(
        None, ge=1, description="age at which statuses are dropped, except the newest of each device"
    )
    retention_quarantine_days: int | None = Field(
        None, ge=1, description="age at which messages in quarantine are dropped that were replayed or discarded"
    )
    retention_interval_s: int = Field(3600, ge=1, description="how often old data are looked for")

    database_bytes: int | None = Field(None, ge=1, description="bytes to which the database may grow, for the alerts")

    evidence_http_host: str = Field(
        "127.0.0.1", description="where `biogate evidence` serves /health, /ready and /metrics"
    )
    evidence_http_port: int = Field(8006, ge=0, le=65535, description="port of `biogate evidence`")
    evidence_dir: Path | None = Field(
        None,
        description="directory of the key that signs the audit trail, as made by `biogate setup`; without it, "
        "`evidence` in BIOGATE_SECRETS_DIR. No other process need read it",
    )
    evidence_file: Path | None = Field(
        None,
        description="file to which each checkpoint is appended, best on another machine's disk; without it, "
        "`checkpoints.jsonl` in BIOGATE_EVIDENCE_DIR",
    )
    evidence_interval_s: float = Field(
        30, gt=0, le=60, description="least time between two checkpoints of an organization's audit trail"
    )
    evidence_verify_s: float = Field(
        3600, gt=0, description="time between two verifications of all audit trails; more, if one takes a tenth of it"
    )
    evidence_tsa_url: AnyUrl | None = Field(None, description="RFC 3161 time stamp service, for checkpoints")
    evidence_tsa_ca_file: Path | None = Field(
        None, description="certificates of the authorities of that service, PEM; required with its URL"
    )
    evidence_tsa_s: float = Field(
        3600, gt=0, description="least time between two time stamps of checkpoints of an organization"
    )

    shutdown_timeout_s: float = Field(30, gt=0, description="deadline for the drain after SIGTERM")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="least level logged")

    @cached_property
    def process(self) -> str:
        """A name for this process, last in the name of each of its database sessions: who ends one finds the others."""
        return token_hex(4)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.mqtt_url.username or self.mqtt_url.password:
            raise ValueError(
                "BIOGATE_MQTT_URL has a login in it: set BIOGATE_MQTT_USERNAME and BIOGATE_MQTT_PASSWORD instead"
            )
        if self.mqtt_url.scheme == "mqtt" and not self.insecure and not is_loopback(self.mqtt_url.host or ""):
            raise ValueError(
                f"BIOGATE_MQTT_URL={self.mqtt_url}: passwords and data would cross the network in clear; use mqtts://, "
                "or set BIOGATE_INSECURE=true"
            )
        if (self.evidence_tsa_url is None) != (self.evidence_tsa_ca_file is None):
            raise ValueError(
                "BIOGATE_EVIDENCE_TSA_URL and BIOGATE_EVIDENCE_TSA_CA_FILE go together: a time stamp counts for nothing"
                " unless its signature is checked"
            )
        if self.shared_group and self.secrets_dir:
            raise ValueError(
                "BIOGATE_SHARED_GROUP and BIOGATE_SECRETS_DIR exclude each other: logins are administered by the one "
                "gateway that leads a cell; set BIOGATE_MQTT_USERNAME and BIOGATE_MQTT_PASSWORD, and enroll at a cell"
            )
        for name in ("frames", "events", "statuses", "quarantine"):
            days = getattr(self, f"retention_{name}_days")
            if days is not None and days * 86400 < self.max_age_s:
                raise ValueError(
                    f"BIOGATE_RETENTION_{name.upper()}_DAYS ({days}) is below BIOGATE_MAX_AGE_S ({self.max_age_s}): "
                    "data would be dropped that are still taken in, and be stored anew if they came again; raise the "
                    "first or lower the second"
                )
        if self.batch_bytes > self.window_bytes:
            raise ValueError(
                f"BIOGATE_BATCH_BYTES ({self.batch_bytes}) is above BIOGATE_WINDOW_BYTES ({self.window_bytes}): "
                "a batch could never fill; lower the first or raise the second"
            )
        if self.linger_ms > 0 and self.receive_maximum * 1000 / self.linger_ms < 1000:
            raise ValueError(
                f"BIOGATE_RECEIVE_MAXIMUM ({self.receive_maximum}) over BIOGATE_LINGER_MS ({self.linger_ms}) allows "
                "fewer than 1000 messages/s: raise the first or lower the second"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether a host is `localhost` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
