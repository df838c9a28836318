"""Only what is proved takes a place, and each handshake lasts only for a while."""

from __future__ import annotations

import secrets

import pytest

from tests.system.enrollment.device import Line, Waiting
from tests.system.enrollment.plant import Plant
from tests.system.enrollment.watch import code_of

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


async def test_requests_without_a_proof_take_no_place(plant: Plant) -> None:
    """As many as there are places, by somebody who knows the password that all share and no claim key."""
    async with await plant.door.open(f"e-{secrets.token_hex(16)}") as client:
        for _ in range(2 * SESSIONS):
            handshake = plant.made().handshake()
            await client.publish(handshake.request, handshake.hello)
    await plant.enroll(await plant.device())
    assert await plant.value("select count(*) from enrollments where state = 'challenged'") == 0


async def test_a_proof_that_comes_too_late(plant: Plant) -> None:
    device = await plant.device()
    handshake = device.handshake()
    async with Line(plant.door, handshake) as line:
        proof = handshake.challenged(await line.ask(handshake.hello, "challenge"))
        await plant.sql("update challenge_salts set minute = minute - 5")  # as if five minutes had passed
        assert (await line.ask(proof, "grant"))["code"] == "expired"
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
