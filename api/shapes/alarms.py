"""Alarms and their transitions: the answers, with an example of each."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.http.description import Answer, Page, T
from api.shapes.alarm_rules import DEFINITION
from schema.alarms.rules import Definition, Priority

AlarmState = Literal[
    "normal",
    "unacknowledged",
    "acknowledged",
    "returned-unacknowledged",
    "latched",
    "shelved",
    "suppressed",
    "out-of-service",
]
Condition = Literal["normal", "active", "unknown"]
Action = Literal[
    "acknowledge",
    "reset",
    "shelve",
    "unshelve",
    "suppress",
    "unsuppress",
    "remove-from-service",
    "return-to-service",
]
Cause = Literal["condition", "return", "unknown", "known", "shelving-ended", "phase", "rule-changed", "removed", Action]


class Alarm(Answer):
    device: str
    rule: str
    title: str
    state: AlarmState = Field(description="after ISA-18.2: what people see")
    condition: Condition = Field(description="unknown: it cannot be told, and the alarm stays as it is")
    priority: Priority
    since: str = Field(description="when it came into its state")
    raised_at: str | None = Field(description="when it became active last; null: never yet")
    value: float | None = Field(description="what was compared last")
    detail: str = Field(description="what was compared, in words")
    shelved_until: str | None
    message: str
    response: str = Field(description="what the operator is to do")
    n: int = Field(description="counts its transitions")


class Alarms(Page):
    alarms: list[Alarm]


class Transition(Answer):
    id: int = Field(description="in the order in which they were recorded")
    device: str
    rule: str
    title: str
    n: int = Field(description="counts those of this alarm")
    at: str = Field(description="of the sample, or the act, that caused it")
    recorded_at: str
    cause: Cause
    before: AlarmState
    after: AlarmState = Field(description="the same as before where the condition alone has changed")
    condition: Condition
    priority: Priority
    value: float | None
    detail: str
    who: str | None = Field(description="null: no person")
    why: str | None


class History(Page):
    transitions: list[Transition]


class AlarmDetail(Alarm):
    acknowledged: bool
    latched: bool = Field(description="it waits for a reset, whether or not the condition has returned")
    shelved_once: bool = Field(description="shelved until it returns, at most until `shelved_until`")
    suppressed: bool
    out_of_service: bool
    definition: Definition = Field(description="the rule")
    transitions: list[Transition] = Field(description="the last 20, newest first")


ALARM: dict[str, Any] = {
    "device": "br-1",
    "rule": "temperature-high",
    "title": "Temperature high",
    "state": "unacknowledged",
    "condition": "active",
    "priority": "high",
    "since": T,
    "raised_at": T,
    "value": 38.2,
    "detail": "38.2 above 38",
    "shelved_until": None,
    "message": "The culture is too warm",
    "response": "Look at the cooling water",
    "n": 7,
}
TRANSITION: dict[str, Any] = {
    "id": 4711,
    "device": "br-1",
    "rule": "temperature-high",
    "title": "Temperature high",
    "n": 7,
    "at": T,
    "recorded_at": "2026-11-20T07:45:00.310000Z",
    "cause": "condition",
    "before": "normal",
    "after": "unacknowledged",
    "condition": "active",
    "priority": "high",
    "value": 38.2,
    "detail": "38.2 above 38",
    "who": None,
    "why": None,
}
DETAIL: dict[str, Any] = ALARM | {
    "acknowledged": False,
    "latched": False,
    "shelved_once": False,
    "suppressed": False,
    "out_of_service": False,
    "definition": DEFINITION,
    "transitions": [TRANSITION],
}
