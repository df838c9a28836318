"""How many handshakes enrollment takes at once, of whom, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from gateway.enrollment import store
from gateway.enrollment.steps import SILENCE, Steps
from schema.enrollment import Refusal
from tests.gateway.enrollment.bench import Bench, Controller, kept, refused, said


async def test_proved_handshakes_are_bounded_also_when_all_come_at_once(bench: Bench) -> None:
    small = bench.with_settings(enroll_sessions=4)
    handshakes = [await bench.challenged(await bench.controller()) for _ in range(10)]
    answers = await asyncio.gather(*(small.send(handshake, handshake.proof) for handshake in handshakes))
    assert [answer.refusal for answer in answers].count(None) == 4
    busy = next(said(answer) for answer in answers if answer.refusal is Refusal.BUSY)
    assert 5 <= busy["retry_after_s"] <= 35
    await bench.made()
    late = handshakes[[answer.refusal for answer in answers].index(Refusal.BUSY)]
    assert await small.send(late, late.proof) == SILENCE


async def test_known_and_unknown_serials_have_places_of_their_own(bench: Bench) -> None:
    small = bench.with_settings(enroll_sessions=2)
    for _ in range(2):
        handshake = await bench.challenged(bench.stranger())
        assert said(await small.send(handshake, handshake.proof))["type"] == "pending"
    third = await bench.challenged(bench.stranger())
    assert await refused(small, third, third.proof) == "busy"
    for _ in range(2):
        handshake = await bench.challenged(await bench.controller())
        assert await small.send(handshake, handshake.proof) == SILENCE
    third = await bench.challenged(await bench.controller())
    assert await refused(small, third, third.proof) == "busy"
    await bench.pool.execute("update enrollments set state = 'rejected', keys = null where state = 'awaiting'")
    handshake = await bench.challenged(bench.stranger())
    assert said(await small.send(handshake, handshake.proof))["type"] == "pending"


async def test_a_handshake_whose_time_is_over_holds_no_place(bench: Bench) -> None:
    """Before the sweep, too."""
    small = bench.with_settings(enroll_sessions=1)
    over = "update enrollments set state = $1, expires_at = now() - interval '1 s' where state = 'awaiting'"
    for _ in range(2):
        handshake = await bench.challenged(bench.stranger())
        assert said(await small.send(handshake, handshake.proof))["type"] == "pending"
        await bench.pool.execute(over, "awaiting")
    await bench.pool.execute(over, "approved")
    handshake = await bench.challenged(await bench.controller())
    assert await small.send(handshake, handshake.proof) == SILENCE


async def test_proofs_for_a_serial_are_bounded_and_only_its_claim_key_makes_one(bench: Bench) -> None:
    owner = await bench.controller()
    thief = Controller(owner.serial, bytes(32))
    for _ in range(8):
        handshake = thief.handshake()
        bench.steps = Steps(bench.settings, bench.secrets, bench.pool)  # whose pace is another matter
        proof = handshake.careless(said(await bench.send(handshake, handshake.hello)))
        assert await refused(bench, handshake, proof) == "refused"
    for _ in range(5):
        await bench.proved(owner)
    handshake = await bench.challenged(owner)
    assert await refused(bench, handshake, handshake.proof) == "busy"
    await bench.pool.execute("update enrollments set created_at = created_at - interval '1 minute'")
    assert await bench.send(handshake, handshake.proof) == SILENCE


@pytest.mark.parametrize("serials", ["made up", "of the owner", "of another controller"])
async def test_requests_without_a_proof_keep_nobody_out(bench: Bench, serials: str) -> None:
    """A trickle of HELLOs, at the rate that each of them may have, for longer than a challenge holds."""
    owner, other = await bench.controller(), await bench.controller()
    for number in range(300):
        serial = {"made up": f"X-{number}", "of the owner": owner.serial}.get(serials, other.serial)
        bench.steps = Steps(bench.settings, bench.secrets, bench.pool)  # as if the second was over
        handshake = Controller(serial, bytes(32)).handshake()
        assert said(await bench.send(handshake, handshake.hello))["type"] == "challenge"
    assert await kept(bench) == 0
    await bench.granted(owner)


async def test_a_flood_of_made_up_serials_leaves_their_share_of_the_pace_to_known_ones(bench: Bench) -> None:
    owner, other = await bench.controller(), await bench.controller()
    _, login = await bench.granted(owner)
    await bench.used(login)

    async def answered(controller: Controller) -> bool:
        handshake = controller.handshake()
        return bool(said(await bench.send(handshake, handshake.hello))["type"] == "challenge")

    flood = [await answered(bench.stranger()) for _ in range(30)]
    assert True in flood
    assert False in flood
    for _ in range(15):  # somebody names the owner's serial, and has another key
        await answered(Controller(owner.serial, bytes(32)))
    assert await answered(owner)
    assert await answered(other)


async def test_what_takes_too_long_is_over_before_the_sweep_and_after_it(bench: Bench) -> None:
    handshake = await bench.challenged(bench.stranger())
    assert said(await bench.send(handshake, handshake.proof))["type"] == "pending"
    await bench.pool.execute("update enrollments set expires_at = now() - interval '1 s'")
    for payload in (handshake.proof, handshake.hello):
        assert await refused(bench, handshake, payload) == "expired"
    assert await store.sweep(bench.pool, "main", 120) == 1
    assert await bench.state(handshake) == ("expired", "expired")
    for payload in (handshake.proof, handshake.hello):
        assert await refused(bench, handshake, payload) == "expired"


async def test_the_sweep_takes_an_unused_login_away_and_leaves_one_that_was_used(bench: Bench) -> None:
    await bench.granted(await bench.controller())
    _, used = await bench.granted(await bench.controller())
    await bench.pool.execute("update enrollments set expires_at = now() - interval '1 s'")
    await bench.pool.execute(
        """insert into statuses (device_id, boot, time, online, received_at, generation)
           select device_id, 1, now(), true, now(), 1 from devices where name = $1""",
        used.device,
    )  # and nobody has looked at it yet
    assert await store.sweep(bench.pool, "main", 120) == 1
    assert await bench.logins() == {used.username: "present"}
