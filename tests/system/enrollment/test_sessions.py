"""So many handshakes may be open at once, and each only for a while."""

from __future__ import annotations

import asyncio
import secrets
import time

import pytest

from tests.gateway.enrollment.handshake import Handshake
from tests.system.enrollment.device import Line, Rejected, Waiting
from tests.system.enrollment.plant import Plant, eventually
from tests.system.enrollment.watch import Count, code_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("unharmed")]

SESSIONS, CHALLENGE_S, UNUSED_S = 200, 4, 3
SETTINGS = {
    "enroll_sessions": SESSIONS,
    "enroll_challenge_s": CHALLENGE_S,
    "enroll_unused_s": UNUSED_S,
    "enroll_hellos_per_s": 1000,
    "enroll_pending_s": 5,
}
SWEEP_S = 12
"""What is late is swept every 10 s."""


async def fill(plant: Plant) -> list[Handshake]:
    """All places, by somebody who knows no claim key."""
    handshakes = [plant.made().handshake() for _ in range(SESSIONS)]
    async with await plant.door.open(f"e-{secrets.token_hex(16)}") as client:
        for at in range(0, SESSIONS, 40):  # not more at once than may wait
            for handshake in handshakes[at : at + 40]:
                await client.publish(handshake.request, handshake.hello)
            wanted = at + 40
            await plant.until("select count(*) >= $1 from enrollments where state = 'challenged'", wanted)
    return handshakes


async def test_when_all_places_are_taken_others_are_told_to_come_back(plant: Plant, count: Count) -> None:
    begun = time.monotonic()
    for _ in range(3):  # on a slow machine the first places may be free again before the last is taken
        await fill(plant)
        device = await plant.device()
        refused = None
        try:
            await plant.enroll(device, handshake=device.handshake())
        except Rejected as reject:
            refused = reject
            break
    assert refused is not None
    assert "busy" in str(refused)
    assert refused.retry_after_s is not None
    assert 1 <= refused.retry_after_s <= 60
    await count.assert_refused("busy")

    async def is_in() -> bool:
        try:
            return bool(await plant.enroll(device, handshake=device.handshake()))
        except Rejected:
            await asyncio.sleep(1)
            return False

    await eventually(is_in, CHALLENGE_S + SWEEP_S, "the places are free again")
    print(f"free again after {time.monotonic() - begun:.1f} s")


async def test_a_proof_that_comes_too_late(plant: Plant) -> None:
    device = await plant.device()
    handshake = device.handshake()
    async with Line(plant.door, handshake) as line:
        proof = handshake.challenged(await line.ask(handshake.hello, "challenge"))
        await asyncio.sleep(CHALLENGE_S + 0.5)
        assert (await line.ask(proof, "grant"))["code"] == "expired"
        assert (await line.ask(handshake.hello, "challenge"))["code"] == "expired"
    assert (await plant.enroll(device)).generation == 1


async def test_a_login_that_is_never_used_is_deleted(plant: Plant) -> None:
    """And what was answered before is not answered any more; a new handshake gets a new one."""
    device = await plant.device()
    handshake = device.handshake()
    login = await plant.enroll(device, handshake=handshake)
    assert login.username in await plant.devices_logins()
    await plant.until(
        "select applied = 'absent' from credentials where username = $1",
        login.username,
        timeout_s=UNUSED_S + SWEEP_S,
    )
    assert login.username not in await plant.devices_logins()
    assert await code_of(plant, handshake.txn, handshake.proof) == "expired"
    states = await plant.sql("select action from audit where subject = $1 order by n", f"serial/{device.serial}")
    assert states[-1]["action"] == "enrollment expired"
    assert (await plant.enroll(device)).generation == 2


async def test_those_who_wait_for_an_operator_keep_nobody_out(plant: Plant) -> None:
    """With a claim key a thief could make many identities: they wait beside the others, not in their places."""
    thief = plant.made()
    for _ in range(3):
        with pytest.raises(Waiting):
            await plant.enroll(plant.made(thief.serial))
    await plant.enroll(await plant.device())
    assert await plant.value("select count(*) from enrollments where state = 'awaiting'") == 3
