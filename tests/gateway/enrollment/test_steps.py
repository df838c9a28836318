"""Each step of a handshake on a real database: what is stored, what is replied, and what a repetition changes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping

import pytest

from gateway.enrollment import store
from gateway.enrollment.challenges import ChallengeSecret
from gateway.enrollment.requests import read
from gateway.enrollment.steps import SILENCE
from schema.enrollment import Hello, Refusal, b64
from schema.sealed import unseal
from tests.gateway.enrollment.bench import Bench, Controller, kept, refused, said, transitions
from tests.gateway.enrollment.handshake import Handshake
from tests.in_turn import in_turn

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


async def test_firmware_says_what_its_channels_are_and_takes_nothing_back_that_people_said(bench: Bench) -> None:
    """What it says counts from the beginning, as it has sent nothing yet; later, what it says otherwise than before."""
    controller = await bench.controller()

    async def enroll(described: Mapping[str, object]) -> dict[str, tuple[object, ...]]:
        await bench.granted(controller, described=described)
        rows = await bench.pool.fetch(
            "select t.* from channel_terms t join devices d using (device_id)"
            " where d.name = $1 and t.channel in ('pressure', 'ph_2', 'ph')",
            f"d-{controller.serial}",
        )
        return {row["channel"]: (row["unit"], row["title"], row["decimals"], row["low"], row["units"]) for row in rows}

    first: dict[str, object] = {
        "pressure": {"unit": "mbar"},
        "ph_2": {"unit": "pH", "title": "second", "low": 0, "high": 14},
    }
    assert await enroll(first) == {
        "pressure": ("mbar", None, 3, None, ["mbar"]),
        "ph_2": ("pH", "second", None, 0, ["pH"]),
        "ph": ("pH", None, 2, 0, None),
    }
    device_id = await bench.pool.fetchval("select device_id from devices where name = $1", f"d-{controller.serial}")
    change = json.dumps({"title": "Probe 2"})
    await bench.pool.execute(
        "select channel_describe(1, $1, 'ph_2', $2, null, null, 'eva', 'named')", device_id, change
    )
    await bench.pool.execute(
        "insert into layouts (channel_ids) select array[channel_id] from channels where name = 'ph'"
    )
    await bench.pool.execute("insert into device_layouts select $1, 1, max(layout_id) from layouts", device_id)

    again = await enroll(first | {"pressure": {"unit": "kPa", "decimals": 1}})

    assert again["ph_2"] == ("pH", "Probe 2", None, 0, ["pH"])
    assert again["pressure"] == ("kPa", None, 1, None, ["mbar", "kPa"]), "what is stored was mbar"
    events = await bench.pool.fetch("select who, new, why from audit where action = 'channel change' order by n")
    assert [(row["who"], json.loads(row["new"])["channel"]) for row in events] == [
        *((f"device d-{controller.serial}", name) for name in ("ph_2", "pressure")),
        ("eva", "ph_2"),
        (f"device d-{controller.serial}", "pressure"),
    ]
    assert events[0]["why"].startswith("enrollment ")


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
    assert await bench.send(handshake, handshake.proof) == SILENCE
    assert await refused(bench, handshake, changed) == "conflict"
    assert await refused(bench, handshake, handshake.proof + b" ") == "conflict"
    await bench.made()
    assert await refused(bench, handshake, handshake.proof + b" ") == "conflict"
    handshake.granted(said(await bench.send(handshake, handshake.proof)))


async def test_a_transaction_number_of_another_cell_is_a_conflict(bench: Bench) -> None:
    handshake = await bench.proved(await bench.controller())
    await bench.pool.execute("insert into cells (cell, client_id) values ('other', 'x')")
    there = bench.with_settings(cell="other")
    assert await refused(there, handshake, handshake.hello) == "conflict"
    assert await refused(there, handshake, handshake.proof) == "conflict"
    assert (await there.steps.resume(handshake.txn)).payload is None


async def test_requests_that_come_many_times_at_once_make_one_login(bench: Bench) -> None:
    handshake = (await bench.controller()).handshake()
    answers = await asyncio.gather(*(bench.send(handshake, handshake.hello) for _ in range(5)))
    assert len(set(answers)) <= 2  # a minute may have ended between them
    handshake.challenged(said(answers[0]))
    await asyncio.gather(*(bench.send(handshake, handshake.proof) for _ in range(6)))
    await bench.made()
    answers = await asyncio.gather(*(bench.send(handshake, handshake.proof) for _ in range(6)))
    assert len(set(answers)) == 1
    assert list(await bench.logins()) == [handshake.granted(said(answers[0])).username]


# -- who is refused


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"mac": "A" * 43}, "refused"),
        ({"sig": "A" * 86}, "refused"),
        ({"body": "A"}, "malformed"),
        ({"body": "e30"}, "malformed"),
        ({"hello": "e30"}, "malformed"),
    ],
)
async def test_nothing_is_kept_or_locked_for_a_wrong_proof_and_the_right_one_still_counts(
    bench: Bench, changes: dict[str, str], code: str
) -> None:
    handshake = await bench.challenged(await bench.controller())
    assert await kept(bench) == 0
    for _ in range(3):
        assert await refused(bench, handshake, handshake.prove(**changes)) == code
    assert await kept(bench) == 0
    assert await bench.send(handshake, handshake.proof) == SILENCE


@in_turn("member", ["nonce", "ephemeral", "gateway", "expires_s"])
async def test_a_challenge_that_no_gateway_made_proves_nothing(bench: Bench, member: str) -> None:
    """Whoever makes one up, with keys of his own, has the right MAC and signature for it."""
    controller = await bench.controller()
    handshake = await bench.challenged(controller)
    other = await bench.challenged(controller)
    body = json.loads(handshake.body)
    strange = json.loads(other.body) | {"gateway": json.loads(handshake.hello)["identity"], "expires_s": 100_000}
    made_up = json.dumps(body | {member: strange[member]}, separators=(",", ":")).encode()
    proof = handshake.careless({"body": b64(made_up)})
    assert await refused(bench, handshake, proof) == "expired"
    assert await kept(bench) == 0


async def test_any_gateway_of_the_cell_takes_the_proof_and_no_other_cell_s(bench: Bench) -> None:
    await bench.pool.execute("insert into cells (cell, client_id) values ('other', 'x')")
    handshake = await bench.challenged(await bench.controller())
    assert await refused(bench.with_settings(cell="other"), handshake, handshake.proof) == "expired"
    assert await bench.with_settings().send(handshake, handshake.proof) == SILENCE


@pytest.mark.parametrize(("minutes", "holds"), [(0, True), (2, True), (5, False)])
async def test_a_challenge_can_be_proved_for_its_time_and_its_secret_is_deleted_after(
    bench: Bench, minutes: int, holds: bool
) -> None:
    handshake = await bench.challenged(await bench.controller())
    [salt] = await bench.pool.fetch("select minute, salt from challenge_salts")
    old = ChallengeSecret.of(bench.secrets.vault, "main", salt["minute"] - minutes, salt["salt"])
    await bench.pool.execute("update challenge_salts set minute = minute - $1", minutes)
    request = read(handshake.txn, handshake.hello, retained=False)
    assert isinstance(request, Hello)
    asked = old.challenge(handshake.hello, request, handshake.psk, bench.secrets.gateway, expires_s=120)
    proof = handshake.challenged(json.loads(asked.reply))
    if holds:
        assert await bench.send(handshake, proof) == SILENCE
    else:
        assert await refused(bench, handshake, proof) == "expired"
    await store.sweep(bench.pool, "main", 120)
    assert await bench.pool.fetchval("select count(*) from challenge_salts") == int(holds)


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
