"""The health of the alarm system: the answer, with an example."""

from __future__ import annotations

from typing import Annotated

from api.http.description import Answer, about, example
from schema.alarms.rules import Priority


class AlarmRate(Answer):
    mean: Annotated[float, about("raised in ten minutes, on average")]
    most: Annotated[int, about("raised in ten minutes of the clock, at most")]
    most_at: Annotated[str | None, about("begin of those; null: nothing was raised")]
    acceptable: Annotated[float, about("mean that is very likely acceptable, for one operator (ISA-18.2)")]
    manageable: Annotated[float, about("the most that is manageable")]


class FloodAnswer(Answer):
    begin: Annotated[str, about("of the first ten minutes with more than 10 raised")]
    end: Annotated[str, about("begin of the first ten minutes after it with less than 5")]
    raised: int
    most: Annotated[int, about("in ten minutes")]


class Floods(Answer):
    periods: Annotated[int, about("of ten minutes, from `from` to `to`")]
    flooded: Annotated[int, about("those with more than 10 raised")]
    share: float
    target: Annotated[float, about("share that should not be exceeded (ISA-18.2)")]
    number: Annotated[int, about("of floods: of flooded periods in a row, with those of 5 and more after them")]
    episodes: Annotated[list[FloodAnswer], about("the newest 100, in order")]


class Hour(Answer):
    begin: str
    raised: int


class Top(Answer):
    device: str
    rule: str
    title: str
    raised: Annotated[int, about("how often; of chattering and fleeting, how often so")]
    share: Annotated[float, about("of everything that was raised")]


class TopDevice(Answer):
    device: str
    raised: int
    share: float


class PriorityShare(Answer):
    priority: Priority
    raised: int
    share: Annotated[float | None, about("null: nothing was raised")]
    recommended: Annotated[float, about("ISA-18.2; of critical, at most")]


class Nuisance(Answer):
    alarms: Annotated[int, about("how many (a rule on a device each)")]
    raised: Annotated[int, about("how often, of all of them")]
    top: list[Top]


class StaleAlarm(Answer):
    device: str
    rule: str
    title: str
    priority: Priority
    raised_at: str


class Stale(Answer):
    alarms: Annotated[int, about("now; fewer than 5 are wanted (ISA-18.2)")]
    top: Annotated[list[StaleAlarm], about("the ten oldest")]


class Durations(Answer):
    number: Annotated[int, about("of those that have come to that")]
    open: Annotated[int, about("raised, and not come to that before they were raised again, or at all")]
    p50: Annotated[float | None, about("seconds; null: there was none")]
    p90: float | None
    max: float | None


class Present(Answer):
    standing: Annotated[int, about("alarms that are not normal")]
    unacknowledged: Annotated[int, about("active or returned")]
    shelved: int
    suppressed: int
    out_of_service: int
    unknown: Annotated[int, about("alarms whose condition cannot be told")]


class AlarmHealth(Answer, rename={"from_": "from", "return_": "return"}):
    from_: str
    to: str
    device: Annotated[str | None, about("null: of all devices")]
    raised: Annotated[int, about("announced: came to be unacknowledged from any other state")]
    rate: AlarmRate
    floods: Floods
    hours: Annotated[list[Hour], about("of the clock, in UTC; all there are")]
    top: Annotated[list[Top], about("the ten alarms (a rule on a device each) raised most often")]
    devices: Annotated[list[TopDevice], about("the ten devices with the most")]
    priorities: list[PriorityShare]
    chattering: Annotated[Nuisance, about("raised three times or more in less than a minute; none is wanted")]
    fleeting: Annotated[Nuisance, about("returned in less than 10 s")]
    stale: Annotated[Stale, about("announced, and active for more than 24 h, now")]
    acknowledgement: Annotated[Durations, about("from the announcement on")]
    return_: Annotated[Durations, about("of the condition, from when it became active on")]
    now: Present


TOP = {"device": "br-1", "rule": "foam-high", "title": "Foam", "raised": 61, "share": 61 / 96}
HEALTH = example(
    AlarmHealth,
    """{"from": "2026-11-20T05:45:00.000000Z", "to": "2026-11-20T07:45:00.000000Z", "device": null, "raised": 96,
 "rate": {"mean": 8.0, "most": 24, "most_at": "2026-11-20T06:10:00.000000Z", "acceptable": 1.0,
 "manageable": 2.0}, "floods": {"periods": 13, "flooded": 3, "share": 0.23076923076923078, "target": 0.01,
 "number": 1, "episodes": [{"begin": "2026-11-20T06:10:00.000000Z", "end": "2026-11-20T06:50:00.000000Z",
 "raised": 71, "most": 24}]}, "hours": [{"begin": "2026-11-20T05:00:00.000000Z", "raised": 3},
 {"begin": "2026-11-20T06:00:00.000000Z", "raised": 75}, {"begin": "2026-11-20T07:00:00.000000Z", "raised": 18}],
 "top": [{"device": "br-1", "rule": "foam-high", "title": "Foam", "raised": 61, "share": 0.6354166666666666}],
 "devices": [{"device": "br-1", "raised": 70, "share": 0.7291666666666666}], "priorities": [{"priority": "low",
 "raised": 12, "share": 0.125, "recommended": 0.8}, {"priority": "medium", "raised": 72, "share": 0.75,
 "recommended": 0.15}, {"priority": "high", "raised": 12, "share": 0.125, "recommended": 0.05},
 {"priority": "critical", "raised": 0, "share": 0.0, "recommended": 0.01}], "chattering": {"alarms": 1,
 "raised": 48, "top": [{"device": "br-1", "rule": "foam-high", "title": "Foam", "raised": 48, "share": 0.5}]},
 "fleeting": {"alarms": 1, "raised": 12, "top": [{"device": "br-1", "rule": "foam-high", "title": "Foam",
 "raised": 12, "share": 0.125}]}, "stale": {"alarms": 1, "top": [{"device": "br-7", "rule": "ph-probe-frozen",
 "title": "pH does not move", "priority": "low", "raised_at": "2026-11-18T22:03:17.000000Z"}]},
 "acknowledgement": {"number": 90, "open": 6, "p50": 41.2, "p90": 320.5, "max": 2201.7}, "return": {"number": 95,
 "open": 1, "p50": 63.0, "p90": 1804.0, "max": 5400.0}, "now": {"standing": 9, "unacknowledged": 2, "shelved": 3,
 "suppressed": 1, "out_of_service": 1, "unknown": 1}}""",
)
