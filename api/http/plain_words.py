"""How people are told numbers, durations and names of channels. Pure."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Protocol

NONE = "–"
DIGITS = 4
"""Digits of a number of which nobody has said how many decimals are worth showing."""
WORDS = {"ph": "pH", "o2": "O2", "co2": "CO2", "rq": "RQ", "otr": "OTR", "ctr": "CTR", "do": "DO"}
"""Parts of channels' names that are not written as other words are."""

BROWSERS = {"Edg/": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Version/": "Safari"}
"""Marks of browsers in a User-Agent. Many name Chrome's or Safari's as well, so the order counts."""
SYSTEMS = {
    **{"Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows"},
    **{"Mac OS X": "macOS", "CrOS": "ChromeOS", "Linux": "Linux"},
}


class Signature(Protocol):
    """What words about a signature are made of."""

    @property
    def version(self) -> int: ...
    @property
    def intact(self) -> bool: ...
    @property
    def newest(self) -> bool: ...
    @property
    def version_now(self) -> int | None: ...
    @property
    def state_now(self) -> str | None: ...
    @property
    def changed_at(self) -> str | None: ...


def utc(instant: str) -> str:
    """Return an instant as text in UTC to the second, as it stands beside a signature wherever its reader is."""
    return f"{instant[:10]} {instant[11:19]} UTC"


def signature_state(one: Signature) -> str:
    """Return whether a signature is intact, and what has become of the record since."""
    if one.newest:
        return "intact"
    since = "; no change is recorded" if one.changed_at is None else f"; changed at {utc(one.changed_at)}"
    if one.version_now is None:
        now = f"; the record is not there any more{since}"
    elif one.version_now == one.version:
        now = f"; something was added since{since}" if one.intact else since
    else:
        now = f"; now version {one.version_now}{f' ({one.state_now})' if one.state_now else ''}{since}"
    if one.intact:
        return f"intact: version {one.version} was signed{now}"
    return f"broken: version {one.version}, which was signed, is not as it was{now}"


def number(value: float | None, decimals: int | None = None) -> str:
    """Return a number for people; a dash for none."""
    if value is None or not math.isfinite(value):
        return NONE
    if decimals is None:
        size = 0 if value == 0 else math.floor(math.log10(abs(value)))
        if not -4 <= size < 9:
            return f"{value:.{DIGITS - 1}g}"
        decimals = max(0, DIGITS - 1 - size)
        return f"{value:.{decimals}f}".rstrip("0").rstrip(".") if decimals else f"{value:.0f}"
    return f"{value:.{decimals}f}"


def channel(name: str, title: str | None = None) -> str:
    """Return what people call a channel."""
    if title:
        return title
    first, *rest = name.replace("dissolved_oxygen", "do").split("_")
    return " ".join([WORDS.get(first, first[:1].upper() + first[1:]), *(WORDS.get(one, one) for one in rest)])


def clock_offset(ahead_at_least_s: float) -> str:
    """Return how far a clock is off, which frames tell by the least time to their receipt."""
    if ahead_at_least_s > 0:
        return f"ahead by at least {number(ahead_at_least_s)} s"
    return f"behind by at most {number(-ahead_at_least_s)} s"


def program(agent: str) -> str:
    """Return browser and system of a User-Agent, such as `Firefox 140 on Linux`; of a program its first word."""
    system = next((name for mark, name in SYSTEMS.items() if mark in agent), None)
    for mark, name in BROWSERS.items():
        if mark in agent:
            version = agent.partition(mark)[2].partition(".")[0]
            browser = f"{name} {version}" if version.isdecimal() else name
            return f"{browser} on {system}" if system else browser
    return agent.partition(" ")[0][:60]


def lasting(span: timedelta) -> str:
    """Return a duration in its two largest units."""
    seconds = max(0, round(span.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 60:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60:02d} min" if hours < 240 else f"{days} d {hours % 24} h"


def quality(mark: int | None) -> str:
    """Return what a device says of a sample, in words."""
    return NONE if mark is None else {0: "good", 1: "bad", 2: "uncertain"}.get(mark, f"quality {mark}")


def unit(name: str | None) -> str:
    """Return a unit as it stands after a number: nothing where the number or the channel says it already."""
    return "" if name in {None, "1", "pH"} else str(name)
