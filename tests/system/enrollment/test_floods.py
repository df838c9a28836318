"""Requests that are too many: refused, bounded, and over when they are over; nobody else notices."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.mqtt import Client
from tests.system.enrollment.plant import Neighbour, Plant, eventually
from tests.system.enrollment.watch import Count, identities

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("unharmed")]
SETTINGS = {"enroll_pending_s": 5}

FUZZ_S = 8.0
"""How long nonsense is sent."""
FLOOD = 2000
CALM_S = 1.5
"""After which a bound a second is free again."""


async def test_nonsense_for_some_seconds(plant: Plant) -> None:
    """Mutations of what is right; a seed that failed is in the message."""
    device = await plant.device()
    whole = device.handshake(channels=["ph"]).hello
    fields = json.loads(whole)
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70)
    value = st.recursive(
        leaf, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3)
    )
    edited = st.tuples(st.sampled_from(sorted(fields)), value).map(
        lambda kv: json.dumps(fields | {kv[0]: kv[1]}).encode()
    )
    cut = st.tuples(st.integers(0, len(whole)), st.binary(max_size=4), st.integers(0, 8)).map(
        lambda x: whole[: x[0]] + x[1] + whole[x[0] + x[2] :]
    )
    made: list[bytes] = []

    @settings(
        max_examples=300, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(st.one_of(edited, cut, st.binary(max_size=300)))
    def make(payload: bytes) -> None:
        made.append(payload)

    make()
    until, sent = time.monotonic() + FUZZ_S, 0
    async with await plant.door.open(f"e-{secrets.token_hex(16)}") as client:
        for payload in made:
            txn = fields["txn"] if sent % 2 else secrets.token_hex(16)
            assert await client.publish(f"enroll/v1/req/{txn}", payload) == 0
            sent += 1
            if time.monotonic() > until:
                break
    assert sent > 100
    await asyncio.sleep(CALM_S)
    assert (await identities(plant, device))[:2] == (0, 0)


async def pour(client: Client, per_s: int, stop: asyncio.Event) -> int:
    """Nonsense, until told to stop; how much."""
    sent, begun = 0, time.monotonic()
    while not stop.is_set():
        while sent < (time.monotonic() - begun) * per_s:
            client.shout(f"enroll/v1/req/{secrets.token_hex(16)}", secrets.token_bytes(300))
            sent += 1
        await asyncio.sleep(0.01)
    return sent


async def test_nonsense_keeps_nobody_out(plant: Plant) -> None:
    """Several hundred requests a second are being sent while an honest device enrolls."""
    async with await plant.door.open(f"e-{secrets.token_hex(16)}") as client:
        stop = asyncio.Event()
        flood = asyncio.create_task(pour(client, 600, stop))
        await asyncio.sleep(0.5)
        begun = time.monotonic()
        await plant.enroll(await plant.device())
        stop.set()
        print(f"{time.monotonic() - begun:.2f} s to enroll, {await flood} requests of nonsense")


async def test_a_flood_disturbs_no_frames_and_is_over_when_it_is(plant: Plant, other: Neighbour, count: Count) -> None:
    """As fast as the broker takes them: the gateway leaves that subscription for some seconds, and nothing else."""
    clients = [await plant.door.open(f"e-{secrets.token_hex(16)}") for _ in range(4)]
    stop = asyncio.Event()
    floods = [asyncio.create_task(pour(client, 1500, stop)) for client in clients]
    await asyncio.sleep(1.5)
    await other.assert_whole()
    stop.set()
    sent = sum(await asyncio.gather(*floods))
    for client in clients:
        await client.close()
    assert sent > FLOOD
    await count.assert_refused("malformed", 100)
    assert plant.gateway.get("/ready")[0] == 200
    await plant.enroll(await plant.device())


async def test_a_flood_of_large_messages_costs_no_memory(plant: Plant, other: Neighbour, count: Count) -> None:
    """A megabyte each, which the broker allows."""
    large, until = bytes(10**6), time.monotonic() + 1.5
    async with await plant.door.open(f"e-{secrets.token_hex(16)}") as client:
        while time.monotonic() < until:
            assert await client.publish(f"enroll/v1/req/{secrets.token_hex(16)}", large) < 0x80
    await other.assert_whole()
    await count.assert_refused("oversized", 10)
    status = Path(f"/proc/{plant.gateway.child.pid}/status").read_text()
    peak_mb = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    assert peak_mb < 400, f"{peak_mb:.0f} MB"
    await asyncio.sleep(CALM_S)


async def test_a_flood_of_hellos_is_bounded(plant: Plant, count: Count) -> None:
    """Unknown serials get a quarter of 20 challenges a second; nothing gets into the database."""
    before, rows = challenges(plant), "select count(*) from enrollments"
    stored = await plant.value(rows)
    began = time.monotonic()
    async with await plant.door.open(f"e-{secrets.token_hex(16)}") as client:
        for _ in range(300):
            handshake = plant.made().handshake()
            client.shout(handshake.request, handshake.hello)
        await client.publish(handshake.request, handshake.hello)

    async def all_looked_at() -> bool:
        return challenges(plant) - before + sum(count.of(reason) for reason in ("busy", "dropped")) >= 301

    await eventually(all_looked_at, 30, "all are answered or counted")
    took = time.monotonic() - began
    assert 1 <= challenges(plant) - before <= 5 * (took + 2), took
    assert await plant.value(rows) == stored
    await asyncio.sleep(CALM_S)


def challenges(plant: Plant) -> float:
    return plant.gateway.metrics()['biogate_enroll_replies_total{type="challenge"}']
