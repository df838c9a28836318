"""Recordings: their file, and what becomes of times and boots when they are published once more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from device_sim.shifting import Shift, lowest_boots
from device_sim.tape import Recorded, TapeWriter, begin_of, read
from schema.messages import CONTENT_JSON, CONTENT_MSGPACK

FRAME = {"boot": 7, "seq": 3, "t": 1000.5, "v": {"ph": 7.0}, "q": {"ph": 2}}
BLOCK = {"boot": 9, "seq": 3, "ch": ["ph"], "t": [1000, 2000], "v": [[7.0], [None]]}
STATUS = {"status": "online", "t": 900, "boot": 7, "oldest": 0}


def packed(kind: str, content: object, device: str = "a") -> Recorded:
    return Recorded(1.5, f"bioreactors/{device}/{kind}", msgpack.packb(content), CONTENT_MSGPACK, False)


def as_json(kind: str, content: object, content_type: str | None = CONTENT_JSON) -> Recorded:
    return Recorded(2.5, f"bioreactors/a/{kind}", json.dumps(content).encode(), content_type, False)


def unpacked(shift: Shift, message: Recorded) -> Any:
    payload = shift.payload(message)
    return json.loads(payload) if payload[:1] == b"{" else msgpack.unpackb(payload)


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    messages = [
        packed("telemetry", FRAME),
        as_json("status", STATUS),
        Recorded(3, "bioreactors/a/event", b"", None, True),
    ]
    with TapeWriter(tmp_path / "x", 5000) as tape:
        for message in messages:
            tape.write(message)
    assert begin_of(tmp_path / "x") == 5000
    assert list(read(tmp_path / "x")) == messages


def test_a_torn_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with TapeWriter(path, 5000) as tape:
        for number in range(2000):
            tape.write(packed("telemetry", {**FRAME, "seq": number * 7919 % 1000}))
    path.write_bytes(path.read_bytes()[:-500])
    found = list(read(path))
    assert 500 < len(found) < 2000
    assert {message.topic for message in found} == {"bioreactors/a/telemetry"}


@pytest.mark.parametrize("content", [b"", b"no gzip at all", b"\x1f\x8b\x08\x00"])
def test_another_file_is_no_recording(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=r"is no recording|is damaged"):
        list(read(tmp_path / "x"))


@pytest.mark.parametrize("made", [packed, as_json])
def test_times_and_boots_are_moved_and_nothing_else(made: Any) -> None:
    shift = Shift(10_000, 100, {"a": 7})
    assert unpacked(shift, made("telemetry", FRAME)) == {**FRAME, "t": 11_000.5, "boot": 100}
    assert unpacked(shift, made("history", BLOCK)) == {**BLOCK, "t": [11_000, 12_000], "boot": 102}
    assert unpacked(shift, made("status", STATUS)) == {**STATUS, "t": 10_900, "boot": 100}


def test_a_message_without_a_content_type_keeps_its_format() -> None:
    assert unpacked(Shift(5), as_json("telemetry", FRAME, None)) == {**FRAME, "t": 1005.5}
    assert unpacked(Shift(5), packed("telemetry", FRAME)._replace(content_type=None)) == {**FRAME, "t": 1005.5}


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"[1,2", b"[1,2]", b'{"t": "now"', b"\xff\xfe"])
def test_what_cannot_be_read_is_left_as_it_is(payload: bytes) -> None:
    message = Recorded(0, "bioreactors/a/telemetry", payload, CONTENT_JSON, False)
    assert Shift(5000, 9, {"a": 1}).payload(message) == payload


def test_without_a_shift_the_bytes_are_the_same() -> None:
    message = Recorded(0, "bioreactors/a/telemetry", b'{"t":  1,  "boot":1,"v":{"ph":7}}', CONTENT_JSON, False)
    assert Shift(0).payload(message) == message.payload


def test_each_device_has_its_lowest_boot() -> None:
    messages = [packed("telemetry", FRAME), packed("history", BLOCK), packed("status", STATUS, "b")]
    assert lowest_boots([*messages, Recorded(0, "bioreactors/c/telemetry", b"\xc1", None, False)]) == {"a": 7, "b": 7}
