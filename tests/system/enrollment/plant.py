"""A plant to be attacked: broker with logins and TLS, database, gateways; one device in it that goes on sending."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from gateway.logins.roles import FIXED
from tests.conftest import Broker
from tests.gateway.enrollment.handshake import Login, claim_key
from tests.mqtt import Client
from tests.processes import GatewayProcess
from tests.system.enrollment.device import Device, Door

QUICK_S = 12.0
"""What "at once" means for a handshake: in a flood the gateway leaves the broker for 5 s, and a device that finds it
busy asks again after 1, 2 and 4 s."""
PERIOD_S = 0.05


class Plant:
    """Started with `start`. `settings` of the gateways: without the prefix BIOGATE_, in small letters."""

    def __init__(
        self, broker: Broker, database_url: str, directory: Path, gateways: int = 1, **settings: object
    ) -> None:
        self.broker = broker
        self.directory = directory
        self.door = Door(broker.enroll_port, self.password("enroll"), self.authority)
        self.gateways = [
            GatewayProcess(database_url, broker.url, directory / f"gateway-{number}.log") for number in range(gateways)
        ]
        given: dict[str, object] = {
            "secrets_dir": broker.secrets,
            "device_broker_url": f"mqtts://localhost:{broker.tls_port}",
            "device_certificate_broker_url": f"mqtts://localhost:{broker.certificate_port}",
        }
        for gateway in self.gateways:
            gateway.environment |= {f"BIOGATE_{name.upper()}": str(value) for name, value in (given | settings).items()}
        self.database_url = database_url
        self._master = bytes.fromhex((broker.secrets / "claim-1.key").read_text())

    @property
    def gateway(self) -> GatewayProcess:
        return self.gateways[0]

    @property
    def authority(self) -> Path:
        return self.broker.secrets / "ca.pem"

    def password(self, login: str) -> str:
        return (self.broker.secrets / f"{login}.password").read_text().strip()

    def start(self) -> None:
        """The first gateway leads; the others are on standby, and not ready for that reason."""
        self.gateway.start()
        for standby in self.gateways[1:]:
            standby.start(ready=False)

    def kill(self) -> None:
        for gateway in self.gateways:
            gateway.kill()

    # -- devices

    def made(self, serial: str | None = None, **more: Any) -> Device:
        """As it leaves production, with its claim key. Nobody here knows of it yet."""
        serial = serial or f"S-{secrets.token_hex(4)}"
        return Device(serial, claim_key(self._master, serial), **more)

    async def device(self, serial: str | None = None, *, batch: str = "approved", quota: int | None = None) -> Device:
        """The same, in the list of those that may enroll."""
        device = self.made(serial)
        await self.sql(
            "select serials_import($1, $1, '{1}', '{null}', $2, $3, 'tests', 'delivered')",
            [device.serial],
            batch,
            quota,
        )
        return device

    async def enrolled(self, serial: str | None = None) -> Device:
        """The same, with a login that it has not used yet."""
        device = await self.device(serial)
        await self.enroll(device)
        return device

    async def enroll(self, device: Device, **more: Any) -> Login:
        return await device.enroll(self.door, **{"patience_s": 20, "first_wait_s": 1, **more})

    async def active(self, serial: str | None = None) -> tuple[Device, Client]:
        """The same, connected and heard of."""
        device = await self.enrolled(serial)
        client = await device.connect(self.authority)
        await self.until_active(device)
        return device, client

    async def until_active(self, device: Device) -> None:
        assert device.login is not None
        await self.until(
            "select exists (select from credentials where username = $1 and activated_at is not null)",
            device.login.username,
        )

    async def quickly(self) -> None:
        """An honest device enrolls at once."""
        begun = time.monotonic()
        await self.enroll(await self.device())
        took = time.monotonic() - begun
        assert took < QUICK_S, f"an honest device took {took:.2f} s to enroll"

    # -- clients of people

    async def client(self, login: str, client_id: str | None = None) -> Client:
        """One of the broker's own logins, by the plain listener on loopback."""
        return await Client.connect(
            self.broker.port, client_id or f"test-{secrets.token_hex(8)}", login, self.password(login)
        )

    async def logins(self) -> dict[str, dict[str, Any]]:
        """What the broker says of all its logins, by name."""
        async with await self.client("admin") as admin:
            assert await admin.subscribe("$CONTROL/dynamic-security/v1/response") == [1]
            mine = secrets.token_hex(8)
            command = {"command": "listClients", "verbose": True, "correlationData": mine}
            await admin.publish("$CONTROL/dynamic-security/v1", json.dumps({"commands": [command]}).encode())
            while True:
                for answer in json.loads((await admin.next()).payload)["responses"]:
                    if answer.get("correlationData") == mine:
                        return {client["username"]: client for client in answer["data"]["clients"]}

    async def devices_logins(self) -> set[str]:
        return set(await self.logins()) - set(FIXED)

    # -- what can be seen from outside

    async def sql(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def value(self, query: str, *arguments: object) -> Any:
        return (await self.sql(query, *arguments))[0][0]

    async def until(self, query: str, *arguments: object, timeout_s: float = 30) -> None:
        """Until it is true."""
        await eventually(lambda: self.value(query, *arguments), timeout_s, query)

    async def command(self, device: Device, action: str) -> None:
        await self.sql("select device_command($1, $2, 'tests', 'because')", device.serial, action)

    async def audit(self, since: int) -> list[asyncpg.Record]:
        return await self.sql("select * from audit where n > $1 order by n", since)

    async def audited(self) -> int:
        """The number of the newest entry."""
        return int(await self.value("select coalesce(max(n), 0) from audit"))

    def refusals(self) -> dict[str, float]:
        """How often each code was given, by all gateways."""
        counts: dict[str, float] = {}
        for gateway in self.gateways:
            for name, value in gateway.metrics().items():
                if name.startswith(REFUSALS):
                    code = name.partition('"')[2].partition('"')[0]
                    counts[code] = counts.get(code, 0) + value
        return counts

    def complaints(self) -> list[str]:
        """Lines in the gateways' logs that tell of a defect."""
        return [
            line
            for gateway in self.gateways
            for line in gateway.log.read_text().splitlines()
            if "Traceback" in line or "defect" in line or '"level": "critical"' in line
        ]


REFUSALS = "biogate_enroll_refused_total"


class Neighbour:
    """A device that has enrolled and sends frames all the time, as the others of a plant do."""

    def __init__(self, plant: Plant, device: Device) -> None:
        self.device = device
        self._plant = plant
        self._stored = 0
        self._acknowledged = 0

    async def assert_whole(self) -> None:
        """Every frame that was acknowledged by the broker is stored."""
        sent, boot = self._acknowledged, self.device.boot
        assert sent > self._stored, "the neighbour has sent nothing meanwhile"
        await self._plant.until(
            """select count(*) = $3 from frames f join devices d using (device_id)
                where d.name = $1 and f.boot = $2 and f.seq < $3""",
            self.device.serial,
            boot,
            sent,
        )
        self._stored = sent

    async def run(self) -> None:
        assert self.device.login is not None
        client = await self.device.connect(self._plant.authority)
        while True:
            assert await client.publish(f"{self.device.login.topic}/telemetry", self.device.frame()) < 0x80
            self._acknowledged += 1
            await asyncio.sleep(PERIOD_S)


@contextlib.asynccontextmanager
async def neighbour(plant: Plant) -> AsyncIterator[Neighbour]:
    one = Neighbour(plant, await plant.enrolled())
    task = asyncio.create_task(one.run())
    await asyncio.sleep(PERIOD_S)
    yield one
    assert not task.done(), f"the neighbour was disturbed: {task.exception()!r}"
    task.cancel()


async def eventually(condition: Callable[[], Awaitable[Any]], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not await condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(0.05)
