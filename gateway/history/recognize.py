"""Finds times, devices, channels and units in the headings of a table. Pure.

A mapping says what a heading stands for. Where it says nothing, the heading is the channel, with its unit in brackets.
Columns of several vessels are recognized by one word with different numbers before the same name: `R1 pH`, `R2 pH`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from gateway.history.errors import UnusableFile
from gateway.history.mapping import FileMapping, Heading, take_apart, template_pattern
from gateway.history.tables import FileTable
from schema.topics import is_device_name

USUAL = [template_pattern("{name} [{unit}]"), template_pattern("{name} ({unit})"), template_pattern("{name}")]
"""Templates of headings, where a mapping has none."""
TIME_HEADINGS = (
    *("time", "timestamp", "datetime", "date time", "date/time", "date_time", "date", "_time"),
    *("zeit", "zeitstempel", "datum", "datum/zeit", "datum/uhrzeit"),
)
DEVICE_HEADING = "device"
QUALITY = ".quality"
"""The end of the heading of a column with the qualities of the column whose heading stands before it."""
VESSEL = re.compile(
    r"(?P<word>unit|vessel|reactor|bioreactor|ferment[eo]r|tank|br|[rvf]) ?[_-]?"
    r"(?P<vessel>\d{1,6})[ ._:/-]+(?P<rest>\S.*)",
    re.IGNORECASE,
)


class ColumnPlan(NamedTuple):
    """A column that is stored."""

    number: int
    """From 0."""
    heading: str
    device: str | None
    """None: a column of the table names it."""
    channel: str
    unit: str | None
    """The unit in the file; None: it is not said."""
    quality: int | None
    """The number of the column with its qualities."""


class SkippedColumn(NamedTuple):
    """A column that is not stored, and why."""

    heading: str
    reason: str


class TablePlan(NamedTuple):
    """What the columns of a table stand for."""

    table: FileTable
    time: int
    """The index of the column of times."""
    device: int | None
    """The index of the column that names the devices."""
    columns: list[ColumnPlan]
    skipped: list[SkippedColumn]


def recognize(table: FileTable, mapping: FileMapping) -> TablePlan:
    """Say what each column of the table stands for. Raises UnusableFile if that cannot be told."""
    headings = table.headings
    time = _time_column(headings, mapping)
    device = _device_column(headings, mapping)
    parts = _vessels(headings, mapping)
    plan = TablePlan(table, time, device, [], [])
    taken: set[tuple[str | None, str]] = set()
    for n, heading in enumerate(headings):
        if n in (time, device) or _is_quality(heading, headings):
            continue
        found = _column(n, parts[n], device is not None, mapping, headings)
        if isinstance(found, ColumnPlan) and (found.device, found.channel) in taken:
            found = SkippedColumn(heading, f"another column is the channel {found.channel} of the same device")
        if isinstance(found, ColumnPlan):
            taken.add((found.device, found.channel))
            plan.columns.append(found)
        else:
            plan.skipped.append(found)
    if not plan.columns:
        why = "; ".join(f"{one.heading}: {one.reason}" for one in plan.skipped[:3])
        raise UnusableFile(f"the table {table.name or 'of the file'} has no column that can be stored: {why}")
    return plan


def _time_column(headings: Sequence[str], mapping: FileMapping) -> int:
    wanted = mapping.time.column
    for name in (wanted,) if wanted else TIME_HEADINGS:
        for n, heading in enumerate(headings):
            if heading == name or (wanted is None and heading.lower() == name):
                return n
    said = f"there is no column {wanted!r}" if wanted else "no column is named as times are"
    raise UnusableFile(f"{said}: name the column of times with --time-column, out of: {', '.join(headings[:20])}")


def _device_column(headings: Sequence[str], mapping: FileMapping) -> int | None:
    if mapping.device_column is None:
        if mapping.device is None and DEVICE_HEADING in headings:
            return headings.index(DEVICE_HEADING)
        return None
    if mapping.device_column not in headings:
        raise UnusableFile(f"there is no column {mapping.device_column!r} for the devices: {', '.join(headings[:20])}")
    return headings.index(mapping.device_column)


def _vessels(headings: Sequence[str], mapping: FileMapping) -> list[Heading | None]:
    """All headings taken apart."""
    if mapping.patterns:
        return [
            Heading(heading) if heading in mapping.channels else take_apart(heading, mapping.patterns)
            for heading in headings
        ]
    usual = [take_apart(heading, USUAL) for heading in headings]
    if mapping.device is not None and "{vessel}" not in mapping.device:
        return usual
    seen: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    matches = [VESSEL.fullmatch(part.name) if part else None for part in usual]
    for match in matches:
        if match:
            seen[match["word"].lower(), match["rest"]].add(match["vessel"])
    words = {word for (word, _), vessels in seen.items() if len(vessels) > 1}
    return [
        Heading(match["rest"], match["vessel"] if mapping.device else match["word"] + match["vessel"], part.unit)
        if part and match and match["word"].lower() in words
        else part
        for part, match in zip(usual, matches, strict=True)
    ]


def _column(
    n: int, part: Heading | None, by_column: bool, mapping: FileMapping, headings: Sequence[str]
) -> ColumnPlan | SkippedColumn:
    heading = headings[n]
    if part is None:
        return SkippedColumn(heading, "no template of headings fits")
    said = mapping.column_of(part.name)
    if said is not None and said.ignore:
        return SkippedColumn(heading, "left out by the mapping")
    device = None if by_column else _device_name(part, mapping)
    if not by_column and device is None:
        return SkippedColumn(heading, "it names no vessel: say with --device which device the columns are of")
    if device is not None and not is_device_name(device):
        return SkippedColumn(heading, f"{device!r} is no name of a device: 1 to 64 letters, digits, '.', '_' and '-'")
    quality = headings.index(heading + QUALITY) if heading + QUALITY in headings else None
    channel = part.name if said is None or said.channel is None else said.channel
    unit = (said.unit if said else None) or part.unit or None
    return ColumnPlan(n, heading, device, channel, unit, quality)


def _device_name(part: Heading, mapping: FileMapping) -> str | None:
    if mapping.device is None:
        return part.vessel
    if "{vessel}" not in mapping.device:
        return mapping.device
    return None if part.vessel is None else mapping.device.replace("{vessel}", part.vessel)


def _is_quality(heading: str, headings: Sequence[str]) -> bool:
    return heading.endswith(QUALITY) and heading.removesuffix(QUALITY) in headings
