"""SQL for the accounting of what devices sent: totals, holes, and what of a time is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from api.database import Database
from api.queries import load
from schema.reasons import Reason
from schema.times import Span

SQL = load("delivery")
MOST_HOLES = 200
MOST_BOOTS = 20
STATES = ("committed", "duplicate", "quarantined", "discarded")


@dataclass(frozen=True, slots=True)
class KindTotals:
    """What became of the items of one kind, in all cells that receive from devices."""

    kind: str
    committed: int
    duplicate: int
    quarantined: int
    discarded: int

    @property
    def received(self) -> int:
        return self.committed + self.duplicate + self.quarantined + self.discarded


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of all that was received, of the whole installation."""

    kinds: list[KindTotals]
    beside: list[KindTotals]
    """Taken in again from quarantine, and from files: `kind` is `replay` or `import`."""
    settled_until: datetime | None
    """All that any cell received until then is in the totals; None: no cell has said so."""
    told_at: datetime | None
    """When the cell that has said so longest ago did."""


async def totals(database: Database) -> Totals | None:
    """Return the totals; None for an organization that does not run the installation."""
    rows = await database.fetch(SQL["totals"])
    if not rows:
        return None
    settled = [row["settled_until"] for row in rows if not row["beside"] and row["settled_until"] is not None]
    told = [row["beat_at"] for row in rows if not row["beside"] and row["beat_at"] is not None]
    kinds = dict.fromkeys(row["kind"] for row in rows if not row["beside"])
    beside = dict.fromkeys(row["cell"] for row in rows if row["beside"])
    return Totals(
        [_sum(kind, [row for row in rows if row["kind"] == kind and not row["beside"]]) for kind in kinds],
        [_sum(cell, [row for row in rows if row["cell"] == cell]) for cell in beside],
        min(settled, default=None),
        min(told, default=None),
    )


def _sum(name: str, rows: Sequence[asyncpg.Record]) -> KindTotals:
    return KindTotals(name, *(sum(row[state] for row in rows) for state in STATES))


async def newest(database: Database, names: Sequence[str]) -> Mapping[str, asyncpg.Record]:
    """Return what has arrived of the newest boot of each device, by its name."""
    return {row["device"]: row for row in await database.fetch(SQL["newest"], list(names))}


async def boots(database: Database, device: str) -> list[asyncpg.Record]:
    """Return what has arrived of the newest boots of a device, the newest first."""
    return await database.fetch(SQL["boots"], device, MOST_BOOTS)


async def holes(database: Database, device: str | None = None) -> list[asyncpg.Record]:
    """Return holes of a device or of all, one more than MOST_HOLES at most; those not lost come first."""
    return await database.fetch_planned(SQL["holes"], device, MOST_HOLES + 1)


async def of_span(database: Database, span: Span) -> list[asyncpg.Record]:
    """Return what of a time is missing, for each device: `expected` is None if its frames have no numbers."""
    return await database.fetch(SQL["span"], span.begin, span.end)


async def quarantined(database: Database, span: Span) -> list[asyncpg.Record]:
    """Return the numbers of open messages that came into quarantine in a time, by device and reason."""
    return await database.fetch(SQL["quarantined"], span.begin, span.end, [str(reason) for reason in Reason])
