"""What people read of alarms: their states, what happened to them, what can be done, and rules in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from api.access.roles import Scope
from api.http.plain_words import channel, lasting, number
from api.pages.page import Page
from api.queries.alarm_acts import ROLES
from api.shapes.alarms import Cause
from schema.alarms.machine import Action, AlarmState

STATES: Mapping[str, str] = {
    AlarmState.NORMAL: "normal",
    AlarmState.UNACKNOWLEDGED: "not acknowledged",
    AlarmState.ACKNOWLEDGED: "acknowledged",
    AlarmState.RETURNED: "returned, not acknowledged",
    AlarmState.LATCHED: "waits for a reset",
    AlarmState.SHELVED: "shelved",
    AlarmState.SUPPRESSED: "suppressed",
    AlarmState.OUT_OF_SERVICE: "out of service",
}
HELD = (AlarmState.SHELVED, AlarmState.SUPPRESSED, AlarmState.OUT_OF_SERVICE)
CAUSES: Mapping[Cause, str] = {
    "condition": "raised",
    "return": "returned",
    "unknown": "cannot be told any more",
    "known": "can be told again",
    "late": "would have been raised: known late",
    "late-return": "would have returned: known late",
    "shelving-ended": "shelving ended",
    "phase": "phase of the run changed",
    "rule-changed": "rule changed",
    "removed": "rule removed",
    "acknowledge": "acknowledged",
    "reset": "reset",
    "shelve": "shelved",
    "unshelve": "unshelved",
    "suppress": "suppressed",
    "unsuppress": "suppression ended",
    "remove-from-service": "taken out of service",
    "return-to-service": "returned to service",
}
ACTS: Mapping[Action, str] = {
    Action.ACKNOWLEDGE: "Acknowledge",
    Action.RESET: "Reset",
    Action.SHELVE: "Shelve",
    Action.UNSHELVE: "Unshelve",
    Action.SUPPRESS: "Suppress",
    Action.UNSUPPRESS: "End the suppression",
    Action.REMOVE: "Take out of service",
    Action.RETURN: "Return to service",
}
_ASIDE = (Action.SHELVE, Action.SUPPRESS, Action.REMOVE)
POSSIBLE: Mapping[str, tuple[Action, ...]] = {
    AlarmState.NORMAL: _ASIDE,
    AlarmState.UNACKNOWLEDGED: (Action.ACKNOWLEDGE, *_ASIDE),
    AlarmState.ACKNOWLEDGED: _ASIDE,
    AlarmState.RETURNED: (Action.ACKNOWLEDGE, *_ASIDE),
    AlarmState.LATCHED: (Action.RESET, *_ASIDE),
    AlarmState.SHELVED: (Action.UNSHELVE, *_ASIDE),
    AlarmState.SUPPRESSED: (Action.UNSUPPRESS, Action.REMOVE),
    AlarmState.OUT_OF_SERVICE: (Action.RETURN,),
}
"""What a state allows (schema/alarms/machine.py)."""
SPANS = {
    900: "15 min",
    3600: "1 h",
    14_400: "4 h",
    28_800: "8 h",
    43_200: "12 h",
    86_400: "1 day",
    259_200: "3 days",
} | {
    604_800: "7 days",
    2_592_000: "30 days",
}
"""How long an alarm can be shelved, in s, as far as its priority allows."""
KINDS: Mapping[str, str] = {
    "limit": "A value beyond a limit",
    "deviation": "A value off its setpoint",
    "rate": "A value that changes fast",
    "frozen": "A value that does not move",
    "quality": "A value marked bad, or missing",
    "silent": "A device that sends nothing",
    "gap": "Frames missing in the sequence",
    "skew": "A clock that is wrong",
    "formula": "A formula over channels",
}


def offered(page: Page, state: str) -> list[Action]:
    """Return the acts that the alarm's state and the member's role allow."""
    return [act for act in POSSIBLE[state] if page.member.may(ROLES[act], Scope.ALARMS_WRITE)]


def spans(page: Page, priority: str) -> dict[int, str]:
    """Return the lengths of a shelving that the priority allows."""
    longest = dict(page.app.settings.longest_shelving_s)
    return {seconds: said for seconds, said in SPANS.items() if seconds <= longest[priority]}  # type: ignore[index]


def duration(seconds: float | None) -> str:
    """Return a number of seconds in words; a dash for none."""
    if seconds is None:
        return "–"
    return f"{number(seconds)} s" if seconds < 60 else lasting(timedelta(seconds=seconds))


def condition(when: Mapping[str, Any]) -> str:  # noqa: PLR0911 - one for each kind
    """Return the condition of a rule in words."""
    name = channel(when["channel"]) if "channel" in when else ""
    limit, back = when.get("limit"), when.get("deadband")
    deadband = f", deadband {number(back)}" if back else ""
    match when["kind"]:
        case "limit":
            high = when["level"] in {"high", "high-high"}
            level = "" if when["level"] in {"high", "low"} else f" ({when['level']})"
            return f"{name} {'above' if high else 'below'} {number(limit)}{level}{deadband}"
        case "deviation":
            way = {"above": "above", "below": "below", "both": "off"}[when["direction"]]
            return f"{name} more than {number(limit)} {way} its setpoint{deadband}"
        case "rate":
            way = {"rising": "rises", "falling": "falls", "both": "changes"}[when["direction"]]
            return f"{name} {way} by more than {number(limit)} a minute, over {duration(when['window'])}{deadband}"
        case "frozen":
            return f"{name} has not moved by more than {number(when['tolerance'])} for {duration(when['after'])}"
        case "quality":
            return f"{name} is marked bad, or missing"
        case "silent":
            return f"nothing has come for {duration(when['after'])}"
        case "gap":
            return f"{when['frames']} frames or more are missing in {duration(when['window'])}"
        case "skew":
            return f"the clock is off by more than {duration(limit)}"
    return str(when["expression"])


def scope(given: Mapping[str, Any]) -> str:
    """Return in words which devices a rule covers, and when."""
    parts = []
    for field, said in (("devices", "on"), ("tags", "with the tags"), ("phases", "in the phases")):
        names = given.get(field) or []
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            parts.append(f"{said} {', '.join(names[:5])}{more}")
    return "; ".join(parts) or "all vessels, always"
