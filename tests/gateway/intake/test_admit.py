"""Typed message → items: times, topics, statuses and events, and that whatever arrives becomes at least one item."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.items import DeviceEvent, Reject, StatusChange
from schema.reasons import Reason
from tests.gateway.intake.admission import AGE_MS, EVENT, HISTORY, SKEW_MS, STATUS, TELEMETRY, Intake, intake, one_frame
from tests.gateway.material import NOW_MS

__all__ = ["intake"]

BOUNDS = [
    (NOW_MS, None),
    (NOW_MS - AGE_MS, None),
    (NOW_MS + SKEW_MS, None),
    (NOW_MS - AGE_MS - 0.25, Reason.TOO_OLD),
    (NOW_MS + SKEW_MS + 0.25, Reason.TOO_NEW),
    (0.0, Reason.TOO_OLD),
    (-1.0, Reason.TOO_OLD),
    (NOW_MS * 1000, Reason.TOO_NEW),
    (math.nan, Reason.WRONG_TYPE),
    (math.inf, Reason.WRONG_TYPE),
    (-math.inf, Reason.WRONG_TYPE),
]


@pytest.mark.parametrize(("t", "reason"), BOUNDS)
def test_times_are_accepted_up_to_both_bounds_and_not_beyond(intake: Intake, t: float, reason: Reason | None) -> None:
    assert intake.reason(one_frame(t)) is reason
    assert intake.reason(one_frame(t), HISTORY) is reason
    assert intake.reason(one_frame(t, q={})) is reason
    assert intake.reason({"t": t, "type": "alarm"}, EVENT) is reason
    assert intake.reason({"t": [t], "ch": ["ph"], "v": [[7.0]]}) is reason


@pytest.mark.parametrize(
    ("t", "reason"),
    [(0.0, None), (NOW_MS - 2 * AGE_MS, None), (NOW_MS + SKEW_MS, None)]
    + [(t, why) for t, why in BOUNDS if why in {Reason.TOO_NEW, Reason.WRONG_TYPE} or t < 0],
)
def test_a_status_may_be_of_any_age_but_not_of_the_future(intake: Intake, t: float, reason: Reason | None) -> None:
    assert intake.reason({"status": "online", "t": t}, STATUS) is reason


@pytest.mark.parametrize(
    ("t", "hint"),
    [
        (
            NOW_MS / 1000,
            "behind the gateway's; at most 3600 s are allowed (BIOGATE_MAX_AGE_S): is it in seconds? Then write",
        ),
        (NOW_MS * 1e3, "60 s are allowed (BIOGATE_MAX_SKEW_S): is it in microseconds? Then write 1795161600000"),
        (NOW_MS * 1e6, "60 s are allowed (BIOGATE_MAX_SKEW_S): is it in nanoseconds? Then write 1795161600000"),
    ],
)
def test_times_in_another_unit_are_told_as_such(intake: Intake, t: float, hint: str) -> None:
    block = {"t": [t, t], "ch": ["ph"], "v": [[7.0], [7.1]]}
    for message, to in (
        (one_frame(t), TELEMETRY),
        (block, HISTORY),
        ({"t": t, "type": "alarm"}, EVENT),
        ({"t": t, "status": "online"}, STATUS),
    ):
        item = intake.one(message, to)
        assert isinstance(item, Reject)
        assert hint in item.detail


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, None),
        ({"volume": 1.5, "on": True, "off": None, "list": [1, {"x": "y"}]}, None),
        ({"note": "a\0b"}, Reason.WRONG_TYPE),
        ({"a\0b": 1}, Reason.WRONG_TYPE),
        ({"deep": [{"note": "\0"}]}, Reason.WRONG_TYPE),
        ({"path": "C:\\u0000"}, None),
        ({"path": "C:\\\0"}, Reason.WRONG_TYPE),
        ({"path": "\\\\u0000"}, None),
        ({"note": "x" * 245}, None),
        ({"note": "x" * 246}, Reason.TOO_LARGE),
        ({"note": "µ" * 200}, Reason.TOO_LARGE),
        ({"x": msgpack.ExtType(5, b"x")}, Reason.WRONG_TYPE),
        ({"x": {b"bytes as a key": 1}}, Reason.WRONG_TYPE),
        ({"x": {(1, 2): 3}}, Reason.WRONG_TYPE),
    ],
    ids=repr,
)
def test_event_data_is_what_json_in_the_database_can_hold(
    intake: Intake, data: dict[str, Any], reason: Reason | None
) -> None:
    assert intake.reason({"t": NOW_MS, "type": "alarm", "data": data}, EVENT) is reason


def test_a_text_with_nul_is_rejected(intake: Intake) -> None:
    assert intake.reason({"t": NOW_MS, "type": "a\0b"}, EVENT) is Reason.WRONG_TYPE
    assert intake.reason({"t": NOW_MS, "status": "online", "firmware": "\0"}, STATUS) is Reason.WRONG_TYPE


def test_equal_events_of_one_instant_are_told_apart_by_their_number(intake: Intake) -> None:
    dose = {"t": NOW_MS, "type": "dosing", "boot": 3, "data": {"mL": 1}}
    items = [intake.one(dose | number, EVENT) for number in ({}, {"n": None}, {"n": 0}, {"n": 1}, {"n": 1})]
    digests = [item.digest for item in items if isinstance(item, DeviceEvent)]
    assert [digests.index(digest) for digest in digests] == [0, 0, 2, 3, 3]
    assert intake.reason(dose | {"n": -1}, EVENT) is Reason.WRONG_TYPE


def test_statuses_and_events_keep_what_they_said(intake: Intake) -> None:
    status = {"t": NOW_MS, "status": "offline", "boot": 3, "oldest": 7, "firmware": "1.2"}
    item = intake.one(status, STATUS)
    assert isinstance(item, StatusChange)
    assert (item.online, item.t, item.boot, item.oldest_seq, item.firmware) == (False, NOW_MS, 3, 7, "1.2")
    event = intake.one({"t": NOW_MS, "type": "dosing", "boot": 3, "data": {"b": 1, "a": 2}}, EVENT)
    assert isinstance(event, DeviceEvent)
    assert (event.t, event.type, event.boot, event.data) == (NOW_MS, "dosing", 3, '{"a":2,"b":1}')


@pytest.mark.parametrize(
    ("to", "reason", "kind"),
    [
        ("bioreactors/nobody/telemetry", Reason.UNKNOWN_DEVICE, "frame"),
        ("bioreactors/nobody/status", Reason.UNKNOWN_DEVICE, "status"),
        ("bioreactors//event", Reason.UNKNOWN_DEVICE, "event"),
        ("bioreactors/r1/elsewhere", Reason.UNKNOWN_TOPIC, "frame"),
        ("bioreactors/r1/telemetry/more", Reason.UNKNOWN_TOPIC, "frame"),
        ("", Reason.UNKNOWN_TOPIC, "frame"),
    ],
)
def test_what_has_no_place_is_rejected(intake: Intake, to: str, reason: Reason, kind: str) -> None:
    item = intake.one(one_frame(), to)
    assert isinstance(item, Reject)
    assert (item.reason, item.kind) == (reason, kind)


def test_an_unreadable_packet_is_rejected_with_its_fault(intake: Intake) -> None:
    (item,) = intake.raw(b"\x32\x03abc", fault="a length inside it is wrong")
    assert isinstance(item, Reject)
    assert (item.reason, item.detail) == (Reason.MALFORMED_PACKET, "a length inside it is wrong")


nearly = st.fixed_dictionaries(
    {"t": st.just(NOW_MS) | st.just([NOW_MS]), "v": st.dictionaries(st.text(), st.floats()) | st.just([[1.0]])},
    optional={
        "q": st.dictionaries(st.text(), st.integers(0, 3)) | st.just([[1]]),
        "ch": st.lists(st.text(), max_size=2),
        "type": st.text(max_size=3),
        "status": st.just("online"),
        "data": st.dictionaries(st.text(), st.binary() | st.text() | st.dictionaries(st.binary(), st.integers(-5, 5))),
    },
)


@given(
    payload=st.binary() | nearly.map(msgpack.packb),
    to=st.sampled_from([TELEMETRY, HISTORY, STATUS, EVENT]) | st.text(),
    content_type=st.none() | st.text(),
)
def test_whatever_arrives_becomes_at_least_one_item(
    intake: Intake, payload: bytes, to: str, content_type: str | None
) -> None:
    assert intake.raw(payload, to, content_type=content_type)
