"""The answers' shapes about alarms, their rules and what people do to them, and an example of each."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.models.common import Answer, Page, T
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


class Act(Answer):
    id: int
    device: str
    rule: str
    action: Action
    until: str | None = Field(description="of a shelving: its end")
    once: bool = Field(description="of a shelving: it ends when the alarm returns")
    who: str
    why: str
    asked_at: str
    state: Literal["waiting", "done", "refused"] = Field(description="waiting: for the process that evaluates alarms")
    done_at: str | None = Field(description="when it was done or refused")
    refused: str | None = Field(description="why nothing was done")
    n: int | None = Field(description="the transition of the alarm that it became")


class Outcome(Answer):
    device: str
    rule: str
    outcome: Literal["done", "refused", "waiting", "unknown"] = Field(
        description="unknown: there is no such device or no such rule"
    )
    act: int | None = Field(description="`id` at /api/v1/alarm-acts; null: there is none")
    detail: str | None = Field(description="why it was refused")


class Outcomes(Answer):
    done: int = Field(description="how many of them; refused, waiting and unknown likewise")
    refused: int
    waiting: int
    unknown: int
    acts: list[Outcome]


class Rule(Answer):
    rule: str = Field(description="its name")
    version: int = Field(description="counts its changes; the ETag, for If-Match")
    title: str
    priority: Priority
    enabled: bool
    created_at: str
    changed_at: str
    definition: Definition


class Rules(Page):
    rules: list[Rule]


class RuleDetail(Rule):
    warnings: list[str] = Field(description="what may be a slip: channels that no device in its scope has ever sent")


class Change(Answer):
    rule: str
    fields: list[str] = Field(description="with dots, like when.limit")


class Imported(Answer):
    dry_run: bool = Field(description="true: nothing was changed, this is what would be")
    created: list[str]
    changed: list[Change]
    removed: list[str]
    unchanged: int


class Fired(Answer):
    device: str
    what: Literal["active", "unknown", "suppressed"] = Field(
        description="active: raised until the condition returned; unknown: it could not be told; suppressed: by the "
        "run phase"
    )
    begin: str
    end: str | None = Field(description="null: it was still so at the end of what was looked at")
    value: float | None = Field(description="what was compared when it began")
    detail: str


class Looked(Answer):
    device: str
    frames: int = Field(description="that were looked at")
    until: str = Field(description="everything before was looked at")


class Trial(Answer):
    from_: str = Field(alias="from")
    to: str
    complete: bool = Field(description="false: it was not all looked at, see `until` of each device and `warnings`")
    devices: list[Looked]
    periods: list[Fired] = Field(description="device by device, each in order of begin; at most 1000")
    warnings: list[str]


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
DEFINITION: dict[str, Any] = {
    "title": "Temperature high",
    "enabled": True,
    "priority": "high",
    "scope": {"devices": [], "tags": ["pilot"], "phases": []},
    "when": {"channel": "temperature", "kind": "limit", "level": "high", "limit": 38.0, "deadband": 0.5},
    "clear": None,
    "on_delay": 10.0,
    "off_delay": 0.0,
    "stale_after": 60.0,
    "unknown": "hold",
    "latch": False,
    "message": "The culture is too warm",
    "response": "Look at the cooling water",
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
ACT: dict[str, Any] = {
    "id": 311,
    "device": "br-1",
    "rule": "temperature-high",
    "action": "acknowledge",
    "until": None,
    "once": False,
    "who": "eva@example.org",
    "why": "seen, the valve is being changed",
    "asked_at": T,
    "state": "waiting",
    "done_at": None,
    "refused": None,
    "n": None,
}
OUTCOMES: dict[str, Any] = {
    **{"done": 1, "refused": 1, "waiting": 0, "unknown": 0},
    "acts": [
        {"device": "br-1", "rule": "temperature-high", "outcome": "done", "act": 311, "detail": None},
        {
            **{"device": "br-2", "rule": "temperature-high", "outcome": "refused", "act": 312},
            "detail": "the alarm is normal: there is nothing to acknowledge",
        },
    ],
}
RULE: dict[str, Any] = {
    "rule": "temperature-high",
    "version": 3,
    "title": "Temperature high",
    "priority": "high",
    "enabled": True,
    "created_at": T,
    "changed_at": T,
    "definition": DEFINITION,
}
IMPORTED: dict[str, Any] = {
    "dry_run": True,
    "created": ["ph-low"],
    "changed": [{"rule": "temperature-high", "fields": ["when.limit"]}],
    "removed": [],
    "unchanged": 12,
}
TRIAL: dict[str, Any] = {
    "from": "2026-11-19T07:45:00.000000Z",
    "to": T,
    "complete": True,
    "devices": [{"device": "br-1", "frames": 86400, "until": T}],
    "periods": [
        {
            **{"device": "br-1", "what": "active"},
            **{"begin": "2026-11-19T13:01:12.000000Z", "end": "2026-11-19T13:04:40.000000Z"},
            **{"value": 38.2, "detail": "38.2 above 38"},
        }
    ],
    "warnings": [],
}
