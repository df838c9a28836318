"""How a device is doing: the answer, with an example."""

from __future__ import annotations

from typing import Annotated

from api.http.description import Answer, about, example
from api.shapes.devices import SINCE, DeviceState, WhyStatus


class Completeness(Answer, rename={"from_": "from"}):
    from_: Annotated[str, about("one hour before `to`")]
    to: Annotated[str, about("end of the hour, not part of it: the time of the answer")]
    expected: Annotated[
        int | None,
        about(
            "frames by their numbers: of each boot that has frames with a time in this hour, the last `seq` less the "
            "first, plus 1. What was sent before the first of them, or after the last, cannot be known. null: no frame "
            "of this hour has a number"
        ),
    ]
    stored: Annotated[
        int,
        about(
            "different frames of this hour that are stored; one that came in parts, in several layouts, counts once. "
            "Where no frame has a number: their different times"
        ),
    ]
    missing: Annotated[int | None, about("expected less stored: on the way, lost, or in quarantine. null as above")]
    lost: Annotated[int | None, about("of the missing, those that the device has said it does not have any more")]


class StatusAnswer(Answer):
    device: str
    state: DeviceState
    online: Annotated[bool | None, about("null: it has never sent a status")]
    since: Annotated[str | None, about(SINCE)]
    why: WhyStatus | None
    last_seen: Annotated[
        str | None,
        about("when its newest status or its newest frame was received, whichever was later; null: neither yet"),
    ]
    boot: Annotated[int | None, about("power-up counter of the controller")]
    firmware: str | None
    last_frame_at: Annotated[str | None, about("time of the newest frame, by the device's clock")]
    lag_ms: Annotated[
        float | None,
        about("how long after its time the newest frame was received; below 0 where the device's clock is ahead"),
    ]
    clock_set_back: Annotated[
        bool,
        about("its clock was set back: the newest frame is the one that came last, not the one with the greatest time"),
    ]
    age_ms: Annotated[float | None, about("how long before the answer the time of the newest frame is")]
    completeness: Annotated[Completeness, about("of the last hour")]


STATUS = example(
    StatusAnswer,
    """{"device": "br-1", "state": "active", "online": true, "since": "2026-11-20T07:45:00.000000Z", "why": "newest",
 "last_seen": "2026-11-20T08:45:00.031000Z", "boot": 7, "firmware": "2.4.1",
 "last_frame_at": "2026-11-20T08:45:00.000000Z", "lag_ms": 31.0, "clock_set_back": false, "age_ms": 412.0,
 "completeness": {"from": "2026-11-20T07:45:00.412000Z", "to": "2026-11-20T08:45:00.412000Z", "expected": 3600,
 "stored": 3597, "missing": 3, "lost": 1}}""",
)
