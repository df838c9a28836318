"""Requests that are wrong, or from those who may not: refused with a code, and nothing else happens."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import Any

import pytest

from tests.gateway.enrollment.handshake import b64
from tests.mqtt import Refused
from tests.system.enrollment.device import Device, Line, Rejected, Waiting
from tests.system.enrollment.plant import Plant
from tests.system.enrollment.watch import Count, answer, code_of, identities, in_the_audit_trail

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("unharmed")]
SETTINGS = {"enroll_pending_s": 5}


async def rejected(plant: Plant, device: Device, **more: Any) -> Rejected:
    with pytest.raises(Rejected) as reject:
        await plant.enroll(device, handshake=device.handshake(), **more)
    return reject.value


async def handshakes(plant: Plant, txn: str) -> int:
    return int(await plant.value("select count(*) from enrollments where txn = $1", txn))


# -- requests that are wrong


async def test_a_retained_request_is_refused(plant: Plant, count: Count) -> None:
    device = await plant.device()
    handshake = device.handshake()
    assert await code_of(plant, handshake.txn, handshake.hello, retain=True) == "malformed"
    assert await handshakes(plant, handshake.txn) == 0
    await count.assert_refused("retained")
    await in_the_audit_trail(plant, "retained")
    assert (await plant.enroll(device)).generation == 1


async def test_what_somebody_has_retained_is_cleared(plant: Plant) -> None:
    """Else anybody could fill the broker's memory for good, and gateways would read it all at each start."""
    async with await plant.door.open(f"e-{secrets.token_hex(16)}") as client:
        for last in (secrets.token_hex(16), "no-number", plant.made().handshake().txn):
            await client.publish(f"enroll/v1/req/{last}", b"{}", retain=True)
    await asyncio.sleep(0.5)
    async with await plant.client("enrollment") as gateway:
        assert await gateway.subscribe("enroll/v1/req/+") == [1]
        with pytest.raises(TimeoutError):
            await gateway.next(0.5)


def variants(device: Device) -> dict[str, bytes]:
    """HELLOs with one thing wrong."""

    def with_(**other: Any) -> bytes:
        return device.handshake(**other).hello

    whole = with_()
    said = json.loads(whole)
    return {
        "nothing": b"",
        "noise": secrets.token_bytes(200),
        "cut off": whole[:-10],
        "not an object": b"[1, 2]",
        "a number": b"17",
        "nested": b"[" * 1500,
        "bad UTF-8": whole[:-2] + b'"\xff"}',
        "no type": json.dumps({k: v for k, v in said.items() if k != "type"}).encode(),
        "another type": with_(type="grant"),
        "another version": with_(v=2),
        "no serial": json.dumps({k: v for k, v in said.items() if k != "serial"}).encode(),
        "empty serial": with_(serial=""),
        "serial with a wildcard": with_(serial="BR-2044/#"),
        "serial that is too long": with_(serial="x" * 65),
        "serial with NUL": with_(serial="BR\x00"),
        "serial with a newline": with_(serial=device.serial + "\n"),
        "short identity": with_(identity=b64(bytes(31))),
        "long identity": with_(identity=b64(bytes(33))),
        "padded identity": with_(identity=b64(bytes(32)) + "="),
        "ephemeral of low order": with_(ephemeral=b64(bytes(32))),
        "ephemeral one": with_(ephemeral=b64(b"\x01" + bytes(31))),
        "claim as text": with_(claim="1"),
        "claim too large": with_(claim=2**40),
        "claim negative": with_(claim=-1),
        "time is none": with_(t="now"),
        "channels without end": with_(channels=["x"] * 200),
        "another txn": with_(txn=secrets.token_hex(16)),
        "upper case txn": with_(txn="A" * 32),
    }


async def test_malformed_requests_are_refused(plant: Plant, count: Count) -> None:
    device = await plant.device()
    wrong = variants(device)
    for what, payload in wrong.items():
        txn = secrets.token_hex(16)
        text = payload.decode(errors="ignore")
        if what != "another txn" and '"txn": "' in text and "AAAA" not in text:  # the topic's number is the payload's
            txn = text.partition('"txn": "')[2][:32]
        assert await code_of(plant, txn, payload) == "malformed", what
        assert await handshakes(plant, txn) == 0, what
    await count.assert_refused("malformed", len(wrong))
    await in_the_audit_trail(plant, "malformed")
    assert (await identities(plant, device))[:2] == (0, 0)


