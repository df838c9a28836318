"""The steps of handshakes that come again, or ask for certificates, against a real database."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from schema.messages import MOST_PACKET
from tests.gateway.enrollment.bench import Bench, Controller, refused, said
from tests.gateway.enrollment.handshake import Handshake


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
    assert (login.generation, login.max_packet) == (2, MOST_PACKET)
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
    handshake = await bench.challenged(bench.stranger())
    assert said(await bench.send(handshake, handshake.proof))["type"] == "pending"
    holder = await asyncpg.connect(database_url)
    async with holder.transaction():
        await holder.execute("select from enrollments for update")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await bench.send(handshake, handshake.proof)
    await holder.close()
    assert said(await bench.send(handshake, handshake.proof))["type"] == "pending"


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
