"""The shapes of answers about one device, and of the audit trail: as in common.py, with an example of each."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from api.models.common import DEVICE, Answer, Device, DeviceState, Page, T


class DeviceDetail(Device):
    version: int = Field(description="counts the changes of title, location and tags; the ETag, for If-Match")


class Given(Answer):
    device: str
    organization: str = Field(description="whose it is now")


class Completeness(Answer):
    from_: str = Field(alias="from", description="one hour before `to`")
    to: str = Field(description="end of the hour, not part of it: the time of the answer")
    expected: int | None = Field(
        description="frames by their numbers: of each boot that has frames with a time in this hour, the last `seq` "
        "less the first, plus 1. What was sent before the first of them, or after the last, cannot be known. null: no "
        "frame of this hour has a number"
    )
    stored: int = Field(
        description="different frames of this hour that are stored; one that came in parts, in several layouts, counts "
        "once. Where no frame has a number: their different times"
    )
    missing: int | None = Field(description="expected less stored: on the way, lost, or in quarantine. null as above")
    lost: int | None = Field(description="of the missing, those that the device has said it does not have any more")


class Status(Answer):
    device: str
    state: DeviceState
    online: bool | None = Field(description="null: it has never sent a status")
    since: str | None = Field(description="when the connection was begun that the status belongs to")
    last_seen: str | None = Field(
        description="when its newest status or its newest frame was received, whichever was later; null: neither yet"
    )
    boot: int | None = Field(description="power-up counter of the controller")
    firmware: str | None
    last_frame_at: str | None = Field(description="time of the newest frame, by the device's clock")
    lag_ms: float | None = Field(
        description="how long after its time the newest frame was received; below 0 where the device's clock is ahead"
    )
    age_ms: float | None = Field(description="how long before the answer the time of the newest frame is")
    completeness: Completeness = Field(description="of the last hour")


class Annotation(Answer):
    id: int
    begins: str
    ends: str | None = Field(description="null: of one instant")
    text: str
    who: str
    created_at: str
    withdrawn_at: str | None = Field(description="null: it stands; a list has only those")


class Annotations(Page):
    annotations: list[Annotation]


class AuditEvent(Answer):
    n: int = Field(description="its number in the organization's chain, from 1, without a gap")
    at: str
    who: str
    action: str
    subject: str
    old: Any = Field(description="what was before; null where that says nothing")
    new: Any = Field(description="what is from now on; null where that says nothing")
    why: str
    hash: str = Field(description="SHA-256 over the event and the hash before it, hexadecimal")


class Audit(Page):
    events: list[AuditEvent]


class Verification(Answer):
    organization: str
    events: int
    first_at: str | None
    last_at: str | None
    last_n: int | None
    last_hash: str | None = Field(
        description="hexadecimal. Nobody can see that events were cut off at the end, unless this and last_n are kept "
        "elsewhere and compared with the audit trail later"
    )
    faults: list[int] = Field(
        description="numbers of events that are not what was written, or before which events are missing; at most 1000"
    )
    whole: bool = Field(description="true: no faults")


DETAIL = DEVICE | {"version": 3}
STATUS = {
    "device": "br-1",
    "state": "active",
    "online": True,
    "since": T,
    "last_seen": "2026-11-20T08:45:00.031000Z",
    "boot": 7,
    "firmware": "2.4.1",
    "last_frame_at": "2026-11-20T08:45:00.000000Z",
    "lag_ms": 31.0,
    "age_ms": 412.0,
    "completeness": {
        "from": "2026-11-20T07:45:00.412000Z",
        "to": "2026-11-20T08:45:00.412000Z",
        "expected": 3600,
        "stored": 3597,
        "missing": 3,
        "lost": 1,
    },
}
ANNOTATION = {
    "id": 12,
    "begins": T,
    "ends": None,
    "text": "Probe changed",
    "who": "eva@example.com",
    "created_at": T,
    "withdrawn_at": None,
}
EVENT = {
    "n": 4711,
    "at": T,
    "who": "eva@example.com",
    "action": "device suspend",
    "subject": "device/br-1",
    "old": {"state": "active"},
    "new": {"state": "suspended"},
    "why": "the probe is being changed",
    "hash": "9f2c61d6b1f0c3c2f5f9e0a4a1c7d6b0e4d3f8a5b7c9120f3e6d8a1b2c4f5e60",
}
VERIFICATION = {
    "organization": "main",
    "events": 4711,
    "first_at": "2026-01-07T09:12:44.010000Z",
    "last_at": T,
    "last_n": 4711,
    "last_hash": EVENT["hash"],
    "faults": [],
    "whole": True,
}
