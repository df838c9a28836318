"""Turns local times into instants, also in the hour that a clock shows twice in autumn. Pure.

A local time that occurs twice is the earlier one until the clock is seen to go back; then it is the later one. If it is
not seen to go back, the side with the smaller gap to its neighbour outside of that hour decides. A local time that the
clock skips in spring is none.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from schema.times import EPOCH, microseconds

Instants = NDArray[np.int64]
"""µs since 1970. For local times, as if the clock showed UTC."""

NONE = np.iinfo(np.int64).min
"""Stands for no time."""
STEP_US = 900_000_000
"""Zones change their offset at a full quarter of an hour."""


class Resolved(NamedTuple):
    """Instants of n local times."""

    instants: Instants
    """Shape (n,); NONE where there is none."""
    skipped: NDArray[np.bool_]
    """Shape (n,): the local times that the clock of the zone skips."""
    twice: int
    """How many of the local times occur twice."""


def zone_of(name: str) -> ZoneInfo:
    """The zone of this name in the tz database. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        raise ValueError(f"there is no time zone {name!r}: give one like Europe/Berlin or UTC") from error


def resolve(local: Instants, zone: ZoneInfo) -> Resolved:
    """The instants of local times of one clock, shape (n,), in the order in which they were written down."""
    known = local != NONE
    steps, inverse = np.unique(np.where(known, local, 0) // STEP_US, return_inverse=True)
    early, late = (np.array([_offset(int(step), zone, fold) for step in steps], np.int64)[inverse] for fold in (0, 1))
    skipped = known & (late > early)  # the offset before a gap is the smaller one
    twice = known & (late < early)
    offsets = np.where(twice & _later(local, early, late, twice), late, early)
    instants = np.where(known & ~skipped, local - offsets, NONE)
    return Resolved(instants, skipped, int(twice.sum()))


def _offset(step: int, zone: ZoneInfo, fold: int) -> int:
    """The zone's offset in µs in a quarter of an hour of local time, for its first (0) or second (1) occurrence."""
    local = (EPOCH + timedelta(microseconds=step * STEP_US)).replace(tzinfo=zone, fold=fold)
    offset = local.utcoffset()
    assert offset is not None
    return offset // timedelta(microseconds=1)


def _later(local: Instants, early: Instants, late: Instants, twice: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the local times that occur `twice` are the later ones."""
    later = np.zeros(len(local), np.bool_)
    for first, end in _runs(twice):
        run = local[first:end]
        back = np.flatnonzero(np.diff(run) < 0)
        if len(back):
            later[first + back[0] + 1 : end] = True
        else:
            later[first:end] = _is_nearer_to_next(local, early, late, first, end)
    return later


def _is_nearer_to_next(local: Instants, early: Instants, late: Instants, first: int, end: int) -> bool:
    """Whether a run fits better as the later hour: then the gap before it is the larger one."""
    begins, ends = local[first] - early[first], local[end - 1] - late[end - 1]
    before = begins - (local[first - 1] - early[first - 1]) if first else None
    after = (local[end] - early[end]) - ends if end < len(local) else None
    if before is None or after is None:
        return before is None and after is not None and after < STEP_US
    return bool(after < before)


def _runs(marked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First index and end of each run of marked rows."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False])).astype(np.int8)))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def instant_text(us: int) -> str:
    """An instant for people, in UTC."""
    return f"{datetime.fromtimestamp(us / 1e6, UTC):%Y-%m-%d %H:%M:%S}Z"


def as_local(moment: datetime) -> int:
    """A datetime without a zone in µs, as if its clock showed UTC."""
    return microseconds(moment.replace(tzinfo=UTC))
