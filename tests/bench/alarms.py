"""CPU of the evaluation of alarms: `python -m tests.bench.alarms`. Many devices, ten rules each, a frame a second."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from typing import Any

from schema.alarms.engine import DeviceAlarms
from schema.alarms.rules import Rule
from schema.alarms.timeline import CommittedFrame

DEVICES, FRAMES, CHANNELS = 1000, 120, 20
START = 1_700_000_000.0
DELAYS = {"on_delay": 10, "off_delay": 30}

WHEN: list[dict[str, Any]] = [
    {"kind": "limit", "channel": "c00", "level": "high", "limit": 0.9, "deadband": 0.1},
    {"kind": "limit", "channel": "c01", "level": "low", "limit": -0.9, "deadband": 0.1},
    {"kind": "deviation", "channel": "c02", "setpoint": "c03", "limit": 1.5},
    {"kind": "rate", "channel": "c04", "limit": 100, "window": 60},
    {"kind": "frozen", "channel": "c05", "after": 60},
    {"kind": "quality", "channel": "c06"},
    {"kind": "silent", "after": 60},
    {"kind": "gap", "frames": 3},
    {"kind": "skew", "limit": 5},
    {"kind": "formula", "expression": "c07 > 0.5 and (c08 < 0 or c09 > 2) and abs(c10 - c11) > 0.2"},
]


def rules(whens: list[dict[str, Any]]) -> list[Rule]:
    return [
        Rule.model_validate({"name": f"rule-{n}", "title": when["kind"], "when": when, **DELAYS})
        for n, when in enumerate(whens)
    ]


def frames() -> Iterator[CommittedFrame]:
    names = [f"c{n:02}" for n in range(CHANNELS)]
    for n in range(FRAMES):
        values = [(name, math.sin(n / 17 + k), 0) for k, name in enumerate(names)]
        yield CommittedFrame(START + n, START + n + 0.1, 1, n, values)


def measure(rules: list[Rule], devices: int) -> tuple[float, int]:
    """CPU seconds of a frame and its tick, and how many transitions."""
    engines, made = [DeviceAlarms(rules) for _ in range(devices)], 0
    begun = time.process_time()
    for frame in frames():
        for engine in engines:
            made += len(engine.frame(frame))
            made += len(engine.tick(frame.received))
    return (time.process_time() - begun) / (devices * FRAMES), made


def main() -> None:
    for when in WHEN:
        frame, _ = measure(rules([when] * 10), 50)
        print(f"{when['kind']:<10} {frame * 1e5:6.2f} µs a rule and frame (ten of them)")
    frame, made = measure(rules(WHEN), DEVICES)
    core = frame * DEVICES
    print(
        f"{DEVICES} devices × {len(WHEN)} rules of all kinds: {frame * 1e6:.1f} µs a frame, {1 / frame:,.0f} frames/s,"
    )
    print(f"{frame * 1e6 / len(WHEN):.2f} µs a rule, {core:.1%} of a core at 1 Hz, {made:,} transitions")
    engine = DeviceAlarms(rules(WHEN))
    for one in frames():
        engine.frame(one)
    begun = time.process_time()
    for _ in range(1000):
        text = json.dumps(engine.memory())
    print(f"memory of a device: {len(text):,} bytes, {time.process_time() - begun:.3f} ms to write")


if __name__ == "__main__":
    main()
