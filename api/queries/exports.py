"""SQL for exports: pages of frames as bytes of COPY, and how many frames there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from api.database import Database
from api.queries import load
from api.queries.selection import Selection

SQL = load("exports")
MOST_COUNTED = 1_000_000
"""Frames of a device; beyond, the rest is reckoned by the time that these take."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Which slots of which layouts are copied. Slots count from 1."""

    first: dict[int, int]
    """The first slot that is copied, by layout_id."""
    last: dict[int, int]
    whole: bool
    """All slots are."""

    def place(self, layout: int, slot: int) -> int:
        """The place, from 0, of a slot among those that are copied."""
        return slot - self.first[layout]


class Range(NamedTuple):
    """At most `limit` frames after the key (time, layout_id) and before `end`."""

    after: tuple[datetime, int]
    end: datetime
    limit: int


async def slots(database: Database, wanted: Selection) -> Slots:
    """Whole frames, or of each layout the slots from the first wanted channel to the last, if these are few."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for channel in wanted.channels:
        for layout, slot in channel.slots.items():
            first[layout] = min(slot, first.get(layout, slot))
            last[layout] = max(slot, last.get(layout, slot))
    widths = await _widths(database, list(first))
    copied = sum(last[layout] - first[layout] + 1 for layout in first)
    if 2 * copied > sum(widths.values()):
        return Slots(dict.fromkeys(first, 1), widths, whole=True)
    return Slots(first, last, whole=False)


async def _widths(database: Database, layouts: list[int]) -> dict[int, int]:
    return {row["layout_id"]: row["slots"] for row in await database.fetch(SQL["widths"], layouts)}


async def page(database: Database, wanted: Selection, of: Slots, range_: Range) -> bytearray:
    """The bytes of a COPY of these frames."""
    found = bytearray()

    async def keep(part: bytes) -> None:
        found.extend(part)

    layouts = list(of.first)
    arguments: list[Any] = [wanted.device.device_id, *range_.after, range_.end, layouts, range_.limit, wanted.as_of]
    if not of.whole:
        arguments += [[of.first[layout] for layout in layouts], [of.last[layout] for layout in layouts]]
    async with database.connection() as connection:
        statement = SQL["frames" if of.whole else "parts"]
        await connection.copy_from_query(statement, *arguments, output=keep, format="binary")
    return found


async def made(database: Database, job: UUID, facts: Mapping[str, Any]) -> None:
    """Name the files of an export in the audit trail, by their SHA-256. Raises NotFound."""
    said = {name: facts[name] for name in ("file", "bytes", "sha256", "rows", "manifest_sha256")}
    await database.execute(SQL["made"], job, msgspec.json.encode(said).decode())


async def counted(database: Database, wanted: Selection, most: int = MOST_COUNTED) -> tuple[int, bool]:
    """How many frames there are, and whether they were counted: beyond `most` it is reckoned."""
    layouts = list({layout for channel in wanted.channels for one in channel.stored for layout in one.slots})
    row = await database.fetchrow(SQL["counted"], wanted.device.device_id, wanted.begin, wanted.end, layouts, most)
    frames = 0 if row is None else int(row["frames"])
    if row is None or frames < most:
        return frames, True
    spent = (row["last"] - wanted.begin).total_seconds()
    return round(frames * (wanted.end - wanted.begin).total_seconds() / max(spent, 1e-6)), False
