"""The broker's files written anew from the database; ready-made logins by the thousand; certificates."""

from __future__ import annotations

import asyncio
import csv
import os
import secrets
import ssl
import stat
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.logins.provision import ProvisionRefused, provision
from gateway.operators.recovery import broker_logins, revocations
from gateway.operators.setup import pem
from tests.gateway.cell import Cell, eventually
from tests.gateway.operators.tool import Ran, ran_as
from tests.mqtt import NOT_AUTHORIZED, Client, tls

MANY = 1000
DEVICES, RECOVERY = "gateway.operators.commands", "gateway.operators.recovery"


async def restart_with_logins_of_the_database(cell: Cell) -> None:
    """As an operator does it."""
    server = cell.broker.server
    await asyncio.to_thread(server.stop)
    async with cell.pool.acquire() as connection:
        content, _ = await broker_logins(connection, "main", cell.secrets)
    server.write_logins(content.decode())
    await asyncio.to_thread(server.start)


async def made(cell: Cell, names: list[str], output: Path) -> list[dict[str, str]]:
    async with cell.pool.acquire() as connection:
        assert await provision(connection, "main", names, output, who="tests", why="production") == len(names)
    with output.open() as file:
        return list(csv.DictReader(file))


async def test_a_lost_file_is_written_anew(cell: Cell) -> None:
    async with cell.administered():
        usernames = [await cell.login(name, client_id=f"c-{name}") for name in ("r1", "r2", "r3", "r4")]
        certified = await cell.login("r5", kind="certificate")
        await cell.login("r6", kind="certificate")
        await cell.settled()
        await cell.status("r1", 1)  # its password is known to nobody but the device now
        await eventually(
            lambda: cell.value("select activated_at is not null from credentials where username = 'r1.1'"), 5
        )
        for name in ("r2", "r6"):
            await cell.command(name, "suspend")
        await cell.command("r3", "revoke")
        await cell.sql("select enrollment_switch('main', false, 'tests', 'quiet')")
        await cell.settled()
        before = await cell.logins()
    await restart_with_logins_of_the_database(cell)
    assert await cell.logins() == before
    assert set(before) == {usernames[0], usernames[1], usernames[3], certified}
    for username, gets_in in zip(usernames, (True, False, False, True), strict=True):
        assert await cell.gets_in(username, f"c-{username[:2]}") == gets_in, username
    assert not await cell.gets_in("enroll")
    async with cell.administered():
        await asyncio.sleep(1.5)
        assert await cell.value("select count(*) from audit where why = 'reconciliation'") == 0


