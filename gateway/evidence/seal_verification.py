"""Verifies the seals of a device: computes them again from what is stored, and says which hours do not hold.

Whatever is read of a batch of hours is of one snapshot. A fault is told only if a second look finds it, too: between
snapshot and frames retention may have dropped them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

import asyncpg

from gateway.evidence.seal_findings import Fault, SealedDevice, Verified
from gateway.evidence.sealed_frames import FramesDigest, SealedFrames, sealed_frames
from gateway.evidence.sealed_meaning import UnitSaid, faults_of_meaning, units_said
from gateway.evidence.sealed_passes import SealedPasses
from schema import times
from schema.evidence.canonical import digest
from schema.evidence.seals import HOUR, Seal, SealUnreadable
from schema.times import Span

BATCH = 168 * HOUR
SEALS = """
select s.organization_id, s.hour, s.version, s.at, s.pass, s.layouts, s.text, l.text as layouts_text
  from seals s left join seal_layouts l on l.digest = s.layouts
 where s.device_id = $1 and s.hour >= $2 and s.hour < $3 order by s.hour, s.version"""
DROPS = """
select r.begins, r.ends, r.dropped_at from retention_drops r
 where r.kind = 'frame' and r.begins < $2 and r.ends > $1
   and exists (select from audit a
                where a.organization_id = any ($3::int[]) and a.subject = 'retention/frame'
                  and a.action = 'retention drop' and (a.new ->> 'from')::timestamptz = r.begins
                  and (a.new ->> 'to')::timestamptz = r.ends)"""
MARKED = "select distinct hour from seals_stale where device_id = $1 and hour >= $2 and hour < $3"
UNTIL = "select until from seals_until where device_id = $1"
NEXT = "select time from frames where device_id = $1 and time >= $2 and time < $3 order by time limit 1"


class StoredSeal(NamedTuple):
    """A row of seals, and what its text says; None: it cannot be read."""

    row: asyncpg.Record
    seal: Seal | None


async def verify_device(
    connection: asyncpg.Connection, device: SealedDevice, span: Span, passes: SealedPasses
) -> Verified:
    """Verify the hours of a device from `span.begin`, an hour's begin, on."""
    found = await passes.verify(connection, device, span)
    begin = span.begin
    while begin < span.end:
        batch = Span(begin, min(span.end, begin + BATCH))
        one = await _Batch(connection, device, batch, passes).verify()
        if one.faults:
            one = await _Batch(connection, device, batch, passes).verify()
        found.add(one)
        begin = batch.end
    return found


