"""Makes the broker's logins equal to those in the database, in the gateway that leads the cell.

The database has the wanted state of each login beside the state last applied at the broker; while they differ, work is
due. So it does not matter where the work was cut off, or whether a notification was lost: the next look finds the rest.
Each command to the broker is sent in a transaction that holds a lock of the cell, so that a gateway which has not yet
noticed that it leads no more cannot interfere; and every command may be repeated.
"""

from __future__ import annotations

import asyncio
import json
import secrets as random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt
import asyncpg
import structlog

from gateway import metrics
from gateway.broker.client import client
from gateway.errors import words_of
from gateway.logins.dynsec import Dynsec, DynsecError, DynsecNoAnswer, DynsecNotFound
from gateway.logins.login import Stuck, apply, due, note
from gateway.logins.reconcile import Repair, compare, put_role, read, repair
from gateway.logins.roles import DEFAULTS, FIXED
from gateway.runtime.database import FAILURES, Pool, PoolConnection, Trouble, Troubles, listening
from gateway.runtime.events import wait_at_most
from gateway.secrets import Secrets
from gateway.settings import Settings
from schema.enrollment import LOGIN
from schema.sealed import Unreadable
from schema.topics import Down, topic

log = structlog.get_logger()

LOGINS_PER_S = 20_000
"""Changes in a second are bounded by this over the number of logins. At each change the broker writes its whole file
and stands still for 5 to 12 µs a login: so 20/s at 1,000 logins, for 10 ms each, and 2/s at 10,000, for 120 ms each."""
STUCK_S = (10.0, 600.0)
HANGS_S = 15

FENCE = """
select set_config('idle_in_transaction_session_timeout', $2, true),
       pg_advisory_xact_lock(hashtextextended('biogate access ' || $1, 0))"""
SWITCH = "select enrollment_open from cells where cell = $1 and enrollment_open is distinct from enrollment_applied"
SWITCHED = "update cells set enrollment_applied = $2 where cell = $1"
RENEWALS = """
select device_id, name, renew from devices d
 where renew is distinct from renew_told
   and exists (select from credentials c where c.device_id = d.device_id and c.cell = $1)
 limit 100"""
TOLD = "update devices set renew_told = $2 where device_id = $1"
TELL_AGAIN = """
update devices d set renew_told = 0
 where renew is not null and exists (select from credentials c where c.device_id = d.device_id and c.cell = $1)"""
UNUSED = "select exists (select device_id from credentials where activated_at is null and wanted = 'present')"
ACTIVATE = "select credentials_activate($1)"
HOW_MANY_DUE = "select count(*) from credentials where cell = $1 and wanted <> applied"


