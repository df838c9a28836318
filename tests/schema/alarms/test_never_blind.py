"""Whatever numbers, clocks, orders and pauses a device has: a value that is newest by receipt and beyond its limit for
longer than its delay is raised, or visibly unknown, within the time that docs/alarms.md states."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from schema.alarms.engine import DeviceAlarms
from schema.alarms.machine import Condition
from schema.alarms.timeline import CommittedFrame
from tests.schema.alarms.lines import T0, limit, rule

HIGH, LOW = 50.0, 37.0
STATED_S = 120.0
"""Seconds beyond the delay, by the device's clock, and beyond two of its messages, after which an alarm is raised or
unknown: docs/alarms.md, "What is evaluated"."""
Numbers = Callable[[int, random.Random], tuple[int | None, int | None]]
NUMBERS: dict[str, Numbers] = {
    "none": lambda n, _: (None, None),
    "go on": lambda n, _: (7, n),
    "begin anew": lambda n, _: (1, n),
    "stay": lambda n, _: (7, 5),
    "fall": lambda n, _: (7, 10**6 - n),
    "alternate": lambda n, _: (n % 2 + 1, n),
    "are random": lambda n, made: (made.randrange(5), made.randrange(1000)),
}
CLOCKS: dict[str, Callable[[float, random.Random], float]] = {
    "right": lambda now, _: now,
    "behind": lambda now, _: now - 5 * 3600,
    "a little behind": lambda now, _: now - 25,
    "somewhat behind": lambda now, _: now - 45,
    "ahead": lambda now, _: now + 200,
    "at half the speed": lambda now, _: now - (now % 3600) * 0.5,
    "two clocks": lambda now, made: now - made.choice([0, 100]),
    "jumps": lambda now, made: now - made.choice([0, -200, 40, 3600, 86_400]),
}


@dataclass(frozen=True)
class Stretch:
    """A time in which a device behaves in one way."""

    value: float
    seconds: int
    every: int
    """Seconds between two frames."""
    numbers: str
    clock: str
    pause: int
    at_once: int
    """Frames that are sent together."""
    order: str

    def frames(self, begin: float, first: int, made: random.Random) -> Iterator[CommittedFrame]:
        waiting: list[CommittedFrame] = []
        for n in range(self.seconds // self.every):
            now = begin + self.pause + n * self.every
            boot, seq = NUMBERS[self.numbers](first + n, made)
            waiting.append(CommittedFrame(CLOCKS[self.clock](now, made), now, boot, seq, [("x", self.value, 0)]))
            if len(waiting) == self.at_once:
                if self.order == "newest first":
                    waiting.reverse()
                elif self.order == "any":
                    made.shuffle(waiting)
                for frame in waiting:
                    yield CommittedFrame(frame.time, now, frame.boot, frame.seq, frame.values)
                waiting = []


def stretch(made: random.Random, value: float, seconds: int) -> Stretch:
    return Stretch(
        *(value, seconds, made.choice([1, 1, 5, 10]), made.choice(sorted(NUMBERS)), made.choice(sorted(CLOCKS))),
        *(made.choice([0, 20, 100, 4000]), made.choice([1, 1, 4])),
        made.choice(["oldest first", "newest first", "any"]),
    )


def told(earlier: Sequence[Stretch], last: Stretch, delay: float, seed: int) -> str:
    """What is wrong; empty if the last alarm is active in time, or else unknown until its delay begins."""
    rules, made = [rule(limit(), on_delay=delay)], random.Random(seed)
    device, now = DeviceAlarms(rules), T0
    for number, one in enumerate([*earlier, last]):
        begun = now + one.pause + STATED_S
        spent = 2 * one.every * one.at_once + delay * (2 if one.clock == "at half the speed" else 1)
        for frame in one.frames(now, 1000 * number, made):
            while now < frame.received:
                now = min(now + 1, frame.received)
                device.tick(now)
            device.frame(frame)
            alarm = device.alarms["r"]
            if alarm.condition is Condition.UNKNOWN:
                begun = max(begun, now)
            if one is last and now >= begun + spent and not alarm.active:
                return f"after {now - begun} s: ({earlier}, {last}, {delay}, {seed})"
        now += 1
        device = DeviceAlarms(rules, json.loads(json.dumps(device.memory())), device.alarms)
    return ""


@pytest.mark.parametrize("seed", range(8))
def test_what_is_beyond_its_limit_is_raised_or_visibly_unknown(seed: int) -> None:
    made = random.Random(seed)
    for n in range(50):
        earlier = [stretch(made, made.choice([LOW, LOW, HIGH]), 100) for _ in range(made.randrange(4))]
        assert not told(earlier, stretch(made, HIGH, 300), made.choice([0.0, 5.0, 60.0]), n)
