"""A controller on no list comes in through the queue: the whole way, with the real handshake, gateway and broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schema.enrollment import fingerprint
from tests.conftest import Broker
from tests.gateway.operators.tool import SIGNED, Tool, tool_for
from tests.mqtt import Refused
from tests.system.enrollment.device import Rejected
from tests.system.enrollment.plant import Plant


@pytest.fixture
def plant(secure_broker: Broker, database_url: str, tmp_path: Path) -> Iterator[Plant]:
    plant = Plant(secure_broker, database_url, tmp_path, enroll_pending_s=1)
    plant.start()
    yield plant
    plant.kill()
    print(plant.gateway.log.read_text()[-4000:])


async def waiting(tool: Tool, serial: str) -> dict[str, str]:
    """Its line in the queue."""
    for _ in range(20):
        for row in (await tool("queue")).table:
            if row["SERIAL"] == serial:
                return row
        await asyncio.sleep(0.2)
    raise AssertionError(f"{serial} does not wait")


async def test_a_controller_waits_until_its_fingerprint_is_approved(
    plant: Plant, database_url: str, database: asyncpg.Connection
) -> None:
    tool = tool_for(database_url)
    device = plant.made("BR-2044")
    mark = fingerprint(device.identity.public_key().public_bytes_raw())
    enrolling = asyncio.create_task(plant.enroll(device, wait_for_operator=True, patience_s=30))
    row = await waiting(tool, "BR-2044")
    assert (row["FINGERPRINT"], row["REASON"]) == (mark, "unknown-serial")
    assert not enrolling.done()
    ran = await tool("approve", "BR-2044", "--device", "br-1", "--fingerprint", mark, *SIGNED)
    assert ran.status == 0, ran.err
    login = await enrolling
    assert (login.device, login.username) == ("br-1", "br-1.1")
    assert f"fingerprint: {mark}" in (await tool("show", "br-1")).out

    device.identity = Ed25519PrivateKey.generate()  # a new one after a factory reset: a person has to agree
    other = fingerprint(device.identity.public_key().public_bytes_raw())
    enrolling = asyncio.create_task(plant.enroll(device, wait_for_operator=True, patience_s=30))
    row = await waiting(tool, "BR-2044")
    assert (row["FINGERPRINT"], row["REASON"]) == (other, "identity-changed")
    assert (await tool("approve", "BR-2044", "--fingerprint", mark, *SIGNED)).status == 1
    assert (await tool("deny", "BR-2044", *SIGNED)).status == 0
    with pytest.raises(Rejected) as caught:
        await enrolling
    assert caught.value.code == "denied"

    assert (await tool("close", *SIGNED)).status == 0
    with pytest.raises((Rejected, Refused, TimeoutError)):
        await plant.made("BR-2045").enroll(plant.door, patience_s=3)
    assert (await tool("open", *SIGNED)).status == 0
    assert (await tool("revoke", "br-1", *SIGNED)).status == 0
    for _ in range(50):
        if await database.fetchval("select applied from credentials where username = 'br-1.1'") == "absent":
            break
        await asyncio.sleep(0.1)
    assert "br-1.1" not in await plant.devices_logins()
