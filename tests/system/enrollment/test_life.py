"""What becomes of a device with a login: suspended, resumed, revoked, retired, given a new login, reset. At once."""

from __future__ import annotations

import asyncio
import itertools
import json
import time

import pytest

from tests.mqtt import Client, Refused
from tests.system.enrollment.device import Device, Rejected, Waiting
from tests.system.enrollment.plant import Neighbour, Plant, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("unharmed")]
SETTINGS = {"enroll_pending_s": 5}

AT_ONCE_S = 1.0
PERIOD_S = 0.02


async def thrown_out(plant: Plant, client: Client, device: Device, action: str) -> None:
    """The command takes effect on the connection that is open."""
    begun = asyncio.get_running_loop().time()
    await plant.command(device, action)
    await asyncio.wait_for(asyncio.shield(client.ended), 10)
    took = client.ended_at - begun
    print(f"{action}: disconnected after {took * 1000:.0f} ms")
    assert took < AT_ONCE_S


async def code(plant: Plant, device: Device) -> str:
    with pytest.raises(Rejected) as reject:
        await plant.enroll(device)
    return reject.value.code


async def audited(plant: Plant, device: Device) -> list[str]:
    rows = await plant.sql("select action from audit where subject = $1 and who = 'tests'", f"device/{device.serial}")
    return [row["action"] for row in rows]


async def test_suspended_and_resumed(plant: Plant) -> None:
    device, client = await plant.active()
    await thrown_out(plant, client, device, "suspend")
    with pytest.raises(Refused):
        await device.connect(plant.authority, first=False)
    assert await code(plant, device) == "blocked"
    await plant.command(device, "resume")

    async def in_again() -> bool:
        try:
            await (await device.connect(plant.authority, first=False)).close()
        except Refused:
            return False
        return True

    await eventually(in_again, AT_ONCE_S, "the old login works again")
    assert await audited(plant, device) == ["device suspend", "device resume"]


@pytest.mark.parametrize("action", ["revoke", "retire"])
async def test_revoked_for_good(plant: Plant, action: str) -> None:
    device, client = await plant.active()
    assert device.login is not None
    await thrown_out(plant, client, device, action)
    with pytest.raises(Refused):
        await device.connect(plant.authority)
    assert await code(plant, device) == "blocked"
    assert await code(plant, plant.made(device.serial)) == "blocked"
    assert device.login.username not in await plant.devices_logins()
    assert await audited(plant, device) == [f"device {action}"]


async def test_revoked_in_the_middle_of_a_handshake(plant: Plant) -> None:
    """Between its grant and its first connection."""
    device = await plant.enrolled()
    assert device.login is not None
    await plant.command(device, "revoke")
    await plant.until("select applied = 'absent' from credentials where username = $1", device.login.username)
    with pytest.raises(Refused):
        await device.connect(plant.authority)


async def test_rotation_without_a_gap(plant: Plant) -> None:
    """The device is asked, enrolls again beside its work, moves over; the old login is deleted; no frame is missing."""
    device, old = await plant.active()
    assert device.login is not None
    first = device.login
    await old.subscribe(f"{first.topic}/identity")
    sent: list[float] = []
    wire = old
    stop = asyncio.Event()

    async def produce() -> None:
        while not stop.is_set():
            payload = device.frame()
            assert await wire.publish(f"{first.topic}/telemetry", payload) < 0x80
            sent.append(time.monotonic())
            await asyncio.sleep(PERIOD_S)

    producing = asyncio.create_task(produce())
    await plant.command(device, "rotate")
    asked = await old.next(5)
    assert (asked.topic, json.loads(asked.payload)) == (f"{first.topic}/identity", {"renew": 2})
    boot, seq = device.boot, device.seq
    login = await plant.enroll(device)
    assert (login.generation, device.boot) == (2, boot)  # it goes on in the boot it is in
    new = await device.connect(plant.authority)
    wire = new
    begun = asyncio.get_running_loop().time()
    await asyncio.wait_for(asyncio.shield(old.ended), 10)
    print(f"the old login was thrown out {old.ended_at - begun:.2f} s after the first status under the new one")
    await asyncio.sleep(0.3)
    stop.set()
    await producing
    assert device.seq > seq
    await plant.until(
        "select count(*) = $2 from frames join devices using (device_id) where name = $1", device.serial, len(sent)
    )
    assert max(b - a for a, b in itertools.pairwise(sent)) < 1.0
    mine = [name for name in await plant.devices_logins() if name.startswith(f"{device.serial}.")]
    assert mine == [login.username]
    async with await plant.client("observer") as observer:
        await observer.subscribe(f"{first.topic}/identity")
        with pytest.raises(TimeoutError):
            await observer.next(0.5)  # it is told once
    await new.close()


async def test_a_reset_lets_a_new_identity_key_in(plant: Plant, other: Neighbour) -> None:
    """A controller whose board was replaced: an operator says so beforehand, and nobody has to wait."""
    device, client = await plant.active()
    replaced = plant.made(device.serial)
    with pytest.raises(Waiting):
        await plant.enroll(replaced)
    await plant.command(device, "reset")
    assert (await plant.enroll(replaced)).generation == 2
    new = await replaced.connect(plant.authority)
    await asyncio.wait_for(asyncio.shield(client.ended), 5)
    with pytest.raises(Waiting):
        await plant.enroll(device)  # now it is the old key that is strange
    assert await audited(plant, device) == ["device reset"]
    await new.close()
