"""Seals hours of stored frames once late data are unlikely, and hours again of which frames came later.

`Sealing.seal` is one turn: each organization gets a share of seals and of time, in a transaction with the event of its
audit trail that vouches for them. What is left is done by the next turn; a turn that dies leaves nothing behind.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import asyncpg
import structlog

from gateway.errors import words_of
from gateway.evidence import seal_metrics
from gateway.evidence.sealed_frames import FramesDigest, WantedHour, sealed_frames
from gateway.runtime.triage import sqlstate
from schema import times
from schema.evidence.canonical import digest
from schema.evidence.seals import HOUR, Seal, SealUnreadable, pass_event
from schema.times import Span

SETTLED = timedelta(minutes=30)
"""What was received so long ago is committed, or is noted as stored late: see gateway/storage/stored_late.py."""
OVER = timedelta(minutes=30)
"""So long before that an hour has ended. What is stored later than ten minutes after its end comes with a mark."""
FILLING = timedelta(days=1)
"""Hours of a device that is asked for missing frames wait for so long."""
QUIET_MOST = timedelta(days=1)
"""A marked hour waits until no mark has come for SETTLED, but at most so long."""
MOST = 1000
"""Seals that one audit event vouches for."""
AT_ONCE = 24
"""Hours of a device that are looked at before the next device's turn."""
SHARE_S = 5.0
"""Seconds of each organization in a turn, but for the device that it has begun."""
LOCK = 1936024940  # "seal"
WHO, WHY = "biogate evidence", "hours are sealed once late data are unlikely"

DUE = """
select * from (
    select d.device_id, d.name, d.organization_id, u.until,
           case when exists (
                     select from device_streams s
                      where s.device_id = d.device_id and s.changed_at > $1::timestamptz - $3::interval
                        and not isempty(int8multirange(int8range(0, coalesce(upper(s.received), 0)))
                                        - s.received - s.lost))
                then $1 - $3::interval else $1 - $5::interval end as before,
           m.marked
      from devices d
      left join seals_until u using (device_id)
      left join lateral (
           select array_agg(hour order by hour) as marked
             from (select hour from seals_stale s where s.device_id = d.device_id and s.hour < u.until group by hour
                   having max(marked_at) <= $1 or min(marked_at) <= $1 - $2::interval
                    order by hour limit $4) h
            where not exists (select from imported_devices i join imports r using (import_id)
                               where i.device_id = d.device_id and (r.finished_at is null or r.finished_at > $1))
           ) m on true) due
 where marked is not null or until is null or until < time_bucket(interval '1 hour', before)
 order by organization_id, until nulls first, device_id"""
NEXT = "select time from frames where device_id = $1 and time >= $2 and time < $3 order by time limit 1"
HOURS = """
select time_bucket(interval '1 hour', time) as hour,
       count(*) filter (where isfinite(received_at) and received_at <> all ($4)) as frames,
       min(received_at - time) filter (where isfinite(received_at) and received_at <> all ($4)) as least,
       max(received_at - time) filter (where isfinite(received_at) and received_at <> all ($4)) as most,
       count(*) as all,
       (last(received_at, time) - first(received_at, time)) * 2 >= max(time) - min(time) as came_as_measured
  from frames where device_id = $1 and time >= $2 and time < $3
 group by 1 order by 1"""
NEWEST = """
select distinct on (hour) hour, version, text from seals
 where device_id = $1 and hour >= $2 and hour < $3 order by hour, version desc"""
NUMBER = "select nextval(pg_get_serial_sequence('seal_passes', 'pass'))"
KEEP_LAYOUTS = """
insert into seal_layouts (digest, text) select * from unnest($1::bytea[], $2::text[]) on conflict do nothing"""
VOUCH = """
with vouched as (
    insert into audit (organization_id, who, action, subject, new, why) values ($2, $3, 'seal', 'seals', $4, $5)
    returning n)
insert into seal_passes (pass, organization_id, n) overriding system value select $1, $2, n from vouched"""
LOOKED_AT = """
insert into seals_until select * from unnest($1::int[], $2::timestamptz[])
    on conflict (device_id) do update set until = greatest(seals_until.until, excluded.until)"""
UNMARK = "delete from seals_stale where device_id = $1 and hour >= $2 and hour < $3 and marked_at <= $4"
CLOCKS = """
insert into device_clocks
select * from unnest($1::int[], $2::timestamptz[], $3::bigint[], $4::interval[], $5::interval[])
    on conflict (device_id, hour) do update
   set frames = excluded.frames, least = excluded.least, most = excluded.most"""
log = structlog.get_logger()
SEAL_COLUMNS = ("organization_id", "device_id", "hour", "version", "at", "pass", "layouts", "text")


@dataclass
class Portion:
    """What one turn makes of the hours of an organization, before it is stored."""

    organization_id: int
    seals: list[tuple[int, Seal, str]] = field(default_factory=list)
    """The device_id, the seal, and its layouts text."""
    clocks: list[tuple[int, datetime, int, timedelta, timedelta]] = field(default_factory=list)
    looked_at: dict[int, datetime] = field(default_factory=dict)
    unmark: list[tuple[int, datetime, datetime, datetime]] = field(default_factory=list)

    @property
    def has_room(self) -> bool:
        return len(self.seals) <= MOST - 2 * AT_ONCE


