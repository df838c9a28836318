"""A device as a table: what comes in, and what is to be seen of the alarm then."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from schema.alarms.engine import DeviceAlarms, Transition
from schema.alarms.machine import Alarm, Condition
from schema.alarms.rules import Rule
from schema.alarms.timeline import CommittedFrame

T0 = 1_700_000_400.0
"""A multiple of 600 s."""
NAN = float("nan")
HIGH, LOW = 39.0, 37.0
Sent = float | None | tuple[float | None, int]
Row = tuple[float, Sent | Mapping[str, Sent], str]
"""Time after T0; value of channel x, or (value, quality), or these by channel, or nothing sent; what is seen then."""


def rule(when: Mapping[str, Any], name: str = "r", **more: Any) -> Rule:
    return Rule.model_validate({"name": name, "title": name, "when": when, **more})


def limit(value: float = 38.0, **more: Any) -> dict[str, Any]:
    return {"kind": "limit", "channel": "x", "level": "high", "limit": value, **more}


def frame(
    at: float, sent: Sent | Mapping[str, Sent], lag: float = 0.0, boot: int | None = None, seq: int | None = None
) -> CommittedFrame:
    channels = sent if isinstance(sent, Mapping) else {"x": sent}
    pairs = [(name, one if isinstance(one, tuple) else (one, 0)) for name, one in channels.items()]
    values = [(name, value, quality) for name, (value, quality) in pairs]
    return CommittedFrame(T0 + at, T0 + at + lag, boot, seq, values)


def seen(alarm: Alarm) -> str:
    """`-` normal, `A` active; `?-`, `?A`: it cannot be told, and the alarm is so."""
    return ("?" if alarm.condition is Condition.UNKNOWN else "") + ("A" if alarm.active else "-")


def play(one: Rule, rows: Sequence[Row]) -> list[Transition]:
    """Row by row: what is seen must be what the row says."""
    device, made = DeviceAlarms([one]), []
    for n, (at, sent, expected) in enumerate(rows):
        made += device.frame(frame(at, sent))
        assert seen(device.alarms[one.name]) == expected, f"row {n}: {rows[n]}"
    return made


def causes(transitions: Sequence[Transition]) -> list[tuple[float, str]]:
    return [(round(transition.at.timestamp() - T0, 3), transition.cause) for transition in transitions]


def restarted(device: DeviceAlarms, rules: Sequence[Rule]) -> DeviceAlarms:
    return DeviceAlarms(rules, json.loads(json.dumps(device.memory(), allow_nan=False)), device.alarms)
