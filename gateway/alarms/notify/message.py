"""Composes the messages that people read. Pure; the result is plain text, which apprise escapes for each service."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, assert_never
from zoneinfo import ZoneInfo

from gateway.alarms.notify.channel import Notice, Tone
from schema.alarms.rules import PRIORITIES

MOST_LINES = 20
MOST_OF_LINE = 400
MOST_NAMES = 3
Kind = Literal["raised", "ended", "escalated"]
WAITING = ("unacknowledged", "returned-unacknowledged", "latched", "acknowledged")
"""States that want something of people, the most urgent first."""
TONES: dict[str, Tone] = {"critical": "failure", "high": "failure", "medium": "warning", "low": "info"}


@dataclass(frozen=True, slots=True)
class NotifiedAlarm:
    """An alarm as it is now, and why people are notified."""

    kind: Kind
    times: int
    """Number of earlier notifications about the alarm."""
    device: str
    device_title: str | None
    location: str | None
    title: str
    priority: str
    state: str
    since: datetime
    raised_at: datetime | None
    value: float | None
    unit: str | None
    """The unit of the channel that the rule compares, if it has one."""
    limit: str
    """What the rule compares with, in words."""
    detail: str
    message: str
    response: str
    who: str | None
    """The person whose act ended the alarm, if any."""


def compose(alarms: Sequence[NotifiedAlarm], zone: ZoneInfo, now: datetime) -> Notice:
    """Compose the message for one alarm, or for several, the most important first. The title of several says the worst,
    and counts what the others are."""
    ordered = sorted(alarms, key=_urgency)
    first = ordered[0]
    tone = _tone(first)
    if len(ordered) == 1:
        return Notice(tone, f"[{_mark(first)}] {first.device}: {_plain(first.title)}", _long(first, zone, now))
    names = list(dict.fromkeys(alarm.device for alarm in ordered))
    more = ", …" if len(names) > MOST_NAMES else ""
    marks = Counter(map(_mark, ordered))
    counts = ", ".join(f"{number} {mark}" for mark, number in list(marks.items())[:MOST_NAMES])
    counts += ", …" if len(marks) > MOST_NAMES else ""
    many = f"{len(ordered)} alarms" if len(marks) == 1 else f"{len(ordered)} alarms ({counts})"
    title = f"[{_mark(first)}] {many}: {', '.join(names[:MOST_NAMES])}{more}"
    lines = [_short(alarm, zone, now) for alarm in ordered[:MOST_LINES]]
    if len(ordered) > MOST_LINES:
        lines.append(f"and {len(ordered) - MOST_LINES} more")
    return Notice(tone, title, "\n".join(lines))


def test(route: str) -> Notice:
    return Notice("info", "Biogate: a test", f"The alarm route {route} works. This was asked for; there is no alarm.")


def failing(route: str, since: datetime | None, error: str | None, zone: ZoneInfo) -> Notice:
    begun = f" since {_time(since, zone)}" if since else ""
    return Notice(
        "failure",
        f"Alarm route {route} fails",
        f"The route has notified nobody{begun}: {error or 'unknown reason'}. Its notifications are tried again.",
    )


def works(route: str) -> Notice:
    return Notice("success", f"Alarm route {route} works again", "The notifications that waited for it are being sent.")


def _mark(alarm: NotifiedAlarm) -> str:
    match alarm.kind:
        case "raised":
            return alarm.priority
        case "escalated":
            return f"{alarm.priority}, escalated"
        case "ended":
            return _state(alarm)
        case _:
            assert_never(alarm.kind)


def _state(alarm: NotifiedAlarm) -> str:
    by = f" by {_plain(alarm.who)}" if alarm.who else ""
    words = {
        "unacknowledged": "not acknowledged",
        "returned-unacknowledged": "returned, not acknowledged",
        "acknowledged": f"acknowledged{by}",
        "latched": f"returned, waits for a reset{f', acknowledged{by}' if by else ''}",
        "normal": f"normal again{f', acknowledged{by}' if by else ''}",
    }
    return words.get(alarm.state, alarm.state)


def _again(alarm: NotifiedAlarm, now: datetime) -> str:
    if alarm.kind == "ended" or (alarm.kind == "raised" and not alarm.times):
        return ""
    since = alarm.raised_at or alarm.since
    return f"nobody has acknowledged it for {_duration((now - since).total_seconds())}"


def _long(alarm: NotifiedAlarm, zone: ZoneInfo, now: datetime) -> str:
    lines = [f"{_state(alarm)}, since {_time(alarm.since, zone)}"]
    if alarm.raised_at and alarm.raised_at != alarm.since:
        lines.append(f"raised {_time(alarm.raised_at, zone)}")
    lines += [_again(alarm, now), _value(alarm), f"limit: {_plain(alarm.limit)}" if alarm.limit else ""]
    lines += [f"{alarm.device}: {_place(alarm)}" if _place(alarm) else ""]
    lines += [_plain(alarm.message, lines=True)]
    lines += [f"To do: {_plain(alarm.response, lines=True)}" if alarm.response else ""]
    return "\n".join(line for line in lines if line)


def _short(alarm: NotifiedAlarm, zone: ZoneInfo, now: datetime) -> str:
    parts = [
        f"[{_mark(alarm)}] {alarm.device}: {_plain(alarm.title)}",
        _place(alarm),
        "" if alarm.kind == "ended" else _state(alarm),
        _value(alarm),
        f"limit: {_plain(alarm.limit)}" if alarm.limit else "",
        f"since {_time(alarm.since, zone)}",
        _again(alarm, now),
        _plain(alarm.message),
        f"To do: {_plain(alarm.response)}" if alarm.response and alarm.kind != "ended" else "",
    ]
    line = "; ".join(part for part in parts if part)
    return line if len(line) <= MOST_OF_LINE else f"{line[: MOST_OF_LINE - 1]}…"


def _value(alarm: NotifiedAlarm) -> str:
    value = "" if alarm.value is None else f"value {alarm.value:g}{f' {alarm.unit}' if alarm.unit else ''}"
    detail = _plain(alarm.detail)
    return f"{value} ({detail})" if value and detail else value or detail


def _place(alarm: NotifiedAlarm) -> str:
    return ", ".join(_plain(part) for part in (alarm.device_title, alarm.location) if part)


def _urgency(alarm: NotifiedAlarm) -> tuple[bool, int, int, str]:
    """The key by which alarms are ordered: raised ones, then what waits for people, then what is over."""
    has_ended = alarm.kind == "ended"
    waits = WAITING.index(alarm.state) if has_ended and alarm.state in WAITING else len(WAITING) * has_ended
    return has_ended, waits, -_rank(alarm.priority), alarm.device


def _tone(alarm: NotifiedAlarm) -> Tone:
    if alarm.kind == "ended" and alarm.state not in WAITING[:2]:
        return "success"
    return TONES.get(alarm.priority, "warning")


def _rank(priority: str) -> int:
    return PRIORITIES.index(priority) if priority in PRIORITIES else -1


def _time(instant: datetime, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _plain(text: str, *, lines: bool = False) -> str:
    """`text` without control and format characters, because some of them end a header or a line of a protocol."""
    kept = "".join(
        sign if unicodedata.category(sign) not in {"Cc", "Cf", "Cs"} or (lines and sign == "\n") else " "
        for sign in text
    )
    return kept.strip()