class Sealing:
    """`connection` plans each statement for its own times (plan_cache_mode), and is used by nobody else meanwhile."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def seal(self, now: datetime) -> int:
        """Seal a share of what is due at `now`, the time of the database; return how many stretches of hours were
        looked at. 0: nothing is left that can be sealed, or another process is at it."""
        if not await self._connection.fetchval("select pg_try_advisory_lock($1)", LOCK):
            return 0
        try:
            due = await self._connection.fetch(DUE, now - SETTLED, QUIET_MOST, FILLING, AT_ONCE, OVER)
            shares = groupby(due, lambda row: row["organization_id"])
            return sum([await self._share(one, devices, now - SETTLED) for one, devices in shares])
        finally:
            if not self._connection.is_closed():
                await self._connection.execute("select pg_advisory_unlock($1)", LOCK)

    async def _share(self, organization_id: int, devices: Iterable[asyncpg.Record], at: datetime) -> int:
        portion, until = Portion(organization_id), time.monotonic() + SHARE_S
        for device in devices:
            if portion.has_room and time.monotonic() < until:
                with self._harming_nobody_else(device=device["name"]):
                    for span in _spans(device["marked"] or ()):
                        await self._hours(portion, device, span, at)
                    await self._new_hours(portion, device, at)
        with self._harming_nobody_else(organization=organization_id):
            async with self._connection.transaction():
                await self._store(portion)
            seal_metrics.MADE.inc(len(portion.seals))
            return len(portion.looked_at) + len(portion.unmark)
        return 0

    @contextmanager
    def _harming_nobody_else(self, **of: object) -> Iterator[None]:
        """Have an error of the database, but for the loss of the connection, end what was done of that alone."""
        try:
            yield
        except asyncpg.PostgresError as error:
            if self._connection.is_closed():
                raise
            seal_metrics.FAILED.inc()
            log.warning("hours are not sealed: try again", **of, error=words_of(error), sqlstate=sqlstate(error))

    async def _new_hours(self, portion: Portion, device: asyncpg.Record, at: datetime) -> None:
        """Look at the next hours of a device that are over."""
        end, begin = times.floor(device["before"], HOUR), device["until"] or times.FIRST
        if begin >= end:
            return
        first = await self._connection.fetchval(NEXT, device["device_id"], begin, end)
        portion.looked_at[device["device_id"]] = end
        if first is not None:
            span = Span(times.floor(first, HOUR), min(end, times.floor(first, HOUR) + AT_ONCE * HOUR))
            await self._hours(portion, device, span, at)
            portion.looked_at[device["device_id"]] = span.end

    async def _hours(self, portion: Portion, device: asyncpg.Record, span: Span, at: datetime) -> None:
        """Seal the hours of a time, and note the device's clock. While an import into it goes on, its marks stay."""
        key = device["device_id"], span.begin, span.end
        frames = await sealed_frames(self._connection, *key)
        found = await self._connection.fetch(HOURS, *key, [*frames.unusual.imports])
        newest = {row["hour"]: row for row in await self._connection.fetch(NEWEST, *key)}
        wanted = {row["hour"]: WantedHour(frames.layouts(row["hour"]), row["all"]) for row in found}
        for hour, made in sorted((await frames.all_stored_until(wanted, at)).items()):
            before = newest.get(hour)
            if made.frames and (before is None or not _says(before["text"], made)):
                seal = Seal(portion.organization_id, device["name"], hour, at=at, **made._asdict(), **_after(before))
                portion.seals.append((device["device_id"], seal, wanted[hour].text))
        told = (row for row in found if row["frames"] and row["came_as_measured"])
        portion.clocks += [(device["device_id"], *tuple(row)[:4]) for row in told]
        if not frames.unusual.unfinished(at):
            portion.unmark.append((*key, at))

    async def _store(self, portion: Portion) -> None:
        if portion.seals:
            await self._store_seals(portion)
        await self._connection.execute(LOOKED_AT, [*portion.looked_at], [*portion.looked_at.values()])
        await self._connection.execute(CLOCKS, *(_column(portion.clocks, n) for n in range(5)))
        await self._connection.executemany(UNMARK, portion.unmark)

    async def _store_seals(self, portion: Portion) -> None:
        pass_id: int = await self._connection.fetchval(NUMBER)
        texts = {text: bytes.fromhex(digest(text)) for _, _, text in portion.seals}
        await self._connection.execute(KEEP_LAYOUTS, [*texts.values()], [*texts])
        rows = [
            (seal.organization, device_id, seal.hour, seal.version, seal.at, pass_id, texts[layouts], seal.text)
            for device_id, seal, layouts in portion.seals
        ]
        await self._connection.copy_records_to_table("seals", records=rows, columns=SEAL_COLUMNS)
        said = json.dumps(pass_event(pass_id, (seal for _, seal, _ in portion.seals)))
        await self._connection.execute(VOUCH, pass_id, portion.organization_id, WHO, said, WHY)


def _says(text: str, made: FramesDigest) -> bool:
    """Whether the text of a seal is of these frames. One that somebody made unreadable is not."""
    try:
        seal = Seal.read(text)
    except SealUnreadable:
        return False
    return (seal.frames, seal.digest) == made


def _after(before: asyncpg.Record | None) -> dict[str, Any]:
    """What a new seal says of the version before."""
    if before is None:
        return {"version": 1, "before": ""}
    return {"version": before["version"] + 1, "before": digest(before["text"])}


def _spans(hours: Sequence[datetime]) -> list[Span]:
    """The times of these hours, which are in order; hours that follow each other are one time."""
    found: list[Span] = []
    for hour in hours:
        if found and found[-1].end == hour:
            found[-1] = Span(found[-1].begin, hour + HOUR)
        else:
            found.append(Span(hour, hour + HOUR))
    return found


def _column(rows: Sequence[tuple[Any, ...]], n: int) -> list[Any]:
    return [row[n] for row in rows]
