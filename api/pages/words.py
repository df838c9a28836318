"""How pages write numbers, times and names: the filters of the templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from markupsafe import Markup, escape

from api.http.plain_words import NONE, lasting
from schema import times

HEXADECIMAL = re.compile(r"[0-9a-f]{32,}")
"""A hash or a key: its begin is enough to tell it from others."""


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


def plural(count: int, one: str, many: str | None = None) -> Markup:
    """Return a count with its noun."""
    return Markup("<b>{}</b> {}").format(count, escape(one if count == 1 else many or f"{one}s"))


def state(document: bytes | None) -> Markup:
    """Return a state of the audit trail, which is JSON: an object as its names with values, all else as it is."""
    content = None if document is None else msgspec.json.decode(document)
    if not isinstance(content, Mapping):
        return escape(NONE if content is None else said(content))
    lines = [
        Markup("<dt>{}</dt><dd>{}</dd>").format(name, "always" if value == "-infinity" else said(value))
        for name, value in content.items()
    ]
    return Markup('<dl class="facts state">{}</dl>').format(Markup("").join(lines)) if lines else escape(NONE)


def said(value: object) -> str:
    """Return a value of JSON as people read it."""
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
