"""One gateway of a cell leads: it alone connects with the cell's client id. The others wait, and take over.

The lead is an advisory lock in PostgreSQL, held by a connection of its own. The server gives it up when the connection
ends, and notices a silent one by TCP keep-alive within 6 s; a leader that cannot use its connection for 5 s leaves the
broker. A lost connection is made again meanwhile: the cell's epoch, counted at each taking of the lead, tells whether
somebody else has led in between.
"""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg
import structlog

from gateway import metrics
from gateway.database import FAILURES, Troubles
from gateway.errors import SessionTakenOver
from gateway.session import Session
from gateway.settings import Settings
from gateway.triage import sqlstate

log = structlog.get_logger()

PROBE_S = 1.0
STANDBY_PROBE_S = 0.5
ANSWER_S = 2.0
GIVE_UP_S = 5.0

LOCK = "select pg_try_advisory_lock(hashtextextended('biogate cell ' || $1, 0))"


class Leader:
    def __init__(self, settings: Settings, troubles: Troubles) -> None:
        self._settings = settings
        self._troubles = troubles
        self._connection: asyncpg.Connection | None = None
        self._epoch = -1
        self.leading = asyncio.Event()
        """Set while this gateway leads: for work that needs one owner in the cell."""

    async def run(self, session: Session) -> None:
        """Wait for the lead, let `session` connect while it lasts, and again. Raises SessionTakenOver."""
        try:
            while True:
                await self._take()
                metrics.LEADER.set(1)
                log.info("leading", cell=self._settings.cell, epoch=self._epoch)
                session.lead()
                self.leading.set()
                why = await self._hold(session)
                metrics.LEADER.set(0)
                self.leading.clear()
                log.warning("not leading any more", cell=self._settings.cell, reason=why)
                await session.stand_down()
        finally:
            self._drop()

    async def _take(self) -> None:
        """Wait until the lead is ours."""
        cell = self._settings.cell
        while True:
            try:
                async with asyncio.timeout(ANSWER_S * 2):
                    connection = await self._connect()
                    if await connection.fetchval(LOCK, cell):
                        self._epoch = await connection.fetchval(
                            "update cells set epoch = epoch + 1 where cell = $1 returning epoch", cell
                        )
                        self._troubles.pop("lead", None)
                        return
                self._troubles["lead"] = f"standby: another gateway leads the cell {cell}"
            except FAILURES as error:
                self._troubles["lead"] = f"cannot take the lead: {sqlstate(error)}: {error}"
                self._drop()
            await asyncio.sleep(STANDBY_PROBE_S)

    async def _hold(self, session: Session) -> str:
        """Return when the lead is lost, and why."""
        loop = asyncio.get_running_loop()
        proved = loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(session.taken_over.wait(), PROBE_S)
            try:
                async with asyncio.timeout(ANSWER_S):
                    if not await self._still_ours():
                        return "another gateway has led in the meantime"
            except FAILURES as error:
                self._drop()
                if loop.time() - proved > GIVE_UP_S:
                    return f"the database cannot be used: {sqlstate(error)}: {error}"
                continue
            proved = loop.time()
            if session.taken_over.is_set():
                raise SessionTakenOver(f"a client that does not lead connected as the gateway of {self._settings.cell}")

    async def _still_ours(self) -> bool:
        """On the connection that has the lock, or on a new one that takes it before anybody else."""
        if self._connection is not None:
            return bool(await self._connection.fetchval("select true"))
        cell = self._settings.cell
        connection = await self._connect()
        return bool(await connection.fetchval(LOCK, cell)) and self._epoch == await connection.fetchval(
            "select epoch from cells where cell = $1", cell
        )

    async def _connect(self) -> asyncpg.Connection:
        if self._connection is None:
            self._connection = await asyncpg.connect(
                str(self._settings.database_url),
                server_settings={
                    "application_name": f"biogate-leader {self._settings.cell}",
                    "tcp_keepalives_idle": "3",
                    "tcp_keepalives_interval": "1",
                    "tcp_keepalives_count": "3",
                    "tcp_user_timeout": "6000",
                },
            )
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
