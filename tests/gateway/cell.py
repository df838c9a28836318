"""A cell whose logins are administered: what the tests of access ask for and look at."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiomqtt
import asyncpg
from aiomqtt.exceptions import MqttConnectError

from gateway.broker.client import MqttClient, client
from gateway.intake.cell import prepare
from gateway.logins.administration import Administration
from gateway.logins.dynsec import Dynsec, LoginAtBroker
from gateway.logins.roles import new_password, new_salt, verifier
from gateway.runtime.database import Pool, Troubles, create_pool
from gateway.secrets import Secrets, ensure_vault
from gateway.settings import Settings
from schema.sealed import seal
from tests.conftest import Broker
from tests.gateway.material import settings

DEVICE = (
    "insert into devices (name) values ($1) on conflict (name) do update set name = excluded.name returning device_id"
)
LOGIN = """
insert into credentials (username, device_id, cell, generation, kind, client_id, password, salt, verifier)
values ($1, $2, 'main', $3, $4, $5, $6, $7, $8)"""
ENROLLMENT = """
insert into enrollments (txn, cell, serial, identity_key, claim_version, state, hello, challenge, transcript, username)
values ($1, 'main', $2, $3, 1, 'provisioning', '', '', '', $4)"""


@dataclass
class Cell:
    """Broker, database and secrets of a cell; `administration` is what leads it."""

    broker: Broker
    settings: Settings
    secrets: Secrets
    pool: Pool
    passwords: dict[str, str] = field(default_factory=dict)
    """Of devices' logins, by user name."""
    troubles: Troubles = field(default_factory=dict)

    async def sql(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        return list(await self.pool.fetch(query, *arguments))

    async def value(self, query: str, *arguments: object) -> Any:
        return await self.pool.fetchval(query, *arguments)

    async def login(
        self, device: str, generation: int = 1, *, kind: str = "password", client_id: str | None = None
    ) -> str:
        """As a handshake leaves it: wanted, and not yet told to the broker. Its user name."""
        username = f"{device}.{generation}"
        sealed = salt = hashed = None
        if kind == "password":
            password = self.passwords[username] = new_password()
            public = self.secrets.vault.public_key().public_bytes_raw()
            sealed, salt = seal(public, password.encode(), f"credentials/{username}"), new_salt()
            hashed = verifier(password, salt)
        device_id = await self.value(DEVICE, device)
        await self.pool.execute(LOGIN, username, device_id, generation, kind, client_id, sealed, salt, hashed)
        return username

    async def enrollment(self, username: str) -> str:
        """A handshake that waits for this login. Its txn."""
        txn = new_salt().hex()[:16] * 2
        await self.pool.execute(ENROLLMENT, txn, username.rpartition(".")[0], bytes(32), username)
        return txn

    async def command(self, device: str, action: str) -> None:
        await self.pool.execute("select device_command($1, $2, 'tests', 'because')", device, action)

    async def status(self, device: str, generation: int | None) -> None:
        """One was received from it."""
        await self.pool.execute(
            """insert into statuses (device_id, boot, time, online, received_at, generation)
               select device_id, 1, now(), true, now(), $2 from devices where name = $1""",
            device,
            generation,
        )

    async def settled(self, timeout_s: float = 30) -> None:
        """Until nothing is due."""
        query = "select not exists (select from credentials where wanted <> applied)"
        await eventually(lambda: self.value(query), timeout_s, lambda: self.sql("select * from credentials"))

    # -- the broker

    @contextlib.asynccontextmanager
    async def dynsec(self) -> AsyncIterator[Dynsec]:
        """Another administrator than ours."""
        async with client(self.settings, self.secrets, "admin", f"other-{new_salt().hex()}") as connection:
            dynsec = Dynsec(connection)
            await dynsec.open()
            yield dynsec

    async def logins(self) -> dict[str, LoginAtBroker]:
        """The devices' logins at the broker."""
        async with self.dynsec() as dynsec:
            return {one.username: one for one in await dynsec.clients() if "." in one.username}

    async def roles(self) -> set[str]:
        """The devices' roles at the broker."""
        async with self.dynsec() as dynsec:
            return {role.name for role in await dynsec.roles() if role.name.startswith("device-")}

    def connect(self, username: str, client_id: str | None = None, password: str | None = None) -> aiomqtt.Client:
        return MqttClient(
            self.broker.host,
            self.broker.port,
            username=username,
            password=password or self.passwords.get(username) or self.secrets.password(username),
            identifier=client_id or f"test-{new_salt().hex()}",
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            timeout=20,
        )

    async def gets_in(self, username: str, client_id: str | None = None, password: str | None = None) -> bool:
        """Whether the broker lets this login in."""
        try:
            async with self.connect(username, client_id, password):
                return True
        except MqttConnectError:
            return False

    # -- administration

    @contextlib.asynccontextmanager
    async def administered(self, **changes: Any) -> AsyncIterator[asyncio.Event]:
        """By a gateway that leads, until the block ends, as suddenly as by a kill. Yields what says that it leads."""
        leading = asyncio.Event()
        leading.set()
        chosen = self.settings.model_copy(update=changes)
        administration = Administration(chosen, self.secrets, self.pool, leading, self.troubles)
        task = asyncio.create_task(administration.run())
        try:
            yield leading
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.wait([task])


@contextlib.asynccontextmanager
async def cell_of(broker: Broker, database_url: str) -> AsyncIterator[Cell]:
    chosen = settings(database_url, mqtt_url=broker.url, secrets_dir=broker.secrets)
    secrets = Secrets.load(broker.secrets)
    async with create_pool(chosen) as pool:
        await prepare(pool, chosen)
        await ensure_vault(pool, secrets)
        yield Cell(broker, chosen, secrets, pool)


async def eventually(
    condition: Callable[[], Awaitable[Any]], timeout_s: float, explain: Callable[[], Awaitable[Any]] | None = None
) -> None:
    """Until it is true."""
    deadline = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {await explain() if explain else condition}")
        await asyncio.sleep(0.05)