class Administration:
    """Runs in every gateway, and administers the logins in the one that leads."""

    def __init__(
        self, settings: Settings, secrets: Secrets, pool: Pool, leading: asyncio.Event, troubles: Troubles
    ) -> None:
        self._settings = settings
        self._cell = settings.cell
        self._secrets = secrets
        self._pool = pool
        self._leading = leading
        self._troubles = troubles
        self._told = asyncio.Event()
        """Set when the database notifies that a wanted state has changed."""
        self._logins = 0
        self._repairs: deque[Repair] = deque()
        self._stuck: dict[str, tuple[float, float]] = {}
        """Key of a login → when to try again, by time.monotonic, and how many seconds to wait after that."""

    async def run(self) -> None:
        """Administer logins while leading, and again after failures of broker or database. Never returns."""
        trouble = Trouble(self._troubles, "administer logins")
        while True:
            if not self._leading.is_set():
                for figure in metrics.CREDENTIALS:
                    figure.forget()
                await self._leading.wait()
            identifier = f"admin-{random.token_hex(16)}"
            try:
                async with (
                    listening(self._settings, "access", "biogate_access", self._told) as listener,
                    client(self._settings, self._secrets, "admin", identifier) as connection,
                ):
                    dynsec = Dynsec(connection)
                    await dynsec.open()
                    await self._compare(dynsec)
                    trouble.reset()
                    await self._administer(connection, dynsec, listener)
            except (aiomqtt.MqttError, DynsecError, *FAILURES) as error:
                await asyncio.sleep(trouble.failed(error))

    async def _administer(self, connection: aiomqtt.Client, dynsec: Dynsec, listener: asyncpg.Connection) -> None:
        """Administer logins until another gateway leads."""
        await self._pool.execute(TELL_AGAIN, self._cell)  # a broker that was killed may have forgotten what it retained
        compare_at = time.monotonic() + self._settings.reconcile_interval_s
        look_at = time.monotonic()
        while self._leading.is_set():
            if listener.is_closed():
                raise ConnectionError("the database has ended a connection")
            self._told.clear()
            await self._switch(dynsec)
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + self._settings.timing.look_s
                self._logins = await dynsec.count()  # this notices a lost connection, too
                await self._activate()
                await self._renew(connection)
            if time.monotonic() >= compare_at:
                compare_at = time.monotonic() + self._settings.reconcile_interval_s
                await self._compare(dynsec)
            worked = await self._next_login(dynsec)
            if not await self._next_repair(dynsec) and not worked:
                await wait_at_most(self._settings.timing.look_s, self._told)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[PoolConnection]:
        """A transaction beside which nobody else administers this broker. The server ends it if the process hangs."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(FENCE, self._cell, f"{HANGS_S}s")
            yield connection

    async def _pace(self, begun: float) -> None:
        """Wait after a change that was begun at `begun`, to leave the broker time for messages."""
        took_s = time.monotonic() - begun
        await asyncio.sleep(max(took_s, self._logins / LOGINS_PER_S - took_s))

    async def _next_login(self, dynsec: Dynsec) -> bool:
        """Apply the next login on which work is due; return whether there was one. Failures do not hold up others."""
        begun = time.monotonic()
        async with self._alone() as connection:
            login = await due(connection, self._cell, [key for key, (until, _) in self._stuck.items() if until > begun])
            if login is None:
                return False
            try:
                await apply(dynsec, login, self._secrets.vault)
            except DynsecNoAnswer:
                raise
            except (Stuck, Unreadable, DynsecError) as error:
                _, wait = self._stuck.get(login.key, (0.0, STUCK_S[0]))
                self._stuck[login.key] = begun + wait, min(wait * 2, STUCK_S[1])
                log.error(
                    "a login cannot be administered", username=login.username, error=words_of(error), again_s=wait
                )
            else:
                self._stuck.pop(login.key, None)
                await note(connection, login, self._settings.enroll_unused_s)
                metrics.CREDENTIALS_APPLIED.labels(login.wanted).inc()
                log.info("login administered", username=login.username, to=login.wanted)
        await self._pace(begun)
        return True

    async def _switch(self, dynsec: Dynsec) -> None:
        """Enable the login that all handshakes use while enrollment is open, and disable it while it is closed."""
        if await self._pool.fetchval(SWITCH, self._cell) is None:
            return
        async with self._alone() as connection:
            wanted = await connection.fetchval(SWITCH, self._cell)
            if wanted is None:
                return
            try:
                await (dynsec.enable_client if wanted else dynsec.disable_client)(LOGIN)
            except DynsecNotFound:
                if wanted:
                    await put_role(dynsec, FIXED[LOGIN])
                    await dynsec.create_client(LOGIN, LOGIN, self._secrets.password(LOGIN), None)
            await connection.execute(SWITCHED, self._cell, wanted)
        log.info("enrollment is open" if wanted else "enrollment is closed", cell=self._cell)

    async def _renew(self, connection: aiomqtt.Client) -> None:
        """Ask devices by a retained message to enroll again, or withdraw that message."""
        for device_id, name, renew in await self._pool.fetch(RENEWALS, self._cell):
            payload = b"" if renew is None else json.dumps({"renew": renew}).encode()
            await connection.publish(topic(name, Down.IDENTITY), payload, qos=1, retain=True)
            await self._pool.execute(TOLD, device_id, renew)

    async def _activate(self) -> None:
        """Mark logins that were used: the database forgets their passwords, and ends older logins of their devices."""
        if await self._pool.fetchval(UNUSED):
            names = [name for (name,) in await self._pool.fetch(ACTIVATE, self._cell)]
            metrics.CREDENTIALS_ACTIVATED.inc(len(names))
            if names:
                log.info("logins were used for the first time", usernames=names)
        metrics.CREDENTIALS_DUE.set(await self._pool.fetchval(HOW_MANY_DUE, self._cell))
        metrics.CREDENTIALS_STUCK.set(len(self._stuck))

    # -- database and broker compared

    async def _compare(self, dynsec: Dynsec) -> None:
        """Compare database and broker; the differences are then repaired one after the other."""
        if await dynsec.defaults() != DEFAULTS:
            await dynsec.set_defaults()
            log.warning("repaired", what="defaults")
        clients, roles, rows, enrollment_open = await read(dynsec, self._pool, self._cell)
        found = compare(clients, roles, rows, enrollment_open=enrollment_open)
        self._repairs = deque(found.repairs)
        metrics.RECONCILIATIONS.inc()
        metrics.CREDENTIALS_MISSING.set(len(found.lost))
        metrics.CREDENTIALS_FOREIGN.set(len(found.strangers))
        log.info("database and broker compared", logins=len(clients), differences=len(found.repairs))
        if found.lost:
            log.error(
                "the broker has lost logins, and nobody knows their passwords: stop it, write its file anew with "
                "`biogate recovery dynamic-security`, start it",
                logins=len(found.lost),
                some=found.lost[:10],
            )
        if found.strangers:
            log.warning("the broker has logins that no gateway made", some=found.strangers[:10])
        if found.suspicious:
            log.error(
                "most of the broker's logins are not in the database: is BIOGATE_DATABASE_URL right? They are left "
                "alone; if they are to go, `biogate recovery dynamic-security` writes a file without them"
            )

    async def _next_repair(self, dynsec: Dynsec) -> bool:
        """Repair the next difference; return whether there was one. The next comparison finds those that failed."""
        if not self._repairs:
            return False
        begun, found = time.monotonic(), self._repairs[0]
        try:
            async with self._alone() as connection:
                done = await repair(dynsec, connection, self._cell, found, self._secrets.passwords)
        except DynsecNoAnswer:
            raise
        except DynsecError as error:
            log.error("a difference could not be repaired", what=found.what, name=found.name, error=words_of(error))
        else:
            if done:
                metrics.CREDENTIALS_REPAIRED.labels(found.what).inc()
                log.warning("repaired", what=found.what, name=found.name)
        self._repairs.popleft()
        await self._pace(begun)
        return True
