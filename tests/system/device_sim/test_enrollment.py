"""Controllers enroll at a gateway, all real: killed at each step, renewed, locked out, reset."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from device_sim.claims import read_claims
from device_sim.enroll import Step
from device_sim.handshake import Granted, begin
from device_sim.identity import Keeper
from device_sim.journal import Produced, read
from schema.enrollment import fingerprint
from tests.conftest import Broker
from tests.device_sim.plant import Plant, stopped
from tests.device_sim.responder import identity
from tests.forked import Talking
from tests.processes import GatewayProcess

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def plant(secure_broker: Broker, database: asyncpg.Connection, database_url: str, tmp_path: Path) -> Iterator[Plant]:
    gateway = GatewayProcess(database_url, secure_broker.url, tmp_path / "gateway.log")
    yield Plant(secure_broker, database, gateway, tmp_path)
    gateway.kill()
    if gateway.log.exists():
        print(gateway.log.read_text()[-4000:])


async def enroll(plant: Plant, *more: str) -> tuple[int, list[dict[str, object]]]:
    return await asyncio.to_thread(plant.enroll, *more)


async def test_a_device_that_is_killed_at_any_step_goes_on_and_gets_one_identity(plant: Plant) -> None:
    plant.start()
    for step in Step:
        serial = f"S-{step}"
        plant.produced(serial)
        await plant.approve_beforehand(**{serial: f"dev-{step}"})
        status, _ = await enroll(plant, "--stop-at", step)
        assert status == -signal.SIGKILL, step
        status, [line, summary] = await enroll(plant)
        assert (status, line["device"], line["generation"]) == (0, f"dev-{step}", 1), step
        assert summary["enrolled"] == 1
    expected = [f"dev-{step}.1" for step in Step]
    await plant.until_active(*expected)
    assert sorted(await plant.logins()) == sorted((login, "active") for login in expected)
    assert await plant.database.fetchval("select count(*) from devices") == len(expected)


async def test_the_command_says_how_each_device_fared(plant: Plant) -> None:
    plant.start()
    await plant.approve_beforehand(S_1="one", S_2="two", S_3="three")
    await plant.database.execute("select serial_block('S-3', true, 'tests', 'stolen')")
    plant.produced("S-1", "S-2", "S-3")
    status, [*lines, summary] = await enroll(plant)
    assert status == 1
    said = {line.pop("serial"): line for line in lines}
    assert said["S-3"] == {"rejected": "blocked"}
    assert (said["S-1"]["device"], said["S-2"]["device"], said["S-2"]["generation"]) == ("one", "two", 1)
    assert (summary["devices"], summary["enrolled"]) == (3, 2)
    assert 0 < summary["seconds_p50"] <= summary["seconds_p99"] <= summary["seconds_max"]  # type: ignore[operator]
    _, [again, *_] = await enroll(plant)
    assert (again["generation"], again["seconds"]) == (1, 0.0)


async def test_a_certificate_instead_of_a_password(plant: Plant) -> None:
    plant.start()
    plant.produced("S-1")
    await plant.approve_beforehand(S_1="one")
    status, [line, _] = await enroll(plant, "--certificate")
    assert (status, line["device"]) == (0, "one")
    await plant.until_active("one.1")
    assert await plant.database.fetchval("select kind from credentials") == "certificate"


async def test_a_fleet_enrolls_and_who_waits_for_approval_holds_nobody_up(plant: Plant, tmp_path: Path) -> None:
    plant.start()
    plant.produced("S-1", "S-2", "S-3")
    await plant.approve_beforehand(S_1="one", S_3="three")
    fleet = plant.fleet("--journal", str(tmp_path / "journal"))
    try:
        await plant.until_active("one.1", "three.1")
        await plant.until("select count(*) > 20 from frames")
        txn = await plant.database.fetchval("select txn from enrollments where state = 'awaiting' and serial = 'S-2'")
        await plant.database.execute("select enrollment_approve($1, 'two', 'tests', 'expected')", txn)
        await plant.until_active("one.1", "three.1", "two.1")
        await plant.until("select count(*) > 20 from frames f join devices d using (device_id) where d.name = 'two'")
    finally:
        summary = await stopped(fleet, Talking.terminate)
    assert fleet.returncode == 0, summary
    assert summary["nameless"] == 0
    produced = [(r.device, r.boot, r.seq) for r in read(tmp_path / "journal") if isinstance(r, Produced)]
    assert {device for device, _, _ in produced} == {"one", "two", "three"}
    plant.gateway.settle(len(produced))
    stored = await plant.database.fetch("select name, boot, seq from frames join devices using (device_id)")
    assert sorted(map(tuple, stored)) == sorted(produced)


async def test_a_renewal_leaves_no_gap_and_ends_the_old_login(plant: Plant) -> None:
    plant.start()
    plant.produced("S-1")
    await plant.approve_beforehand(S_1="one")
    fleet = plant.fleet("--reboot-every", "1000")
    try:
        await plant.until_active("one.1")
        for generation in (2, 3):
            await plant.database.execute("select device_command('one', 'rotate', 'tests', 'yearly')")
            await plant.until_active(f"one.{generation}")
            seen = await plant.database.fetchval("select count(*) from frames")
            await plant.until("select count(*) > $1 + 10 from frames", seen)
    finally:
        summary = await stopped(fleet, Talking.terminate)
    assert fleet.returncode == 0, summary
    assert summary["reconnects"] == 0
    plant.gateway.settle(summary["produced"])
    boot, first, last, count = await plant.database.fetchrow(
        "select max(boot), min(seq), max(seq), count(*) from frames"
    )
    assert (boot, first, last + 1, count) == (1, 0, summary["produced"], summary["produced"])
    assert (
        await plant.database.fetchval(
            "select max(extract(epoch from gap)) from (select time - lag(time) over (order by time) as gap from frames)"
        )
        < 0.5
    )
    assert await plant.database.fetchval("select count(*) from credentials where wanted = 'present'") == 1


@pytest.mark.parametrize("sort", [(), ("--certificate",)], ids=["password", "certificate"])
async def test_a_device_that_is_locked_out_enrolls_again(plant: Plant, sort: tuple[str, ...]) -> None:
    plant.start()
    plant.produced("S-1")
    await plant.approve_beforehand(S_1="one")
    fleet = plant.fleet("--login-retry", "0.3", "--enroll-again", "1", *sort)
    try:
        await plant.until_active("one.1")
        await plant.database.execute("select login_end('one.1', 'tests', 'by mistake')")
        await plant.until_active("one.2")
        seen = await plant.database.fetchval("select count(*) from frames")
        await plant.until("select count(*) > $1 + 10 from frames", seen)
    finally:
        summary = await stopped(fleet, Talking.terminate)
    assert (fleet.returncode, summary["lost"]) == (0, 0), summary


async def test_after_a_factory_reset_it_has_a_new_login_and_boots_above_what_was_seen(plant: Plant) -> None:
    plant.start()
    plant.produced("S-1")
    await plant.approve_beforehand(S_1="one")
    for generation in (1, 2):
        fleet = plant.fleet(*(["--factory-reset", "S-1"] if generation == 2 else []))
        try:
            await plant.until_active(f"one.{generation}")
            await plant.until("select count(*) > 5 from frames where boot = $1", generation)
        finally:
            await stopped(fleet, Talking.kill if generation == 1 else Talking.terminate)
    assert await plant.logins() == [("one.2", "active")]


async def test_a_new_login_that_came_too_late_is_given_up_for_the_old_one(plant: Plant) -> None:
    plant.start()
    plant.produced("S-1")
    await plant.approve_beforehand(S_1="one")
    await enroll(plant)
    await plant.until_active("one.1")
    [claim] = read_claims(plant.claims, print)
    keeper = Keeper(plant.state, claim)
    assert keeper.state.login
    late = msgspec.structs.replace(keeper.state.login.identity, username="one.2", generation=2)
    keeper.go_on(begin(keeper.state.controller, "f" * 32, bytes(range(32)), 1))
    keeper.grant(Granted(late, keeper.state.gateway or b""))
    fleet = plant.fleet("--login-retry", "0.3")
    try:
        await plant.until_active("one.2")  # by a handshake of its own
    finally:
        summary = await stopped(fleet, Talking.terminate)
    assert fleet.returncode == 0, summary
    assert Keeper(plant.state, claim).state.handshake is None


async def test_a_first_login_that_does_not_work_is_replaced_too(plant: Plant) -> None:
    plant.start()
    plant.produced("S-1")
    await plant.approve_beforehand(S_1="one")
    [claim] = read_claims(plant.claims, print)
    keeper = Keeper(plant.state, claim)
    keeper.go_on(begin(keeper.state.controller, "f" * 32, bytes(range(32)), 1))
    broker = f"mqtts://localhost:{plant.broker.tls_port}"
    never = identity("one", username="one.7", generation=7, broker=broker)
    gateway = load_pem_private_key((plant.broker.secrets / "gateway.pem").read_bytes(), None)
    assert isinstance(gateway, Ed25519PrivateKey)
    keeper.grant(Granted(never, gateway.public_key().public_bytes_raw()))
    fleet = plant.fleet("--login-retry", "0.2", "--enroll-again", "0.5")
    try:
        await plant.until_active("one.1")
    finally:
        summary = await stopped(fleet, Talking.terminate)
    assert fleet.returncode == 0, summary


async def test_however_often_a_fleet_is_killed_each_device_ends_with_one_identity(plant: Plant) -> None:
    plant.start()
    serials = [f"S-{number}" for number in range(8)]
    plant.produced(*serials)
    await plant.approve_beforehand(**{serial: serial for serial in serials})
    chance = random.Random(1)
    for _ in range(4):
        fleet = plant.fleet()
        await asyncio.sleep(chance.uniform(0.6, 1.4))
        await stopped(fleet, Talking.kill)
    fleet = plant.fleet()
    try:
        await plant.until_active(*(f"{serial}.1" for serial in serials))
    finally:
        await stopped(fleet, Talking.terminate)


async def test_a_new_device_shows_its_fingerprint_waits_and_publishes(plant: Plant) -> None:
    plant.start()
    plant.produced("S-9")
    knocking = Talking("device_sim", "new-device", *plant.options("--rate", "20", "--count", "10"))
    await plant.until("select exists (select from enrollments where state = 'awaiting' and serial = 'S-9')")
    row = await plant.database.fetchrow("select txn, identity_key from enrollments where serial = 'S-9'")
    assert row
    await plant.database.execute("select enrollment_approve($1, 'nine', 'tests', 'as on its display')", row["txn"])
    said = [json.loads(line) for line in (await asyncio.to_thread(knocking.finish, 60)).splitlines()]
    assert knocking.wait() == 0
    assert said[0] == {"serial": "S-9", "fingerprint": fingerprint(row["identity_key"]), "approved": False}
    assert (said[-1]["final"], said[-1]["produced"], said[-1]["unacknowledged"]) == (True, 10, 0)
    await plant.until("select count(*) = 10 from frames join devices using (device_id) where name = 'nine'")
