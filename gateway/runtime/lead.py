"""The lead in something that one process at a time may do: an advisory lock in PostgreSQL, held by a connection of its
own. The other processes stand by, and take the lead within seconds when it becomes free.

The server releases the lock when the connection ends, and notices a silent connection by TCP keep-alive within 6 s; a
process that cannot use its connection for 5 s has lost the lead. A lost connection is made again meanwhile: the epoch,
counted at each taking of the lead, tells whether another process has led in between.

A process that hangs keeps its connections and the lock. The leader therefore beats each second in the database, and a
standby that has seen no beat for 10 s ends all database sessions of the process that has the lock.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Protocol

import asyncpg
import structlog
from prometheus_client import Counter, Gauge

from gateway.errors import LeadLost, SessionTakenOver, words_of
from gateway.runtime.database import FAILURES, FAST_LOSS, Troubles, connect
from gateway.runtime.events import wait_at_most
from gateway.runtime.triage import sqlstate
from gateway.settings import Settings

log = structlog.get_logger()

ANSWER_S = 2.0

LOCK = "select pg_try_advisory_lock(hashtextextended($1, 0))"
END_HOLDER = """
select pg_terminate_backend(a.pid)
  from pg_locks l join pg_stat_activity h using (pid)
  join pg_stat_activity a on a.pid = h.pid or a.datname = h.datname and a.application_name like 'biogate-%'
       and split_part(a.application_name, ' ', -1) = split_part(h.application_name, ' ', -1)
 where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and h.datname = current_database()
   and l.database = (select oid from pg_database where datname = current_database())
   and (l.classid::bigint << 32) | l.objid::bigint = hashtextextended($1, 0)"""
"""Ends the session that has the lock, and all others whose names end like its own with `Settings.process`: one of them
may hold locks of a transaction that the next leader would wait for."""


BEAT = """
insert into lead_beats values ($1, $2, clock_timestamp())
on conflict (what) do update set epoch = excluded.epoch, beat_at = excluded.beat_at"""
HEARD = "select beat_at from lead_beats where what = $1 and epoch = $2"
"""When the leading process last beat; nothing if it is of a version that does not beat."""


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
    while this process leads, `frozen` counts the leaders that it ended. Until the lead is taken, `troubles["lead"]`
    says why it is not.
    """

    def __init__(
        self,
        settings: Settings,
        troubles: Troubles,
        gauge: Gauge,
        frozen: Counter,
        *,
        what: str,
        count: str,
        read: str,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self._settings = settings
        self._troubles = troubles
        self._gauge, self._frozen = gauge, frozen
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
                        leads = await self._prove()
                        if taken_over.is_set():
                            if leads:
                                raise SessionTakenOver(
                                    f"a client that does not lead connected as the gateway of {self._what}"
                                )
                            await asyncio.sleep(self._settings.timing.prove_s)  # the database does not say yet
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
        """Try every `timing.standby_s` until this process has the lock, and count the epoch.

        A leader hangs if it has not beaten for many looks; looks are counted, not timed: this process may hang as well.
        """
        heard, silent_looks = None, 0
        while True:
            try:
                async with asyncio.timeout(ANSWER_S * 2):
                    connection = await self._connect()
                    if await connection.fetchval(LOCK, f"biogate {self._what}"):
                        async with connection.transaction():  # whoever hangs in between is ended by the older beat
                            self.epoch = await connection.fetchval(self._count, *self._arguments)
                            await connection.execute(BEAT, self._what, self.epoch)
                        self._proved = asyncio.get_running_loop().time()
                        self._troubles.pop("lead", None)
                        return
                    epoch = await connection.fetchval(self._read, *self._arguments)
                    beat = await connection.fetchval(HEARD, self._what, epoch)
                    silent_looks = silent_looks + 1 if beat is not None and beat == heard else 0
                    heard = beat
                    if silent_looks * self._settings.timing.standby_s >= self._settings.timing.frozen_s:
                        await self._end_leader(connection, beat)
                self._troubles["lead"] = f"standby: another process leads ({self._what})"
            except FAILURES as error:
                self._troubles["lead"] = f"cannot take the lead: {sqlstate(error)}: {words_of(error)}"
                self._drop()
            await asyncio.sleep(self._settings.timing.standby_s)

    async def _end_leader(self, connection: asyncpg.Connection, beat: datetime) -> None:
        """End all database sessions of the process that has the lock."""
        ended = await connection.fetch(END_HOLDER, f"biogate {self._what}")
        if ended:
            self._frozen.inc()
            log.error("the leader hangs: its database sessions are ended", what=self._what, beat_at=beat.isoformat())

    async def _prove(self) -> bool:
        """Whether this process still leads, which it then notes in the database; False if the database does not answer
        just now. Raises LeadLost."""
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(ANSWER_S):
                if not await self._still_ours():
                    raise LeadLost("another process has led in the meantime")
        except FAILURES as error:
            self._drop()
            if now() - self._proved > self._settings.timing.give_up_s:
                raise LeadLost(f"the database cannot be used: {sqlstate(error)}: {words_of(error)}") from error
            return False
        self._proved = now()
        return True

    def _drop(self) -> None:
        """End the connection, and the lock with it."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _still_ours(self) -> bool:
        """Beat on the connection that has the lock, or on a new one that takes the lock first."""
        if self._connection is None:
            connection = await self._connect()
            if not await connection.fetchval(LOCK, f"biogate {self._what}"):
                return False
        connection = await self._connect()
        if self.epoch != await connection.fetchval(self._read, *self._arguments):
            return False
        await connection.execute(BEAT, self._what, self.epoch)
        return True

    async def _connect(self) -> asyncpg.Connection:
        if self._connection is None:
            self._connection = await connect(self._settings, f"leader {self._what}", **FAST_LOSS)
        return self._connection
