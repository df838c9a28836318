"""Keeps the wide views of logins for SQL current, in the gateway that leads: a new model or channel is in them within a
minute. They are made by a function of the database's owner: schema/migrations/0024_wide_views.sql."""

from __future__ import annotations

import asyncio

import structlog

from gateway.runtime.database import FAILURES, Pool, Trouble
from gateway.settings import Settings

log = structlog.get_logger()

FOLLOW = "select state, changed from wide_views_follow($1)"


class WideViews:
    """Runs in every gateway, and makes the views in the one that leads."""

    def __init__(self, settings: Settings, pool: Pool, leading: asyncio.Event) -> None:
        self._pool, self._leading = pool, leading
        self._every_s = settings.timing.wide_views_s
        self._seen: str | None = None

    async def run(self) -> None:
        """Look every `wide_views_s` while leading. Never returns."""
        trouble = Trouble({}, "make the wide views")
        while True:
            await self._leading.wait()
            try:
                await self.look()
            except FAILURES as error:
                trouble.failed(error)
            else:
                trouble.reset()
            await asyncio.sleep(self._every_s)

    async def look(self) -> None:
        self._seen, changed = await self._pool.fetchrow(FOLLOW, self._seen)
        if changed:
            log.info("wide views have new columns", views=changed)
