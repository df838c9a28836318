"""Finds which frames of a block are wrong, so that the others are stored, and which channels of them to name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.errors import Rejected
from gateway.intake import decode
from schema.messages import Telemetry

MOST_QUALITY = 32767
JSON_WORDS = {str: "a text", list: "a list", dict: "a map", bytes: "bytes", bool: "true or false", type(None): "null"}


def take_apart(payload: bytes, content_type: str | None, why: Rejected) -> tuple[Telemetry, Mapping[int, str]]:
    """The block of a message that was rejected for `why`, and what is wrong with which of its rows.

    Raises Rejected if the message is wrong as a whole, or is a single frame; the reason names the wrong channels.
    """
    loose = decode.loose_telemetry(payload, content_type)
    if isinstance(loose.v, dict):
        rated = loose.q.items() if isinstance(loose.q, dict) else ()
        raise Rejected(why.reason, _row_fault(loose.t, loose.v.items(), rated) or why.detail) from why
    tables = (loose.t, loose.v) if loose.q is None else (loose.t, loose.v, loose.q)
    if loose.ch is None or not all(isinstance(table, list) and len(table) == len(loose.v) for table in tables):
        raise why
    wrong = {}
    for n, (t, values) in enumerate(zip(loose.t, loose.v, strict=True)):
        qualities = [] if loose.q is None else loose.q[n]
        if not isinstance(values, list) or not isinstance(qualities, list):
            wrong[n] = "a row is a list"
        elif fault := _row_fault(t, zip(loose.ch, values, strict=False), zip(loose.ch, qualities, strict=False)):
            wrong[n] = fault
    if not wrong:
        raise why
    return Telemetry(loose.t, loose.v, loose.boot, loose.seq, loose.q, loose.ch), wrong


def _row_fault(t: Any, values: Iterable[tuple[str, Any]], qualities: Iterable[tuple[str, Any]]) -> str | None:
    """What is wrong with a row, channel by channel; None if nothing is."""
    faults = []
    if not _is_number(t):
        faults.append(f"`t` is {_said(t)}, not a number")
    for name, value in values:
        if not (value is None or isinstance(value, bool) or _is_number(value)):
            faults.append(f"channel {name[:64]!r} has {_said(value)}, not a number")
    for name, quality in qualities:
        if not isinstance(quality, int) or isinstance(quality, bool) or not 0 <= quality <= MOST_QUALITY:
            faults.append(f"the quality of channel {name[:64]!r} is not an integer of 0 to {MOST_QUALITY}")
    return "; ".join(faults[:5]) or None


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(float(value))
    except OverflowError:
        return False


def _said(value: Any) -> str:
    """The value in words: a short text as it is, else its type."""
    if isinstance(value, str) and len(value) <= 40:
        return f"the text {value!r}"
    return JSON_WORDS.get(type(value), type(value).__name__)
