"""Reads the samples of a planned table: first its times, then its values, as groups of frames of one device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.history.errors import UnusableFile
from gateway.history.mapping import FileMapping, zone_named
from gateway.history.numbers import EMPTY, NO_VALUE, Cells, Refuse, numbers
from gateway.history.recognize import ColumnPlan, TablePlan
from gateway.history.refused import RefusedCells
from gateway.history.tables import RowBatch
from gateway.history.time_cells import TimeColumn, joined, read_times, resolved
from gateway.items import NOT_SENT
from schema.csv_files import Decimal
from schema.local_times import NONE, Instants
from schema.messages import BAD, GOOD

MOST_ROWS = 200_000_000
"""Rows of a table whose times are held in memory, 8 bytes each. A small file of Parquet can have any number."""
MOST_DEVICES = 1000
"""Devices of a table: so many an organization may create with a file."""
MOST_QUALITY = 32767
"""The greatest quality that a message may give."""


class LongFrames(NamedTuple):
    """The samples of a long table, by device, time and channel. All have the shape (samples,)."""

    series: NDArray[np.int64]
    """The index of the series in the columns of the plan."""
    times: Instants
    values: NDArray[np.float64]
    states: NDArray[np.uint8]
    """As of a cell: see numbers.Cells."""
    quality: NDArray[np.int64]


class TableTimes(NamedTuple):
    """When the rows of a table are, and of which device."""

    instants: Instants
    """Shape (rows,): µs since 1970; NONE for a row without a time."""
    devices: list[str]
    """The devices that a column of the table names, in the order in which they come first."""
    clocks: NDArray[np.int64] | None
    """Shape (rows,): the index in `devices`, −1 for a row that names none; None: the table has no such column."""
    long: LongFrames | None = None
    """The samples of a long table."""


class FrameGroup(NamedTuple):
    """Frames of one device with the same channels, in the order of the file."""

    device: str
    channels: tuple[str, ...]
    times: Instants
    """Shape (n,), µs since 1970."""
    values: NDArray[np.float64]
    """Shape (n, channels); NaN where there is no number."""
    quality: NDArray[np.int64] | None
    """Shape (n, channels), as in a message, or NOT_SENT; None: all values are there, and good."""
    units: tuple[str | None, ...]
    """The unit of the values of each channel; None: the file does not say it."""

    def part(self, begin: int, end: int) -> FrameGroup:
        """The frames from `begin` to `end`."""
        quality = None if self.quality is None else self.quality[begin:end]
        return self._replace(times=self.times[begin:end], values=self.values[begin:end], quality=quality)

    @property
    def samples(self) -> int:
        return int(self.values.size if self.quality is None else (self.quality != NOT_SENT).sum())

    def payload(self) -> bytes:
        """The frames as a device would send them: a block in MessagePack. What was not sent is null there."""
        rows: list[list[float | None]] = self.values.tolist()
        for n, k in np.argwhere(np.isnan(self.values)).tolist():
            rows[n][k] = None
        block = {"ch": self.channels, "t": (self.times / 1000).tolist(), "v": rows}
        return msgspec.msgpack.encode(block)


def table_times(plan: TablePlan, mapping: FileMapping, refusals: RefusedCells) -> TableTimes:
    """Read the times, and the devices if a column names them. Raises UnusableFile if a zone is missing."""
    zone: ZoneInfo | None = zone_named(mapping.time.zone) if mapping.time.zone else None
    table, heading, apart = plan.table, plan.instant_headings, len(plan.instant_columns)
    wanted = plan.instant_columns if plan.device is None else [*plan.instant_columns, plan.device]
    known: dict[str, int] = {}
    times, local, clocks = [], [], []

    def malformed(row: int, text: str, reason: str) -> None:
        refusals.add(table.name, row, "", text, reason)

    for batch in table.batches(wanted, malformed):
        refuse = refuser(plan, heading, refusals, batch.first)
        read = plan_times(plan, batch, mapping, refuse)
        if batch.first + len(read.times) > MOST_ROWS:
            raise UnusableFile(f"the table has more than {MOST_ROWS} rows: split the file")
        times.append(read.times)
        local.append(read.local)
        if plan.device is not None:
            clocks.append(named(batch.columns[apart], known))
            if len(known) > MOST_DEVICES:
                raise UnusableFile(f"the column of devices names more than {MOST_DEVICES}: split the file")
    if not times:
        return TableTimes(np.empty(0, np.int64), [], None)
    whole = TimeColumn(np.concatenate(times), np.concatenate(local))
    of = np.concatenate(clocks) if clocks else None
    instants = resolved(whole, zone, of, refuser(plan, heading, refusals, 0))
    return TableTimes(instants, list(known), of)


def plan_times(plan: TablePlan, batch: RowBatch, mapping: FileMapping, refuse: Refuse) -> TimeColumn:
    """The times of a batch whose first columns make them."""
    form, cells = mapping.time.form, batch.columns[0]
    if plan.date is not None:
        cells = joined(cells, batch.columns[1], form)
    return read_times(cells, form, refuse)


def frame_groups(plan: TablePlan, times: TableTimes, decimal: Decimal, refusals: RefusedCells) -> Iterator[FrameGroup]:
    """The frames of a wide table. A cell that is empty, or refused, is as if its channel had not been sent."""
    indices = [column.number for column in plan.columns]
    indices += [column.quality for column in plan.columns if column.quality is not None]
    wanted = sorted(set(indices))
    for batch in plan.table.batches(wanted):
        columns = dict(zip(wanted, batch.columns, strict=True))
        end = batch.first + len(batch.columns[0])
        instants = times.instants[batch.first : end]
        clocks = None if times.clocks is None else times.clocks[batch.first : end]

        def cells(number: int, batch: RowBatch = batch, columns: dict[int, Any] = columns) -> Cells:
            refuse = refuser(plan, plan.table.headings[number], refusals, batch.first)
            return numbers(columns[number], decimal, refuse)

        read = [_column(column, cells) for column in plan.columns]
        for device, members, dated in _of_devices(plan, times, clocks, instants):
            states = np.column_stack([read[k][0].states for k in members])
            rows = dated[(states[dated] != EMPTY).any(axis=1)]
            if len(rows):
                values = np.column_stack([read[k][0].values for k in members])[rows]
                quality = qualities([read[k][1] for k in members], states[rows], rows)
                channels = tuple(plan.columns[k].channel for k in members)
                units = tuple(plan.columns[k].unit for k in members)
                yield FrameGroup(device, channels, instants[rows], values, quality, units)


# -- columns


def refuser(plan: TablePlan, heading: str, refusals: RefusedCells, first: int) -> Refuse:
    """Refuse cells of a column, by their indices in a batch that begins at the row `first`."""

    def refuse(n: int, text: str, reason: str) -> None:
        row = plan.table.row_number(first + n) if refusals.has_room else 0
        refusals.add(plan.table.name, row, heading, text, reason)

    return refuse


def _column(column: ColumnPlan, read: Callable[[int], Cells]) -> tuple[Cells, NDArray[np.int64] | None]:
    """The cells of a column, and their qualities if a column has them."""
    cells = read(column.number)
    if column.quality is None:
        return cells, None
    return rated(cells, read(column.quality))


def rated(cells: Cells, said: Cells) -> tuple[Cells, NDArray[np.int64]]:
    """Cells and their qualities: an empty cell that is not good was sent without a value."""
    quality = np.where(np.isfinite(said.values), np.clip(said.values, GOOD, MOST_QUALITY), GOOD).astype(np.int64)
    states = np.where((cells.states == EMPTY) & (quality != GOOD), NO_VALUE, cells.states).astype(np.uint8)
    return Cells(cells.values, states), quality


def named(column: Any, known: dict[str, int]) -> NDArray[np.int64]:
    """The index in `known` of the device that each cell names; new ones are added. −1: the cell is empty."""
    names = [None if name is None else str(name).strip() for name in column.to_pylist()]
    return np.array([known.setdefault(name, len(known)) if name else -1 for name in names], np.int64)


# -- frames


def _of_devices(
    plan: TablePlan, times: TableTimes, clocks: NDArray[np.int64] | None, instants: Instants
) -> Iterator[tuple[str, list[int], NDArray[np.intp]]]:
    """Each device with the positions of its columns in the plan, and the rows that have a time."""
    dated = instants != NONE
    if clocks is not None:
        for number in np.unique(clocks[clocks >= 0]).tolist():
            yield times.devices[number], list(range(len(plan.columns))), np.flatnonzero(dated & (clocks == number))
        return
    of: dict[str, list[int]] = {}
    for k, column in enumerate(plan.columns):
        of.setdefault(str(column.device), []).append(k)
    for device, members in of.items():
        yield device, members, np.flatnonzero(dated)


def qualities(
    given: list[NDArray[np.int64] | None], states: NDArray[np.uint8], rows: NDArray[np.intp]
) -> NDArray[np.int64] | None:
    """The qualities of `rows`, whose cells have `states`; None if all are good."""
    whole = np.zeros(states.shape, np.int64)
    for k, one in enumerate(given):
        if one is not None:
            whole[:, k] = one[rows]
    whole[(states == NO_VALUE) & (whole == GOOD)] = BAD
    whole[states == EMPTY] = NOT_SENT
    return whole if whole.any() else None
