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
from schema.csv_files import DEVICE_HEADING, TIME_HEADINGS, UNIT_HEADINGS, VALUE_HEADINGS
from schema.topics import is_device_name

USUAL = [template_pattern("{name} [{unit}]"), template_pattern("{name} ({unit})"), template_pattern("{name}")]
"""Templates of headings, where a mapping has none."""
DATE_HEADINGS, CLOCK_HEADINGS = ("date", "datum"), ("time", "zeit", "uhrzeit")
"""Headings of a date and of a time of day that stand apart."""
LONG_HEADINGS = {
    "channel": ("channel", "variable", "parameter", "tag", "signal", "_field", "kanal"),
    "value": VALUE_HEADINGS,
    "unit": UNIT_HEADINGS,
    "quality": ("quality", "qualität"),
}
"""Headings of a long table. The first two make it one."""
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


class LongPlan(NamedTuple):
    """The indices of the columns of a long table."""

    channel: int
    value: int
    unit: int | None
    quality: int | None


class TablePlan(NamedTuple):
    """What the columns of a table stand for."""

    table: FileTable
    time: int
    """The index of the column of times."""
    device: int | None
    """The index of the column that names the devices."""
    columns: list[ColumnPlan]
    """Of a long table, once its rows are read: a series each."""
    skipped: list[SkippedColumn]
    date: int | None = None
    """The index of the column of dates, if these stand apart from the times of day."""
    long: LongPlan | None = None
    """None: the table is wide."""

    @property
    def instant_columns(self) -> list[int]:
        """The indices of the columns that make an instant."""
        return [self.time] if self.date is None else [self.date, self.time]

    @property
    def instant_headings(self) -> str:
        return " ".join(self.table.headings[n] for n in self.instant_columns)


def recognize(table: FileTable, mapping: FileMapping) -> TablePlan:
    """Say what each column of the table stands for. Raises UnusableFile if that cannot be told."""
    headings = table.headings
    date, time = _time_columns(headings, mapping)
    device = _device_column(headings, mapping)
    long = _long_columns(headings, mapping)
    plan = TablePlan(table, time, device, [], [], date, long)
    if long is not None:
        known = {date, time, device, *long}
        others = [heading for n, heading in enumerate(headings) if n not in known]
        plan.skipped.extend(SkippedColumn(heading, "each row of the table is one sample") for heading in others)
        return plan
    parts = _vessels(headings, mapping)
    taken: set[tuple[str | None, str]] = set()
    for n, heading in enumerate(headings):
        if n in (date, time, device) or _is_quality(heading, headings):
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


def _time_columns(headings: Sequence[str], mapping: FileMapping) -> tuple[int | None, int]:
    """The columns of dates, if these stand apart, and of times."""
    wanted, date = mapping.time.column, mapping.time.date
    if date is not None and date not in headings:
        raise UnusableFile(f"there is no column {date!r} for the dates: {', '.join(headings[:20])}")
    if wanted is None:
        clock = _named(headings, CLOCK_HEADINGS)
        apart = headings.index(date) if date else _named(headings, DATE_HEADINGS)
        if clock is not None and apart is not None:
            return apart, clock
    time = _named(headings, TIME_HEADINGS) if wanted is None else headings.index(wanted) if wanted in headings else None
    if time is None:
        said = f"there is no column {wanted!r}" if wanted else "no column is named as times are"
        raise UnusableFile(f"{said}: name the column of times with --time-column, out of: {', '.join(headings[:20])}")
    return None if date is None else headings.index(date), time


def _named(headings: Sequence[str], names: Sequence[str]) -> int | None:
    """The first column with the first of these names that one has."""
    found = [heading.lower() for heading in headings]
    return next((found.index(name) for name in names if name in found), None)


def _long_columns(headings: Sequence[str], mapping: FileMapping) -> LongPlan | None:
    said = mapping.long
    if said is not None:
        optional = [None if name is None else _column_named(name, headings) for name in (said.unit, said.quality)]
        return LongPlan(_column_named(said.channel, headings), _column_named(said.value, headings), *optional)
    channel, value, unit, quality = (_named(headings, names) for names in LONG_HEADINGS.values())
    if (
        channel is None
        or value is None
        or mapping.headings
        or {headings[channel], headings[value]} & {*mapping.channels}
    ):
        return None
    return LongPlan(channel, value, unit, quality)


def _column_named(name: str, headings: Sequence[str]) -> int:
    if name not in headings:
        raise UnusableFile(f"there is no column {name!r} for a long table: {', '.join(headings[:20])}")
    return headings.index(name)


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
