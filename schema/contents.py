"""The messages on each topic, with examples: the content of the contract that schema/asyncapi.py formats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from schema.alarms.retained import RetainedAlarm
from schema.enrollment import (
    MAX_HELLO,
    MAX_REPLY,
    MAX_REQUEST,
    Challenge,
    ChallengeBody,
    EnrollmentReject,
    Grant,
    Hello,
    Identity,
    Pending,
    Proof,
    Renewal,
    b64,
    reply_topic,
    request_topic,
)
from schema.messages import Backfill, BackfillResult, Command, CommandResult, Event, Receipt, Status, Telemetry
from schema.topics import Down, Kind


class Content(NamedTuple):
    """A message type with its title, and examples by name."""

    name: str
    type: Any
    title: str
    examples: Mapping[str, Any]


class MqttChannel(NamedTuple):
    content: Content
    description: str
    retain: bool = False
    forms: tuple[str, ...] = ("json", "msgpack")


T0 = 1767225600000  # 2026-01-01, in ms since 1970

TELEMETRY = Content(
    "telemetry",
    Telemetry,
    "A frame, or a block of frames",
    {
        "frame": {
            "boot": 7,
            "seq": 90210,
            "t": T0,
            "v": {"temperature": 37.01, "ph": 7.02, "dissolved_oxygen": None},
            "q": {"ph": 2},
        },
        "frame without a sequence": {"t": T0 + 250.5, "v": {"torque": 12.5}},
        "block": {
            "boot": 7,
            "seq": 90211,
            "ch": ["temperature", "ph"],
            "t": [T0 + 1000, T0 + 2000],
            "v": [[37.02, 7.01], [37.02, None]],
            "q": [[0, 0], [0, 1]],
        },
    },
)
STATUS = Content(
    "status",
    Status,
    "The device connected or disconnected",
    {
        "birth": {"status": "online", "t": T0, "boot": 7, "oldest": 86400, "firmware": "2.4.1", "generation": 1},
        "will of the same connection": {"status": "offline", "t": T0, "boot": 7},
    },
)
EVENT = Content(
    "event",
    Event,
    "Something that happened at an instant",
    {
        "phase change": {"t": T0, "type": "phase", "boot": 7, "data": {"from": "batch", "to": "fed-batch"}},
        "dosing": {"t": T0 + 60_000, "type": "dosing", "data": {"channel": "feed_a_total", "mL": 12.5}},
    },
)
RECEIPT = Content(
    "receipt", Receipt, "The seq up to which every frame is stored", {"two boots": [[6, 86399], [7, 90211]]}
)
BACKFILL = Content(
    "backfill",
    Backfill,
    "A request for frames that have not arrived",
    {"two holes": {"boot": 7, "ranges": [[90100, 90119], [90200, 90200]]}},
)
BACKFILL_RESULT = Content(
    "backfill-result",
    BackfillResult,
    "Frames that the device no longer has",
    {"lost": {"boot": 7, "ranges": [[90100, 90104]]}},
)

COMMAND_ID = "0197a5c3-6d2e-7c41-9f10-5b8e2d4a7c63"
COMMAND = Content(
    "command",
    Command,
    "An order, to be carried out once",
    {
        "setpoint": {
            "id": COMMAND_ID,
            "name": "setpoint",
            "parameters": {"channel": "temperature", "value": 36.5},
            "expires": T0 + 60_000,
            "boot": 7,
        },
    },
)
COMMAND_RESULT = Content(
    "command-result",
    CommandResult,
    "The outcome of a command",
    {
        "accepted": {"id": COMMAND_ID, "status": "accepted", "t": T0 + 1000},
        "done": {"id": COMMAND_ID, "status": "done", "t": T0 + 2000, "data": {"before": 37.0}},
        "refused": {"id": COMMAND_ID, "status": "refused", "t": T0 + 2000, "detail": "no such channel"},
    },
)
RENEWAL = Content("renewal", Renewal, "A request to enroll again", {"logins before the third": {"renew": 3}})

CHANNELS: dict[Kind | Down, MqttChannel] = {
    Kind.TELEMETRY: MqttChannel(TELEMETRY, "Frames as they are measured."),
    Kind.HISTORY: MqttChannel(
        TELEMETRY,
        "Frames sent again or late. Stored as telemetry is, but never taken for the latest, and no alarm is raised.",
    ),
    Kind.STATUS: MqttChannel(
        STATUS,
        "Retained, with QoS 1; and registered as the will when connecting, with the same topic, QoS, retain flag, boot "
        "and t, so that the broker publishes it when the device cannot.",
        retain=True,
    ),
    Kind.EVENT: MqttChannel(EVENT, "Phase changes, dosing, calibration, local alarms."),
    Down.RECEIPT: MqttChannel(
        RECEIPT,
        "Pairs of boot and seq: of that boot every frame up to that seq is stored, or is in quarantine, or is known to "
        "be lost. A device may forget a frame once a receipt covers it, and not before.",
        retain=True,
        forms=("json",),
    ),
    Down.BACKFILL: MqttChannel(
        BACKFILL,
        "Send these frames on the history topic; both ends of a range are included. A request is repeated until the "
        "frames have arrived or are reported as lost; answering twice does no harm.",
        forms=("json",),
    ),
    Kind.BACKFILL_RESULT: MqttChannel(
        BACKFILL_RESULT, "The frames of a request that the device no longer has. They are not asked for again."
    ),
    Down.COMMAND: MqttChannel(
        COMMAND,
        "In MQTT 5 with the properties Correlation Data (the 16 bytes of the id), Response Topic, Message Expiry "
        "Interval (what is left until it expires) and Content Type. The same id may come more than once, and is done "
        "once. Of two commands for a device, the one that was asked for first comes first.",
        forms=("json",),
    ),
    Kind.COMMAND_RESULT: MqttChannel(
        COMMAND_RESULT,
        "Sent until the broker has it. If there are both, id and Correlation Data, they are the same. A result that "
        "comes again does no harm; the result of another device's command goes to quarantine, and so does one that "
        "contradicts a result before it.",
    ),
    Down.IDENTITY: MqttChannel(
        RENEWAL,
        "Asks a device whose login is of an older generation to enroll again; the old login works until the new one "
        "was used. An empty message withdraws the request.",
        retain=True,
        forms=("json",),
    ),
}

RETAINED_ALARM = Content(
    "alarm",
    RetainedAlarm,
    "The newest state of an alarm",
    {
        "raised": {
            **{"device": "br-101", "rule": "temperature-high", "title": "Temperature high", "priority": "high"},
            **{"state": "unacknowledged", "condition": "active", "value": 38.4, "detail": "38.4 above 38"},
            **{"since": "2026-01-01T00:00:10Z", "raised_at": "2026-01-01T00:00:10Z", "shelved_until": None},
            **{"message": "", "response": "Check the cooling water.", "n": 1},
        },
    },
)
ALARM = MqttChannel(
    RETAINED_ALARM,
    "For control rooms, by the login `observer`: published at each transition, and for all alarms after the process "
    "that evaluates them has connected. An empty message says that there is no such alarm any more.",
    retain=True,
    forms=("json",),
)

TXN, KEY, SIGNATURE = "5f" * 16, b64(bytes(range(32))), b64(bytes(range(64)))
_BODY = {"nonce": b64(bytes(16)), "ephemeral": KEY, "gateway": KEY, "expires_s": 120}


def _step(type: str, **fields: Any) -> dict[str, Any]:
    """An example of a message of the handshake."""
    return {"v": 1, "txn": TXN, "type": type, **fields}


HELLO = Content(
    "hello",
    Hello,
    "Step 1: the device names itself",
    {
        "hello": _step(
            "hello",
            t=1795161794000,
            serial="BR-2044",
            identity=KEY,
            ephemeral=KEY,
            claim=1,
            hardware="rev C",
            firmware="2.4.1",
            channels=["ph", "temperature"],
        )
    },
)
CHALLENGE = Content(
    "challenge",
    Challenge,
    "Step 2: the gateway asks for a proof",
    {"challenge": _step("challenge", body=b64(json.dumps(_BODY).encode()), mac=KEY, sig=SIGNATURE)},
)
PROOF = Content(
    "proof",
    Proof,
    "Step 3: the device proves its identity",
    {"proof": _step("proof", sig=SIGNATURE, mac=KEY, hello="e30", body="e30")},
)
GRANT = Content(
    "grant",
    Grant,
    "Step 4: the gateway grants a login",
    {"grant": _step("grant", nonce=b64(bytes(12)), box=b64(bytes(48)))},
)
PENDING = Content(
    "pending",
    Pending,
    "Repeat the same request later",
    {"an operator has to agree": _step("pending", retry_after_s=60, reason="approval")},
)
REJECT = Content(
    "reject",
    EnrollmentReject,
    "This handshake is over",
    {
        "come back": _step("reject", code="busy", retry_after_s=17),
        "do not": _step("reject", code="blocked", retry_after_s=None),
    },
)


class Door(NamedTuple):
    """A channel of the handshake: its messages, and whether devices send them."""

    address: str
    from_device: bool
    description: str
    contents: tuple[Content, ...]


DOORS: dict[str, Door] = {
    "enroll-request": Door(
        request_topic("{txn}"),
        True,
        f"The steps of a controller that has no login yet. Not retained; "
        f"{MAX_HELLO} bytes at most for a HELLO, {MAX_REQUEST} for a PROOF.",
        (HELLO, PROOF),
    ),
    "enroll-reply": Door(
        reply_topic("{txn}"),
        False,
        f"Replies, {MAX_REPLY} bytes at most. Subscribe, and wait for the SUBACK, before the first request.",
        (CHALLENGE, GRANT, PENDING, REJECT),
    ),
}
SEALED = (ChallengeBody, Identity)
"""The types that `body` of a challenge and `box` of a grant hold."""
