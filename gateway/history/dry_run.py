"""Tries an import: each batch is stored in a transaction that is rolled back, so the database itself says what it would
do. A frame that stands in two batches counts as new in both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

from gateway.history.importer import (
    OWNED,
    HistoryIntake,
    OpenImport,
    Progress,
    file_batches,
    import_settings,
    make_report,
)
from gateway.history.report import ImportReport
from gateway.intake.accounting import ItemCounts
from gateway.intake.registry import Registry
from gateway.items import EPOCH, Item
from gateway.runtime.database import Pool, PoolConnection
from gateway.settings import IMPORT, Settings
from gateway.storage.quota import Quota
from gateway.storage.write import Writer

MAKE = "insert into devices (name, organization_id) select unnest($1::text[]), $2 on conflict do nothing"


class OneConnection:
    """A pool of one connection, which is in a transaction: what is committed here is a savepoint of that."""

    def __init__(self, connection: PoolConnection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[PoolConnection]:
        yield self._connection

    async def fetch(self, *arguments: Any, **given: Any) -> Any:
        return await self._connection.fetch(*arguments, **given)

    async def fetchval(self, *arguments: Any, **given: Any) -> Any:
        return await self._connection.fetchval(*arguments, **given)


async def try_import(
    settings: Settings, pool: Pool, opened: OpenImport, chunk_ms: float, progress: Progress
) -> ImportReport:
    """Say what would become of the file. Nothing is stored. Raises errors of the database: nothing is tried again."""
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
                if missing:
                    await connection.execute(MAKE, missing, organization_id)
                one = cast(Pool, OneConnection(connection))
                intake = HistoryIntake(settings, one)
                await intake.know(opened.channels())
                items = await intake.items(batch, received_ms)
                outcome += await _writer(settings, one, intake.registry, chunk_ms).write(items)
            finally:
                await transaction.rollback()
        progress(batch.end, opened.most_frames)
    return make_report(opened, units, outcome, dry_run=True)


def _writer(settings: Settings, pool: Pool, registry: Registry, chunk_ms: float) -> Writer:
    quota = Quota(settings.quarantine_bytes, settings.quarantine_rows, settings.quarantine_total_bytes)
    return Writer(
        pool,
        registry,
        {},
        cell=IMPORT,
        chunk_ms=chunk_ms,
        max_chunks=settings.batch_chunks,
        keep=quota.keep,
        imported=_nothing,
    )


async def _nothing(connection: PoolConnection, items: Sequence[Item], outcome: ItemCounts) -> None:
    """Keep no account."""
