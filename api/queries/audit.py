"""SQL for the audit trail of the organization that asks: pages, export, verification."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg

from api.database import Database
from api.http import cursors
from api.http.answers import Table
from api.http.description import raw
from api.queries import load
from api.shapes.audit import AuditEvent, AuditFilter, Verification

SQL = load("audit")
AFTER_ALL = 2**63 - 1
AT_A_TIME = 1000
MOST_FAULTS = 1000


async def page(database: Database, wanted: AuditFilter, after: int | None, limit: int) -> list[asyncpg.Record]:
    """Return at most `limit` events after the number `after`, in the order asked for."""
    ascending, span = wanted.order == "asc", wanted.span()
    if after is None:
        after = 0 if ascending else AFTER_ALL
    filters = wanted.subject, wanted.action, wanted.who, span.begin, span.end
    return await database.fetch_planned(SQL["oldest_first" if ascending else "newest_first"], *filters, after, limit)


async def pages(database: Database, wanted: AuditFilter) -> AsyncIterator[list[asyncpg.Record]]:
    """Yield all events in parts; no connection is held while a slow client reads."""
    after = None
    while True:
        rows = await page(database, wanted, after, AT_A_TIME)
        yield rows
        if len(rows) < AT_A_TIME:
            return
        after = rows[-1]["n"]


async def verify(database: Database) -> Verification:
    [row] = await database.fetch(SQL["verify"], MOST_FAULTS)
    last_hash = None if row["last_hash"] is None else row["last_hash"].hex()
    return Verification.of(row, last_hash=last_hash, whole=not row["faults"])


def event(row: asyncpg.Record) -> AuditEvent:
    return AuditEvent.of(row, old=raw(row["old"]), new=raw(row["new"]), hash=row["hash"].hex())


EVENTS = Table(name="events", title="Audit", of=AuditEvent, item=event, key={"n": cursors.number}, first=(None,))
"""How the trail is answered: one page, or all of it as CSV."""