async def test_a_topic_that_is_no_number_gets_no_answer(plant: Plant) -> None:
    """There is nobody to answer to."""
    handshake = plant.made().handshake()
    async with await plant.door.open(handshake.client_id) as client:
        for last in ("x", "0" * 31, "0" * 33, "G" * 32, handshake.txn.upper() + "A", "ä", " "):
            assert await client.subscribe(f"enroll/v1/res/{last}") == [1]
            await client.publish(f"enroll/v1/req/{last}", handshake.hello)
        with pytest.raises(TimeoutError):
            await client.next(0.5)


async def test_oversized_requests(plant: Plant, count: Count) -> None:
    """2,048 bytes are allowed; what the broker's max_packet_size forbids ends the connection."""
    device = await plant.device()
    handshake = device.handshake()
    just = handshake.hello[:-1] + b', "x": "' + b"x" * (2048 - len(handshake.hello) - 9) + b'"}'
    assert len(just) == 2048
    reply = await answer(plant, handshake.txn, just)
    assert reply is not None
    assert reply["type"] == "challenge"
    for size in (2049, 10_000, 1_000_000):
        other = device.handshake()
        padded = other.hello[:-1] + b', "x": "' + b"x" * (size - len(other.hello) - 9) + b'"}'
        assert await code_of(plant, other.txn, padded) == "malformed", size
        assert await handshakes(plant, other.txn) == 0
    await count.assert_refused("oversized", 3)
    await in_the_audit_trail(plant, "oversized")
    with pytest.raises(ConnectionError):
        await answer(plant, other.txn, bytes(2**20 + 1))


async def test_the_number_in_the_payload_is_not_the_topics(plant: Plant, count: Count) -> None:
    """Else one could begin, or end, the handshake of somebody else."""
    victim, device = await plant.device(), await plant.device()
    theirs, mine = victim.handshake(), device.handshake()
    async with Line(plant.door, theirs) as line:
        proof = theirs.challenged(await line.ask(theirs.hello, "challenge"))
        for payload in (theirs.hello, proof, theirs.prove(mac=b64(bytes(32)))):
            assert await code_of(plant, mine.txn, payload) == "malformed"
        assert theirs.granted(await line.ask(proof, "grant")).device == victim.serial
    await count.assert_refused("malformed", 3)


async def test_other_bytes_for_a_step_that_was_answered_are_a_conflict(plant: Plant, count: Count) -> None:
    device = await plant.device()
    handshake = device.handshake()
    async with Line(plant.door, handshake) as line:
        challenge = await line.ask(handshake.hello, "challenge")
        proof = handshake.challenged(challenge)
        grant = await line.ask(proof, "grant")
        assert (await line.ask(proof + b" ", "grant"))["code"] == "conflict"
        assert (await line.ask(handshake.hello + b" ", "challenge"))["code"] == "conflict"
        assert await line.ask(proof, "grant") == grant
    assert handshake.granted(grant).generation == 1
    await count.assert_refused("conflict", 2)
    await in_the_audit_trail(plant, "conflict")


async def test_steps_in_another_order(plant: Plant) -> None:
    """A PROOF of nothing; a HELLO after the grant."""
    device = await plant.device()
    handshake = device.handshake()
    handshake.th2 = handshake.k_d = bytes(32)
    assert await code_of(plant, handshake.txn, handshake.prove()) == "malformed"
    assert await handshakes(plant, handshake.txn) == 0
    handshake = device.handshake()
    await plant.enroll(device, handshake=handshake)
    reply = await answer(plant, handshake.txn, handshake.hello)
    assert reply is not None
    assert reply["type"] == "challenge"
    assert (await identities(plant, device))[:2] == (1, 1)


# -- those who may not


async def test_an_unknown_serial_waits_and_nothing_is_made_for_it(plant: Plant) -> None:
    device = plant.made()
    with pytest.raises(Waiting) as waiting:
        await plant.enroll(device)
    assert (waiting.value.reason, waiting.value.retry_after_s) == ("approval", 5)
    assert (await identities(plant, device))[:2] == (0, 0)