async def test_many_ready_made_logins(cell: Cell, tmp_path: Path) -> None:
    names = [f"p-{n:05}" for n in range(MANY)]
    begun = time.monotonic()
    rows = await made(cell, names, tmp_path / "logins.csv")
    await restart_with_logins_of_the_database(cell)
    assert time.monotonic() - begun < 30
    assert stat.S_IMODE((tmp_path / "logins.csv").stat().st_mode) == 0o600
    assert [row["device"] for row in rows] == names
    for row in rows[:: MANY // 7]:
        assert await cell.gets_in(row["username"], row["client_id"], row["password"])
        assert not await cell.gets_in(row["username"], "another", row["password"])
    async with cell.administered():  # to whom it is as if they had been made one by one
        await asyncio.sleep(2)
        assert await cell.value("select count(*) from audit where why = 'reconciliation'") == 0
        await cell.command("p-00003", "revoke")
        await cell.settled()
    assert not await cell.gets_in(rows[3]["username"], rows[3]["client_id"], rows[3]["password"])
    assert await cell.value("select count(*) from audit where action = 'logins provision'") == 1


async def test_none_or_all_are_made(cell: Cell, tmp_path: Path) -> None:
    with pytest.raises(ProvisionRefused, match="no device names"):
        await made(cell, ["r1", "r/2"], tmp_path / "a.csv")
    await made(cell, ["r1", "r2"], tmp_path / "b.csv")
    with pytest.raises(ProvisionRefused, match="there already"):
        await made(cell, ["r3"], tmp_path / "b.csv")
    await cell.command("r2", "retire")
    with pytest.raises(ProvisionRefused, match="retired: r2"):
        await made(cell, ["r1", "r2"], tmp_path / "c.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"b.csv"}
    assert await cell.value("select count(*) from credentials") == 2
    again = await made(cell, ["r1"], tmp_path / "d.csv")
    assert again[0]["username"] == "r1.2"


async def test_the_commands(cell: Cell, database_url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "BIOGATE_DATABASE_URL": database_url}

    async def run(module: str, *arguments: object) -> Ran:
        return await ran_as(module, *arguments, environment=environment)

    copy = tmp_path / "secrets"
    subprocess.run(["cp", "-a", str(cell.broker.secrets), str(copy)], check=True)
    output = tmp_path / "logins.csv"
    ran = await run(DEVICES, "provision", "r1", "r2", "--to", output, "--why", "production", "--who", "me")
    assert (ran.status, ran.out) == (0, f"2 logins of cell main are in {output}\n")
    ran = await run(DEVICES, "provision", "r1", "--to", output, "--why", "production")
    assert ran.status == 1
    assert "there already" in ran.err
    ran = await run(RECOVERY, "dynamic-security", copy)
    assert (ran.status, ran.err) == (0, "")
    assert "2 logins of devices" in ran.out
    assert "r2.1" in (copy / "broker/dynamic-security.json").read_text()
    ran = await run(RECOVERY, "crl", copy)
    assert (ran.status, ran.err) == (0, "")
    x509.load_pem_x509_crl((copy / "broker/crl.pem").read_bytes())
    (copy / "ca.key.pem").unlink()
    ran = await run(RECOVERY, "crl", copy)
    assert ran.status == 1
    assert "ca.key.pem" in ran.err
    environment.pop("BIOGATE_DATABASE_URL")
    assert (await run(RECOVERY, "crl", copy)).status == 2


# -- certificates


def certificate(cell: Cell, username: str, directory: Path) -> tuple[Path, Path, int]:
    """Files of a certificate in this name and of its key, and its serial number."""
    assert cell.secrets.authority is not None
    authority, signer = cell.secrets.authority
    key, now, serial = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC), secrets.randbits(159)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, username)])
    issued = (
        x509.CertificateBuilder(authority.subject, subject, key.public_key(), serial)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(signer, SHA256())
    )
    files = directory / f"{username}.pem", directory / f"{username}.key.pem"
    files[0].write_bytes(issued.public_bytes(Encoding.PEM))
    files[1].write_bytes(pem(key))
    return *files, serial


async def with_certificate(cell: Cell, files: tuple[Path, Path]) -> Client:
    context = tls(cell.broker.secrets / "ca.pem", files)
    return await Client.connect(cell.broker.certificate_port, f"c-{secrets.token_hex(4)}", context=context)


async def test_a_certificate_is_as_good_as_a_password_until_it_is_suspended(cell: Cell, tmp_path: Path) -> None:
    async with cell.administered():
        username = await cell.login("r1", kind="certificate")
        await cell.settled()
        *files, _ = certificate(cell, username, tmp_path)
        device = await with_certificate(cell, (files[0], files[1]))
        assert await device.publish("bioreactors/r1/telemetry", b"") < 0x80
        assert await device.publish("bioreactors/r2/telemetry", b"") == NOT_AUTHORIZED
        device.abort()
        device = await with_certificate(cell, (files[0], files[1]))
        await cell.command("r1", "suspend")
        await asyncio.wait_for(device.ended, 20)
        await cell.settled()
        device = await with_certificate(cell, (files[0], files[1]))  # the broker does not mind, but gives no rights
        assert await device.publish("bioreactors/r1/telemetry", b"") == NOT_AUTHORIZED
        device.abort()
        await cell.command("r1", "resume")
        await cell.settled()
        device = await with_certificate(cell, (files[0], files[1]))
        assert await device.publish("bioreactors/r1/telemetry", b"") < 0x80
        device.abort()


async def test_ended_certificates_are_on_the_list(cell: Cell, tmp_path: Path) -> None:
    names = [await cell.login(name, kind="certificate") for name in ("r1", "r2", "r3")]
    issued = {name: certificate(cell, name, tmp_path) for name in names}
    for name, (*_, serial) in issued.items():
        await cell.sql(
            "update credentials set certificate_serial = $2 where username = $1", name, serial.to_bytes(20, "big")
        )
    await cell.command("r1", "revoke")
    await cell.command("r2", "suspend")
    async with cell.pool.acquire() as connection:
        content, count = await revocations(connection, cell.secrets)
    crl = x509.load_pem_x509_crl(content)
    assert cell.secrets.authority is not None
    authority, _ = cell.secrets.authority
    assert crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    assert crl.next_update_utc == authority.not_valid_after_utc
    assert ([entry.serial_number for entry in crl], count) == ([issued["r1.1"][2]], 1)
    (tmp_path / "crl.pem").write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(tmp_path / "crl.pem")  # OpenSSL, and so Mosquitto, can read it
