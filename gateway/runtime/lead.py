"""The lead in something that one process at a time may do: an advisory lock in PostgreSQL, held by a connection of its
own. The others stand by and try.

The server gives the lock up when the connection ends, and notices a silent one by TCP keep-alive within 6 s; who cannot
use its connection for 5 s has lost the lead. A lost connection is made again meanwhile: the epoch, counted at each
taking of the lead, tells whether somebody else has led in between.
"""

from __future__ import annotations

import asyncio

import asyncpg

from gateway.errors import LeadLost
from gateway.runtime.database import FAILURES, Troubles
from gateway.runtime.triage import sqlstate
from gateway.settings import Settings

ANSWER_S = 2.0

LOCK = "select pg_try_advisory_lock(hashtextextended($1, 0))"


class Lead:
    """`what` is led: the lock's name. `count` is the statement that counts the epoch and returns it, `read` the one
    that returns it, both with `arguments`."""

    def __init__(
        self,
        settings: Settings,
        troubles: Troubles,
        *,
        what: str,
        count: str,
        read: str,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self._settings = settings
        self._troubles = troubles
        self._what = what
        self._count, self._read, self._arguments = count, read, arguments
        self._connection: asyncpg.Connection | None = None
        self._proved = 0.0
        self.epoch = -1

    async def take(self) -> None:
        """Wait until the lead is ours."""
        while True:
            try:
                async with asyncio.timeout(ANSWER_S * 2):
                    connection = await self._connect()
                    if await connection.fetchval(LOCK, f"biogate {self._what}"):
                        self.epoch = await connection.fetchval(self._count, *self._arguments)
                        self._proved = asyncio.get_running_loop().time()
                        self._troubles.pop("lead", None)
                        return
                self._troubles["lead"] = f"standby: another process leads ({self._what})"
            except FAILURES as error:
                self._troubles["lead"] = f"cannot take the lead: {sqlstate(error)}: {error}"
                self.drop()
            await asyncio.sleep(self._settings.timing.standby_s)

    async def prove(self) -> bool:
        """Whether it is ours; False: that cannot be told just now. Raises LeadLost."""
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(ANSWER_S):
                if not await self._still_ours():
                    raise LeadLost("another process has led in the meantime")
        except FAILURES as error:
            self.drop()
            if now() - self._proved > self._settings.timing.give_up_s:
                raise LeadLost(f"the database cannot be used: {sqlstate(error)}: {error}") from error
            return False
        self._proved = now()
        return True

    def drop(self) -> None:
        """Give it up."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _still_ours(self) -> bool:
        """On the connection that has the lock, or on a new one that takes it before anybody else."""
        if self._connection is None:
            connection = await self._connect()
            if not await connection.fetchval(LOCK, f"biogate {self._what}"):
                return False
        connection = await self._connect()
        return bool(self.epoch == await connection.fetchval(self._read, *self._arguments))

    async def _connect(self) -> asyncpg.Connection:
        if self._connection is None:
            self._connection = await asyncpg.connect(
                str(self._settings.database_url),
                server_settings={
                    "application_name": f"biogate-leader {self._what}",
                    "tcp_keepalives_idle": "3",
                    "tcp_keepalives_interval": "1",
                    "tcp_keepalives_count": "3",
                    "tcp_user_timeout": "6000",
                },
            )
        return self._connection
