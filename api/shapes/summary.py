"""The numbers that a dashboard shows: the answer, with an example."""

from __future__ import annotations

from typing import Annotated

from api.http.description import Answer, about, example

RIGHT = "null: you may not read them"


class DeviceNumbers(Answer):
    total: Annotated[int, about("all devices, whatever their state")]
    online: Annotated[int, about("by their last status")]
    offline: int
    unknown: Annotated[int, about("never sent a status")]
    silent: Annotated[int, about("online, and nothing was heard of them for more than a minute")]


class AlarmNumbers(Answer):
    critical: Annotated[int, about("alarms that are not normal; so are the next three")]
    high: int
    medium: int
    low: int
    unacknowledged: int
    not_evaluated: Annotated[int, about("rules that are not evaluated on a device just now")]


class DeliveryNumbers(Answer):
    expected: Annotated[int, about("frames by their numbers, from 0 to the newest, of the newest boot of each device")]
    received: Annotated[int, about("of these: stored, or in quarantine")]
    lost: Annotated[int, about("that their device does not have any more")]
    missing: Annotated[int, about("on the way, or asked for")]


class SummaryAnswer(Answer):
    time: str
    devices: DeviceNumbers
    alarms: Annotated[AlarmNumbers | None, about(RIGHT)]
    frames_per_second: Annotated[float | None, about(f"of the last minute, by the times in the frames. {RIGHT}")]
    delivery: DeliveryNumbers
    quarantined: Annotated[int, about("messages open in quarantine")]
    enrollments_waiting: Annotated[int | None, about(f"that wait for a person. {RIGHT}")]


SUMMARY = example(
    SummaryAnswer,
    """{"time": "2026-11-20T08:45:00.000000Z",
 "devices": {"total": 12, "online": 10, "offline": 1, "unknown": 1, "silent": 2},
 "alarms": {"critical": 0, "high": 1, "medium": 2, "low": 0, "unacknowledged": 1, "not_evaluated": 0},
 "frames_per_second": 10.2, "delivery": {"expected": 86400, "received": 86390, "lost": 4, "missing": 6},
 "quarantined": 3, "enrollments_waiting": 1}""",
)
