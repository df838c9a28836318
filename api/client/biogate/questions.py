"""Turn what a caller asks for into the parameters that the API takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias, TypedDict

from biogate.asking import Query
from biogate.errors import ClientError

Names: TypeAlias = str | Sequence[str]
"""One name or several; a pattern has `*` for any characters and `?` for one."""
When: TypeAlias = str | datetime
"""An instant: a datetime with a zone, or text as the API takes it, like `-24h`, `now` or `2026-11-20T07:45:00Z`."""
Width: TypeAlias = str | timedelta
"""A duration like `10s` or `1h`."""
Quality: TypeAlias = Literal["good", "all"]
Corrections: TypeAlias = Literal["applied", "none"]
Mode: TypeAlias = Literal["raw", "buckets", "at", "plot"]


class SelectionOptions(TypedDict, total=False):
    """Which samples are meant, beside devices and channels."""

    from_: When
    """First instant; an hour before `to` if not given."""
    to: When
    """End, not part of the range; now if not given."""
    tag: Names
    """Only devices with all of these tags."""
    location: str
    """Only devices whose location begins with this text."""
    run: str
    """Only the time of this run, and its devices if none is named. `from_` and `to` may be like `start+2h`."""
    phase: str
    """The newest time in which each device was in this phase; `from_` and `to` bound it. With `run`: its phase."""
    unit: Names
    """Each channel is converted to the first of these units that it can be in."""
    quality: Quality
    """good (if not given): samples of quality 0 alone; all: every one, with a column of qualities for each channel."""
    corrections: Corrections
    """applied (if not given): as people have corrected samples; raw ones then have columns `channel.original` and
    `channel.correction` where there are corrections. none: as they were sent."""
    as_of: When
    """What was known then."""


class TelemetryOptions(SelectionOptions, total=False):
    """All that `telemetry` takes beside devices and channels: docs/telemetry.md says what each means."""

    mode: Mode
    """raw (if no other is meant), buckets (with `bucket`, `max_points` or `aggregate`), at (with `at`), or plot."""
    bucket: Width
    max_points: int
    aggregate: Names
    tz: str
    origin: When
    empty: Literal["absent", "null"]
    fill: Literal["last", "linear"]
    fill_limit: int
    at: When | Sequence[When]
    method: Literal["last", "linear"]
    gap: Width
    bounds: Literal["inside", "outside"]
    """outside: of each channel also the sample before the range and the one after it; for plot."""
    max_age: Width


class LatestOptions(TypedDict, total=False):
    """What `latest` takes beside devices and channels."""

    tag: Names
    location: str
    quality: Quality
    unit: Names
    max_age: Width


def names(given: Names | None) -> tuple[str, ...]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(given)


def is_one_device(devices: Names | None) -> bool:
    """Whether a question means one device by its name, so that an answer need not say of which device a row is."""
    return isinstance(devices, str) and not set(devices) & set("*?,")


def checked(options: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    """Return the options that are given. Raises TypeError for one that the kind does not have."""
    known = kind.__annotations__
    for name in options:
        if name not in known:
            raise TypeError(f"there is no argument {name!r}; there are {', '.join(sorted(known))}")
    return {name: value for name, value in options.items() if value is not None}


def parameters(devices: Names | None, channels: Names | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as the fields of a JSON body have them. Raises ClientError."""
    found: dict[str, Any] = {}
    if devices is not None:
        found["device"] = list(names(devices))
    if channels is not None:
        found["channel"] = list(names(channels))
    for name, value in options.items():
        found[name.rstrip("_")] = _said(name, value)
    return found


LISTS = frozenset({"tag", "aggregate", "at", "unit"})


def _said(name: str, value: Any) -> Any:
    if name in LISTS:
        return [_one(name, one) for one in ([value] if isinstance(value, str | datetime) else value)]
    return _one(name, value)


def _one(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return instant(name, value)
    return duration(value) if isinstance(value, timedelta) else value


def instant(name: str, given: datetime) -> str:
    """Return an instant as ISO 8601 in UTC. Raises ClientError for one without a zone."""
    if given.tzinfo is None:
        raise ClientError(
            f"{name}: the zone is missing: give datetime(…, tzinfo=UTC), or text like 2026-11-20T07:45:00Z"
        )
    return given.astimezone(UTC).isoformat().replace("+00:00", "Z")


def when(name: str, given: When | None) -> str | None:
    return instant(name, given) if isinstance(given, datetime) else given


def span(from_: When | None, to: When | None) -> dict[str, str | None]:
    """Return the parameters of a range of time. Raises ClientError for an instant without a zone."""
    return {"from": when("from_", from_), "to": when("to", to)}


def width(given: Width | None) -> str | None:
    return duration(given) if isinstance(given, timedelta) else given


def duration(given: timedelta) -> str:
    """Return a duration as whole seconds or, if it has a fraction, milliseconds."""
    return (
        f"{given // timedelta(milliseconds=1)}ms"
        if given % timedelta(seconds=1)
        else f"{given // timedelta(seconds=1)}s"
    )


def query(found: Mapping[str, Any]) -> Query:
    """Return parameters as those of an address; lists are repeated, or joined if their items have no comma, and what is
    None is left out."""
    given = [(name, value) for name, value in found.items() if value is not None]
    return tuple((name, _text(one)) for name, value in given for one in _each(name, value))


JOINED = frozenset({"device", "at", "aggregate"})


def _each(name: str, value: Any) -> Iterable[Any]:
    if not isinstance(value, list | tuple):
        return (value,)
    return (",".join(value),) if name in JOINED and value else value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def live_parameters(devices: Names | None, channels: Names | None, rate: float | None) -> Query:
    """Return the parameters of a live feed, which takes names of devices with commas between them."""
    found = {"device": ",".join(names(devices)) or None, "channel": names(channels), "rate": rate}
    return query(found)
