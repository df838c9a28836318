"""How pages write numbers, times and names: the filters of the templates."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from markupsafe import Markup, escape

from schema import times

NONE = "–"
HEXADECIMAL = re.compile(r"[0-9a-f]{32,}")
"""A hash or a key: its begin is enough to tell it from others."""
DIGITS = 4
"""Digits of a number of which nobody has said how many decimals are worth showing."""
WORDS = {"ph": "pH", "o2": "O2", "co2": "CO2", "rq": "RQ", "otr": "OTR", "ctr": "CTR", "do": "DO"}
"""Parts of channels' names that are not written as other words are."""


def number(value: float | None, decimals: int | None = None) -> str:
    """Return a number for people; a dash for none."""
    if value is None or not math.isfinite(value):
        return NONE
    if decimals is None:
        size = 0 if value == 0 else math.floor(math.log10(abs(value)))
        if not -4 <= size < 9:
            return f"{value:.{DIGITS - 1}g}"
        decimals = max(0, DIGITS - 1 - max(size, 0))
        return f"{value:.{decimals}f}".rstrip("0").rstrip(".") if decimals else f"{value:.0f}"
    return f"{value:.{decimals}f}"


def channel(name: str, title: str | None = None) -> str:
    """Return what people call a channel."""
    if title:
        return title
    first, *rest = name.replace("dissolved_oxygen", "do").split("_")
    return " ".join([WORDS.get(first, first[:1].upper() + first[1:]), *(WORDS.get(one, one) for one in rest)])


def moment(when: datetime | str | None, form: str = "time") -> Markup:
    """Return an instant (ISO 8601 in UTC) as an element that the browser rewrites in the reader's zone; without
    JavaScript it says UTC. `form`: `time` is the time of the day, and before
    today the date; `date`; `full`."""
    if when is None:
        return escape(NONE)
    text = when if isinstance(when, str) else times.text(when)
    said = f"{text[:10]} {text[11:19]} UTC"
    return Markup('<time datetime="{}" data-form="{}" title="{}">{}</time>').format(text, form, said, said)


def since(begin: datetime | str | None, now: datetime | None = None) -> str:
    """Return how long ago an instant was, in the two largest units; empty for none."""
    if begin is None:
        return ""
    instant = times.parse_instant(begin) if isinstance(begin, str) else begin
    return lasting((now or datetime.now(UTC)) - instant)


def lasting(span: timedelta) -> str:
    """Return a duration in its two largest units."""
    seconds = max(0, round(span.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 60:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60:02d} min" if hours < 240 else f"{days} d {hours % 24} h"


def plural(count: int, one: str, many: str | None = None) -> Markup:
    """Return a count with its noun."""
    return Markup("<b>{}</b> {}").format(count, escape(one if count == 1 else many or f"{one}s"))


def quality(mark: int | None) -> str:
    """Return what a device says of a sample, in words."""
    return NONE if mark is None else {0: "good", 1: "bad", 2: "uncertain"}.get(mark, f"quality {mark}")


def unit(name: str | None) -> str:
    """Return a unit as it stands after a number: nothing where the number or the channel says it already."""
    return "" if name in {None, "1", "pH"} else str(name)


def state(document: bytes | None) -> Markup:
    """Return a state of the audit trail, which is JSON: an object as its names with values, all else as it is."""
    content = None if document is None else msgspec.json.decode(document)
    if not isinstance(content, Mapping):
        return escape(NONE if content is None else _said(content))
    lines = [Markup("<dt>{}</dt><dd>{}</dd>").format(name, _said(value)) for name, value in content.items()]
    return Markup('<dl class="facts state">{}</dl>').format(Markup("").join(lines)) if lines else escape(NONE)


def _said(value: object) -> str:
    match value:
        case None:
            return NONE
        case bool():
            return "yes" if value else "no"
        case str():
            if HEXADECIMAL.fullmatch(value):
                return Markup('<span title="{}">{}…</span>').format(value, value[:12])
            return value
        case list() if value and all(isinstance(one, str) for one in value):
            return ", ".join(value)
    return msgspec.json.encode(value).decode()
