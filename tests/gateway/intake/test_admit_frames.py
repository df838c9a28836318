"""Typed message → frames, one by one and in blocks: what they say, and what is wrong with one alone or with all."""

from __future__ import annotations

import json
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.items import DeviceEvent, Frame, Reject
from schema.reasons import Reason
from tests.gateway.intake.admission import AGE_MS, EVENT, HISTORY, SKEW_MS, Intake, intake, one_frame
from tests.gateway.material import NOW_MS

__all__ = ["intake"]

BLOCK = {"boot": 3, "seq": 10, "ch": ["ph", "foam"], "t": [NOW_MS, NOW_MS + 1], "v": [[7, 1], [8, None]]}


def readable(frame: Frame) -> dict[str, Any]:
    """What a frame says, whatever its form."""
    return {
        "t": frame.t,
        "boot": frame.boot,
        "seq": frame.seq,
        "v": dict(zip(frame.mapping.channels, frame.values, strict=True)),
        "q": dict(zip(frame.mapping.channels, frame.quality or [0] * len(frame.values), strict=True)),
    }


def test_a_frame_keeps_what_it_said(intake: Intake) -> None:
    item = intake.one(one_frame(NOW_MS + 0.125, boot=4, seq=9, q={"ph": 2}))
    assert isinstance(item, Frame)
    assert readable(item) == one_frame(NOW_MS + 0.125, boot=4, seq=9, q={"ph": 2, "foam": 0})
    assert (item.route.device.name, item.received_ms, item.kind) == ("r1", NOW_MS, "frame")


def test_a_quality_of_a_channel_without_value_makes_it_due_but_absent(intake: Intake) -> None:
    item = intake.one({"t": NOW_MS, "v": {"ph": 7.0}, "q": {"foam": 2}})
    assert isinstance(item, Frame)
    assert readable(item)["v"] == {"ph": 7.0, "foam": None}
    assert readable(item)["q"] == {"ph": 0, "foam": 2}


def test_a_block_becomes_frames_with_times_and_seqs_of_their_own(intake: Intake) -> None:
    items = intake.many(BLOCK | {"q": [[0, 2], [0, 0]]})
    assert [readable(item) for item in items if isinstance(item, Frame)] == [
        {"t": NOW_MS, "boot": 3, "seq": 10, "v": {"ph": 7, "foam": 1}, "q": {"ph": 0, "foam": 2}},
        {"t": NOW_MS + 1, "boot": 3, "seq": 11, "v": {"ph": 8, "foam": None}, "q": {"ph": 0, "foam": 0}},
    ]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (one_frame(t=[NOW_MS]), Reason.WRONG_SHAPE),  # type: ignore[arg-type]
        (one_frame(t=[NOW_MS], q={}), Reason.WRONG_SHAPE),  # type: ignore[arg-type]
        (one_frame(ch=["ph"]), Reason.WRONG_SHAPE),
        (one_frame(q=[[0, 0]]), Reason.WRONG_SHAPE),
        (BLOCK | {"t": NOW_MS}, Reason.WRONG_SHAPE),
        (BLOCK | {"ch": None}, Reason.WRONG_SHAPE),
        (BLOCK | {"v": {"ph": 7.0}}, Reason.WRONG_SHAPE),
        (BLOCK | {"q": {"ph": 1}}, Reason.WRONG_SHAPE),
        (BLOCK | {"q": [[0, 0]]}, Reason.WRONG_SHAPE),
        (BLOCK | {"t": [NOW_MS]}, Reason.WRONG_SHAPE),
        (BLOCK | {"t": [NOW_MS] * 3}, Reason.WRONG_SHAPE),
        (BLOCK | {"t": [], "v": []}, Reason.EMPTY),
        (BLOCK | {"ch": [], "v": [[], []]}, Reason.EMPTY),
        (one_frame(v={}), Reason.EMPTY),
        (one_frame(v={}, q={}), Reason.EMPTY),
        (BLOCK | {"ch": ["ph", "ph"]}, Reason.BAD_CHANNEL),
        (one_frame(v={"": 1.0}), Reason.BAD_CHANNEL),
        (one_frame(q={"a\0b": 1}), Reason.BAD_CHANNEL),
        (one_frame(v={f"c{i}": 1.0 for i in range(257)}), Reason.TOO_MANY_CHANNELS),
    ],
)
def test_what_does_not_fit_together_is_rejected_whole_and_as_it_came(
    intake: Intake, message: dict[str, Any], reason: Reason
) -> None:
    payload = json.dumps(message).encode()
    (item,) = intake.raw(payload, HISTORY, content_type="application/json")
    assert isinstance(item, Reject)
    assert (item.reason, item.payload, item.topic) == (reason, payload, HISTORY)
    assert (item.content_type, item.device, item.kind) == ("application/json", "r1", "frame")
    assert item.detail


