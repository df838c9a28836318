"""Makes seeded faults, which a test harness lets happen in a fleet."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from device_sim.frames import Format

CLOCK_OFF = 30
"""The greatest error, in seconds, of a clock."""
UNREADABLE = (
    b"",
    b"\xff\xfe not text",
    b"[" * 5000,
    b'{"t": 1750000000000, "v": {"temperature": 37.0',
    b"\x82\xa1t\xcb\x42",
    b"\x81\xa1v\x81\xa2\xff\xfe\x01",
)
UNACCEPTABLE: tuple[Any, ...] = (
    {"t": "now", "v": {"temperature": 37.0}},
    {"t": 1_750_000_000_000, "v": {"temperature": "warm"}},
    {"t": 1_750_000_000_000},
    {"t": 0, "v": {"temperature": 37.0}},
    {"t": 1e300, "v": {"temperature": 37.0}},
    {"t": 1_750_000_000_000, "v": {"": 37.0}},
    {"t": [1_750_000_000_000], "v": [[1.0, 2.0]], "ch": ["temperature"]},
    [1, 2, 3],
    None,
)


def poison(chance: random.Random, format: Format) -> bytes:
    """A payload that no gateway should accept as a frame. It names no boot and seq, which would count as received."""
    choice = chance.randrange(3)
    if choice == 0:
        return chance.choice(UNREADABLE)
    if choice == 1:
        return format.encode(chance.choice(UNACCEPTABLE))
    return b"\xc1" + chance.randbytes(chance.randrange(100))  # MessagePack never uses 0xc1


async def now_and_then(every: float, act: Callable[[], None], chance: random.Random) -> None:
    """Call `act`, for ever, about every so many seconds."""
    while True:
        await asyncio.sleep(every * chance.uniform(0.5, 1.5))
        act()


def clock_offset(chance: random.Random) -> int:
    """A random error of a clock in ms: whole seconds, so that a clock set back repeats times that it showed before."""
    return 1000 * chance.randint(-CLOCK_OFF, CLOCK_OFF)
