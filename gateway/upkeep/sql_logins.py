"""Ends what logins for SQL do for longer than they may, in the gateway that leads. Such a session can change all of its
own settings, so that its time-outs hold for mistakes alone: schema/migrations/0018_tenants_apart.sql."""

from __future__ import annotations

import asyncio

import structlog

from gateway import metrics
from gateway.runtime.database import FAILURES, Pool, Trouble
from gateway.settings import Settings

log = structlog.get_logger()

LONGEST_S = 120.0
"""Longest transaction: four times the time-out of a statement."""
IDLE_S = 60.0
"""Longest pause in a transaction."""
FULL = 0.1
"""Part of the queue of notifications from which on a transaction may take five seconds alone."""
END_LATE = "select login, why from sql_logins_end_late($1, $2, $3)"


class SqlLoginWatch:
    """Runs in every gateway, and ends late transactions in the one that leads."""

    def __init__(self, settings: Settings, pool: Pool, leading: asyncio.Event) -> None:
        self._pool, self._leading = pool, leading
        self._every_s = settings.timing.sql_logins_s

    async def run(self) -> None:
        """Look every `sql_logins_s` while leading. Never returns."""
        trouble = Trouble({}, "watch the logins for SQL")
        while True:
            await self._leading.wait()
            try:
                await self.look()
            except FAILURES as error:
                await asyncio.sleep(trouble.failed(error))
                continue
            trouble.reset()
            await asyncio.sleep(self._every_s)

    async def look(self, longest_s: float = LONGEST_S, idle_s: float = IDLE_S, full: float = FULL) -> None:
        for login, why in await self._pool.fetch(END_LATE, longest_s, idle_s, full):
            metrics.SQL_LOGINS_ENDED.labels(why).inc()
            log.warning("a session of a login for SQL was ended: its transaction took too long", login=login, why=why)
