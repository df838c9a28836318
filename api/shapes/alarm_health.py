"""The health of the alarm system: the answer, with an example."""

from __future__ import annotations

from typing import Annotated

from api.http.description import Answer, about, example
from schema.alarms.rules import Priority


class AlarmRate(Answer):
    mean: Annotated[float, about("alarms raised in ten minutes, on average")]
    most: Annotated[int, about("most alarms raised in ten minutes of the clock")]
    most_at: Annotated[str | None, about("begin of the ten minutes with the most; null: nothing was raised")]
    acceptable: Annotated[float, about("mean that is very likely acceptable for one operator (ISA-18.2)")]
    manageable: Annotated[float, about("greatest mean that one operator can manage (ISA-18.2)")]


class FloodAnswer(Answer):
    begin: Annotated[str, about("begin of the first ten minutes with more than 10 alarms raised")]
    end: Annotated[str, about("begin of the first ten minutes afterwards with fewer than 5")]
    raised: int
    most: Annotated[int, about("most alarms raised in ten minutes")]


class Floods(Answer):
    periods: Annotated[int, about("number of ten-minute periods from `from` to `to`")]
    flooded: Annotated[int, about("periods with more than 10 alarms raised")]
    share: float
    target: Annotated[float, about("share that should not be exceeded (ISA-18.2)")]
    number: Annotated[int, about("number of floods: flooded periods in a row, and periods with 5 or more after them")]
    episodes: Annotated[list[FloodAnswer], about("the newest 100, in order")]


class Hour(Answer):
    begin: str
    raised: int


class Top(Answer):
    device: str
    rule: str
    title: str
    raised: Annotated[int, about("how often it was raised; in `chattering` and `fleeting`, how often so")]
    share: Annotated[float, about("share of all that was raised")]


class TopDevice(Answer):
    device: str
    raised: int
    share: float


class PriorityShare(Answer):
    priority: Priority
    raised: int
    share: Annotated[float | None, about("null: nothing was raised")]
    recommended: Annotated[float, about("share that ISA-18.2 recommends; for critical, at most")]


class Nuisance(Answer):
    alarms: Annotated[int, about("number of alarms (an alarm is a rule on a device)")]
    raised: Annotated[int, about("how often they were raised")]
    top: list[Top]


class StaleAlarm(Answer):
    device: str
    rule: str
    title: str
    priority: Priority
    raised_at: str


class Stale(Answer):
    alarms: Annotated[int, about("number of stale alarms now; fewer than 5 are wanted (ISA-18.2)")]
    top: Annotated[list[StaleAlarm], about("the ten oldest")]


class Durations(Answer):
    number: Annotated[int, about("number of alarms raised that were acknowledged, or returned")]
    open: Annotated[int, about("number of those that wait for it now")]
    other: Annotated[
        int, about("number of those that ended otherwise: raised anew before, held back, removed, or after `to`")
    ]
    p50: Annotated[float | None, about("median in seconds; null: `number` is 0")]
    p90: float | None
    max: float | None


class Present(Answer):
    standing: Annotated[int, about("alarms that are not normal or not evaluated")]
    unacknowledged: Annotated[int, about("active or returned")]
    shelved: int
    suppressed: int
    out_of_service: int
    unknown: Annotated[int, about("alarms whose condition cannot be told")]
    not_evaluated: Annotated[int, about("alarms whose rule is not evaluated on the device, for whatever reason")]


class AlarmHealth(Answer, rename={"from_": "from", "return_": "return"}):
    from_: str
    to: str
    device: Annotated[str | None, about("null: all devices")]
    raised: Annotated[int, about("alarms announced: they became unacknowledged from another state")]
    rate: AlarmRate
    floods: Floods
    hours: Annotated[list[Hour], about("all hours of the clock in the range, in UTC")]
    top: Annotated[list[Top], about("the ten alarms (a rule on a device each) raised most often")]
    devices: Annotated[list[TopDevice], about("the ten devices with the most alarms raised")]
    priorities: list[PriorityShare]
    chattering: Annotated[Nuisance, about("raised three times or more in less than a minute; none is wanted")]
    fleeting: Annotated[Nuisance, about("returned in less than 10 s")]
    stale: Annotated[Stale, about("alarms that are announced and have been active for more than 24 h")]
    acknowledgement: Annotated[Durations, about("time from the announcement to the acknowledgement")]
    return_: Annotated[Durations, about("time from when the condition became active until it returned")]
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
 "acknowledgement": {"number": 90, "open": 2, "other": 4, "p50": 41.2, "p90": 320.5, "max": 2201.7},
 "return": {"number": 93, "open": 1, "other": 2, "p50": 63.0, "p90": 1804.0, "max": 5400.0},
 "now": {"standing": 9, "unacknowledged": 2, "shelved": 3, "suppressed": 1, "out_of_service": 1, "unknown": 1,
 "not_evaluated": 1}}""",
)
