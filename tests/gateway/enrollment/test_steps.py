"""Each step of a handshake on a real database: what is stored, what is replied, and what a repetition changes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.enrollment import store
from gateway.enrollment.steps import SILENCE
from schema.enrollment import Refusal
from schema.sealed import unseal
from tests.enrollment.handshake import Handshake
from tests.gateway.enrollment.bench import Bench, Controller, said


async def refused(bench: Bench, handshake: Handshake, payload: bytes) -> str:
    """The code with which it is rejected."""
    answer = await bench.send(handshake, payload)
    reply = said(answer)
    assert (reply["type"], reply["txn"], reply["code"]) == ("reject", handshake.txn, answer.refusal)
    return str(reply["code"])


async def transitions(bench: Bench, controller: Controller) -> list[str]:
    rows = await bench.pool.fetch(
        "select action from audit where subject = $1 order by n", f"serial/{controller.serial}"
    )
    return [row["action"] for row in rows]


# -- the way it should go


@pytest.mark.parametrize("own_key", [False, True], ids=["derived", "own"])
async def test_a_handshake_ends_in_a_login_that_is_stored_sealed(bench: Bench, own_key: bool) -> None:
    controller = await bench.controller(own_key=own_key)
    handshake, login = await bench.granted(controller, hardware="rev\u202eC", firmware="2.4.1", channels=["ph"])
    name = f"d-{controller.serial}"
    assert (login.device, login.username, login.generation, login.boot) == (name, f"{name}.1", 1, 0)
    assert (login.topic, login.broker) == (f"bioreactors/{name}", "mqtts://localhost:8883")
    [row] = await bench.pool.fetch("select * from credentials")
    assert (row["username"], row["client_id"], row["kind"]) == (login.username, login.client_id, "password")
    assert login.password is not None
    assert unseal(bench.secrets.vault, row["password"], f"credentials/{name}.1") == login.password.encode()
    assert row["verifier"] == hashlib.pbkdf2_hmac("sha512", login.password.encode(), row["salt"], 101)
    stored = await bench.row(handshake)
    assert (stored["state"], stored["keys"], stored["hardware"], stored["channels"]) == (
        "granted",
        None,
        "rev?C",
        ["ph"],
    )
    [device] = await bench.pool.fetch("select name, state from devices")
    assert tuple(device) == (name, "pending")
    await bench.used(login)
    assert await bench.state(handshake) == ("active", None)
    steps = ["provisioning", "granted", "active"]
    assert await transitions(bench, controller) == [f"enrollment {step}" for step in steps]
    assert await bench.pool.fetch("select audit_faults()") == []


async def test_no_secret_is_in_the_database_in_clear(bench: Bench) -> None:
    controller = await bench.controller(own_key=True)
    handshake = await bench.challenged(controller)
    secrets = [controller.psk, handshake.k_d, handshake.k_g, handshake.k_s]
    await assert_nowhere(bench, secrets)
    assert await bench.send(handshake, handshake.proof) == SILENCE
    await bench.made()
    login = handshake.granted(said(await bench.send(handshake, handshake.proof)))
    assert login.password is not None
    await assert_nowhere(bench, [*secrets, login.password.encode()])


async def assert_nowhere(bench: Bench, secrets: list[bytes]) -> None:
    for table in ("serials", "enrollments", "credentials", "devices", "audit"):
        for (row,) in await bench.pool.fetch(f"select t::text from {table} t"):
            for secret in secrets:
                assert secret.hex() not in row
                assert secret.decode("latin-1") not in row


async def test_the_same_bytes_get_the_same_reply_at_every_step(bench: Bench) -> None:
    handshake = (await bench.controller()).handshake()
    challenge = await bench.send(handshake, handshake.hello)
    assert await bench.send(handshake, handshake.hello) == challenge
    handshake.challenged(said(challenge))
    assert await bench.send(handshake, handshake.proof) == SILENCE
    waiting = said(await bench.send(handshake, handshake.proof))
    assert (waiting["type"], waiting["reason"], waiting["retry_after_s"]) == ("pending", "provisioning", 5)
    assert await bench.send(handshake, handshake.hello) == challenge
    await bench.made()
    grant = await bench.send(handshake, handshake.proof)
    login = handshake.granted(said(grant))
    assert await bench.send(handshake, handshake.proof) == grant
    await bench.used(login)
    assert await bench.send(handshake, handshake.proof) == grant
    assert await bench.logins() == {login.username: "present"}


async def test_other_bytes_for_a_step_that_was_answered_are_a_conflict_and_change_nothing(bench: Bench) -> None:
    controller = await bench.controller()
    handshake = await bench.challenged(controller)
    other = Handshake(controller.serial, controller.psk, controller.identity)
    other.txn = handshake.txn
    changed = json.dumps(json.loads(other.hello) | {"txn": handshake.txn}).encode()
    assert await refused(bench, handshake, changed) == "conflict"
    assert await bench.send(handshake, handshake.proof) == SILENCE
    assert await refused(bench, handshake, handshake.proof + b" ") == "conflict"
    await bench.made()
    assert await refused(bench, handshake, handshake.proof + b" ") == "conflict"
    handshake.granted(said(await bench.send(handshake, handshake.proof)))


async def test_a_transaction_number_of_another_cell_is_a_conflict(bench: Bench) -> None:
    handshake = await bench.challenged(await bench.controller())
    await bench.pool.execute("insert into cells (cell, client_id) values ('other', 'x')")
    there = bench.with_settings(cell="other")
    assert await refused(there, handshake, handshake.hello) == "conflict"
    assert await refused(there, handshake, handshake.proof) == "conflict"
    assert (await there.steps.resume(handshake.txn)).payload is None


async def test_requests_that_come_many_times_at_once_make_one_login(bench: Bench) -> None:
    handshake = (await bench.controller()).handshake()
    answers = await asyncio.gather(*(bench.send(handshake, handshake.hello) for _ in range(6)))
    assert len(set(answers)) == 1
    handshake.challenged(said(answers[0]))
    await asyncio.gather(*(bench.send(handshake, handshake.proof) for _ in range(6)))
    await bench.made()
    answers = await asyncio.gather(*(bench.send(handshake, handshake.proof) for _ in range(6)))
    assert len(set(answers)) == 1
    assert list(await bench.logins()) == [handshake.granted(said(answers[0])).username]


# -- who is refused


async def test_a_wrong_proof_ends_the_handshake_and_wipes_its_keys(bench: Bench) -> None:
    handshake = await bench.challenged(await bench.controller())
    wrong = handshake.prove(mac="A" * 43)
    assert await refused(bench, handshake, wrong) == "refused"
    assert await bench.state(handshake) == ("rejected", "refused")
    assert (await bench.row(handshake))["keys"] is None
    assert await refused(bench, handshake, handshake.proof) == "refused"
    assert await bench.logins() == {}


async def test_a_stolen_serial_without_its_claim_key_gets_nothing(bench: Bench) -> None:
    controller = await bench.controller()
    thief = Controller(controller.serial, bytes(32))
    handshake = thief.handshake()
    proof = handshake.careless(said(await bench.send(handshake, handshake.hello)))
    assert await refused(bench, handshake, proof) == "refused"
    await bench.granted(controller)


async def test_a_claim_key_of_another_version_is_unknown(bench: Bench) -> None:
    controller = await bench.controller()
    for claim in (0, 2):
        handshake = controller.handshake(claim=claim)
        assert await refused(bench, handshake, handshake.hello) == "unknown-claim"
    unknown = bench.stranger().handshake(claim=0)
    assert await refused(bench, unknown, unknown.hello) == "unknown-claim"
    assert await bench.pool.fetchval("select count(*) from enrollments") == 0


async def test_a_serial_that_was_imported_meanwhile_with_another_claim_key_is_held_to_it(bench: Bench) -> None:
    stranger = bench.stranger("S-1")
    handshake = await bench.challenged(stranger)
    await bench.controller("S-1", own_key=True)
    assert await refused(bench, handshake, handshake.proof) == "unknown-claim"


@pytest.mark.parametrize("action", ["suspend", "revoke", "retire"])
async def test_a_device_that_is_out_of_service_cannot_come_back_by_itself(bench: Bench, action: str) -> None:
    controller = await bench.controller()
    _, login = await bench.granted(controller)
    await bench.used(login)
    under_way = await bench.challenged(controller)
    await bench.command(login.device, action)
    assert await refused(bench, under_way, under_way.proof) == "blocked"
    fresh = controller.handshake()
    assert await refused(bench, fresh, fresh.hello) == "blocked"
    assert "present" not in (await bench.logins()).values()


async def test_a_blocked_serial_is_refused_before_and_after_the_challenge(bench: Bench) -> None:
    controller = await bench.controller()
    under_way = await bench.challenged(controller)
    await bench.pool.execute("select serial_block($1, true, 'olga', 'stolen')", controller.serial)
    assert await refused(bench, under_way, under_way.proof) == "blocked"
    fresh = controller.handshake()
    assert await refused(bench, fresh, fresh.hello) == "blocked"


async def test_while_enrollment_is_switched_off_nobody_begins_or_goes_on(bench: Bench) -> None:
    controller = await bench.controller()
    under_way = await bench.challenged(controller)
    await bench.pool.execute("select enrollment_switch('main', false, 'olga', 'attack')")
    assert await refused(bench, under_way, under_way.proof) == "closed"
    fresh = controller.handshake()
    assert await refused(bench, fresh, fresh.hello) == "closed"


async def test_a_quota_is_exact_and_is_not_used_up_twice_by_one_controller(bench: Bench) -> None:
    lot = [await bench.controller(lot="ten", quota=2) for _ in range(5)]
    under_way = [await bench.challenged(controller) for controller in lot]
    answers = await asyncio.gather(*(bench.send(handshake, handshake.proof) for handshake in under_way))
    assert sorted(answer.refusal or "" for answer in answers) == ["", "", *[Refusal.QUOTA] * 3]
    assert len(await bench.logins()) == 2
    late = lot[[answer.refusal for answer in answers].index(Refusal.QUOTA)].handshake()
    assert await refused(bench, late, late.hello) == "quota"
    in_it = lot[[answer.refusal for answer in answers].index(None)]
    await bench.granted(in_it)


async def test_an_ephemeral_key_of_low_order_is_malformed(bench: Bench) -> None:
    handshake = (await bench.controller()).handshake(ephemeral="A" * 43)
    assert await refused(bench, handshake, handshake.hello) == "malformed"


# -- limits


async def test_open_handshakes_are_bounded_also_when_all_come_at_once(bench: Bench) -> None:
    small = bench.with_settings(enroll_sessions=4)
    handshakes = [(await bench.controller()).handshake() for _ in range(10)]
    answers = await asyncio.gather(*(small.send(handshake, handshake.hello) for handshake in handshakes))
    assert [answer.refusal for answer in answers].count(None) == 4
    busy = next(said(answer) for answer in answers if answer.refusal is Refusal.BUSY)
    assert 5 <= busy["retry_after_s"] <= 35
    for handshake, answer in zip(handshakes, answers, strict=True):
        if answer.refusal is None:
            handshake.challenged(said(answer))
            await small.send(handshake, handshake.proof)
    await bench.made()
    fresh = handshakes[[answer.refusal for answer in answers].index(Refusal.BUSY)]
    assert said(await small.send(fresh, fresh.hello))["type"] == "challenge"


async def test_tries_for_a_serial_are_bounded_and_a_stranger_does_not_use_up_those_of_its_owner(bench: Bench) -> None:
    owner = await bench.controller()
    await bench.granted(owner)
    stranger = Controller(owner.serial, bytes(32))
    for _ in range(5):
        handshake = stranger.handshake()
        assert said(await bench.send(handshake, handshake.hello))["type"] == "challenge"
    handshake = stranger.handshake()
    assert await refused(bench, handshake, handshake.hello) == "busy"
    for _ in range(4):
        await bench.challenged(owner)
    handshake = owner.handshake()
    assert await refused(bench, handshake, handshake.hello) == "busy"


async def test_what_takes_too_long_is_over_before_the_sweep_and_after_it(bench: Bench) -> None:
    controller = await bench.controller()
    handshake = await bench.challenged(controller)
    await bench.pool.execute("update enrollments set expires_at = now() - interval '1 s'")
    for payload in (handshake.proof, handshake.hello):
        assert await refused(bench, handshake, payload) == "expired"
    assert await store.sweep(bench.pool, "main") == 1
    assert await bench.state(handshake) == ("expired", "expired")
    for payload in (handshake.proof, handshake.hello):
        assert await refused(bench, handshake, payload) == "expired"
    unheard = controller.handshake()
    unheard.proof = handshake.prove(txn=unheard.txn)
    assert await refused(bench, unheard, unheard.proof) == "expired"


async def test_the_sweep_takes_an_unused_login_away_and_leaves_one_that_was_used(bench: Bench) -> None:
    await bench.granted(await bench.controller())
    _, used = await bench.granted(await bench.controller())
    await bench.pool.execute("update enrollments set expires_at = now() - interval '1 s'")
    await bench.pool.execute(
        """insert into statuses (device_id, boot, time, online, received_at, generation)
           select device_id, 1, now(), true, now(), 1 from devices where name = $1""",
        used.device,
    )  # and nobody has looked at it yet
    assert await store.sweep(bench.pool, "main") == 1
    assert await bench.logins() == {used.username: "present"}


# -- operators


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


# -- once more


async def test_after_a_factory_reset_the_next_generation_comes_by_itself_and_boots_go_on(bench: Bench) -> None:
    controller = await bench.controller()
    _, first = await bench.granted(controller)
    await bench.used(first, boot=41)
    await bench.pool.execute("insert into device_streams (device_id, boot) select device_id, 43 from devices")
    _, second = await bench.granted(controller)
    assert (second.username, second.generation, second.boot) == (f"d-{controller.serial}.2", 2, 44)
    assert await bench.logins() == {first.username: "present", second.username: "present"}
    await bench.used(second, boot=44)
    assert await bench.logins() == {second.username: "present"}


async def test_a_device_that_enrolls_again_and_again_has_one_unused_login_and_keeps_the_one_in_use(
    bench: Bench,
) -> None:
    controller = await bench.controller()
    _, used = await bench.granted(controller)
    await bench.used(used)
    begun = []
    for number in range(4):
        if number % 2:
            begun.append((await bench.granted(controller))[0])
        else:
            begun.append(await bench.proved(controller))
    assert await bench.logins() == {used.username: "present", f"d-{controller.serial}.5": "present"}
    for handshake in begun[:-1]:
        assert await bench.state(handshake) == ("expired", "expired")
        assert await refused(bench, handshake, handshake.proof) == "expired"
    gone = await bench.pool.fetch("select password, ended_at from credentials where wanted = 'absent'")
    assert [(row["password"], row["ended_at"] is not None) for row in gone] == [(None, True)] * 3


async def test_a_login_made_by_hand_is_left_alone(bench: Bench) -> None:
    controller = await bench.controller()
    name = f"d-{controller.serial}"
    await bench.pool.execute("insert into devices (name) values ($1)", name)
    seal = json.dumps({"generation": 1, "password": "00", "salt": "00", "verifier": "00"})
    await bench.pool.execute(
        "select device_login($1, 'main', 'c', $2, 'olga', 'notebook')", f"d-{controller.serial}", seal
    )
    _, login = await bench.granted(controller)
    assert login.generation == 2
    assert len(await bench.logins()) == 2
    assert await bench.pool.fetchval("select state from devices") == "active"


async def test_a_boot_floor_stays_in_the_range_of_boots(bench: Bench) -> None:
    controller = await bench.controller()
    _, login = await bench.granted(controller)
    await bench.used(login, boot=2**32 - 1)
    assert (await bench.granted(controller))[1].boot == 2**32 - 1


# -- certificates


def request(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    algorithm = None if isinstance(key, Ed25519PrivateKey) else SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


async def with_request(bench: Bench, controller: Controller, csr: bytes) -> Handshake:
    handshake = Handshake(controller.serial, controller.psk, controller.identity, csr=csr)
    handshake.challenged(said(await bench.send(handshake, handshake.hello)))
    return handshake


async def test_who_asks_for_a_certificate_gets_one_in_the_place_of_a_password(bench: Bench) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    handshake = await with_request(bench, await bench.controller(), request(key))
    await bench.send(handshake, handshake.proof)
    await bench.made()
    login = handshake.granted(said(await bench.send(handshake, handshake.proof)))
    assert (login.password, login.broker) == (None, "mqtts://plant.example:8885")
    assert login.certificate is not None
    issued = x509.load_der_x509_certificate(login.certificate)
    assert bench.secrets.authority is not None
    issued.verify_directly_issued_by(bench.secrets.authority[0])
    assert issued.public_key() == key.public_key()
    assert issued.subject.rfc4514_string() == f"CN={login.username}"
    assert issued.not_valid_before_utc < datetime.now(UTC)
    [row] = await bench.pool.fetch("select kind, password, salt, verifier, certificate_serial from credentials")
    assert tuple(row) == ("certificate", None, None, None, issued.serial_number.to_bytes(20, "big"))


async def test_a_request_that_cannot_be_used_is_refused_before_anybody_is_asked(bench: Bench) -> None:
    for csr in (b"request", request(ec.generate_private_key(ec.SECP521R1()))):
        handshake = await with_request(bench, bench.stranger(), csr)
        assert await refused(bench, handshake, handshake.proof) == "certificate"
    closed = bench.with_settings(device_certificate_broker_url=None)
    handshake = await with_request(closed, await bench.controller(), request(Ed25519PrivateKey.generate()))
    assert await refused(closed, handshake, handshake.proof) == "certificate"


async def test_a_name_too_long_for_a_certificate_leaves_nothing_behind(bench: Bench) -> None:
    controller = await bench.controller("S" * 62)
    handshake = await with_request(bench, controller, request(Ed25519PrivateKey.generate()))
    assert await refused(bench, handshake, handshake.proof) == "certificate"
    assert await bench.pool.fetch("select from devices") == []
    assert await bench.pool.fetchval("select identity_key from serials") is None
    await bench.granted(controller)


async def test_a_step_does_not_wait_for_ever_for_a_row_that_somebody_holds(bench: Bench, database_url: str) -> None:
    handshake = await bench.challenged(await bench.controller())
    holder = await asyncpg.connect(database_url)
    async with holder.transaction():
        await holder.execute("select from enrollments for update")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await bench.send(handshake, handshake.proof)
    await holder.close()
    assert await bench.send(handshake, handshake.proof) == SILENCE


@pytest.mark.parametrize("action", ["revoke", "reset", "suspend"])
async def test_operators_and_handshakes_of_one_device_do_not_lock_each_other_out(bench: Bench, action: str) -> None:
    """Whoever comes first: neither ends in a deadlock, and a device that was revoked has no login left."""
    controllers = [await bench.controller() for _ in range(8)]
    for controller in controllers:
        _, login = await bench.granted(controller)
        await bench.used(login)
    handshakes = [await bench.challenged(controller) for controller in controllers]
    await asyncio.gather(
        *(bench.send(handshake, handshake.proof) for handshake in handshakes),
        *(bench.command(f"d-{controller.serial}", action) for controller in controllers),
    )
    wanted = set((await bench.logins()).values())
    assert wanted <= {"revoke": set(), "suspend": {"disabled"}, "reset": {"present"}}[action]
    deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
    assert await bench.pool.fetchval(deadlocks) == 0
