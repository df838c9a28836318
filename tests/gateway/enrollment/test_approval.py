"""The steps of a handshake that waits for an operator, against a real database."""

from __future__ import annotations

import asyncio

from schema.enrollment import Refusal
from tests.gateway.enrollment.bench import Bench, Controller, refused, said


async def test_an_unknown_serial_waits_for_an_operator(bench: Bench) -> None:
    stranger = bench.stranger()
    handshake = await bench.challenged(stranger)
    waiting = await bench.send(handshake, handshake.proof)
    assert said(waiting) == {
        "v": 1, "type": "pending", "txn": handshake.txn, "retry_after_s": 60, "reason": "approval",
    }  # fmt: skip
    assert await bench.send(handshake, handshake.proof) == waiting
    assert await bench.state(handshake) == ("awaiting", "unknown-serial")
    assert await bench.logins() == {}
    await bench.approve(handshake, "br-9")
    assert said(await bench.send(handshake, handshake.proof))["reason"] == "provisioning"
    assert (await bench.steps.resume(handshake.txn)).payload is None
    assert await bench.logins() == {"br-9.1": "present"}
    assert (await bench.steps.resume(handshake.txn)).payload is None
    await bench.made()
    grant = await bench.steps.resume(handshake.txn)
    assert handshake.granted(said(grant)).device == "br-9"
    assert await bench.send(handshake, handshake.proof) == grant
    _, again = await bench.granted(stranger)  # it is known from now on
    assert again.username == "br-9.2"


async def test_a_denied_controller_is_told_so(bench: Bench) -> None:
    handshake = await bench.challenged(bench.stranger())
    await bench.send(handshake, handshake.proof)
    await bench.pool.execute("select enrollment_deny($1, 'olga', 'not ours')", handshake.txn)
    assert await refused(bench, handshake, handshake.proof) == "denied"
    assert (await bench.row(handshake))["keys"] is None


async def test_another_identity_key_waits_for_an_operator_and_the_login_in_use_goes_on(bench: Bench) -> None:
    controller = await bench.controller()
    _, login = await bench.granted(controller)
    await bench.used(login)
    other = Controller(controller.serial, controller.psk)
    handshake = await bench.challenged(other)
    assert said(await bench.send(handshake, handshake.proof))["type"] == "pending"
    assert await bench.state(handshake) == ("awaiting", "identity-changed")
    assert await bench.logins() == {login.username: "present"}
    await bench.approve(handshake)
    await bench.steps.resume(handshake.txn)
    await bench.made()
    new = handshake.granted(said(await bench.send(handshake, handshake.proof)))
    assert await bench.logins() == {login.username: "present", new.username: "present"}
    await bench.used(new, boot=2)
    assert await bench.logins() == {new.username: "present"}
    old = await bench.challenged(controller)
    assert said(await bench.send(old, old.proof))["type"] == "pending"


async def test_two_controllers_with_one_claim_key_the_first_is_pinned_the_second_waits(bench: Bench) -> None:
    first = await bench.controller()
    second = Controller(first.serial, first.psk)
    under_way = [await bench.challenged(first), await bench.challenged(second)]
    answers = await asyncio.gather(*(bench.send(handshake, handshake.proof) for handshake in under_way))
    assert sorted(answer.payload is None for answer in answers) == [False, True]
    assert len(await bench.logins()) == 1


async def test_an_approval_that_was_overtaken_by_another_makes_no_login(bench: Bench) -> None:
    one, two = bench.stranger("S-1"), bench.stranger("S-1")
    handshakes = [await bench.challenged(one), await bench.challenged(two)]
    for handshake in handshakes:
        await bench.send(handshake, handshake.proof)
        await bench.approve(handshake)
    answers = [await bench.steps.resume(handshake.txn) for handshake in handshakes]
    assert [answer.refusal for answer in answers] == [Refusal.DENIED, None]
    assert await bench.state(handshakes[0]) == ("rejected", "denied")


async def test_a_controller_that_begins_anew_waits_only_once(bench: Bench) -> None:
    stranger = bench.stranger()
    handshakes = [await bench.challenged(stranger) for _ in range(3)]
    for handshake in handshakes:
        await bench.send(handshake, handshake.proof)
    assert [(await bench.state(handshake))[0] for handshake in handshakes] == ["expired", "expired", "awaiting"]
    why = await bench.pool.fetchval("select why from audit where action = 'enrollment expired' order by n desc limit 1")
    assert why == f"replaced by {handshakes[-1].txn}"
    assert await bench.pool.fetchval("select why from audit order by n desc limit 1") == "unknown-serial"


async def test_who_waits_is_bounded_apart(bench: Bench) -> None:
    small = bench.with_settings(enroll_sessions=2)
    for _ in range(2):
        handshake = await small.challenged(bench.stranger())
        await small.send(handshake, handshake.proof)
    handshake = await small.challenged(bench.stranger())
    assert await refused(small, handshake, handshake.proof) == "busy"
    await small.granted(await bench.controller())


async def test_a_device_that_was_revoked_while_it_waited_gets_nothing(bench: Bench) -> None:
    stranger = bench.stranger()
    await bench.pool.execute("insert into devices (name, state) values ('old', 'retired')")
    handshake = await bench.challenged(stranger)
    await bench.send(handshake, handshake.proof)
    await bench.approve(handshake, "old")
    assert (await bench.steps.resume(handshake.txn)).refusal is Refusal.BLOCKED
    assert await bench.logins() == {}
