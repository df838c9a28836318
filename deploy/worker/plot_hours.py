"""`python -m deploy.worker.plot_hours`: make what is kept of each hour for plots, of the hours that are over. The
worker starts it again and again; one process at a time does it, and ends when standard input does: the worker has
stopped or died.

Exit status: 0 all hours are made, or another process is at it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import structlog

from api.database import Database, Server
from api.problems import NotFound
from api.queries import devices
from api.queries.frames import FrameBlock, blocks
from api.queries.selection import Selection
from api.series.plot import Plot
from api.series.samples import Samples
from api.settings import ApiSettings
from deploy.worker.child import NICE, connect, end_with_the_worker
from deploy.worker.settings import WorkerSettings
from gateway.runtime import logs
from schema import times
from schema.times import Span

HOUR = timedelta(hours=1)
SETTLED = HOUR
"""So long after its end an hour is made. Until 10 minutes after it, frames of the hour come without a mark: see
`gateway/storage/old_hours.py`; no transaction of the intake takes the rest of that time."""
LEAST_FRAMES = 600
"""Of a device with fewer in an hour nothing is kept: a year of these is read as quickly."""
AT_ONCE = 24
"""Hours of a device in one transaction."""
BLOCK_VALUES = 1_000_000
LOCK = 1886155632  # "plop"
COLUMNS = (
    *("device_id", "channel_id", "hour", "first_time", "first", "least_time", "least", "most_time", "most"),
    *("last_time", "last", "bad_time", "bad", "bad_quality"),
)
DEVICES = """
select d.device_id, d.name, d.organization_id, u.until from devices d left join plot_hours_until u using (device_id)
 where u.until is null or u.until < $1 order by d.device_id"""
NEXT = "select time from frames where device_id = $1 and time >= $2 and time < $3 order by time limit 1"
STALE = """
select d.device_id, d.name, d.organization_id, array_agg(distinct s.hour order by s.hour) as hours
  from plot_hours_stale s join plot_hours_until u using (device_id) join devices d using (device_id)
 where s.hour < u.until group by d.device_id"""
UNMARK = "delete from plot_hours_stale where device_id = $1 and hour >= $2 and hour < $3"
FORGET = "delete from plot_hours where device_id = $1 and hour >= $2 and hour < $3"
LOOKED_AT = """
insert into plot_hours_until values ($1, $2)
    on conflict (device_id) do update set until = greatest(plot_hours_until.until, excluded.until)"""
log = structlog.get_logger()


class PlotHours:
    """Makes hours. `connection` writes; what is read is read as the device's organization sees it."""

    def __init__(self, connection: asyncpg.Connection, server: Server) -> None:
        self._connection, self._server = connection, server

    async def make(self, now: datetime) -> int:
        """Make all hours that are over at `now` and were not looked at, or are marked; returns how many were read."""
        end, made = times.floor(now - SETTLED, HOUR), 0
        for row in await self._connection.fetch(STALE):
            for span in _spans(row["hours"]):
                made += await self._hours(row, span)
        for row in await self._connection.fetch(DEVICES, end):
            begin = row["until"] or times.FIRST
            while (first := await self._connection.fetchval(NEXT, row["device_id"], begin, end)) is not None:
                begin = times.floor(first, HOUR)
                span = Span(begin, min(end, begin + AT_ONCE * HOUR))
                made += await self._hours(row, span)
                await self._connection.execute(LOOKED_AT, row["device_id"], begin := span.end)
            await self._connection.execute(LOOKED_AT, row["device_id"], end)
        return made

    async def _hours(self, row: asyncpg.Record, span: Span) -> int:
        """Make the hours of a device anew. Marks are taken away before the frames are read: a mark that comes after
        that stays."""
        key = row["device_id"], span.begin, span.end
        async with self._connection.transaction():
            await self._connection.execute(UNMARK, *key)
            records = await _records(self._server.of(row["organization_id"]), row["name"], span)
            await self._connection.execute(FORGET, *key)
            await self._connection.copy_records_to_table("plot_hours", records=records, columns=COLUMNS)
        return (span.end - span.begin) // HOUR


def _spans(hours: Sequence[datetime]) -> list[Span]:
    """Return the times of these hours, at most AT_ONCE each."""
    found: list[Span] = []
    for hour in hours:
        if found and found[-1].end == hour and hour - found[-1].begin < AT_ONCE * HOUR:
            found[-1] = Span(found[-1].begin, hour + HOUR)
        else:
            found.append(Span(hour, hour + HOUR))
    return found


async def _records(database: Database, name: str, span: Span) -> list[tuple[Any, ...]]:
    """Return the rows of a device's hours that have enough frames."""
    with suppress(NotFound):
        device = await devices.device(database, name)
        selection = Selection(device, device.channels, span.begin, span.end, everything=True, corrected=False)
        return await _kept(selection, blocks(database, selection, BLOCK_VALUES))
    return []


async def _kept(selection: Selection, found: AsyncIterator[FrameBlock]) -> list[tuple[Any, ...]]:
    first, count = times.microseconds(selection.begin), (selection.end - selection.begin) // HOUR
    edges = first + np.arange(count + 1, dtype=np.int64) * (HOUR // times.MICROSECOND)
    plots = [Plot(edges, everything=False, gap=None) for _ in selection.channels]
    frames = np.zeros(count, np.int64)
    async for block in found:
        frames += np.histogram(block.times, edges)[0]
        await asyncio.to_thread(_add, plots, block)
    device_id, records = selection.device.device_id, list[tuple[Any, ...]]()
    for at in np.flatnonzero(frames >= LEAST_FRAMES).tolist():
        hour = times.from_microseconds(int(edges[at]))
        records.append((device_id, 0, hour, *(None for _ in COLUMNS[3:])))
        for channel, plot in zip(selection.channels, plots, strict=True):
            one = plot.kept().at(slice(at, at + 1))
            if one.filled[0] or one.bad_filled[0]:
                pairs = [(_moment(t[0]), float(v[0])) for t, v in zip(one.times, one.values, strict=True)]
                good = [value for pair in pairs for value in pair] if one.filled[0] else [None] * 8
                records.append((device_id, channel.channel_id, hour, *good, *_bad(one.bad, one.bad_filled[0])))
    return records


def _add(plots: Sequence[Plot], block: FrameBlock) -> None:
    assert block.qualities is not None
    for number, plot in enumerate(plots):
        plot.add(Samples(block.times, block.values[number], block.qualities[number]).where(block.present[number]))


def _bad(bad: Samples, there: bool) -> tuple[datetime | None, float | None, int | None]:
    if not there:
        return None, None, None
    value = float(bad.values[0])
    return _moment(bad.times[0]), None if np.isnan(value) else value, int(bad.qualities[0])


def _moment(at: Any) -> datetime:
    return times.from_microseconds(int(at))


async def run(settings: WorkerSettings) -> None:
    connection = await connect(settings, "plots")
    async with Server(ApiSettings(api_pool_size=2)) as server:
        try:
            if await connection.fetchval("select pg_try_advisory_lock($1)", LOCK):
                made = await PlotHours(connection, server).make(datetime.now(UTC))
                log.info("hours for plots are made", hours=made)
        finally:
            await connection.close()


def main() -> None:
    os.nice(NICE)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    settings = WorkerSettings()
    logs.configure(settings.log_level)
    threading.Thread(target=end_with_the_worker, daemon=True).start()
    asyncio.run(run(settings))
    sys.stdout.flush()
    os._exit(0)  # the thread that reads standard input would hold up an orderly end


if __name__ == "__main__":
    main()
