"""The answers' shapes and an example of each, for the OpenAPI description. Tests hold real answers against them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from api.problems import Problem


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Page(Answer):
    truncated: bool = Field(description="true: there is more; `next` leads to it")
    next: str | None = Field(description="`cursor` of the next page; null on the last one")


class Presence(Answer):
    online: bool
    since: str = Field(description="when the connection was begun that this status belongs to")
    boot: int = Field(description="power-up counter of the controller")
    firmware: str | None


DeviceState = Literal["pending", "active", "suspended", "revoked", "retired"]


class Device(Answer):
    device: str
    state: DeviceState = Field(description="pending: was granted a login and has not used it yet")
    registered_at: str
    presence: Presence | None = Field(description="null: the device has never sent a status")
    last_frame_at: str | None = Field(description="time of the newest frame; null: none yet")
    title: str | None = Field(description="what people call it")
    location: str | None
    tags: list[str]


class Devices(Page):
    devices: list[Device]


class Channel(Answer):
    channel: str
    unit: str | None = Field(description="null: nobody has said it yet")
    description: str | None


class Channels(Page):
    channels: list[Channel]


class Column(Answer):
    channel: str
    unit: str | None
    aggregate: str | None = Field(description="null for raw samples")


class Telemetry(Page):
    device: str
    from_: str = Field(alias="from", description="first instant of the range")
    to: str = Field(description="end of the range; not part of it")
    bucket: str | None = Field(description="width of a bucket; null for raw samples")
    quality: Literal["good", "all"] = Field(description="good: only samples of quality 0; all: every one")
    columns: list[Column] = Field(description="what stands in a row after its time")
    rows: list[list[str | float | None]] = Field(
        description="time, then one value a column. Raw: one row a frame, null where the frame has no wanted sample of "
        "the channel; two rows may have one time if a controller sends its channels in parts. Buckets: the time is the "
        "begin; a bucket without any sample is absent, a channel without one in it is null (count: 0)"
    )
    qualities: list[list[int | None]] | None = Field(
        description="raw with quality=all: for each row one quality a column (0 good, 1 bad, 2 uncertain, null: not "
        "sent); else null"
    )
    warnings: list[str]


class Latest(Answer):
    channel: str
    unit: str | None
    value: float | None = Field(description="null with a quality: due, but without a value; null without: none found")
    quality: int | None
    time: str | None


class DeviceLatest(Answer):
    device: str
    time: str | None = Field(description="time of the newest frame")
    values: list[Latest]


class OneLatest(DeviceLatest):
    within: str = Field(description="how long before the newest frame a channel was looked for")
    quality: Literal["good", "all"]


class AllLatest(Page):
    within: str
    quality: Literal["good", "all"]
    devices: list[DeviceLatest]


class Event(Answer):
    time: str
    type: str
    boot: int | None
    data: dict[str, Any]
    received_at: str


class Events(Page):
    events: list[Event]


class Quarantined(Answer):
    id: int
    received_at: str
    device: str | None = Field(description="the device level of the topic, registered or not")
    topic: str
    reason: str
    detail: str
    content_type: str | None
    bytes: int
    state: Literal["open", "replayed", "discarded"]
    settled_at: str | None = Field(description="when it was replayed or discarded")
    payload: str | None = Field(
        description="base64; null if discarded, and in a list if over 16 KiB: ask for the item itself"
    )


class Quarantine(Page):
    quarantine: list[Quarantined]


EnrollmentState = Literal[
    "challenged", "awaiting", "approved", "provisioning", "granted", "active", "rejected", "expired"
]


class Enrollment(Answer):
    txn: str
    cell: str
    serial: str
    device: str = Field(description="the name it has or will get")
    fingerprint: str = Field(description="of its identity key; the controller's display shows the same")
    state: EnrollmentState = Field(description="awaiting: an operator has to approve or deny it")
    reason: str | None = Field(description="why it awaits an operator, or was rejected")
    claim_version: int
    hardware: str | None
    firmware: str | None
    channels: list[str] = Field(description="what it says it will send")
    username: str | None = Field(description="the login it was given")
    created_at: str
    changed_at: str
    expires_at: str | None


class Enrollments(Page):
    enrollments: list[Enrollment]


class Serial(Answer):
    serial: str
    device: str = Field(description="the name it has or will get")
    state: str | None = Field(description="of that device; null: it has not enrolled, or is another organization's")
    claim_version: int = Field(description="of the master key; 0: a claim key of its own")
    blocked: bool
    fingerprint: str | None = Field(description="of the identity key it is bound to; null: none yet")
    import_: str | None = Field(alias="import", description="name of the import it came with")
    created_at: str


class Serials(Page):
    serials: list[Serial]


class Import(Answer):
    import_: str = Field(alias="import", description="its name")
    new: int
    known: int = Field(description="were there already, and were left as they are")
    keys_not_kept: int = Field(
        description="claim keys of version 1 and up: they follow from a master key that this service has not, so they "
        "were neither checked nor stored; `biogate devices import` checks them"
    )


class Login(Answer):
    username: str
    generation: int
    kind: Literal["password", "certificate"]
    by_hand: bool = Field(description="made by a command; else by a handshake")
    cell: str
    wanted: Literal["present", "disabled", "absent"]
    applied: Literal["present", "disabled", "absent"] = Field(description="what the broker was last told")
    created_at: str
    applied_at: str | None
    activated_at: str | None = Field(description="when it was first used")
    ended_at: str | None


class Logins(Page):
    logins: list[Login]


class Cell(Answer):
    cell: str
    open: bool = Field(description="false: no handshake works, by the kill switch")
    applied: bool | None = Field(description="what the broker was last told; null: nothing yet")


class Switches(Page):
    cells: list[Cell]


T, PAGE = "2026-11-20T07:45:00.000000Z", {"truncated": False, "next": None}
DEVICE = {
    "device": "br-1",
    "state": "active",
    "registered_at": T,
    "presence": {"online": True, "since": T, "boot": 7, "firmware": "2.4.1"},
    "last_frame_at": T,
    "title": "Fermenter 3",
    "location": "Hall 2/Bay 4",
    "tags": ["ecoli", "pilot"],
}
CHANNEL = {"channel": "ph", "unit": "pH", "description": "pH, process value"}
LATEST = {"channel": "ph", "unit": "pH", "value": 7.02, "quality": 0, "time": T}
EVENT = {"time": T, "type": "phase", "boot": 7, "data": {"phase": "batch"}, "received_at": T}
QUARANTINED = {
    "id": 4711,
    "received_at": T,
    "device": "br-1",
    "topic": "bioreactors/br-1/telemetry",
    "reason": "too-old",
    "detail": "a frame of 1970-01-01",
    "content_type": "application/json",
    "bytes": 26,
    "state": "open",
    "settled_at": None,
    "payload": "eyJ0IjowLCJ2Ijp7InBoIjo3LjAyfX0=",
}
ENROLLMENT = {
    "txn": "5f0c1e2d3a4b59687786a5b4c3d2e1f0",
    "cell": "main",
    "serial": "BR-2044",
    "device": "BR-2044",
    "fingerprint": "QK7M2VBXW4TZ",
    "state": "awaiting",
    "reason": "unknown-serial",
    "claim_version": 1,
    "hardware": "rev C",
    "firmware": "2.4.1",
    "channels": ["ph", "temperature"],
    "username": None,
    "created_at": T,
    "changed_at": T,
    "expires_at": "2026-11-21T07:45:00.000000Z",
}
SERIAL = {
    "serial": "BR-2044",
    "device": "BR-2044",
    "state": "active",
    "claim_version": 1,
    "blocked": False,
    "fingerprint": "QK7M2VBXW4TZ",
    "import": "plant-north",
    "created_at": T,
}
LOGIN = {
    "username": "BR-2044.1",
    "generation": 1,
    "kind": "password",
    "by_hand": False,
    "cell": "main",
    "wanted": "present",
    "applied": "present",
    "created_at": T,
    "applied_at": T,
    "activated_at": T,
    "ended_at": None,
}
SWITCHES = {"cells": [{"cell": "main", "open": True, "applied": True}], **PAGE}
TELEMETRY = {
    "device": "br-1",
    "from": T,
    "to": "2026-11-20T08:45:00.000000Z",
    "bucket": None,
    "quality": "good",
    "columns": [
        {"channel": "ph", "unit": "pH", "aggregate": None},
        {"channel": "temperature", "unit": "°C", "aggregate": None},
    ],
    "rows": [[T, 7.02, 36.9], ["2026-11-20T07:45:01.000000Z", 7.02, None]],
    "qualities": None,
    "truncated": True,
    "next": "WyI1ZmQ4MWM0Y…",
    "warnings": [],
}
BUCKETS = TELEMETRY | {
    "bucket": "1m",
    "columns": [
        {"channel": "ph", "unit": "pH", "aggregate": "avg"},
        {"channel": "ph", "unit": "1", "aggregate": "count"},
    ],
    "rows": [[T, 7.021, 60], ["2026-11-20T07:47:00.000000Z", 7.019, 58]],
    **PAGE,
}


def with_examples(document: dict[str, Any], routes: Iterable[APIRoute]) -> dict[str, Any]:
    """Put the examples back as they were written: FastAPI leaves out the nulls, which have a meaning here. And describe
    the problem document once, for all."""
    document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    for route in routes:
        for method in (route.methods or ()) if route.path in document["paths"] else ():
            for status, answer in document["paths"][route.path][method.lower()]["responses"].items():
                declared = route.responses.get(int(status), {}).get("content", {})
                given = declared.get("application/json", {}).get("examples")
                if given is not None:
                    answer["content"]["application/json"]["examples"] = given
            _only_its_formats(document["paths"][route.path][method.lower()])
    return document


def _only_its_formats(described: dict[str, Any]) -> None:
    """`format` of what there is as JSON alone."""
    if not any("text/csv" in answer.get("content", {}) for answer in described["responses"].values()):
        for parameter in described.get("parameters", []):
            if parameter["name"] == "format":
                parameter["schema"] = {"anyOf": [{"type": "string", "const": "json"}, {"type": "null"}]}
                parameter["description"] = "json, which is all that there is"


def ok(model: type[Answer], csv: str | None, **examples: Any) -> dict[int | str, dict[str, Any]]:
    """The 200 of a route: schema and examples as JSON and, if it has that form, as CSV."""
    content: dict[str, Any] = {"application/json": {"examples": {n: {"value": v} for n, v in examples.items()}}}
    if csv is not None:
        content["text/csv"] = {"schema": {"type": "string"}, "example": csv}
    return {200: {"model": model, "content": content}}