times = st.floats(NOW_MS - 2 * AGE_MS, NOW_MS + 2 * SKEW_MS) | st.sampled_from([math.nan, -math.inf, 0.0])


@given(data=st.data(), width=st.integers(1, 4), tagged=st.booleans(), rated=st.booleans())
def test_frames_out_of_bounds_leave_their_block_each_as_a_message_that_can_be_published_again(
    intake: Intake, data: st.DataObject, width: int, tagged: bool, rated: bool
) -> None:
    row = st.lists(st.none() | st.floats(allow_nan=False), min_size=width, max_size=width)
    rows = data.draw(st.lists(st.tuples(times, row), min_size=1, max_size=8))
    block: dict[str, Any] = {
        "ch": [f"c{i}" for i in range(width)],
        "t": [t for t, _ in rows],
        "v": [values for _, values in rows],
    }
    if tagged:
        block |= {"boot": 1, "seq": 100}
    if rated:
        quality = st.lists(st.integers(0, 3), min_size=width, max_size=width)
        block["q"] = [data.draw(quality) for _ in rows]
    items = intake.many(block)
    if len(items) == 1 and len(rows) > 1:  # none can be stored, all for one reason
        assert isinstance(items[0], Reject)
        assert items[0].payload == msgpack.packb(block)
        return
    assert len(items) == len(rows)
    for n, item in enumerate(items):
        sent = {
            "t": block["t"][n],
            "boot": 1 if tagged else None,
            "seq": 100 + n if tagged else None,
            "v": dict(zip(block["ch"], block["v"][n], strict=True)),
            "q": dict(zip(block["ch"], block["q"][n] if rated else [0] * width, strict=True)),
        }
        in_bounds = NOW_MS - AGE_MS <= sent["t"] <= NOW_MS + SKEW_MS
        assert isinstance(item, Frame if in_bounds else Reject)
        if isinstance(item, Frame):
            assert readable(item) == sent
        elif isinstance(item, Reject) and math.isfinite(sent["t"]) and sent["t"] >= 0:
            (again,) = intake.raw(item.payload, item.topic, content_type=item.content_type, received_ms=sent["t"])
            assert isinstance(again, Frame)
            assert readable(again) == sent


