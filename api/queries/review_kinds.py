"""Which rows of the audit trail are an exception for who reviews it, and of what kind. Pure.

An action that nobody has sorted in is an exception, so that a new one is seen before anybody thinks of it.
"""

from __future__ import annotations

from typing import Any

from api.shapes.reviews import ExceptionKind

ROUTINE = (
    *("enrollment awaiting", "enrollment approved", "enrollment refused", "serial", "import", "login", "device login"),
    *("device change", "device card", "device register", "annotation", "alarm acknowledge", "alarm unshelve"),
    *("alarm unsuppress", "alarm return-to-service", "alarm route test", "command ", "material add", "sample take"),
    *("sample measure", "sample approve", "deviation", "shift", "location", "report", "export", "replay", "run create"),
    *("run running", "run complete", "run automation", "retention hold", "log-in", "log in", "log out", "session"),
    *("password", "invitation", "account", "seal", "records digest", "signature", "review ", "backup", "checkpoint"),
    *("evidence", "computed channel retry", "correction apply", "second person"),
)
"""What actions begin with that are listed nowhere, but counted; what EXCEPTIONS says comes first."""
EXCEPTIONS: dict[str, ExceptionKind] = {
    "alarm rule ": "rule",
    "alarm route create": "route",
    "alarm route change": "route",
    "alarm route remove": "route",
    "alarm shelve": "silenced",
    "alarm suppress": "silenced",
    "alarm remove-from-service": "silenced",
    "alarm reset": "silenced",
    "channel change": "channel",
    "computed channel ": "channel",
    "device constants": "channel",
    "correction ": "correction",
    "sample correct": "sample",
    "sample withdraw": "sample",
    "material correct": "sample",
    "material withdraw": "sample",
    "run ": "run",
    "device declare-lost": "data",
    "device ": "device",
    "enrollment ": "device",
    "quarantine.": "data",
    "retention drop": "data",
    "retention hold end": "data",
    "import": "data",
    "backup restore": "data",
    "restore": "data",
    "log-in failed": "access",
    "signature failed": "access",
    "member": "access",
    "policy": "access",
    "organization": "access",
    "key": "access",
    "sql-login": "access",
    "account": "access",
    "second person": "access",
    "migration": "system",
}
"""What actions begin with → the kind of exception; the longest that fits counts."""
COMMANDS = {"setpoint", "set_setpoint", "setpoints"}
"""Commands that set a setpoint; every other one overrides what the controller does by itself."""


def classified(action: str, new: Any) -> ExceptionKind | None:
    """Return the kind of exception that a row is, by its action and its new state; None: it is routine."""
    if action.endswith(" refused") and action.startswith("alarm "):
        return None  # nothing was done
    if action == "command request":
        return "setpoint" if isinstance(new, dict) and new.get("name") in COMMANDS else "command"
    if action == "run phases" or action.startswith("command "):
        return None
    known: dict[str, ExceptionKind | None] = {**dict.fromkeys(ROUTINE), **EXCEPTIONS}
    fitting = [begin for begin in known if action.startswith(begin)]
    return known[max(fitting, key=len)] if fitting else "other"
