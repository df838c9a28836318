"""The health of the alarm system: the answer, with an example."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from api.http.description import Answer, T
from schema.alarms.rules import Priority


class Rate(Answer):
    mean: float = Field(description="raised in ten minutes, on average")
    most: int = Field(description="raised in ten minutes of the clock, at most")
    most_at: str | None = Field(description="begin of those; null: nothing was raised")
    acceptable: float = Field(description="mean that is very likely acceptable, for one operator (ISA-18.2)")
    manageable: float = Field(description="the most that is manageable")


class Flood(Answer):
    begin: str = Field(description="of the first ten minutes with more than 10 raised")
    end: str = Field(description="begin of the first ten minutes after it with less than 5")
    raised: int
    most: int = Field(description="in ten minutes")


class Floods(Answer):
    periods: int = Field(description="of ten minutes, from `from` to `to`")
    flooded: int = Field(description="those with more than 10 raised")
    share: float
    target: float = Field(description="share that should not be exceeded (ISA-18.2)")
    number: int = Field(description="of floods: of flooded periods in a row, with those of 5 and more after them")
    episodes: list[Flood] = Field(description="the newest 100, in order")


class Hour(Answer):
    begin: str
    raised: int


class Top(Answer):
    device: str
    rule: str
    title: str
    raised: int = Field(description="how often; of chattering and fleeting, how often so")
    share: float = Field(description="of everything that was raised")


class TopDevice(Answer):
    device: str
    raised: int
    share: float


class PriorityShare(Answer):
    priority: Priority
    raised: int
    share: float | None = Field(description="null: nothing was raised")
    recommended: float = Field(description="ISA-18.2; of critical, at most")


class Nuisance(Answer):
    alarms: int = Field(description="how many (a rule on a device each)")
    raised: int = Field(description="how often, of all of them")
    top: list[Top]


class StaleAlarm(Answer):
    device: str
    rule: str
    title: str
    priority: Priority
    raised_at: str


class Stale(Answer):
    alarms: int = Field(description="now; fewer than 5 are wanted (ISA-18.2)")
    top: list[StaleAlarm] = Field(description="the ten oldest")


class Durations(Answer):
    number: int = Field(description="of those that have come to that")
    open: int = Field(description="raised, and not come to that before they were raised again, or at all")
    p50: float | None = Field(description="seconds; null: there was none")
    p90: float | None
    max: float | None


class Present(Answer):
    standing: int = Field(description="alarms that are not normal")
    unacknowledged: int = Field(description="active or returned")
    shelved: int
    suppressed: int
    out_of_service: int
    unknown: int = Field(description="alarms whose condition cannot be told")


class AlarmHealth(Answer):
    from_: str = Field(alias="from")
    to: str
    device: str | None = Field(description="null: of all devices")
    raised: int = Field(description="announced: came to be unacknowledged from any other state")
    rate: Rate
    floods: Floods
    hours: list[Hour] = Field(description="of the clock, in UTC; all there are")
    top: list[Top] = Field(description="the ten alarms (a rule on a device each) raised most often")
    devices: list[TopDevice] = Field(description="the ten devices with the most")
    priorities: list[PriorityShare]
    chattering: Nuisance = Field(description="raised three times or more in less than a minute; none is wanted")
    fleeting: Nuisance = Field(description="returned in less than 10 s")
    stale: Stale = Field(description="announced, and active for more than 24 h, now")
    acknowledgement: Durations = Field(description="from the announcement on")
    return_: Durations = Field(alias="return", description="of the condition, from when it became active on")
    now: Present


TOP = {"device": "br-1", "rule": "foam-high", "title": "Foam", "raised": 61, "share": 61 / 96}
HEALTH: dict[str, Any] = {
    "from": "2026-11-20T05:45:00.000000Z",
    "to": T,
    "device": None,
    "raised": 96,
    "rate": {"mean": 8.0, "most": 24, "most_at": "2026-11-20T06:10:00.000000Z", "acceptable": 1.0, "manageable": 2.0},
    "floods": {
        **{"periods": 13, "flooded": 3, "share": 3 / 13, "target": 0.01, "number": 1},
        "episodes": [
            {
                **{"begin": "2026-11-20T06:10:00.000000Z", "end": "2026-11-20T06:50:00.000000Z"},
                **{"raised": 71, "most": 24},
            }
        ],
    },
    "hours": [
        {"begin": "2026-11-20T05:00:00.000000Z", "raised": 3},
        {"begin": "2026-11-20T06:00:00.000000Z", "raised": 75},
        {"begin": "2026-11-20T07:00:00.000000Z", "raised": 18},
    ],
    "top": [TOP],
    "devices": [{"device": "br-1", "raised": 70, "share": 70 / 96}],
    "priorities": [
        {"priority": "low", "raised": 12, "share": 0.125, "recommended": 0.8},
        {"priority": "medium", "raised": 72, "share": 0.75, "recommended": 0.15},
        {"priority": "high", "raised": 12, "share": 0.125, "recommended": 0.05},
        {"priority": "critical", "raised": 0, "share": 0.0, "recommended": 0.01},
    ],
    "chattering": {"alarms": 1, "raised": 48, "top": [TOP | {"raised": 48, "share": 0.5}]},
    "fleeting": {"alarms": 1, "raised": 12, "top": [TOP | {"raised": 12, "share": 0.125}]},
    "stale": {
        "alarms": 1,
        "top": [
            {
                **{"device": "br-7", "rule": "ph-probe-frozen", "title": "pH does not move", "priority": "low"},
                "raised_at": "2026-11-18T22:03:17.000000Z",
            }
        ],
    },
    "acknowledgement": {"number": 90, "open": 6, "p50": 41.2, "p90": 320.5, "max": 2201.7},
    "return": {"number": 95, "open": 1, "p50": 63.0, "p90": 1804.0, "max": 5400.0},
    "now": {"standing": 9, "unacknowledged": 2, "shelved": 3, "suppressed": 1, "out_of_service": 1, "unknown": 1},
}
