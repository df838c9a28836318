"""A device that was written from docs/enrollment.md alone enrolls, publishes, and is looked after."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.gateway.enrollment.handshake import fingerprint
from tests.system.enrollment.device import Line, Waiting
from tests.system.enrollment.plant import Plant

pytestmark = pytest.mark.asyncio(loop_scope="module")
SETTINGS = {"enroll_pending_s": 2}


async def test_it_enrolls_and_publishes(plant: Plant) -> None:
    device = await plant.device("BR-2044")
    login = await plant.enroll(device)
    assert (login.device, login.username, login.generation) == ("BR-2044", "BR-2044.1", 1)
    assert login.topic == "bioreactors/BR-2044"
    async with await device.connect(plant.authority) as client:
        assert await client.publish(f"{login.topic}/telemetry", device.frame()) < 0x80
        own = [f"{login.topic}/{name}" for name in ("receipt", "backfill", "command", "identity")]
        assert await client.subscribe(*own) == [1, 1, 1, 1]
        await plant.until("select count(*) = 1 from frames")
        await plant.until_active(device)
        receipt = await client.next()
        assert (receipt.topic, receipt.payload) == (f"{login.topic}/receipt", f"[[{device.boot},0]]".encode())
    states = await plant.sql("select action, who from audit where subject = 'serial/BR-2044' order by n")
    assert [row["action"].removeprefix("enrollment ") for row in states] == [
        "provisioning", "granted", "active"
    ]  # fmt: skip


async def test_lost_replies_are_given_again_as_they_were(plant: Plant) -> None:
    device = await plant.device()
    handshake = device.handshake()
    async with Line(plant.door, handshake) as line:
        challenge = await line.ask(handshake.hello, "challenge")
        assert await line.ask(handshake.hello, "challenge") == challenge
        proof = handshake.challenged(challenge)
        grants = [await line.ask(proof, "grant") for _ in range(3)]
    assert grants[0] == grants[1] == grants[2]
    assert handshake.granted(grants[0]).generation == 1
    assert await plant.value("select count(*) from credentials where username like $1", f"{device.serial}.%") == 1


async def test_a_lost_connection_does_no_harm(plant: Plant) -> None:
    device = await plant.device()
    handshake = device.handshake()
    async with Line(plant.door, handshake, 0.3) as line:
        challenge = await line.ask(handshake.hello, "challenge")
        (await line.client()).abort()
        proof = handshake.challenged(challenge)
        client = await line.client()
        await client.publish(handshake.request, proof)
        client.abort()
        grant = await line.ask(proof, "grant")
    assert handshake.granted(grant).generation == 1


async def test_of_two_handshakes_at_once_one_login_remains(plant: Plant) -> None:
    """A controller that was restarted in the middle, and has forgotten where it was."""
    device = await plant.device()
    handshakes = [device.handshake() for _ in range(3)]
    twins = [replace(device) for _ in handshakes]
    await asyncio.gather(
        *(plant.enroll(twin, handshake=each) for twin, each in zip(twins, handshakes, strict=True)),
        return_exceptions=True,  # a grant may have been replaced before it was sent
    )
    wanted = await plant.sql(
        "select username from credentials where username ^@ $1 and wanted = 'present'", device.serial
    )
    [last] = [twin for twin in twins if twin.login is not None and twin.login.username == wanted[0]["username"]]
    async with await last.connect(plant.authority):
        await plant.until_active(last)
    await plant.until("select bool_and(wanted = applied) from credentials")
    assert [name for name in await plant.logins() if name.startswith(device.serial)] == [wanted[0]["username"]]
    assert len(wanted) == 1


async def test_an_unknown_serial_waits_for_an_operator(plant: Plant) -> None:
    device = plant.made()
    enrolling = asyncio.create_task(plant.enroll(device, wait_for_operator=True))
    await plant.until("select exists (select from enrollments where serial = $1 and state = 'awaiting')", device.serial)
    row = (await plant.sql("select txn, identity_key from enrollments where serial = $1", device.serial))[0]
    assert row["identity_key"] == device.identity.public_key().public_bytes_raw()
    assert len(fingerprint(device.identity)) == 12
    await asyncio.sleep(0.2)
    assert not enrolling.done()
    await plant.sql("select enrollment_approve($1, 'new-name', 'Anna', 'display compared')", row["txn"])
    login = await enrolling
    assert (login.device, login.topic) == ("new-name", "bioreactors/new-name")
    assert await plant.value(
        "select who = 'Anna' from audit where action = 'enrollment approved' and subject = $1",
        f"serial/{device.serial}",
    )


async def test_a_factory_reset_gets_a_new_generation_and_goes_on_counting_boots(plant: Plant) -> None:
    device, client = await plant.active()
    await client.close()
    device.boot = 7
    await (await device.connect(plant.authority)).close()
    await plant.until("select exists (select from statuses where boot = 7)")
    old, device.login, device.boot = device.login, None, None
    assert old is not None
    login = await plant.enroll(device)
    assert (login.generation, login.device) == (2, old.device)
    assert login.boot > 7
    async with await device.connect(plant.authority):
        await plant.until_active(device)
    await plant.until("select applied = 'absent' from credentials where username = $1", old.username)
    assert old.username not in await plant.logins()


async def test_another_identity_key_needs_an_operator(plant: Plant) -> None:
    device, client = await plant.active()
    replaced = plant.made(device.serial)
    with pytest.raises(Waiting):
        await plant.enroll(replaced)
    assert not client.ended.done()
    await client.close()
