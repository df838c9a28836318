"""What goes to quarantine can be published again and is then what it was."""

from __future__ import annotations

import json
import math
from typing import Any

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Rejected
from gateway.intake import decode
from gateway.intake.rejects import reject, reject_item
from gateway.items import DeviceEvent, Frame, Reject, StatusChange
from schema.messages import Event, Status, Telemetry
from schema.reasons import Reason
from tests.gateway.material import NOW_MS, delivery, mapping, route

signs = st.characters(exclude_categories=["Cs"])
text = st.text(signs)
channels = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=64), unique=True)
times = st.floats(0, 4e12)
boots = st.integers(0, 2**32 - 1)
seqs = st.integers(0, 2**53 - 1)


def rejected(item: Frame | StatusChange | DeviceEvent) -> Reject:
    return reject_item(item, Reason.REFUSED, "for a test")


def same(sent: float | None, got: float | None) -> bool:
    if sent is None or got is None:
        return sent is got
    return sent == got or (math.isnan(sent) and math.isnan(got))


@given(data=st.data(), names=channels, t=times, boot=st.none() | boots, seq=st.none() | seqs, rated=st.booleans())
def test_a_rejected_frame_is_a_message_of_that_frame(
    data: st.DataObject, names: list[str], t: float, boot: int | None, seq: int | None, rated: bool
) -> None:
    values = data.draw(st.lists(st.none() | st.floats(), min_size=len(names), max_size=len(names)))
    quality = data.draw(st.lists(st.integers(0, 32767), min_size=len(names), max_size=len(names))) if rated else None
    frame = Frame(route(1), mapping(names, range(len(names)), len(names)), t, boot, seq, NOW_MS, values, quality)
    again = decode.telemetry(rejected(frame).payload, rejected(frame).content_type)
    assert isinstance(again.v, dict)
    assert (again.t, again.boot, again.seq, again.ch) == (t, boot, seq, None)
    assert list(again.v) == names
    assert all(map(same, values, again.v.values()))
    assert isinstance(again.q, dict | None)
    assert [(again.q or {}).get(name, 0) for name in names] == (quality or [0] * len(names))


@given(
    online=st.booleans(),
    t=times,
    boot=boots,
    oldest=st.none() | seqs,
    firmware=st.none() | st.text(signs, max_size=128),
)
def test_a_rejected_status_is_a_message_of_that_status(
    online: bool, t: float, boot: int, oldest: int | None, firmware: str | None
) -> None:
    found = rejected(StatusChange(route(1), online, t, boot, oldest, firmware, None, NOW_MS))
    expected = Status("online" if online else "offline", t, boot, oldest, firmware)
    assert decode.status(found.payload, found.content_type) == expected
    assert found.kind == "status"


anything = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**60), 10**60)
    | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=10,
)  # fmt: skip


@given(
    t=times,
    kind=st.text(signs, min_size=1, max_size=64),
    boot=st.none() | boots,
    content=st.dictionaries(text, anything),
)
def test_a_rejected_event_is_a_message_of_that_event(
    t: float, kind: str, boot: int | None, content: dict[str, Any]
) -> None:
    found = rejected(DeviceEvent(route(1), t, kind, json.dumps(content), boot, NOW_MS))
    assert decode.event(found.payload, found.content_type) == Event(t, kind, boot, content)
    assert found.kind == "event"


def test_a_rejected_item_keeps_where_and_when_it_came() -> None:
    frame = Frame(route(7, "r7"), mapping(["ph"], [0], 1), 5.0, None, None, 9.5, [7.0], None)
    found = reject_item(frame, Reason.TOO_OLD, "why")
    assert (found.topic, found.device, found.received_ms) == ("bioreactors/r7/telemetry", "r7", 9.5)
    assert (found.reason, found.detail, found.kind) == (Reason.TOO_OLD, "why", "frame")
    assert msgpack.unpackb(found.payload) == {"t": 5.0, "v": {"ph": 7.0}}
    assert decode.telemetry(found.payload, found.content_type) == Telemetry(5.0, {"ph": 7.0})


def test_a_rejected_message_is_kept_as_it_came() -> None:
    message = delivery(b"\xc1garbage", "bioreactors/r1/event", content_type="x/y", received_ms=4.5)
    found = reject(message, Rejected(Reason.MALFORMED, "why"))
    assert (found.payload, found.content_type, found.topic) == (b"\xc1garbage", "x/y", "bioreactors/r1/event")
    assert (found.kind, found.device, found.reason, found.detail) == ("event", "r1", Reason.MALFORMED, "why")
    assert found.received_ms == 4.5


def test_what_cannot_be_told_counts_as_a_frame() -> None:
    found = reject(delivery(b"", "elsewhere"), Rejected(Reason.UNKNOWN_TOPIC, "why"))
    assert (found.kind, found.device) == ("frame", None)


def test_a_device_level_longer_than_any_name_is_cut() -> None:
    found = reject(delivery(b"", f"bioreactors/{'x' * 5000}/status"), Rejected(Reason.UNKNOWN_DEVICE, "why"))
    assert found.device == "x" * 64
    assert len(found.topic) > 5000


def test_a_message_delivered_again_is_the_same_and_on_another_topic_another() -> None:
    def digest(topic: str, payload: bytes, received_ms: float) -> bytes:
        return reject(
            delivery(payload, topic, received_ms=received_ms), Rejected(Reason.EMPTY, str(received_ms))
        ).sha256

    assert digest("a/b/c", b"x", 1) == digest("a/b/c", b"x", 2)
    assert len({digest("a/b/c", b"x", 1), digest("a/b/c", b"y", 1), digest("a/b/d", b"x", 1)}) == 3
    assert len(digest("a/\ud800", b"", 1)) == 32
