"""Tries an import: each batch is stored in a transaction that is rolled back, so the database itself says what it would
do. A frame that stands in two batches counts as new in both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import asyncpg

from gateway.errors import LeadLost
from gateway.history.importer import (
    OWNED,
    HistoryIntake,
    OpenImport,
    Progress,
    file_batches,
    history_writer,
    import_settings,
    make_report,
    taken,
)
from gateway.history.report import ImportReport
from gateway.intake.accounting import ItemCounts
from gateway.items import EPOCH, Item
from gateway.runtime.database import Pool, PoolConnection
from gateway.settings import Settings

MAKE = """
insert into devices (name, organization_id) select unnest($1::text[]), $2 on conflict do nothing returning name"""


class OneConnection:
    """A pool of one connection, which is in a transaction: what is committed here is a savepoint of that.

    Its methods raise LeadLost once the connection is lost: the transaction is gone with it, so that whoever would try
    again would do so for ever.
    """

    def __init__(self, connection: PoolConnection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[PoolConnection]:
        yield self._usable()

    async def fetch(self, *arguments: Any, **given: Any) -> Any:
        return await self._usable().fetch(*arguments, **given)

    async def fetchval(self, *arguments: Any, **given: Any) -> Any:
        return await self._usable().fetchval(*arguments, **given)

    def _usable(self) -> PoolConnection:
        if _is_lost(self._connection):
            raise LeadLost("the connection to the database was lost during the dry run: run it again")
        return self._connection


def _is_lost(connection: PoolConnection) -> bool:
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:  # the pool has taken a lost connection back
        return True


async def try_import(
    settings: Settings, pool: Pool, opened: OpenImport, chunk_ms: float, progress: Progress
) -> ImportReport:
    """Say what would become of the file. Nothing is stored. Raises UnusableFile, LeadLost if the connection is lost in
    a batch, and errors of the database."""
    settings = import_settings(settings)
    organization_id = opened.request.organization_id
    owned = dict(await pool.fetch(OWNED, list(opened.devices), organization_id))
    missing = [name for name in opened.devices if name not in owned]
    for name in missing:
        opened.devices[name].is_new = True
    units, outcome = await opened.units(pool), ItemCounts()
    received_ms = (datetime.now(UTC) - EPOCH).total_seconds() * 1000
    for batch in file_batches(settings, opened.groups(units), chunk_ms, 0):
        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                made = {name for (name,) in await connection.fetch(MAKE, missing, organization_id)}
                if others := [name for name in missing if name not in made]:
                    raise taken(others)
                one = cast(Pool, OneConnection(connection))
                intake = HistoryIntake(settings, one)
                await intake.know(opened.channels())
                items = await intake.items(batch, received_ms)
                outcome += await history_writer(settings, one, intake.registry, chunk_ms, _nothing).write(items)
            finally:
                if not _is_lost(connection):
                    await transaction.rollback()
        progress(batch.end, opened.most_frames)
    return make_report(opened, units, outcome, dry_run=True)


async def _nothing(connection: PoolConnection, items: Sequence[Item], outcome: ItemCounts) -> None:
    """Keep no account."""
