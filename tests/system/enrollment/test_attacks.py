"""Everything that somebody could try with the login `enroll`, with a stolen claim key, or with the login of a device.

After each: it did not work, it is counted and in the audit trail, an honest device enrolls at once, another device's
frames are all there, and the gateway is the same process and has no defect in its log.
"""

from __future__ import annotations

import asyncio
import json
import secrets

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.gateway.enrollment.handshake import Untrusted, b64, derive, rogue_challenge, transcript, unb64
from tests.mqtt import NOT_AUTHORIZED
from tests.system.enrollment.device import Device, Line, Waiting
from tests.system.enrollment.plant import Plant
from tests.system.enrollment.watch import REFUSED, Count, answer, code_of, identities

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("unharmed")]
SETTINGS = {"enroll_pending_s": 5}

QUIET_S = 0.3
"""After which nothing more is expected to arrive."""

FILTERS = [
    "#", "+/#", "+/+/+/+", "enroll/#", "enroll/+/#", "enroll/v1/#", "enroll/v1/res/#", "enroll/v1/res/+",
    "enroll/+/res/+", "enroll/v1/+/+", "+/v1/res/+", "enroll/v1/req/+", "enroll/v1/req/#", "bioreactors/#",
    "bioreactors/+/telemetry", "alarms/#", "$SYS/#", "$SYS/broker/uptime", "$CONTROL/#",
    "$CONTROL/dynamic-security/v1/response",
]  # fmt: skip


def shared(filters: list[str]) -> list[str]:
    """The same as shared subscriptions, in a group of their own and in those of the gateway."""
    return [f"$share/{group}/{pattern}" for pattern in filters for group in ("mine", "enroll") if pattern[0] != "$"]


# -- replay


async def test_replay_of_a_whole_handshake(plant: Plant) -> None:
    """Somebody has recorded all of it and sends it again: under its number, and under another one."""
    device = await plant.device()
    handshake = device.handshake()
    login = await plant.enroll(device, handshake=handshake)
    owner = await device.connect(plant.authority)
    await plant.until_active(device)
    before = await identities(plant, device)
    for recorded in (handshake.hello, handshake.proof, handshake.hello):
        reply = await answer(plant, handshake.txn, recorded)
        assert login.password is not None
        assert login.password not in json.dumps(reply)
    other = secrets.token_hex(16)
    for recorded in (handshake.hello, handshake.proof):
        reply = await answer(plant, other, recorded)
        assert reply is None or reply["code"] == "malformed"
    assert await identities(plant, device) == before
    assert not owner.ended.done()
    await owner.close()


async def test_replay_of_a_proof_in_a_handshake_of_the_attackers(plant: Plant, count: Count) -> None:
    device, owner = await plant.active()
    handshake = device.handshake()  # of a rotation, say
    await plant.enroll(device, handshake=handshake)
    mine = secrets.token_hex(16)
    before = await identities(plant, device)
    hello = handshake.hello.replace(handshake.txn.encode(), mine.encode())
    reply = await answer(plant, mine, hello)
    assert reply is not None
    assert reply["type"] == "challenge"  # whoever knows a serial number gets that
    assert await code_of(plant, mine, handshake.proof.replace(handshake.txn.encode(), mine.encode())) == "malformed"
    assert await code_of(plant, mine, handshake.prove(txn=mine, hello=b64(hello))) == "expired"
    proof = handshake.prove(txn=mine, hello=b64(hello), body=reply["body"])
    assert await code_of(plant, mine, proof) == "refused"
    assert await identities(plant, device) == before
    await count.assert_refused("refused", by=device)
    await owner.close()


# -- the reply topic


async def test_listening_to_all_replies(plant: Plant) -> None:
    """No wildcard and no shared subscription, also with the client id of a handshake; and it hears nothing."""
    async with await plant.door.open(f"e-{secrets.token_hex(16)}") as spy:
        for pattern in FILTERS + shared(FILTERS) + shared([f"enroll/v1/res/{secrets.token_hex(16)}"]):
            codes = await spy.subscribe(pattern)
            assert codes[0] >= REFUSED, pattern
        await plant.quickly()
        await asyncio.sleep(QUIET_S)
        assert spy.messages.empty()


async def test_listening_to_one_handshake_whose_number_is_known(plant: Plant) -> None:
    """Even with the claim key and all messages the box stays closed."""
    device = await plant.device()
    handshake = device.handshake()
    async with await plant.door.open(f"e-{secrets.token_hex(16)}") as spy:
        assert await spy.subscribe(handshake.reply) == [1]
        login = await plant.enroll(device, handshake=handshake)
        heard = [json.loads((await spy.next(2)).payload) for _ in range(2)]
    grant = heard[-1]
    assert login.password is not None
    assert login.password not in json.dumps(heard)
    theirs = X25519PublicKey.from_public_bytes(unb64(json.loads(handshake.body)["ephemeral"]))
    keys = derive(X25519PrivateKey.generate().exchange(theirs), device.psk, handshake.th2)
    th3 = transcript(handshake.hello, handshake.body, handshake.proof)
    for key in keys:
        with pytest.raises(InvalidTag):
            ChaCha20Poly1305(key).decrypt(unb64(grant["nonce"]), unb64(grant["box"]), th3)


