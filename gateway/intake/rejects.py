"""Makes rejects for the quarantine: messages that can be published again as they are."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway import items
from gateway.errors import Rejected
from gateway.intake import decode
from gateway.items import NOT_SENT, AcceptedItem, Delivery, Device, Frame, Reject, item_kind
from schema.messages import CONTENT_JSON, CONTENT_MSGPACK, GOOD, MOST_SEQ, Status, Telemetry
from schema.reasons import Reason
from schema.topics import parse

DEVICE_LENGTH = 64
"""Most characters of a device's name that the quarantine's index takes: no registered name is longer."""


def reject(delivery: Delivery, why: Rejected, device: Device | None = None) -> Reject:
    """Reject the whole message, as it came. `device` is its sender, if that is registered."""
    parsed = parse(delivery.topic)
    numbers = None
    if device is not None and parsed is not None and item_kind(parsed[1]) == "frame" and delivery.fault is None:
        numbers = decode.numbers(delivery.payload, delivery.content_type)
    return Reject(
        item_kind(parsed[1] if parsed else None),
        delivery.topic,
        parsed[0][:DEVICE_LENGTH] if parsed else None,
        why.reason,
        why.detail,
        delivery.content_type,
        delivery.payload,
        delivery.received_ms,
        None if numbers is None or device is None else (device, *numbers),
    )


def reject_item(item: AcceptedItem, reason: Reason, detail: str) -> Reject:
    """Reject one item of a message, as a message of its own."""
    content_type, payload = _message(item)
    topic, device = item.route.topic, item.route.device
    numbers = None
    if isinstance(item, Frame) and item.boot is not None and item.seq is not None:
        numbers = device, item.boot, item.seq, item.seq
    return Reject(item.kind, topic, device.name, reason, detail, content_type, payload, item.received_ms, numbers)


def reject_row(delivery: Delivery, device: Device, block: Telemetry, n: int, why: Rejected) -> Reject:
    """Reject the row `n` of a block, whatever it is, as a block of its own in the form in which it came."""
    seq = None if block.seq is None else block.seq + n
    numbered = {key: number for key, number in (("boot", block.boot), ("seq", seq)) if number is not None}
    tables = {key: [table[n]] for key in "tvq" if (table := getattr(block, key)) is not None}
    row = numbered | {"ch": block.ch} | tables
    content_type, encode = CONTENT_MSGPACK, msgspec.msgpack.encode
    if decode.is_json(delivery.payload, delivery.content_type):
        content_type, encode = CONTENT_JSON, msgspec.json.encode
    numbers = None
    if block.boot is not None and seq is not None and seq <= MOST_SEQ:
        numbers = device, block.boot, seq, seq
    reason, detail, received_ms = why.reason, why.detail, delivery.received_ms
    return Reject("frame", delivery.topic, device.name, reason, detail, content_type, encode(row), received_ms, numbers)


def _message(item: AcceptedItem) -> tuple[str, bytes]:
    """The content type and the payload with which a device would send `item` alone."""
    match item:
        case Frame():
            return CONTENT_MSGPACK, msgspec.msgpack.encode(_frame(item))
        case items.StatusChange():
            state: Literal["online", "offline"] = "online" if item.online else "offline"
            status = Status(state, item.t, item.boot, item.oldest_seq, item.firmware, item.generation)
            return CONTENT_MSGPACK, msgspec.msgpack.encode(status)
        case items.DeviceEvent():
            # integers of JSON may be larger than MessagePack's
            event = {"t": item.t, "type": item.type, "boot": item.boot, "data": msgspec.Raw(item.data.encode())}
            event |= {} if item.n is None else {"n": item.n}
            return CONTENT_JSON, msgspec.json.encode(event)
        case items.LostFrames():
            return CONTENT_JSON, msgspec.json.encode({"boot": item.boot, "ranges": item.ranges})
        case items.DeviceCommandResult():
            answer: dict[str, object] = {"id": item.command_id, "status": item.status, "t": item.t}
            if item.detail is not None:
                answer["detail"] = item.detail
            if item.data is not None:
                answer["data"] = msgspec.Raw(item.data.encode())
            return CONTENT_JSON, msgspec.json.encode(answer)


def _frame(frame: Frame) -> dict[str, object]:
    """The fields of a message with this frame alone."""
    qualities = frame.quality or [GOOD] * len(frame.values)
    sent = [one for one in zip(frame.mapping.channels, frame.values, qualities, strict=True) if one[2] != NOT_SENT]
    message: dict[str, object] = {"t": frame.t, "v": {name: value for name, value, _ in sent}}
    if frame.boot is not None:
        message["boot"] = frame.boot
    if frame.seq is not None:
        message["seq"] = frame.seq
    if frame.quality is not None:
        message["q"] = {name: quality for name, _, quality in sent if quality != GOOD}
    return message
