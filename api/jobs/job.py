"""What the API and the process that tries a rule tell each other, as JSON."""

from __future__ import annotations

import msgspec

from schema.alarms.history import What


class Job(msgspec.Struct, frozen=True):
    database_url: str
    statement_timeout: float
    organization_id: int
    rule: bytes
    """schema/alarms/rules.py: Rule, as JSON."""
    devices: list[str]
    begin: int
    """Microseconds since 1970."""
    end: int
    seconds: float
    """After which it stops, wherever it is."""
    request_id: str
    """For the log."""


class Period(msgspec.Struct, frozen=True):
    """As schema/alarms/history.py has it. Times in s since 1970."""

    what: What
    begin: float
    end: float | None
    value: float | None
    detail: str


class Looked(msgspec.Struct, frozen=True):
    """What was found of a device."""

    device: str
    frames: int
    until: float
    """Everything before was looked at."""
    whole: bool
    too_many_phases: bool
    periods: list[Period]


class TrialResult(msgspec.Struct, frozen=True):
    devices: list[Looked] = []
    error: tuple[str, str] | None = None
    """Which problem (its slug) it ended with, and the detail."""
