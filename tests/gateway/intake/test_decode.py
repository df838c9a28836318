"""Bytes → typed message: msgspec against independent encoders, and against garbage."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Rejected
from gateway.intake import decode
from schema.messages import Event, Status, Telemetry
from schema.reasons import Reason
from schema.unique_keys import map_header

Encode = Callable[[Any], bytes]

GOOD = {"t": 1.5, "v": {"ph": 7.0}}
BOM = b"\xef\xbb\xbf"

finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = finite | st.integers(-(2**63), 2**64 - 1)
values = st.none() | numbers
signs = st.characters(exclude_categories=["Cs"])
text = st.text(signs)
boots = st.integers(0, 2**32 - 1)
seqs = st.integers(0, 2**53 - 1)
qualities = st.integers(0, 32767)
tags = {"boot": boots, "seq": seqs}
frames = st.fixed_dictionaries(
    {"t": numbers, "v": st.dictionaries(text, values)}, optional=tags | {"q": st.dictionaries(text, qualities)}
)
blocks = st.fixed_dictionaries(
    {"t": st.lists(numbers), "v": st.lists(st.lists(values)), "ch": st.lists(text)},
    optional=tags | {"q": st.lists(st.lists(qualities))},
)
statuses = st.fixed_dictionaries(
    {"status": st.sampled_from(["online", "offline"]), "t": numbers},
    optional={
        "boot": boots,
        "oldest": seqs,
        "firmware": st.text(signs, max_size=128),
    },
)
anything = st.recursive(
    st.none() | st.booleans() | finite | st.integers(-(2**63), 2**64 - 1) | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=20,
)
events = st.fixed_dictionaries(
    {"t": numbers, "type": st.text(signs, min_size=1, max_size=64)},
    optional={"boot": boots, "data": st.dictionaries(text, anything)},
)


def as_msgpack(message: Any) -> bytes:
    return bytes(msgpack.packb(message))


def as_json(message: Any) -> bytes:
    return json.dumps(message).encode()


def as_json_in_utf8(message: Any) -> bytes:
    return BOM + json.dumps(message, ensure_ascii=False, indent=1).encode()


both = pytest.mark.parametrize("encode", [as_msgpack, as_json, as_json_in_utf8])


def reason(payload: bytes, content_type: str | None = None, of: Callable[..., object] = decode.telemetry) -> Reason:
    with pytest.raises(Rejected) as caught:
        of(payload, content_type)
    assert caught.value.detail
    return caught.value.reason


def same(sent: Any, got: Any) -> bool:
    """Equal, where a number decoded as a float may have been sent as an integer."""
    if isinstance(sent, dict):
        return sent.keys() == got.keys() and all(same(sent[key], got[key]) for key in sent)
    if isinstance(sent, list):
        return len(sent) == len(got) and all(map(same, sent, got))
    if isinstance(got, float):
        return float(sent) == got and math.copysign(1, sent) == math.copysign(1, got)
    return bool(sent == got and type(sent) is type(got))


def fields(message: Telemetry | Status | Event, sent: dict[str, Any]) -> dict[str, Any]:
    """The fields that were sent; the others must have their defaults."""
    found = {name: getattr(message, name) for name in message.__struct_fields__}
    defaults: dict[str, object] = {"boot": 0 if isinstance(message, Status) else None, "data": {}}
    assert all(found[name] == defaults.get(name) for name in found.keys() - sent.keys())
    return {name: value for name, value in found.items() if name in sent}


@both
@given(message=frames | blocks)
def test_telemetry_comes_out_as_other_encoders_put_it_in(encode: Encode, message: dict[str, Any]) -> None:
    assert same(message, fields(decode.telemetry(encode(message), None), message))


@both
@given(message=statuses)
def test_a_status_comes_out_as_other_encoders_put_it_in(encode: Encode, message: dict[str, Any]) -> None:
    assert same(message, fields(decode.status(encode(message), None), message))


@both
@given(message=events)
def test_an_event_comes_out_as_other_encoders_put_it_in(encode: Encode, message: dict[str, Any]) -> None:
    assert same(message, fields(decode.event(encode(message), None), message))


@both
@given(message=frames, extra=st.dictionaries(text.filter(lambda name: name not in {*GOOD, *tags, "q", "ch"}), anything))
def test_unknown_fields_are_ignored(encode: Encode, message: dict[str, Any], extra: dict[str, Any]) -> None:
    assert same(message, fields(decode.telemetry(encode(extra | message), None), message))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_msgpack_may_say_nan_and_infinity(value: float) -> None:
    frame = decode.telemetry(as_msgpack({"t": value, "v": {"ph": value}}), None)
    assert isinstance(frame.t, float)
    assert isinstance(frame.v, dict)
    assert repr([frame.t, frame.v["ph"]]) == repr([value, value])


@pytest.mark.parametrize("single", [True, False])
def test_msgpack_floats_of_both_sizes_are_numbers(single: bool) -> None:
    payload = msgpack.packb({"t": 0.5, "v": {"ph": 7.25}}, use_single_float=single)
    assert decode.telemetry(payload, None) == Telemetry(0.5, {"ph": 7.25})


LARGE = [
    (2**53, 9007199254740992.0),
    (2**53 + 1, 9007199254740992.0),
    (2**53 + 2, 9007199254740994.0),
    (2**53 + 3, 9007199254740996.0),
    (-(2**53) - 1, -9007199254740992.0),
    (2**63 - 1, 9223372036854775808.0),
    (2**64 - 1, 18446744073709551616.0),
]
"""Integers, and the doubles that docs/firmware.md says are stored in their place."""


@both
@pytest.mark.parametrize(("sent", "stored"), LARGE)
def test_an_integer_that_is_no_double_is_the_next_one(encode: Encode, sent: int, stored: float) -> None:
    assert repr(decode.telemetry(encode({"t": 1, "v": {"count": sent}}), None).v) == repr({"count": stored})
    block = decode.telemetry(encode({"t": [1, 2], "ch": ["count"], "v": [[sent], [7]]}), None)
    assert repr(block.v) == repr([[stored], [7.0]])


@pytest.mark.parametrize(("sent", "stored"), [(10**30 + 1, 1e30), (-(2**70) - 1, -(2.0**70))])
def test_an_integer_of_json_may_be_larger_than_any_of_a_machine(sent: int, stored: float) -> None:
    assert decode.telemetry(as_json({"t": 1, "v": {"count": sent}}), None).v == {"count": stored}


@pytest.mark.parametrize(
    "payload",
    [
        b"\xc1\xff\x00garbage",
        as_msgpack(GOOD)[:-3],
        as_msgpack(GOOD) + b"\x00",
        as_msgpack(GOOD) * 2,
        as_msgpack(GOOD).replace(b"ph", b"p\xff"),
        b"\x82\xa1t\x01\xa1v\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        as_json(GOOD)[:-1],
        as_json(GOOD) + b" x",
        as_json(GOOD) + b"\0",
        as_json(GOOD).replace(b"ph", b"p\xff"),
        as_json(GOOD).replace(b"ph", b"\\ud800"),
        as_json(GOOD).replace(b"ph", b"\\udc00x"),
        as_json(GOOD).replace(b"ph", b"p\nh"),
        as_json(GOOD).replace(b"7.0", b"NaNa"),
        as_json(GOOD).replace(b"7.0", b"Infinit"),
        as_json(GOOD).replace(b"7.0", b"NaN")[:-1],
        b'{"x": ' + b"1" * 10**6,
        b'{"' + b'\\"' * 10**6,
        as_json(GOOD).replace(b"7.0", b"07"),
        as_json(GOOD).replace(b'"', b"'"),
        json.dumps(GOOD).encode("utf-16-be"),
        b'{"x": ' + b"[" * 100_000,
        b"\x81\xa1x" + b"\x91" * 100_000,
        b" ",
        b"hello",
        BOM,
        BOM + BOM + as_json(GOOD),
    ],
    ids=lambda payload: repr(payload[:40]),
)
def test_what_is_neither_format_is_malformed(payload: bytes) -> None:
    assert reason(payload) is Reason.MALFORMED


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


@pytest.mark.parametrize("encode", [as_msgpack, as_json])
@pytest.mark.parametrize(
    "message",
    [
        21.5, None, [], "text", [GOOD], {}, without("t"), without("v"),
        GOOD | {"t": "1"}, GOOD | {"t": True}, GOOD | {"t": None}, GOOD | {"t": {}}, GOOD | {"t": ["1"]},
        GOOD | {"v": None}, GOOD | {"v": 7}, GOOD | {"v": [7]}, GOOD | {"v": "ph"}, GOOD | {"v": [{"ph": 7}]},
        GOOD | {"v": {"ph": "7"}}, GOOD | {"v": {"ph": [7]}}, GOOD | {"v": {"ph": {}}},
        GOOD | {"boot": -1}, GOOD | {"boot": 2**32}, GOOD | {"boot": 1.5}, GOOD | {"boot": "1"}, GOOD | {"boot": True},
        GOOD | {"seq": -1}, GOOD | {"seq": 2**53}, GOOD | {"seq": False},
        GOOD | {"q": {"ph": -1}}, GOOD | {"q": {"ph": 32768}}, GOOD | {"q": {"ph": None}}, GOOD | {"q": {"ph": True}},
        GOOD | {"q": 1}, GOOD | {"q": [1]}, GOOD | {"ch": "ph"}, GOOD | {"ch": [1]}, GOOD | {"ch": {"ph": 1}},
    ],
    ids=repr,
)  # fmt: skip
def test_a_field_missing_or_of_another_type_or_out_of_range_is_a_wrong_type(encode: Encode, message: object) -> None:
    assert reason(encode(message)) is Reason.WRONG_TYPE


def test_a_channel_that_is_not_a_text_is_a_wrong_type() -> None:
    assert reason(as_msgpack(GOOD | {"v": {1: 7}})) is Reason.WRONG_TYPE
    assert reason(as_msgpack(GOOD | {"v": {b"ph": 7}})) is Reason.WRONG_TYPE


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1" * 400, b"1" * 5000, b"NaN"])
def test_a_time_that_no_float_can_be_is_a_wrong_type(number: bytes) -> None:
    assert reason(as_json(GOOD).replace(b"1.5", number)) is Reason.WRONG_TYPE


@pytest.mark.parametrize("encode", [as_msgpack, as_json])
def test_statuses_and_events_are_checked_too(encode: Encode) -> None:
    good_status, good_event = {"status": "online", "t": 1}, {"type": "alarm", "t": 1}
    bad_statuses: list[dict[str, object]] = [
        {"status": "gone"}, {"t": None}, {"boot": None}, {"oldest": -1}, {"firmware": "x" * 129}
    ]  # fmt: skip
    for bad in bad_statuses:
        assert reason(encode(good_status | bad), of=decode.status) is Reason.WRONG_TYPE
    bad_events: list[dict[str, object]] = [
        {"type": ""}, {"type": "x" * 65}, {"type": 1}, {"data": []}, {"data": None}, {"boot": 2**32}
    ]  # fmt: skip
    for bad in bad_events:
        assert reason(encode(good_event | bad), of=decode.event) is Reason.WRONG_TYPE


def test_no_bytes_are_empty() -> None:
    for content_type in (None, "application/json", "application/msgpack"):
        assert reason(b"", content_type) is Reason.EMPTY


@pytest.mark.parametrize("content_type", ["application/msgpack", "application/x-msgpack", "application/vnd.msgpack"])
def test_the_content_type_decides_for_msgpack(content_type: str) -> None:
    assert decode.telemetry(as_msgpack(GOOD), content_type) == Telemetry(1.5, {"ph": 7.0})
    assert reason(as_json(GOOD), content_type) is Reason.WRONG_TYPE  # MessagePack reads the first byte as a number


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON", " application/json ; charset=utf-8"])
def test_the_content_type_decides_for_json(content_type: str) -> None:
    assert decode.telemetry(as_json(GOOD), content_type) == Telemetry(1.5, {"ph": 7.0})
    assert reason(as_msgpack(GOOD), content_type) is Reason.MALFORMED


@pytest.mark.parametrize("content_type", [None, "", ";", "text/plain", "application/octet-stream", "json"])
@pytest.mark.parametrize("encode", [as_msgpack, as_json, as_json_in_utf8])
def test_without_a_known_content_type_the_first_byte_decides(encode: Encode, content_type: str | None) -> None:
    assert decode.telemetry(encode(GOOD), content_type) == Telemetry(1.5, {"ph": 7.0})


@given(
    payload=st.binary()
    | st.builds(lambda message, cut: as_msgpack(message)[:cut], frames | blocks, st.integers(0, 99)),
    content_type=st.none() | st.sampled_from(["application/json", "application/msgpack"]) | st.text(),
    of=st.sampled_from([decode.telemetry, decode.status, decode.event]),
)
def test_whatever_the_bytes_the_result_is_a_message_or_a_rejection(
    payload: bytes, content_type: str | None, of: Callable[..., object]
) -> None:
    try:
        assert isinstance(of(payload, content_type), Telemetry | Status | Event)
    except Rejected as rejected:
        assert rejected.reason in {Reason.EMPTY, Reason.MALFORMED, Reason.WRONG_TYPE}  # noqa: PT017


def as_pairs(form: str, pairs: list[tuple[str, Any]]) -> bytes:
    """A map with exactly these entries; a list of pairs in it is a map, too."""

    def part(value: Any) -> bytes:
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            return as_pairs(form, value)
        return as_json(value) if form == "json" else as_msgpack(value)

    if form == "json":
        return b"{%s}" % b", ".join(b"%s: %s" % (as_json(key), part(value)) for key, value in pairs)
    return map_header(len(pairs)) + b"".join(as_msgpack(key) + part(value) for key, value in pairs)


T, V, Q = ("t", 1.5), ("v", [("ph", 7.0), ("foam", 1.0)]), ("q", [("ph", 1), ("foam", 0)])
MANY = [(f"c{n}", 1.0) for n in range(20)]


@pytest.mark.parametrize("form", ["json", "msgpack"])
@pytest.mark.parametrize(
    ("pairs", "reason_"),
    [
        ([T, ("v", [("ph", 1.0), ("ph", 2.0)])], Reason.BAD_CHANNEL),
        ([T, ("v", [("ph", 1.0), ("ph", 1.0)])], Reason.BAD_CHANNEL),
        ([T, ("v", [("ph", 1.0), ("foam", 1.0), ("ph", None)])], Reason.BAD_CHANNEL),
        ([T, ("v", [*MANY, ("c7", 2.0)])], Reason.BAD_CHANNEL),
        ([T, ("v", [('"ph"', 1.0), ('"ph"', 2.0)])], Reason.BAD_CHANNEL),
        ([T, V, ("q", [("ph", 1), ("ph", 0)])], Reason.BAD_CHANNEL),
        ([T, T, V], Reason.WRONG_SHAPE),
        ([("boot", 1), ("boot", 2), T, V, ("seq", 1)], Reason.WRONG_SHAPE),
        ([("boot", 1), ("boot", None), T, V], Reason.WRONG_SHAPE),
        ([T, V, V], Reason.WRONG_SHAPE),
        ([("x", 1), T, V, Q, Q], Reason.WRONG_SHAPE),
        ([("seq", 1), ("ch", ["ph"]), ("t", [1.5]), ("v", [[1.0]]), ("seq", 2)], Reason.WRONG_SHAPE),
    ],
)
def test_a_key_that_stands_twice_is_refused(form: str, pairs: list[tuple[str, Any]], reason_: Reason) -> None:
    assert reason(as_pairs(form, pairs)) is reason_
    assert reason(as_pairs(form, pairs), f"application/{form}") is reason_


@pytest.mark.parametrize("form", ["json", "msgpack"])
@pytest.mark.parametrize(
    ("pairs", "of"),
    [
        ([("type", "dosing"), T, ("data", [("mL", 1), ("mL", 2)])], decode.event),
        ([("type", "dosing"), T, ("data", [("pumps", [("a", 1), ("a", 2)])])], decode.event),
        ([("type", "dosing"), ("type", "phase"), T], decode.event),
        ([("status", "online"), ("status", "offline"), T], decode.status),
        ([("boot", 1), ("boot", 2), ("ranges", [[1, 2]])], decode.backfill_result),
        ([("status", "done"), T, ("status", "failed")], decode.command_result),
    ],
)
def test_a_key_that_stands_twice_is_refused_in_other_messages_too(
    form: str, pairs: list[tuple[str, Any]], of: Callable[..., object]
) -> None:
    assert reason(as_pairs(form, pairs), of=of) is Reason.WRONG_SHAPE


@pytest.mark.parametrize("form", ["json", "msgpack"])
@pytest.mark.parametrize(
    "pairs",
    [
        [T, ("v", [("v", 1.0), ("q", 1.0), ("t", 2.0), ("ph", 7.0)]), ("q", [("v", 1)])],
        [("q", [("v", 1)]), ("v", [("v", 1.0)]), T, ("x", [("x", 1)])],
        [T, ("v", MANY), ("note", 'a " in a text')],
        [T, ("v", [(f"c{n}", 1.0) for n in range(300)])],
        [("ch", ["a", "b"]), ("t", [1.5]), ("v", [[1.0, 2.0]])],
    ],
)
def test_equal_keys_at_different_places_are_no_repetition(form: str, pairs: list[tuple[str, Any]]) -> None:
    assert decode.telemetry(as_pairs(form, pairs), None)