# -- somebody else's serial number


async def test_squatting_without_the_claim_key(plant: Plant, count: Count) -> None:
    device = await plant.device()
    thief = Device(device.serial, secrets.token_bytes(32))
    handshake = thief.handshake()
    async with Line(plant.door, handshake) as line:
        challenge = await line.ask(handshake.hello, "challenge")
        with pytest.raises(Untrusted):
            handshake.challenged(challenge)
        assert (await line.ask(handshake.careless(challenge), "grant"))["code"] == "refused"
    await count.assert_refused("refused", by=device)
    await plant.enroll(device)  # the owner has not lost anything
    assert (await identities(plant, device))[2] == device.identity.public_key().public_bytes_raw()


@pytest.mark.parametrize("part", ["sig", "mac"])
async def test_a_proof_of_which_one_half_is_wrong(plant: Plant, count: Count, part: str) -> None:
    """The identity key without the claim key, and the other way round."""
    device = await plant.device()
    handshake = device.handshake()
    async with Line(plant.door, handshake) as line:
        handshake.challenged(await line.ask(handshake.hello, "challenge"))
        wrong = handshake.prove(**{part: b64(secrets.token_bytes(64 if part == "sig" else 32))})
        assert (await line.ask(wrong, "grant"))["code"] == "refused"
        assert (await identities(plant, device))[0] == 0
        assert (await line.ask(handshake.proof, "grant"))["type"] == "grant"  # nobody ends a handshake of others
    await count.assert_refused("refused", by=device)


async def test_a_stolen_claim_key_awaits_an_operator(plant: Plant) -> None:
    device, owner = await plant.active()
    assert device.login is not None
    thief = plant.made(device.serial)
    before = await identities(plant, device)
    with pytest.raises(Waiting) as waiting:
        await plant.enroll(thief)
    assert waiting.value.reason == "approval"
    assert await identities(plant, device) == before
    assert await owner.publish(f"{device.login.topic}/telemetry", device.frame()) < REFUSED
    row = (await plant.sql("select * from enrollments where serial = $1 and state = 'awaiting'", device.serial))[0]
    assert row["reason"] == "identity-changed"
    handshake = device.handshake()
    assert (await plant.enroll(device, handshake=handshake)).generation == 2  # the owner is not kept waiting
    await plant.sql("select enrollment_deny($1, 'Anna', 'not ours')", row["txn"])
    assert await code_of(plant, row["txn"], row["proof"]) == "denied"
    await owner.close()


# -- false gateways


async def test_forging_replies(plant: Plant) -> None:
    """The login of devices cannot publish them; and a device believes none."""
    device = await plant.device()
    handshake = device.handshake()
    for payload in (b"{}", json.dumps(rogue_challenge(handshake, secrets.token_bytes(32))).encode()):
        async with await plant.door.open(f"e-{secrets.token_hex(16)}") as forger:
            assert await forger.publish(handshake.reply, payload) == NOT_AUTHORIZED
    for login in ("gateway", "admin", "observer"):
        async with await plant.client(login) as forger:
            assert await forger.publish(handshake.reply, b"{}") == NOT_AUTHORIZED


async def test_a_rogue_gateway_is_not_believed(plant: Plant) -> None:
    """It may have all but the claim key; with that, all but the key of the gateway that the device knows."""
    device = await plant.enrolled()
    fresh = device.handshake()
    with pytest.raises(Untrusted, match="claim key"):
        fresh.challenged(rogue_challenge(fresh, secrets.token_bytes(32)))
    with pytest.raises(Untrusted, match="another gateway"):
        fresh.challenged(rogue_challenge(fresh, device.psk))
    with pytest.raises(Untrusted):  # a public key that leads to zeros
        fresh.challenged(rogue_challenge(fresh, device.psk, ephemeral=bytes(32)))


async def test_a_forged_grant_is_not_believed(plant: Plant) -> None:
    """Another handshake's, one with another key, one that was changed."""
    one, two = await plant.device(), await plant.device()
    hers, his = one.handshake(), two.handshake()
    grants = []
    for handshake in (hers, his):
        async with Line(plant.door, handshake) as line:
            proof = handshake.challenged(await line.ask(handshake.hello, "challenge"))
            grants.append(await line.ask(proof, "grant"))
    with pytest.raises(Untrusted):
        hers.granted(grants[1])
    with pytest.raises(Untrusted):
        hers.granted({**grants[0], "nonce": b64(bytes(12))})
    box = bytearray(unb64(grants[0]["box"]))
    box[20] ^= 1
    with pytest.raises(Untrusted):
        hers.granted({**grants[0], "box": b64(bytes(box))})
    assert hers.granted(grants[0]).device == one.serial
