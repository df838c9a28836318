"""Watches the clock of the machine, which gives the times of receipt, and how far that of the database is from it.

That a time source disciplines the clock, or does so no more, is an event of the audit trail, once a change.
"""

from __future__ import annotations

import asyncio
import json
import time

import structlog

from gateway import metrics
from gateway.runtime.database import FAILURES, Pool, Trouble
from gateway.runtime.server_clock import ServerClock, server_clock
from gateway.settings import Settings

log = structlog.get_logger()

EVERY_S = 60.0
ASKED = 3
"""Times that the database is asked for the time: the quickest answer says it best."""
RECORD = """
insert into audit (organization_id, who, action, subject, new, why)
select 1, 'gateway', $2, $1, $3, $4
 where $2 is distinct from
       (select action from audit where organization_id = 1 and subject = $1 order by n desc limit 1)
returning n"""
FOUND = "clock synchronized", "a time source disciplines the clock that gives times of receipt"
LOST = "clock not synchronized", "no time source disciplines the clock that gives times of receipt"


class ClockWatch:
    """Runs in every gateway, and tells the audit trail in the one that leads."""

    def __init__(self, settings: Settings, pool: Pool, leading: asyncio.Event) -> None:
        self._pool, self._leading, self._cell = pool, leading, settings.cell

    async def run(self) -> None:
        """Look once a minute. Never returns."""
        trouble = Trouble({}, "look at the clocks")
        while True:
            try:
                await self.look(server_clock())
            except FAILURES as error:
                metrics.DATABASE_CLOCK_OFFSET.forget()
                trouble.failed(error)
            else:
                trouble.reset()
            await asyncio.sleep(EVERY_S)

    async def look(self, clock: ServerClock | None) -> None:
        """Export what `clock` says, and record a change of it."""
        if clock is None:
            for figure in (metrics.CLOCK_SYNCHRONIZED, metrics.CLOCK_OFFSET, metrics.CLOCK_ERROR):
                figure.forget()
        else:
            metrics.CLOCK_SYNCHRONIZED.forget()  # of another source
            metrics.CLOCK_SYNCHRONIZED.set(float(clock.synchronized), clock.source)
            metrics.CLOCK_OFFSET.set(clock.offset_s)
            metrics.CLOCK_ERROR.set(clock.error_s)
        metrics.DATABASE_CLOCK_OFFSET.set(await self._database_offset_s())
        if clock is not None and self._leading.is_set():
            await self._record(clock)

    async def _database_offset_s(self) -> float:
        """How far the clock of the database is ahead of this one."""
        found = []
        for _ in range(ASKED):
            asked, began = time.time(), time.monotonic()
            said = await self._pool.fetchval("select extract(epoch from clock_timestamp())::float8")
            took = time.monotonic() - began
            found.append((took, said - asked - took / 2))
        return float(min(found)[1])

    async def _record(self, clock: ServerClock) -> None:
        action, why = FOUND if clock.synchronized else LOST
        said = {"source": clock.source, "offset_s": clock.offset_s, "error_s": clock.error_s}
        if await self._pool.fetchval(RECORD, f"clock/{self._cell}", action, json.dumps(said), why) is not None:
            log.warning(action, **said)
