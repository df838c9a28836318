"""Converts the values of a file into the units in which the channels of its devices are stored.

A channel may have been stored in several units, each since some time (schema/channels.py): the one counts that holds at
the time of the sample. Where the file or the organization does not say a unit, values are stored as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gateway.history.errors import UnusableFile
from gateway.history.recognize import ColumnPlan
from gateway.history.samples import FrameGroup
from gateway.runtime.database import Pool
from schema.local_times import NONE, Instants
from schema.units import SAME, Affine, NotConvertible, conversion

UNITS = """
select w.device, w.channel, c.unit, u.since, u.units
  from unnest($1::text[], $2::text[]) as w (device, channel)
  left join channels c on c.name = w.channel
  left join devices d on d.name = w.device and d.organization_id = $3
 cross join lateral (
       select array_agg(s.at order by s.at) as since, array_agg(s.unit order by s.at) as units
         from (select case when s.since = '-infinity' then 0 else (extract(epoch from s.since) * 1e6)::bigint end as at,
                      s.unit
                 from channel_units s
                where s.organization_id = $3 and s.channel_id = c.channel_id and s.device_id is not distinct from
                      (select o.device_id from channel_units o
                        where o.organization_id = $3 and o.channel_id = c.channel_id and o.device_id = d.device_id
                        limit 1)) s) u"""
"""$1 devices, $2 channels, in pairs; $3 the organization. Instants are µs since 1970."""


class StoredUnits(NamedTuple):
    """The units in which a channel of a device is stored, each since some instant in µs, in order; None: not known."""

    since: Sequence[int]
    units: Sequence[str | None]


class FileUnits:
    """The conversions of a file."""

    def __init__(self, stored: Mapping[tuple[str, str], StoredUnits]) -> None:
        self._stored = stored

    def unit(self, device: str, channel: str) -> str | None:
        """The unit in which the channel is stored now."""
        return self._stored[device, channel].units[-1]

    def check(self, device: str, column: ColumnPlan, instants: Instants) -> None:
        """Raise UnusableFile if values of the column at these instants, shape (n,), cannot be converted."""
        dated = instants[instants != NONE]
        if column.unit is None or not len(dated):
            return
        stored = self._stored[device, column.channel]
        first, last = np.searchsorted(stored.since, [dated.min(), dated.max()], side="right")
        for unit in stored.units[max(0, first - 1) : last]:
            try:
                _affine(column.unit, unit)
            except NotConvertible as error:
                raise UnusableFile(
                    f"{column.heading!r}, stored as {column.channel} of {device}: {error}; say the unit in a mapping, "
                    "or leave the column out there"
                ) from error

    def converted(self, group: FrameGroup) -> FrameGroup:
        """The frames with values in the units of the store."""
        values = group.values
        for k, (channel, unit) in enumerate(zip(group.channels, group.units, strict=True)):
            stored = self._stored[group.device, channel]
            if unit is None or {_affine(unit, one) for one in set(stored.units)} == {SAME}:
                continue
            if values is group.values:
                values = values.copy()
            held = np.maximum(np.searchsorted(stored.since, group.times, side="right") - 1, 0)
            for n in np.unique(held).tolist():
                rows = held == n
                values[rows, k] = _affine(unit, stored.units[n]).of(values[rows, k])
        return group._replace(values=values)


async def stored_units(pool: Pool, organization_id: int, channels: Sequence[tuple[str, str]]) -> FileUnits:
    """The units of these pairs of device and channel."""
    rows = await pool.fetch(UNITS, *([pair[n] for pair in channels] for n in (0, 1)), organization_id)
    found = {}
    for device, channel, standard, since, units in rows:
        known = StoredUnits(since, [unit or None for unit in units]) if units else StoredUnits([0], [standard])
        found[device, channel] = known
    return FileUnits(found)


def _affine(unit: str, stored: str | None) -> Affine:
    return SAME if stored is None else conversion(unit, stored)