async def test_an_unknown_serial_without_a_claim_key_does_not_even_wait(plant: Plant, count: Count) -> None:
    device = Device("BR-" + secrets.token_hex(3), secrets.token_bytes(32))
    handshake = device.handshake()
    async with Line(plant.door, handshake) as line:
        proof = handshake.careless(await line.ask(handshake.hello, "challenge"))
        assert (await line.ask(proof, "grant"))["code"] == "refused"
    await count.assert_refused("refused", by=device)


async def test_a_claim_key_of_a_version_that_is_not_there(plant: Plant, count: Count) -> None:
    for claim in (0, 2, 32767):
        device = plant.made(claim=claim)
        assert (await rejected(plant, device)).code == "unknown-claim"
    await count.assert_refused("unknown-claim", 3)
    await in_the_audit_trail(plant, "unknown-claim")


async def test_a_blocked_serial(plant: Plant, count: Count) -> None:
    device = await plant.device()
    await plant.sql("select serial_block($1, true, 'Anna', 'stolen')", device.serial)
    reject = await rejected(plant, device)
    assert (reject.code, reject.retry_after_s) == ("blocked", None)
    await count.assert_refused("blocked")
    await in_the_audit_trail(plant, "blocked")
    await plant.sql("select serial_block($1, false, 'Anna', 'found again')", device.serial)
    await plant.enroll(device)


async def test_blocking_ends_a_handshake_under_way(plant: Plant, count: Count) -> None:
    device = await plant.device()
    handshake = device.handshake()
    async with Line(plant.door, handshake) as line:
        proof = handshake.challenged(await line.ask(handshake.hello, "challenge"))
        await plant.sql("select serial_block($1, true, 'Anna', 'stolen')", device.serial)
        assert (await line.ask(proof, "grant"))["code"] == "blocked"
    await count.assert_refused("blocked", by=device)
    assert (await identities(plant, device))[:2] == (0, 0)


async def test_a_quota(plant: Plant, count: Count) -> None:
    first, second = [await plant.device(batch="small", quota=1) for _ in range(2)]
    await plant.enroll(first)
    reject = await rejected(plant, second)
    assert (reject.code, reject.retry_after_s) == ("quota", None)
    await count.assert_refused("quota")
    await in_the_audit_trail(plant, "quota")
    assert (await plant.enroll(first)).generation == 2  # the place is its own


async def test_a_quota_is_not_exceeded_by_many_at_once(plant: Plant) -> None:
    crowd = [await plant.device(batch="race", quota=3) for _ in range(8)]
    outcomes = await asyncio.gather(
        *(plant.enroll(device, handshake=device.handshake()) for device in crowd), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
    assert [reject.code for reject in refused] == ["quota"] * 5, outcomes


async def test_requests_for_a_serial_by_those_who_have_not_its_claim_key_keep_nobody_out(plant: Plant) -> None:
    """Neither a controller that is new nor one that is known by its identity key."""
    new, (owner, client) = await plant.device(), await plant.active()
    for device in (new, owner):
        thief = Device(device.serial, secrets.token_bytes(32))
        for _ in range(8):
            handshake = thief.handshake()
            reply = await answer(plant, handshake.txn, handshake.hello)
            assert reply is not None
            assert await handshakes(plant, handshake.txn) == 0
        await plant.enroll(device)
    await client.close()


async def test_the_kill_switch(plant: Plant) -> None:
    """Nobody enrolls, not even who has begun; who is in goes on; and it opens again."""
    device = await plant.device()
    handshake = device.handshake()
    owner, theirs = await plant.active()
    async with Line(plant.door, handshake) as line:
        proof = handshake.challenged(await line.ask(handshake.hello, "challenge"))
        client, begun = await line.client(), time.monotonic()
        await plant.sql("select enrollment_switch('main', false, 'Anna', 'under attack')")
        await asyncio.wait_for(asyncio.shield(client.ended), 5)
        print(f"closed after {time.monotonic() - begun:.3f} s")
        with pytest.raises(Refused):
            await line.ask(proof, "grant", patience_s=1)
    assert not theirs.ended.done()
    await plant.sql("select enrollment_switch('main', true, 'Anna', 'over')")
    await plant.until("select enrollment_applied from cells where cell = 'main'")
    await plant.enroll(owner)
    await plant.enroll(device)
    words = await plant.sql("select action from audit where action like 'enrollment %' and who = 'Anna' order by n")
    assert [row["action"] for row in words][-2:] == ["enrollment close", "enrollment open"]
    await theirs.close()
