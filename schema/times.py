"""Instants and durations as they stand in addresses and answers. Pure; UTC everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ORIGIN = datetime(2000, 1, 3, tzinfo=UTC)
"""A Monday: where TimescaleDB's time_bucket counts from, so days begin at 00:00 UTC and weeks on Mondays."""

FIRST, LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
MILLISECONDS_FROM, MILLISECONDS_TO = 946_684_800_000, 221_845_392_000_000
"""2000 and 9000."""

LIKELY_FROM, LIKELY_TO = MILLISECONDS_FROM, 4_102_444_800_000
"""2000 and 2100."""

NUMBER = re.compile(r"-?\d{1,25}(\.\d{1,25})?", re.ASCII)
BEFORE_NOW = re.compile(r"-\d{1,9}(ms|s|m|h|d|w)", re.ASCII)
DATE = re.compile(r"(\d{4}-(?:\d\d-\d\d|W\d\d(?:-\d)?))(Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII)
LENGTH = len("2026-11-20T07:45:00.000000Z")
MICROSECOND = timedelta(microseconds=1)
UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
LONGEST = timedelta(days=3660)
ROUND = (
    *("1s", "2s", "5s", "10s", "15s", "30s", "1m", "2m", "5m", "10m", "15m", "30m"),
    *("1h", "2h", "3h", "6h", "12h", "1d", "2d", "1w", "4w", "52w"),
)
"""Bucket widths that are proposed when one is too narrow, in ascending order."""


@dataclass(frozen=True, slots=True)
class Span:
    """From `begin` to `end`, which is not part of it."""

    begin: datetime
    end: datetime


def parse_instant(given: object, now: datetime | None = None) -> datetime:
    """Return in UTC the instant that a person or a program wrote: everywhere it is read in this one way.

    ISO 8601 with a zone (a date alone is its midnight there), milliseconds since 1970-01-01 UTC (a fraction is kept to
    the microsecond), `now`, or a duration before now like `-24h`. ValueError says what to write instead.
    """
    said = _said(given)
    if said == "now":
        return now or datetime.now(UTC)
    if BEFORE_NOW.fullmatch(said):
        return checked((now or datetime.now(UTC)) - parse_duration(said[1:]))
    if NUMBER.fullmatch(said):
        return _from_milliseconds(said)
    date = DATE.fullmatch(said.upper())
    try:
        instant = datetime.fromisoformat(f"{date[1]}T00:00{date[2] or ''}" if date else said.upper())
    except ValueError:
        if re.search(r"\d \d\d:?\d\d$", said):
            raise ValueError("write the + of the zone as %2B in an address, or give UTC with Z") from None
        raise ValueError(
            "give ISO 8601 with a zone like 2026-11-20T07:45:00Z, milliseconds since 1970, or a duration before now "
            "like -24h"
        ) from None
    if instant.tzinfo is None:
        raise ValueError(f"the zone is missing: write {said}Z for UTC, or add an offset: {said}-05:00")
    return checked(instant)


def _said(given: object) -> str:
    """Return the text of an instant or a duration. Raises ValueError for anything else that a body may have there."""
    if not isinstance(given, str):
        raise ValueError("must be text")
    return given.strip()


def checked(instant: datetime) -> datetime:
    """Return the instant in UTC; ValueError unless both Python and PostgreSQL can say it with room to reckon."""
    if not FIRST <= instant <= LAST:
        raise ValueError(f"must lie between {FIRST:%Y} and {LAST:%Y}")
    return instant.astimezone(UTC)


def _from_milliseconds(said: str) -> datetime:
    """Refuse numbers that mean a time before 2000: they are seconds, or dates without hyphens."""
    number = float(said)
    if MILLISECONDS_FROM <= number < MILLISECONDS_TO:
        return EPOCH + timedelta(microseconds=round(number * 1000))
    raise ValueError(f"{said} as milliseconds since 1970 does not lie between 2000 and {LAST:%Y}{unit_hint(number)}")


def is_in_seconds(milliseconds: float) -> bool:
    """Whether a count of milliseconds since 1970 makes sense only as a count of seconds."""
    return LIKELY_FROM <= milliseconds * 1000 < LIKELY_TO


def unit_hint(milliseconds: float) -> str:
    """Say what to write where a count of milliseconds makes sense only in another unit or as a date; else nothing."""
    for unit, factor in (("seconds", 1000.0), ("microseconds", 1e-3), ("nanoseconds", 1e-6)):
        if LIKELY_FROM <= milliseconds * factor < LIKELY_TO:
            return f": is it in {unit}? Then write {round(milliseconds * factor)}"
    try:
        return f": is it a date? Then write {datetime.strptime(f'{milliseconds:.0f}', '%Y%m%d').date()}Z"  # noqa: DTZ007
    except ValueError:
        return ""


def parse_duration(given: str) -> timedelta:
    """A whole number and a unit, ms s m h d w: `10s`, `5m`, `1d`."""
    match = re.fullmatch(r"(\d{1,9})(ms|s|m|h|d|w)", _said(given), re.ASCII)
    if match is None:
        raise ValueError("give a whole number and one of ms, s, m, h, d, w, like 10s or 5m")
    count, unit = int(match[1]), UNITS[match[2]]
    duration = count * unit if count <= LONGEST // unit else timedelta(0)
    if not timedelta(0) < duration <= LONGEST:
        raise ValueError(f"must be more than 0 and at most {LONGEST.days}d")
    return duration


def text(instant: datetime) -> str:
    """ISO 8601 in UTC with exactly six digits of fraction: sorts as text, and no reader has to guess."""
    if instant.tzinfo is not UTC:  # asyncpg gives UTC: half of the time
        instant = instant.astimezone(UTC)
    said = msgspec.json.encode(instant)[1:-1].decode()  # hot path: a sixth of isoformat's time; whole seconds as …:00Z
    return said if len(said) == LENGTH else f"{said[:-1]}.000000Z"


def optional_text(instant: datetime | None) -> str | None:
    return None if instant is None else text(instant)


def microseconds(instant: datetime) -> int:
    """Whole microseconds since 1970: exact, for cursors."""
    return (instant - EPOCH) // MICROSECOND


def from_microseconds(count: int) -> datetime:
    return EPOCH + timedelta(microseconds=count)


def floor(instant: datetime, width: timedelta) -> datetime:
    """The begin of the bucket that holds `instant`, the same as time_bucket(width, instant)."""
    return ORIGIN + (instant - ORIGIN) // width * width


def bucket_count(begin: datetime, end: datetime, width: timedelta) -> int:
    """How many buckets overlap [begin, end)."""
    return max(0, (floor(end - MICROSECOND, width) - floor(begin, width)) // width + 1)


def fitting_bucket(begin: datetime, end: datetime, most: int) -> str | None:
    """The narrowest round width with which [begin, end) has at most `most` buckets."""
    return next((w for w in ROUND if bucket_count(begin, end, parse_duration(w)) <= most), None)


def duration_text(duration: timedelta) -> str:
    """The duration in the largest unit that gives a whole number, at most days: `90s`, `1h`."""
    return next(f"{duration // UNITS[unit]}{unit}" for unit in ("d", "h", "m", "s", "ms") if not duration % UNITS[unit])
