"""The lead in something that one process at a time may do: an advisory lock in PostgreSQL, held by a connection of its
own. The other processes stand by, and take the lead within seconds when it becomes free.

The server releases the lock when the connection ends, and notices a silent connection by TCP keep-alive within 6 s; a
process that cannot use its connection for 5 s has lost the lead. A lost connection is made again meanwhile: the epoch,
counted at each taking of the lead, tells whether another process has led in between.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import asyncpg
import structlog
from prometheus_client import Gauge

from gateway.errors import LeadLost, SessionTakenOver
from gateway.runtime.database import FAILURES, FAST_LOSS, Troubles, connect
from gateway.runtime.events import wait_at_most
from gateway.runtime.triage import sqlstate
from gateway.settings import Settings

log = structlog.get_logger()

ANSWER_S = 2.0

LOCK = "select pg_try_advisory_lock(hashtextextended($1, 0))"


class LeaderOnly(Protocol):
    """A resource that only the leading process may have: the gateway's session at the broker."""

    taken_over: asyncio.Event
    """Set when another client has taken the session over."""

    def lead(self) -> None: ...

    async def stand_down(self) -> None: ...


async def pause_while(leading: asyncio.Event, seconds: float, look_s: float) -> None:
    """Wait so long, or until this process leads no more, which is noticed within `look_s`."""
    ends = asyncio.get_running_loop().time() + seconds
    while leading.is_set() and (left := ends - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110 - events tell the begin alone
        await asyncio.sleep(min(left, look_s))


class Lead:
    """Takes the lead in `what` (the lock's name), holds it, and takes it again after a loss.

    The statement `count` increments the epoch and returns it, `read` returns it; both get `arguments`. `gauge` is 1
    while this process leads. Until the lead is taken, `troubles["lead"]` says why it is not.
    """

    def __init__(
        self,
        settings: Settings,
        troubles: Troubles,
        gauge: Gauge,
        *,
        what: str,
        count: str,
        read: str,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self._settings = settings
        self._troubles = troubles
        self._gauge = gauge
        self._what = what
        self._count, self._read, self._arguments = count, read, arguments
        self._connection: asyncpg.Connection | None = None
        self._proved = 0.0
        self.epoch = -1
        self.leading = asyncio.Event()
        """Set while this process leads, as far as it knows."""

    async def hold(self, owned: LeaderOnly | None = None) -> None:
        """Take the lead, prove it every `timing.prove_s`, and take it again when it is lost. Ends by cancellation only.

        `owned` is told when this process begins and ceases to lead. Raises SessionTakenOver if another client takes
        `owned` over while this process can prove that it leads.
        """
        taken_over = asyncio.Event() if owned is None else owned.taken_over
        try:
            while True:
                await self._take()
                self._gauge.set(1)
                log.info("leading", what=self._what, epoch=self.epoch)
                if owned is not None:
                    owned.lead()
                self.leading.set()
                try:
                    while True:
                        await wait_at_most(self._settings.timing.prove_s, taken_over)
                        if await self._prove() and taken_over.is_set():
                            raise SessionTakenOver(
                                f"a client that does not lead connected as the gateway of {self._what}"
                            )
                except LeadLost as lost:
                    log.warning("not leading any more", what=self._what, reason=str(lost))
                finally:
                    self._gauge.set(0)
                    self.leading.clear()
                if owned is not None:
                    await owned.stand_down()
        finally:
            self._drop()

    async def _take(self) -> None:
        """Try every `timing.standby_s` until this process has the lock, and count the epoch."""
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
                self._drop()
            await asyncio.sleep(self._settings.timing.standby_s)

    async def _prove(self) -> bool:
        """Whether this process still leads; False if the database does not say just now. Raises LeadLost."""
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(ANSWER_S):
                if not await self._still_ours():
                    raise LeadLost("another process has led in the meantime")
        except FAILURES as error:
            self._drop()
            if now() - self._proved > self._settings.timing.give_up_s:
                raise LeadLost(f"the database cannot be used: {sqlstate(error)}: {error}") from error
            return False
        self._proved = now()
        return True

    def _drop(self) -> None:
        """End the connection, and the lock with it."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _still_ours(self) -> bool:
        """Ask for the epoch on the connection that has the lock, or on a new one that takes the lock first."""
        if self._connection is None:
            connection = await self._connect()
            if not await connection.fetchval(LOCK, f"biogate {self._what}"):
                return False
        connection = await self._connect()
        return bool(self.epoch == await connection.fetchval(self._read, *self._arguments))

    async def _connect(self) -> asyncpg.Connection:
        if self._connection is None:
            self._connection = await connect(self._settings, f"leader {self._what}", **FAST_LOSS)
        return self._connection
