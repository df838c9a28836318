"""Alarms and their transitions: the answers, with an example of each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from api.http.description import Answer, about, example
from api.http.parameters import ListParameters, StreamParameters
from api.http.run_times import RunSpanParameters
from api.shapes.alarm_rules import DEFINITION, RuleDefinition
from api.shapes.devices import MOST_TAGS
from schema.alarms.machine import AlarmState, Condition
from schema.alarms.rules import Priority

Cause = Literal[
    "condition",
    "return",
    "unknown",
    "known",
    "late",
    "late-return",
    "shelving-ended",
    "phase",
    "rule-changed",
    "removed",
    "acknowledge",
    "reset",
    "shelve",
    "unshelve",
    "suppress",
    "unsuppress",
    "remove-from-service",
    "return-to-service",
]
Held = Literal["shelved", "suppressed", "out-of-service"]


class AlarmAnswer(Answer):
    device: str
    rule: str
    title: str
    state: Annotated[AlarmState, about("state of the alarm by ISA-18.2")]
    condition: Annotated[Condition, about("unknown: it cannot be evaluated, and the alarm keeps its state")]
    priority: Priority
    since: Annotated[str, about("when the alarm entered its state")]
    raised_at: Annotated[str | None, about("when the condition last became active; null: never")]
    value: Annotated[float | None, about("value that was compared last")]
    detail: Annotated[str, about("the last comparison, in words")]
    shelved_until: str | None
    message: str
    response: Annotated[str, about("what the operator is to do")]
    n: Annotated[int, about("number of its transitions so far")]
    not_evaluated: Annotated[str | None, about("why the rule is not evaluated on the device now; null: it is")]
    evaluated_until: Annotated[
        str | None, about("time of the newest evaluated frame, by the device's clock; written every 30 s or less")
    ]
    received_until: Annotated[str | None, about("when that frame was received")]
    clock_set_back_at: Annotated[str | None, about("when the device's clock was last found to be set back")]
    numbers_back_at: Annotated[
        str | None, about("when the device's numbers (boot, seq) last went back, though its frames were newer")
    ]


class SilencedAlarm(Answer):
    device: str
    rule: str
    title: str
    priority: Priority
    state: Annotated[Held, about("what holds it back; of several the strongest")]
    condition: Condition
    active: Annotated[bool, about("what its condition said last that was not unknown: what is not announced")]
    since: Annotated[str, about("since when it is in this state")]
    until: Annotated[str | None, about("end of its shelving; null: until somebody, or the phase of the run, ends it")]
    who: Annotated[str | None, about("the person who did it; null: the phase of the run")]
    why: str | None
    n: Annotated[int, about("number of its transitions so far")]


class TransitionAnswer(Answer):
    id: Annotated[int, about("number in the order of recording")]
    device: str
    rule: str
    title: str
    n: Annotated[int, about("number among the transitions of this alarm")]
    at: Annotated[str, about("time of the sample or act that caused it")]
    recorded_at: str
    cause: Cause
    before: AlarmState
    after: Annotated[AlarmState, about("the same as before where the condition alone has changed")]
    condition: Condition
    priority: Priority
    value: float | None
    detail: str
    who: Annotated[str | None, about("null: no person caused it")]
    why: str | None


class AlarmDetail(AlarmAnswer):
    acknowledged: bool
    latched: Annotated[bool, about("true: it waits for a reset, whether or not the condition has returned")]
    shelved_once: Annotated[bool, about("shelved until it returns, at most until `shelved_until`")]
    suppressed: bool
    out_of_service: bool
    definition: Annotated[RuleDefinition, about("the rule")]
    transitions: Annotated[list[TransitionAnswer], about("the last 20, newest first")]


class DeviceAlarmParameters(ListParameters):
    state: list[AlarmState] = Field([], description="only in these states; may be repeated; without it all")
    standing: bool | None = Field(
        None, description="true: only those that are not normal or not evaluated; false: only the others"
    )
    unacknowledged: bool | None = Field(None, description="only those that somebody has to acknowledge, or the others")
    priority: list[Priority] = Field([], description="only of these; may be repeated")
    rule: str | None = Field(None, max_length=64, description="only of this rule")


class AlarmParameters(DeviceAlarmParameters):
    device: str | None = Field(None, max_length=64, description="only of this device")
    tag: list[Annotated[str, Field(min_length=1, max_length=40)]] = Field(
        [], max_length=MOST_TAGS, description="only of devices that have this tag; repeated: all of these tags"
    )


class SilencedParameters(ListParameters):
    state: list[Held] = Field([], description="only in these states; may be repeated; without it all three")
    priority: list[Priority] = Field([], description="only of these; may be repeated")
    device: str | None = Field(None, max_length=64, description="only of this device")


class HistoryParameters(RunSpanParameters, StreamParameters):
    device: str | None = Field(None, max_length=64, description="only of this device")
    rule: str | None = Field(None, max_length=64, description="only of this rule, also if it was removed")
    priority: list[Priority] = Field([], description="only of these; may be repeated")
    cause: list[Cause] = Field([], description="only by these causes; may be repeated")


ALARM = example(
    AlarmAnswer,
    """{"device": "br-1", "rule": "temperature-high", "title": "Temperature high", "state": "unacknowledged",
 "condition": "active", "priority": "high", "since": "2026-11-20T07:45:00.000000Z",
 "raised_at": "2026-11-20T07:45:00.000000Z", "value": 38.2, "detail": "38.2 above 38", "shelved_until": null,
 "message": "The culture is too warm", "response": "Look at the cooling water", "n": 7,
 "not_evaluated": null, "evaluated_until": "2026-11-20T07:45:02.000000Z",
 "received_until": "2026-11-20T07:45:02.031000Z", "clock_set_back_at": null, "numbers_back_at": null}""",
)
SILENCED = example(
    SilencedAlarm,
    """{"device": "br-1", "rule": "temperature-high", "title": "Temperature high", "priority": "high",
 "state": "shelved", "condition": "active", "active": true, "since": "2026-11-20T07:45:00.000000Z",
 "until": "2026-11-20T08:45:00.000000Z", "who": "eva@example.org", "why": "the probe is being cleaned", "n": 8}""",
)
TRANSITION = example(
    TransitionAnswer,
    """{"id": 4711, "device": "br-1", "rule": "temperature-high", "title": "Temperature high", "n": 7,
 "at": "2026-11-20T07:45:00.000000Z", "recorded_at": "2026-11-20T07:45:00.310000Z", "cause": "condition",
 "before": "normal", "after": "unacknowledged", "condition": "active", "priority": "high", "value": 38.2,
 "detail": "38.2 above 38", "who": null, "why": null}""",
)
DETAIL: dict[str, Any] = ALARM | {
    "acknowledged": False,
    "latched": False,
    "shelved_once": False,
    "suppressed": False,
    "out_of_service": False,
    "definition": DEFINITION,
    "transitions": [TRANSITION],
}