@pytest.mark.parametrize(
    ("wrong", "reason", "detail"),
    [
        ({"v": [8, "7.1"]}, Reason.WRONG_TYPE, "channel 'foam' has the text '7.1'"),
        ({"v": [[1], {}]}, Reason.WRONG_TYPE, "channel 'ph' has a list, not a number; channel 'foam' has a map"),
        ({"v": "8, 2"}, Reason.WRONG_TYPE, "a row is a list"),
        ({"v": None}, Reason.WRONG_TYPE, "a row is a list"),
        ({"v": [8]}, Reason.WRONG_SHAPE, "2 channels"),
        ({"v": [8, 2, 3]}, Reason.WRONG_SHAPE, "2 channels"),
        ({"q": [0]}, Reason.WRONG_SHAPE, "2 channels"),
        ({"q": [0, "bad"]}, Reason.WRONG_TYPE, "the quality of channel 'foam'"),
        ({"q": [0, True]}, Reason.WRONG_TYPE, "the quality of channel 'foam'"),
        ({"q": [-1, 32768]}, Reason.WRONG_TYPE, "channel 'ph' is not an integer of 0 to 32767; the quality of"),
        ({"t": "now"}, Reason.WRONG_TYPE, "`t` is the text 'now'"),
        ({"t": True}, Reason.WRONG_TYPE, "`t` is true or false"),
        ({"t": None}, Reason.WRONG_TYPE, "`t` is null"),
        ({"t": math.nan}, Reason.WRONG_TYPE, "not a number"),
        ({"t": 0}, Reason.TOO_OLD, "behind"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_one_wrong_frame_of_a_block_harms_no_other(
    intake: Intake, form: str, wrong: dict[str, Any], reason: Reason, detail: str
) -> None:
    """What is rejected is a block of that frame alone, with its numbers, in the form in which it came."""
    right: dict[str, Any] = {"t": NOW_MS, "v": [7, None], "q": [0, 0]}
    rows = [right, right | wrong, right]
    block = {"boot": 3, "seq": 10, "ch": ["ph", "foam"], **{key: [row[key] for row in rows] for key in right}}
    encode = msgpack.packb if form == "msgpack" else lambda message: json.dumps(message).encode()
    first, reject, last = intake.raw(encode(block), content_type=f"application/{form}")
    kept = {"t": NOW_MS, "boot": 3, "v": {"ph": 7, "foam": None}, "q": {"ph": 0, "foam": 0}}
    assert [readable(item) for item in (first, last) if isinstance(item, Frame)] == [
        kept | {"seq": 10},
        kept | {"seq": 12},
    ]
    assert isinstance(reject, Reject)
    assert reject.reason is reason
    assert detail in reject.detail
    assert reject.numbers is not None
    assert reject.numbers[1:] == (3, 11, 11)
    assert intake.raw(reject.payload, content_type=reject.content_type)[0].reason is reason  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("frame", "detail"),
    [
        (one_frame(v={"ph": 7.0, "foam": "7.1"}), "channel 'foam' has the text '7.1', not a number"),
        (one_frame(v={"ph": [7.0], "foam": "x" * 41}), "'ph' has a list, not a number; channel 'foam' has a text"),
        (one_frame(q={"foam": "bad"}), "the quality of channel 'foam' is not an integer"),
        (one_frame(t="now"), "`t` is the text 'now'"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_frame_is_told_with_its_wrong_channels(intake: Intake, frame: dict[str, Any], detail: str) -> None:
    item = intake.one(frame)
    assert isinstance(item, Reject)
    assert item.reason is Reason.WRONG_TYPE
    assert detail in item.detail


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_true_and_false_are_1_and_0(intake: Intake, form: str) -> None:
    encode = msgpack.packb if form == "msgpack" else lambda message: json.dumps(message).encode()
    (item,) = intake.raw(encode(one_frame(v={"pump": True, "valve": False, "ph": 7.5})))
    assert isinstance(item, Frame)
    assert item.values == (1, 0, 7.5)
    items = intake.raw(encode(BLOCK | {"v": [[True, 1], [False, None]]}))
    assert [item.values for item in items if isinstance(item, Frame)] == [[1, 1], [0, None]]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1E+999", "9" * 400, "nan", "-inf"])
def test_json_without_a_finite_number_is_a_channel_without_a_value_as_in_msgpack(intake: Intake, number: str) -> None:
    (item,) = intake.raw(b'{"t": %d, "v": {"ph": 7.0, "NaN": %s}}' % (NOW_MS, number.encode()))
    assert isinstance(item, Frame)
    assert readable(item)["v"] == {"ph": 7.0, "NaN": None}
    items = intake.raw(b'{"t": [%d, %s], "ch": ["ph"], "v": [[%b], [1]]}' % (NOW_MS, number.encode(), number.encode()))
    assert [readable(item)["v"] for item in items if isinstance(item, Frame)] == [{"ph": None}]
    assert [item.reason for item in items if isinstance(item, Reject)] == [Reason.WRONG_TYPE]
    (event,) = intake.raw(b'{"t": %d, "type": "x", "data": {"mL": [%s]}}' % (NOW_MS, number.encode()), EVENT)
    assert isinstance(event, DeviceEvent)
    assert event.data == '{"mL":[null]}'
    for field in ("t", "boot", "seq"):
        message = one_frame() | {field: "?"}
        (wrong,) = intake.raw(json.dumps(message).replace('"?"', number).encode())
        assert isinstance(wrong, Reject)
        assert wrong.reason is Reason.WRONG_TYPE
