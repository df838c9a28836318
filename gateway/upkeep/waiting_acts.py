"""Does what the intake and the alarms process have left because a person's transaction had the audit trail: events of
devices that begin runs or tell of samples, and what stands in the trail of commands and alarms. It
also notes which acts nobody has confirmed in time."""

from __future__ import annotations

import asyncio

from gateway.runtime.database import FAILURES, Pool, Trouble
from gateway.settings import Settings

WAITING = "select distinct organization_id from waiting_acts order by 1"
DO = "select waiting_acts_do($1)"
EXPIRE = "select pending_acts_expire()"


class WaitingActs:
    """Runs in every gateway, and looks in the one that leads."""

    def __init__(self, settings: Settings, pool: Pool, leading: asyncio.Event) -> None:
        self._pool, self._leading = pool, leading
        self._every_s = settings.timing.look_s

    async def run(self) -> None:
        """Look every `look_s` while leading. Never returns."""
        trouble = Trouble({}, "do what has waited for an audit trail")
        while True:
            await self._leading.wait()
            try:
                await self.look()
            except FAILURES as error:
                await asyncio.sleep(trouble.failed(error))
                continue
            trouble.reset()
            await asyncio.sleep(self._every_s)

    async def look(self) -> None:
        """Do what waits of each organization whose trail is free, each in a transaction of its own."""
        for (organization,) in await self._pool.fetch(WAITING):
            await self._pool.execute(DO, organization)
        await self._pool.execute(EXPIRE)