class _Batch:
    def __init__(self, connection: asyncpg.Connection, device: SealedDevice, span: Span, passes: SealedPasses) -> None:
        self._connection, self._device, self._span, self._passes = connection, device, span, passes
        self._found = Verified()
        self._drops: Sequence[asyncpg.Record] = ()
        self._marked: set[datetime] = set()
        self._said: Sequence[UnitSaid] = ()

    async def verify(self) -> Verified:
        key = self._device.device_id, self._span.begin, self._span.end
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            rows = await self._connection.fetch(SEALS, *key)
            organizations = sorted({self._device.organization_id, *(row["organization_id"] for row in rows)})
            self._drops = await self._connection.fetch(DROPS, *key[1:], organizations)
            self._marked = {row["hour"] for row in await self._connection.fetch(MARKED, *key)}
            self._said = await units_said(self._connection, organizations)
            frames = await sealed_frames(self._connection, *key)
            hours: dict[datetime, list[StoredSeal]] = defaultdict(list)
            for row in rows:
                hours[row["hour"]].append(StoredSeal(row, _read(row["text"])))
            for hour, stored in hours.items():
                self._texts(hour, stored)
            self._meaning(hours, frames)
            await self._digests(hours, frames)
            await self._unsealed(hours)
        return self._found

    def _fault(self, hour: datetime, what: str) -> None:
        self._found.faults.append(Fault(self._device.name, hour, what))

    def _texts(self, hour: datetime, stored: Sequence[StoredSeal]) -> None:
        """Whether the texts of an hour say what their rows say, and each names the one before."""
        self._found.hours += 1
        before = ""
        for number, (row, seal) in enumerate(stored, 1):
            name = f"version {row['version']} of the seal"
            if seal is None:
                self._fault(hour, f"the text of {name} cannot be read")
            elif (seal.organization, seal.device, seal.hour, seal.version, seal.at) != (
                row["organization_id"],
                self._device.name,
                hour,
                number,
                row["at"],
            ):
                self._fault(
                    hour, f"the text of {name} is of another device, hour, version or time, or one before it is gone"
                )
            elif seal.before != before:
                self._fault(hour, f"{name} does not name the text of the version before")
            if row["layouts_text"] is None or bytes.fromhex(digest(row["layouts_text"])) != row["layouts"]:
                self._fault(hour, f"what layouts mean was changed behind {name}")
            self._found.unsigned += self._passes.is_unsigned(row["organization_id"], row["pass"])
            before = digest(row["text"])

    def _meaning(self, hours: Mapping[datetime, Sequence[StoredSeal]], frames: SealedFrames) -> None:
        for hour, stored in hours.items():
            row = stored[-1].row
            if row["layouts_text"] is not None:
                now = frames.layouts(hour)
                told = [one for one in self._said if one.at > row["at"]]
                for what in faults_of_meaning(row["layouts_text"], now, told):
                    self._fault(hour, what)

    def _dropped(self, hour: datetime, at: datetime) -> bool:
        """Whether retention has dropped frames of the hour since then."""
        return any(
            drop["begins"] < hour + HOUR and hour < drop["ends"] and drop["dropped_at"] > at for drop in self._drops
        )

    async def _digests(self, hours: Mapping[datetime, list[StoredSeal]], frames: SealedFrames) -> None:
        """Compute all versions that can be, and tell what came after the newest one."""
        computable = {
            hour: [one for one in stored if one.seal and not self._dropped(hour, one.seal.at)]
            for hour, stored in hours.items()
        }
        self._found.dropped += sum(not all_of_it for all_of_it in computable.values())
        newest = {hour: stored[-1] for hour, stored in computable.items() if stored}
        whole = await frames.everything([*newest], [one.row["layouts_text"] or "" for one in newest.values()])
        for (hour, one), now in zip(newest.items(), whole, strict=True):
            self._found.frames += now.frames
            if not (_same(one.seal, now) and len(computable[hour]) == 1):
                await self._versions(hour, computable[hour], now, frames)

    async def _versions(
        self, hour: datetime, stored: Sequence[StoredSeal], now: FramesDigest, frames: SealedFrames
    ) -> None:
        ats = [one.row["at"] for one in stored]
        texts = [one.row["layouts_text"] or "" for one in stored]
        holds = True
        covered = 0
        for one, made in zip(stored, await frames.stored_until([hour] * len(stored), ats, texts), strict=True):
            covered = made.frames
            if not _same(one.seal, made):
                holds = False
                assert one.seal is not None
                self._fault(
                    hour, f"version {one.seal.version} of the seal: {_difference(one.seal.frames, made.frames)}"
                )
        if holds and now.frames > covered:
            self._later(hour, now.frames - covered)

    def _later(self, hour: datetime, count: int) -> None:
        """Tell frames that no seal covers: they come with a mark, unless somebody inserted them."""
        if hour in self._marked:
            self._found.late += 1
        else:
            self._fault(hour, f"inserted: {_frames(count)} that no gateway marked as late")

    async def _unsealed(self, hours: Iterable[datetime]) -> None:
        """Look for frames between the hours that have seals."""
        until = await self._connection.fetchval(UNTIL, self._device.device_id) or times.FIRST
        for gap in _gaps(hours, self._span):
            begin = gap.begin
            while (at := await self._connection.fetchval(NEXT, self._device.device_id, begin, gap.end)) is not None:
                hour = times.floor(at, HOUR)
                begin = hour + HOUR
                if hour >= until or hour in self._marked:
                    self._found.unsealed += 1
                else:
                    self._fault(hour, "inserted: frames in an hour that has no seal, and no gateway marked as late")


def _read(text: str) -> Seal | None:
    try:
        return Seal.read(text)
    except SealUnreadable:
        return None


def _same(seal: Seal | None, made: FramesDigest) -> bool:
    return seal is not None and (seal.frames, seal.digest) == made


def _difference(sealed: int, now: int) -> str:
    if now == sealed:
        return f"changed: there are {_frames(now)} as when it was made, and not the same"
    return f"{'deleted' if now < sealed else 'inserted'}: {_frames(abs(now - sealed))} at least"


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _gaps(hours: Iterable[datetime], span: Span) -> Iterator[Span]:
    """Yield the times between these hours, which are in order."""
    edges = [span.begin - HOUR, *hours, span.end]
    for one, other in pairwise(edges):
        if one + HOUR < other:
            yield Span(one + HOUR, other)
