"""Faults are seeded, and poison is poison."""

from __future__ import annotations

import random

import msgspec
import pytest

from device_sim.faults import CLOCK_OFF, clock_offset, poison
from device_sim.frames import Format
from schema.messages import Telemetry


@pytest.mark.parametrize("format_", list(Format))
def test_poison_is_no_frame_with_boot_and_seq(format_: Format) -> None:
    chance = random.Random(1)
    for _ in range(1000):
        payload = poison(chance, format_)
        for decode in (msgspec.json.decode, msgspec.msgpack.decode):
            try:
                message = decode(payload, type=Telemetry)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                continue
            assert (message.boot, message.seq) == (None, None)


def test_the_same_seed_gives_the_same_poison() -> None:
    one, other = random.Random(3), random.Random(3)
    assert [poison(one, Format.JSON) for _ in range(100)] == [poison(other, Format.JSON) for _ in range(100)]


@pytest.mark.parametrize("seed", range(50))
def test_clocks_are_off_by_whole_seconds_within_bounds(seed: int) -> None:
    offset = clock_offset(random.Random(seed))
    assert offset % 1000 == 0
    assert abs(offset) <= CLOCK_OFF * 1000
