"""The job that the API gives to the process that tries a rule, and the result that comes back; both are JSON."""

from __future__ import annotations

import msgspec

from schema.alarms.history import What


class Job(msgspec.Struct, frozen=True):
    database_url: str
    statement_timeout: float
    organization_id: int
    rule: bytes
    """A Rule of schema/alarms/rules.py, as JSON."""
    devices: list[str]
    begin: int
    """Microseconds since 1970."""
    end: int
    seconds: float
    """Seconds after which the process stops, wherever it is."""
    request_id: str
    """The id of the request, for the log."""


class Period(msgspec.Struct, frozen=True):
    """A StatePeriod of schema/alarms/history.py. Times are s since 1970."""

    what: What
    begin: float
    end: float | None
    value: float | None
    detail: str


class Looked(msgspec.Struct, frozen=True):
    """What a trial found of one device."""

    device: str
    frames: int
    until: float
    """Every frame before this time (s since 1970) was looked at."""
    whole: bool
    too_many_phases: bool
    periods: list[Period]


class TrialResult(msgspec.Struct, frozen=True):
    devices: list[Looked] = []
    error: tuple[str, str] | None = None
    """The slug of the problem with which the trial ended, and its detail."""
