"""Tells by NOTIFY, for live feeds, that something was committed: in which cell, by which transaction, and when.

It is a statement of its own on a connection of its own, after the commit: a NOTIFY holds one lock of the whole server
until its transaction ends, and fails while the queue of notifications is full. Neither shall keep the intake waiting. A
notification that cannot be sent is dropped: who listens looks by itself every few seconds. Everybody who may connect to
the database can listen, so it says nothing of devices.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import asyncpg
import msgspec

from gateway import metrics
from gateway.items import ItemKind
from gateway.runtime.database import FAILURES, FAST_LOSS, Trouble, connect
from gateway.settings import Settings

CHANNEL = "biogate_commits"
TELL = "select notice_send($1, $2)"
PAUSE_S = 0.01
"""Seconds after each notification in which the next commits are gathered."""
PATIENCE_S = 5.0
"""Seconds that a notification may take."""


class CommitNews:
    """Commits since the last notification are told as one, the newest."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._wake = asyncio.Event()
        self._newest: tuple[int, float] = 0, 0.0
        self._kinds: frozenset[ItemKind] = frozenset()

    def committed(self, transaction_id: int, kinds: Iterable[ItemKind]) -> None:
        """Note a commit that has just succeeded, and items of which kinds it stored."""
        if kinds := frozenset(kinds):
            self._newest = transaction_id, time.time() * 1000
            self._kinds |= kinds
            self._wake.set()

    async def run(self) -> None:
        """Tell of commits as they come. Never returns."""
        trouble = Trouble({}, "tell of commits")
        while True:
            try:
                # Nobody is told later because of an fsync of a transaction that has written nothing.
                connection = await connect(self._settings, "news", synchronous_commit="off", **FAST_LOSS)
                try:
                    await self._tell(connection, trouble)
                finally:
                    connection.terminate()
            except FAILURES as error:
                metrics.COMMIT_NOTICES.labels("failed").inc()
                await asyncio.sleep(trouble.failed(error))

    async def _tell(self, connection: asyncpg.Connection, trouble: Trouble) -> None:
        statement = await connection.prepare(TELL)
        while True:
            await self._wake.wait()
            self._wake.clear()
            kinds, self._kinds = self._kinds, frozenset()
            try:
                await statement.fetchval(CHANNEL, self._said(kinds), timeout=PATIENCE_S)
            except FAILURES:
                self._kinds |= kinds
                self._wake.set()  # told once there is another connection
                raise
            metrics.COMMIT_NOTICES.labels("sent").inc()
            trouble.reset()
            await asyncio.sleep(PAUSE_S)

    def _said(self, kinds: frozenset[ItemKind]) -> str:
        transaction_id, at_ms = self._newest
        content = {"cell": self._settings.cell, "commit": transaction_id, "at": round(at_ms), "kinds": sorted(kinds)}
        return msgspec.json.encode(content).decode()
