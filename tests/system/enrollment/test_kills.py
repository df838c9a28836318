"""Gateway, broker and database are killed between any two steps of a handshake: it completes, with one identity.

Devices that stand at each of the steps meet the same kill; so all of them are in one test a victim, with one gateway
and with two.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from deploy.stack import Local, Postgres
from deploy.stack.ports import any_free
from schema.migrate import migrate
from tests.conftest import Broker
from tests.databases import with_database
from tests.faults.servers import signal_all, start_again
from tests.gateway.enrollment.handshake import Handshake
from tests.mqtt import Client, Refused
from tests.system.enrollment.device import Device, Line
from tests.system.enrollment.plant import Plant, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGAIN_S = 0.5
"""The first repetition; in the field it is 2 s."""
PATIENCE_S = 30

GATE = """
create function gate() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(4711);
    return new;
end $$;
create trigger gate before update of applied on credentials
    for each row when (new.applied = 'present') execute function gate()"""
"""Where a test holds the administration: the broker has the login, the database does not know yet."""


@pytest.fixture(scope="module")
def postgres(stack: Local) -> Iterator[Postgres]:
    """A server of our own, to be killed."""
    usual = stack.postgres
    with Postgres(usual.place, stack.paths, port=any_free(), programs=usual.programs, name="kills") as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(postgres: Postgres) -> str:
    """A database with the gate in it, open."""
    url = with_database(postgres.url, f"test_{uuid.uuid4().hex[:12]}")
    admin = await asyncpg.connect(with_database(postgres.url, "postgres"))
    await admin.execute(f"create database {url.rpartition('/')[2]} template template0")
    await admin.close()
    connection = await asyncpg.connect(url)
    await migrate(connection)
    await connection.execute(GATE)
    await connection.close()
    return url


@pytest_asyncio.fixture(loop_scope="module")
async def plant(
    module_broker: Broker, database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Plant]:
    """With so many gateways as the test says."""
    plant = Plant(module_broker, database, tmp_path, gateways=request.param)
    try:
        plant.start()
        yield plant
        assert not plant.complaints()
    finally:
        plant.kill()
        for gateway in plant.gateways:
            print(gateway.log.read_text()[-3000:])  # shown with a failure


@dataclass
class Traveller:
    """A device somewhere on its way."""

    plant: Plant
    device: Device
    step: str
    handshake: Handshake = field(init=False)
    line: Line = field(init=False)
    proof: bytes = b""
    client: Client | None = None

    def __post_init__(self) -> None:
        self.handshake = self.device.handshake()
        self.line = Line(self.plant.door, self.handshake, AGAIN_S)

    async def as_far_as(self, step: str) -> None:
        """hello: sent; challenge: received; proof: sent; grant: received; connected: but nothing said."""
        client = await self.line.client()
        if step == "hello":
            client.shout(self.handshake.request, self.handshake.hello)
            return
        self.proof = self.handshake.challenged(await self.line.ask(self.handshake.hello, "challenge"))
        if step == "challenge":
            return
        if step == "proof":
            client.shout(self.handshake.request, self.proof)
            return
        await self.take_grant()
        if step == "connected":
            self.client = await self.connection()

    async def take_grant(self) -> None:
        reply = await self.line.ask(self.proof, "grant", patience_s=PATIENCE_S)
        assert reply["type"] == "grant", reply
        self.device.keep(self.handshake, reply)

    async def connection(self) -> Client:
        login = self.device.login
        assert login is not None
        return await Client.connect(
            login.port, login.client_id, login.username, login.password, context=self.plant.door.context
        )

    async def arrive(self) -> None:
        """All that is left to do, as often as it takes: then one status under the new login."""
        if self.device.login is None:
            if not self.proof:
                reply = await self.line.ask(self.handshake.hello, "challenge", patience_s=PATIENCE_S)
                self.proof = self.handshake.challenged(reply)
            await self.take_grant()
        await self.line.__aexit__()
        give_up = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                if self.client is None or self.client.ended.done():
                    self.client = await self.connection()
                login = self.device.login
                assert login is not None
                status = self.device.status("online", int(time.time() * 1000))
                assert await self.client.publish(f"{login.topic}/status", status, retain=True) < 0x80
                return
            assert time.monotonic() < give_up
            await asyncio.sleep(0.2)


async def put_on_their_way(plant: Plant) -> tuple[list[Traveller], asyncpg.Connection]:
    """One device at each step, and the gate closed behind one of them by the connection that is returned too."""
    steps = ("connected", "grant", "made", "provisioning", "challenge", "proof", "hello")
    travellers = {step: Traveller(plant, await plant.device(), step) for step in steps}
    await asyncio.gather(*(travellers[step].as_far_as(step) for step in ("connected", "grant", "challenge")))
    gate = await asyncpg.connect(plant.database_url)
    await gate.execute("select pg_advisory_lock(4711)")
    for step in ("made", "provisioning"):
        await travellers[step].as_far_as("proof")
        serial = travellers[step].device.serial
        there = "select exists (select from enrollments where serial = $1 and state = 'provisioning')"
        await plant.until(there, serial)
        if step == "made":
            await eventually(lambda: at_broker(plant, f"{serial}.1"), 10, "the broker has the login")  # noqa: B023
    assert not await at_broker(plant, f"{travellers['provisioning'].device.serial}.1")
    await asyncio.gather(*(travellers[step].as_far_as(step) for step in ("proof", "hello")))
    return list(travellers.values()), gate


async def at_broker(plant: Plant, username: str) -> bool:
    return username in await plant.devices_logins()


async def kill(plant: Plant, postgres: Postgres, victim: str) -> None:
    """And start it again, unless another gateway is there in its place."""
    if victim == "gateway":
        plant.gateway.kill()
        if len(plant.gateways) == 1:
            await asyncio.to_thread(plant.gateway.start, ready=False)
        return
    server = postgres if victim == "database" else plant.broker.server
    signal_all(server, signal.SIGKILL)
    start_again(server)


async def assert_one_identity_each(plant: Plant, travellers: list[Traveller]) -> None:
    for traveller in travellers:
        serial = traveller.device.serial
        await plant.until("select bool_and(state = 'active') from enrollments where serial = $1", serial, timeout_s=20)
        row = await plant.sql(
            """select (select count(*) from devices where name = $1),
                      array(select username from credentials c join devices d using (device_id) where d.name = $1),
                      (select identity_key from serials where serial = $1),
                      (select bool_and(applied = 'present' and activated_at is not null and password is null)
                         from credentials c join devices d using (device_id) where d.name = $1)""",
            serial,
        )
        key = traveller.device.identity.public_key().public_bytes_raw()
        assert tuple(row[0]) == (1, [f"{serial}.1"], key, True), traveller.step
    present = await plant.sql("select username from credentials where wanted = 'present'")
    assert await plant.devices_logins() == {row["username"] for row in present}
    assert not await plant.value("select exists (select from credentials where wanted <> applied)")


@pytest.mark.parametrize("plant", [1, 2], indirect=True, ids=["one", "two"])
@pytest.mark.parametrize("victim", ["gateway", "broker", "database"])
async def test_it_completes_with_one_identity(plant: Plant, postgres: Postgres, victim: str) -> None:
    travellers, gate = await put_on_their_way(plant)
    begun = time.monotonic()
    await kill(plant, postgres, victim)
    gate.terminate()  # the gate opens
    await asyncio.gather(*(traveller.arrive() for traveller in travellers))
    print(f"all have arrived {time.monotonic() - begun:.1f} s after the kill")
    await assert_one_identity_each(plant, travellers)
    for traveller in travellers:
        assert traveller.client is not None
        await traveller.client.close()


@pytest.mark.parametrize("plant", [2], indirect=True)
async def test_commands_take_effect_though_the_leader_is_killed(plant: Plant) -> None:
    """A revocation that was committed, and not carried out: the next leader does it."""
    devices = [await plant.active() for _ in range(3)]
    plant.gateway.kill()
    begun = asyncio.get_running_loop().time()
    for device, _ in devices:
        await plant.command(device, "revoke")
    for device, client in devices:
        await asyncio.wait_for(asyncio.shield(client.ended), 20)
        with pytest.raises(Refused):
            await device.connect(plant.authority)
    print(f"revoked {max(client.ended_at for _, client in devices) - begun:.1f} s after the leader was killed")


@pytest.mark.parametrize("plant", [1], indirect=True)
async def test_an_approval_is_not_forgotten_while_no_gateway_runs(plant: Plant) -> None:
    """And nothing was lost of the handshake that awaited it."""
    device = plant.made()
    enrolling = asyncio.create_task(
        plant.enroll(device, wait_for_operator=True, patience_s=PATIENCE_S, first_wait_s=AGAIN_S)
    )
    await plant.until("select exists (select from enrollments where serial = $1 and state = 'awaiting')", device.serial)
    plant.gateway.kill()
    await plant.sql("select enrollment_approve(txn, null, 'Anna', 'ours') from enrollments where state = 'awaiting'")
    await asyncio.to_thread(plant.gateway.start, ready=False)
    login = await enrolling
    assert (login.device, login.generation) == (device.serial, 1)


@pytest.mark.parametrize("plant", [1], indirect=True)
async def test_a_broker_that_has_forgotten_a_login_gets_it_again(plant: Plant) -> None:
    """As after a crash that lost its last write: it is made again while its password is there still."""
    device = await plant.enrolled()
    assert device.login is not None
    async with await plant.client("admin") as admin:
        forget = {"commands": [{"command": "deleteClient", "username": device.login.username}]}
        await admin.publish("$CONTROL/dynamic-security/v1", json.dumps(forget).encode())
    await eventually(lambda: gone(plant, device), 5, "it is forgotten")
    plant.gateway.kill()
    plant.gateway.start()  # a new leader compares at its start
    await eventually(lambda: at_broker(plant, device.login.username), 10, "it is there again")  # type: ignore[union-attr]
    await (await device.connect(plant.authority)).close()


async def gone(plant: Plant, device: Device) -> bool:
    assert device.login is not None
    return not await at_broker(plant, device.login.username)
