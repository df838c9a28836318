"""Reads a long table, which has a sample in each row, and makes frames of it: the samples of a device at one instant,
wherever they stand in the file. All samples are held in memory, about 100 bytes each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.history.errors import UnusableFile
from gateway.history.mapping import FileMapping, zone_named
from gateway.history.numbers import EMPTY, Cells, Refuse, numbers
from gateway.history.recognize import ColumnPlan, LongPlan, SkippedColumn, TablePlan
from gateway.history.refused import RefusedCells
from gateway.history.samples import (
    MOST_DEVICES,
    FrameGroup,
    LongFrames,
    TableTimes,
    named,
    plan_times,
    qualities,
    rated,
    refuser,
)
from gateway.history.tables import RowBatch, batch_rows
from gateway.history.time_cells import TimeColumn, resolved
from schema.csv_files import Decimal
from schema.local_times import NONE, Instants
from schema.messages import GOOD
from schema.topics import is_device_name

MOST_SAMPLES = 10_000_000
MOST_CHANNELS = 4096
MOST_SERIES = 20_000
"""Pairs of device and channel."""


class LongRows(NamedTuple):
    """Rows of a long table that name a channel, and a device if a column does. All have the shape (rows,)."""

    number: NDArray[np.int64]
    """The index of the row in the table."""
    times: Instants
    local: NDArray[np.bool_]
    device: NDArray[np.int32]
    """The index of its name; −1: none is named. Likewise for channel and unit."""
    channel: NDArray[np.int32]
    unit: NDArray[np.int32]
    values: NDArray[np.float64]
    states: NDArray[np.uint8]
    quality: NDArray[np.int32]


TYPES = (np.int64, np.int64, np.bool_, np.int32, np.int32, np.int32, np.float64, np.uint8, np.int32)


def long_times(plan: TablePlan, mapping: FileMapping, decimal: Decimal, refusals: RefusedCells) -> TableTimes:
    """Read all of a long table; its series become the columns of the plan. Raises UnusableFile."""
    assert plan.long is not None
    return LongReader(plan, plan.long, mapping, refusals).read(decimal)


class LongReader:
    """Reads a long table. A series is what it has of one channel of one device."""

    def __init__(self, plan: TablePlan, long: LongPlan, mapping: FileMapping, refusals: RefusedCells) -> None:
        self._plan, self._long, self._mapping, self._refusals = plan, long, mapping, refusals
        self._devices: dict[str, int] = {}
        """The names that occur, each with its index; likewise channels and units."""
        self._channels: dict[str, int] = {}
        self._units: dict[str, int] = {}

    def read(self, decimal: Decimal) -> TableTimes:
        """Find instants and series of all rows; the series become columns of the plan. Raises UnusableFile."""
        rows, zone = self._rows(decimal), self._mapping.time.zone
        keys, series = np.unique(rows.device.astype(np.int64) * MOST_CHANNELS + rows.channel, return_inverse=True)
        if len(keys) > MOST_SERIES:
            raise UnusableFile(f"the table has more than {MOST_SERIES} pairs of device and channel: split the file")
        refuse = self._refuse_of(rows, self._plan.instant_headings)
        column = TimeColumn(rows.times, rows.local)
        times = resolved(column, zone_named(zone) if zone else None, series, refuse)
        units = _first_units(rows, series, len(keys))
        planned = self._planned(keys, units)[series]
        other = (rows.unit >= 0) & (rows.unit != units[series])
        self._refuse_units(rows, units[series], np.flatnonzero(other & (planned >= 0)))
        kept = np.flatnonzero((times != NONE) & (planned >= 0) & (rows.states != EMPTY) & ~other)
        return TableTimes(times, [], None, self._sorted(rows, planned, times, kept))

    # -- rows

    def _rows(self, decimal: Decimal) -> LongRows:
        plan, long, parts = self._plan, self._long, []
        wanted = [*plan.instant_columns, long.channel, long.value]
        wanted += [n for n in (plan.device, long.unit, long.quality) if n is not None]

        def malformed(row: int, text: str, reason: str) -> None:
            self._refusals.add(plan.table.name, row, "", text, reason)

        for batch in plan.table.batches(wanted, malformed):
            if batch.first + len(batch.columns[0]) > MOST_SAMPLES:
                raise UnusableFile(f"the long table has more than {MOST_SAMPLES} rows: split the file")
            parts.append(self._part(batch, wanted, decimal))
            if len(self._devices) > MOST_DEVICES:
                raise UnusableFile(f"the column of devices names more than {MOST_DEVICES}: split the file")
            if len(self._channels) > MOST_CHANNELS:
                raise UnusableFile(f"the column of channels names more than {MOST_CHANNELS}: split the file")
        if not parts:
            return LongRows._make(np.empty(0, one) for one in TYPES)
        return LongRows._make(np.concatenate(one) for one in zip(*parts, strict=True))

    def _part(self, batch: RowBatch, wanted: list[int], decimal: Decimal) -> LongRows:
        plan, long, of = self._plan, self._long, dict(zip(wanted, batch.columns, strict=True))
        read = plan_times(plan, batch, self._mapping, self._refuse(batch.first, self._plan.instant_headings))
        count = len(read.times)

        def cells(number: int) -> Cells:
            return numbers(of[number], decimal, self._refuse(batch.first, plan.table.headings[number]))

        def indices(number: int | None, known: dict[str, int]) -> NDArray[np.int64]:
            return np.full(count, -1, np.int64) if number is None else named(of[number], known)

        value, quality = cells(long.value), np.full(count, GOOD, np.int64)
        if long.quality is not None:
            value, quality = rated(value, cells(long.quality))
        device, channel = indices(plan.device, self._devices), indices(long.channel, self._channels)
        whole = (channel >= 0) & ((device >= 0) | (plan.device is None))
        refuse = self._refuse(batch.first, plan.table.headings[long.channel])
        for n in np.flatnonzero(~whole).tolist():
            refuse(n, "", "the row names no channel, or no device")
        rows, unit = np.flatnonzero(whole), indices(long.unit, self._units)
        columns = read.times, read.local, device, channel, unit, value.values, value.states, quality
        found = batch.first + rows, *(one[rows] for one in columns)
        return LongRows._make(one.astype(type_) for one, type_ in zip(found, TYPES, strict=True))

    # -- series

    def _planned(self, keys: NDArray[np.int64], first_units: NDArray[np.int64]) -> NDArray[np.int64]:
        """The index of each series in the columns of the plan; −1: it is left out."""
        plan, planned = self._plan, np.full(len(keys), -1, np.int64)
        devices, channels, units = list(self._devices), list(self._channels), list(self._units)
        taken: set[tuple[str | None, str]] = set()
        for n, (key, first) in enumerate(zip(keys.tolist(), first_units.tolist(), strict=True)):
            device, channel = divmod(key, MOST_CHANNELS)
            found = self._series(
                devices[device] if device >= 0 else None, channels[channel], units[first] if first >= 0 else None
            )
            if isinstance(found, ColumnPlan) and (found.device, found.channel) in taken:
                found = SkippedColumn(found.heading, f"another name is the channel {found.channel} of the same device")
            if isinstance(found, ColumnPlan):
                taken.add((found.device, found.channel))
                planned[n] = len(plan.columns)
                plan.columns.append(found)
            elif found not in plan.skipped:
                plan.skipped.append(found)
        if len(keys) and not plan.columns:
            why = "; ".join(f"{one.heading}: {one.reason}" for one in plan.skipped[-3:])
            raise UnusableFile(f"the table {plan.table.name or 'of the file'} has no channel that can be stored: {why}")
        return planned

    def _series(self, device: str | None, name: str, unit: str | None) -> ColumnPlan | SkippedColumn:
        """What a name of a channel stands for; `device`: as a column of the table names it."""
        mapping, long = self._mapping, self._long
        said = mapping.column_of(name)
        if said is not None and said.ignore:
            return SkippedColumn(name, "left out by the mapping")
        device = device or (None if mapping.device is None or "{vessel}" in mapping.device else mapping.device)
        if device is None:
            return SkippedColumn(name, "no column names its device: say with --device which device the samples are of")
        if not is_device_name(device):
            return SkippedColumn(name, f"{device!r} is no name of a device: 1 to 64 letters, digits, '.', '_' and '-'")
        channel = name if said is None or said.channel is None else said.channel
        return ColumnPlan(long.value, name, device, channel, (said.unit if said else None) or unit, long.quality)

    def _refuse_units(self, rows: LongRows, first_units: NDArray[np.int64], wrong: NDArray[np.intp]) -> None:
        units = list(self._units)
        refuse = self._refuse_of(rows, "" if self._long.unit is None else self._plan.table.headings[self._long.unit])
        for n in wrong.tolist():
            refuse(n, units[rows.unit[n]], f"rows before have the channel in {units[first_units[n]]}")

    def _sorted(self, rows: LongRows, series: NDArray[np.int64], times: Instants, kept: NDArray[np.intp]) -> LongFrames:
        """The samples by device, time and series. Of two of the same the first counts; the other is refused, if it
        says something else."""
        of = _device_numbers(self._plan)[1]
        order = kept[np.lexsort((series[kept], times[kept], of[series[kept]]))]
        again = np.zeros(len(order), np.bool_)
        again[1:] = (np.diff(series[order]) == 0) & (np.diff(times[order]) == 0)
        first = order[np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))]
        values, earlier = rows.values[order], rows.values[first]
        same = (values == earlier) | (np.isnan(values) & np.isnan(earlier))
        same &= rows.quality[order] == rows.quality[first]
        refuse = self._refuse_of(rows, self._plan.table.headings[self._long.value])
        for n in order[again & ~same].tolist():
            refuse(n, str(rows.values[n]), "a row before has another value of the channel at this time")
        order = order[~again]
        quality = rows.quality[order].astype(np.int64)
        return LongFrames(series[order], times[order], rows.values[order], rows.states[order], quality)

    # -- refusals

    def _refuse(self, first: int, heading: str) -> Refuse:
        return refuser(self._plan, heading, self._refusals, first)

    def _refuse_of(self, rows: LongRows, heading: str) -> Refuse:
        """Refuse cells by the index of their row in `rows`."""
        refuse = self._refuse(0, heading)
        return lambda n, text, reason: refuse(int(rows.number[n]), text, reason)


def _first_units(rows: LongRows, series: NDArray[np.intp], count: int) -> NDArray[np.int64]:
    """The unit that each series has first; −1 where none is said."""
    first = np.full(count, -1, np.int64)
    said = np.flatnonzero(rows.unit >= 0)
    found, at = np.unique(series[said], return_index=True)
    first[found] = rows.unit[said[at]]
    return first


def _device_numbers(plan: TablePlan) -> tuple[list[str], NDArray[np.intp]]:
    """The devices of the columns of a plan, and for each column the index of its device."""
    names, numbers_ = np.unique(np.array([str(column.device) for column in plan.columns], str), return_inverse=True)
    return names.tolist(), numbers_


# -- frames


def long_groups(plan: TablePlan, found: LongFrames) -> Iterator[FrameGroup]:
    """The frames of a long table, device after device, in the order of their times."""
    names, of = _device_numbers(plan)
    ends = np.searchsorted(of[found.series], np.arange(len(names)), side="right").tolist()
    for number, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        members = np.flatnonzero(of == number)
        frame = np.cumsum(np.diff(found.times[begin:end], prepend=NONE) != 0) - 1
        most = batch_rows(len(members))
        for first in range(0, int(frame[-1]) + 1 if len(frame) else 0, most):
            at, until = np.searchsorted(frame, [first, first + most]).tolist()
            part = LongFrames._make(column[begin + at : begin + until] for column in found)
            yield _group(plan, members, part, frame[at:until] - first)


def _group(plan: TablePlan, members: NDArray[np.intp], part: LongFrames, frame: NDArray[np.intp]) -> FrameGroup:
    """The frames of some samples; `frame` says of which each is."""
    shape, column = (int(frame[-1]) + 1, len(members)), np.searchsorted(members, part.series)
    values, states = np.full(shape, np.nan), np.full(shape, EMPTY, np.uint8)
    quality = np.full(shape, GOOD, np.int64)
    values[frame, column], states[frame, column], quality[frame, column] = part.values, part.states, part.quality
    columns = [plan.columns[k] for k in members.tolist()]
    return FrameGroup(
        str(columns[0].device),
        tuple(one.channel for one in columns),
        part.times[np.flatnonzero(np.diff(frame, prepend=-1))],
        values,
        qualities([quality[:, k] for k in range(len(members))], states, np.arange(shape[0])),
        tuple(one.unit for one in columns),
    )
