"""What goes to quarantine, as a message that can be published again as it is."""

from __future__ import annotations

import msgspec

from gateway.errors import Rejected
from gateway.items import Delivery, DeviceEvent, Frame, Reject, StatusChange, item_kind
from schema.messages import CONTENT_MSGPACK, GOOD, Event, Status
from schema.reasons import Reason
from schema.topics import parse

DEVICE_LENGTH = 64
"""Of the device level of a topic, for the quarantine's index: no registered name is longer."""


def reject(delivery: Delivery, why: Rejected) -> Reject:
    """The whole message, as it came."""
    parsed = parse(delivery.topic)
    return Reject(
        item_kind(parsed[1] if parsed else None),
        delivery.topic,
        parsed[0][:DEVICE_LENGTH] if parsed else None,
        why.reason,
        why.detail,
        delivery.content_type,
        delivery.payload,
        delivery.received_ms,
    )


def reject_item(item: Frame | StatusChange | DeviceEvent, reason: Reason, detail: str) -> Reject:
    """One item of a message, as a message of its own."""
    return Reject(
        item.kind,
        item.route.topic,
        item.route.device.name,
        reason,
        detail,
        CONTENT_MSGPACK,
        msgspec.msgpack.encode(_message(item)),
        item.received_ms,
    )


def _message(item: Frame | StatusChange | DeviceEvent) -> object:
    match item:
        case Frame():
            return _frame(item)
        case StatusChange():
            return Status("online" if item.online else "offline", item.t, item.boot, item.oldest_seq, item.firmware)
        case DeviceEvent():
            return Event(item.t, item.type, item.boot, msgspec.json.decode(item.data))


def _frame(frame: Frame) -> dict[str, object]:
    """A frame as a device would send it alone."""
    channels = frame.mapping.channels
    message: dict[str, object] = {"t": frame.t, "v": dict(zip(channels, frame.values, strict=True))}
    if frame.boot is not None:
        message["boot"] = frame.boot
    if frame.seq is not None:
        message["seq"] = frame.seq
    if frame.quality is not None:
        message["q"] = {name: q for name, q in zip(channels, frame.quality, strict=True) if q != GOOD}
    return message
