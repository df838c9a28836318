"""Publishes commands of people to their devices, in the gateway that leads the cell.

Commands wait in the database. A command is published, and marked as sent once the broker has it and a subscriber was
there for it, while its row is locked, so that nobody cancels it in between. A gateway that is killed between the two
leaves the command waiting: it is published again with the same id, and the device does it once. Results of commands
arrive like telemetry: gateway/storage/command_results.py. A device is of the cell of its newest login, else of all.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

import asyncpg
import structlog

from gateway import metrics
from gateway.broker.address import BrokerLogin
from gateway.errors import SendFailed
from gateway.runtime.database import FAILURES, Pool, Trouble, Troubles, listening
from gateway.runtime.events import wait_at_most
from gateway.settings import Settings

log = structlog.get_logger()

Send: TypeAlias = Callable[[asyncpg.Record], Awaitable[bool]]
"""Publishes a command, a row of TAKE; returns whether there was a subscriber. Raises SendFailed."""

HANGS_S = 10
"""Seconds after which the server ends the transaction of a process that hangs: the intake may wait for its row."""
SENT_AT_ONCE = 500
EXPIRED_AT_ONCE = 100

SIGN = """
select set_config('biogate.who', 'gateway ' || $1, true), set_config('idle_in_transaction_session_timeout', $2, true)"""
HOW_MANY = """
select count(*) from commands c
 where c.state = 'waiting' and c.expires_at > now()
   and coalesce((select k.cell from credentials k where k.device_id = c.device_id and k.wanted = 'present'
                  order by k.generation desc limit 1), $1) = $1"""
# Devices known to be off are left out: if somebody else subscribes to the topic, the broker reports it as delivered.
WAITING = """
select c.command_id, c.device_id
  from commands c
  join devices d using (device_id)
 where c.state = 'waiting' and c.expires_at > now() and c.organization_id = d.organization_id
   and coalesce((select k.cell from credentials k where k.device_id = c.device_id and k.wanted = 'present'
                  order by k.generation desc limit 1), $1) = $1
   and d.state in ('active', 'pending') and c.device_id <> all ($2::int[])
   and coalesce((select p.online from presence p where p.device_id = c.device_id), true)
 order by c.requested_at, c.command_id
 limit $3"""
TAKE = """
select c.command_id, d.name as device, c.name, c.parameters, c.boot,
       floor(extract(epoch from c.expires_at) * 1000)::bigint as expires,
       extract(epoch from c.expires_at - now())::float8 as left_s, clock_timestamp() as taken_at
  from commands c
  join devices d using (device_id)
 where c.command_id = $1 and c.state = 'waiting' and c.expires_at > now()
   and c.organization_id = d.organization_id and d.state in ('active', 'pending')
   for update of c skip locked"""
SENT = "update commands set state = 'sent', sent_at = $2 where command_id = $1"
OVERDUE = """
select exists (select from commands
                where state in ('waiting', 'sent', 'accepted') and expires_at <= now()
                  and (state = 'waiting' or expires_at <= now() - $1::interval))"""
EXPIRE = """
with due as (
    select command_id, state from commands
     where state in ('waiting', 'sent', 'accepted') and expires_at <= now()
       and (state = 'waiting' or expires_at <= now() - $1::interval)
     order by organization_id, command_id
     limit $2
       for update skip locked)
update commands c
   set state = 'expired', ended_at = now(),
       detail = case due.state
                when 'waiting' then 'not sent in time'
                when 'sent' then 'not answered in time: whether the device has done it is not known'
                else 'accepted, and its end not told in time: whether the device has done it is not known' end
  from due
 where c.command_id = due.command_id
returning due.state"""


class CommandDispatcher:
    """Runs in every gateway, and sends commands in the one that leads. It connects to the broker at the first one."""

    def __init__(
        self, settings: Settings, login: BrokerLogin, pool: Pool, leading: asyncio.Event, troubles: Troubles
    ) -> None:
        self._settings = settings
        self._cell = settings.cell
        self._login = login
        self._grace = timedelta(seconds=settings.command_grace_s)
        self._pool = pool
        self._leading = leading
        self._troubles = troubles
        self._told = asyncio.Event()
        self._absent: dict[int, float] = {}
        """Device id → when to try again, by time.monotonic."""

    async def run(self) -> None:
        """Send commands while leading, and again after failures of broker or database. Never returns."""
        trouble = Trouble(self._troubles, "send commands")
        while True:
            if not self._leading.is_set():
                metrics.COMMANDS_WAITING.forget()
                await self._leading.wait()
            try:
                async with listening(self._settings, "commands", "biogate_commands", self._told) as listener:
                    await self._work(listener, trouble)
            except (SendFailed, *FAILURES) as error:
                await asyncio.sleep(trouble.failed(error))

    async def _work(self, listener: asyncpg.Connection, trouble: Trouble) -> None:
        """Send and expire commands until another gateway leads."""
        send: Send | None = None
        async with contextlib.AsyncExitStack() as stack:
            while self._leading.is_set():
                if listener.is_closed():
                    raise ConnectionError("the database has ended a connection")
                self._told.clear()
                await self._expire()
                self._absent = {device: until for device, until in self._absent.items() if until > time.monotonic()}
                while waiting := await self._pool.fetch(WAITING, self._cell, list(self._absent), SENT_AT_ONCE):
                    if send is None:
                        from gateway.commands.sender import connected  # noqa: PLC0415  # 2 MB, where nobody gives commands

                        send = await stack.enter_async_context(connected(self._settings, self._login))
                    if not await self._send_all(send, waiting):
                        break
                metrics.COMMANDS_WAITING.set(await self._pool.fetchval(HOW_MANY, self._cell))
                trouble.reset()
                await wait_at_most(self._settings.timing.look_s, self._told)

    async def _send_all(self, send: Send, waiting: Sequence[asyncpg.Record]) -> bool:
        """Send commands in order, and none to a device after one that was not sent; return whether any was sent."""
        held: set[int] = set()
        sent = False
        for command_id, device_id in waiting:
            if not self._leading.is_set():
                return False
            if device_id in held:
                continue
            if await self._send(send, command_id, device_id):
                sent = True
            else:
                held.add(device_id)
        return sent

    async def _send(self, send: Send, command_id: UUID, device_id: int) -> bool:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(SIGN, self._cell, f"{HANGS_S}s")
            command = await connection.fetchrow(TAKE, command_id)
            if command is None:  # it was cancelled, or another gateway sends it
                return False
            # also if sending fails: other devices come first then
            self._absent[device_id] = time.monotonic() + self._settings.timing.resend_s
            if not await send(command):
                metrics.COMMANDS_UNDELIVERED.inc()
                return False
            await connection.execute(SENT, command_id, command["taken_at"])
        del self._absent[device_id]
        metrics.COMMANDS_SENT.inc()
        log.info("command sent", device=command["device"], command=command["name"], id=str(command_id))
        return True

    async def _expire(self) -> None:
        """Expire overdue commands of all cells: the gateway of another cell may be down."""
        while await self._pool.fetchval(OVERDUE, self._grace):
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(SIGN, self._cell, f"{HANGS_S}s")
                expired = await connection.fetch(EXPIRE, self._grace, EXPIRED_AT_ONCE)
            for (was,) in expired:
                metrics.COMMANDS_EXPIRED.labels(was).inc()
            if not expired:  # another gateway has locked them
                return
