"""What is thrown at enrollment over a real broker: retained and unreadable requests, floods, and a defect."""

from __future__ import annotations

import asyncio
import functools
import json
import secrets as random
import time
from typing import Any

import pytest

from gateway.enrollment import service
from gateway.runtime.database import Pool
from gateway.secrets import Secrets
from gateway.settings import Settings
from tests.conftest import Broker
from tests.gateway.enrollment.bench import Bench
from tests.gateway.enrollment.door import (
    Door,
    Running,
    ask,
    chosen,
    door,
    enroll,
    eventually,
    more,
    refusals,
    run,
    running,
)
from tests.mqtt import Client

__all__ = ["chosen", "door", "run"]


async def test_a_retained_request_is_refused_counted_and_cleared(
    run: Running, bench: Bench, door: Door, secure_broker: Broker, secrets: Secrets
) -> None:
    before = refusals()
    handshake = (await bench.controller()).handshake()
    async with door.open(handshake) as client:
        reply = await ask(client, handshake, handshake.hello, retain=True)
        assert (reply["type"], reply["code"]) == ("reject", "malformed")
        assert (await ask(client, handshake, handshake.hello))["type"] == "challenge"
    assert more(before) == {"retained": 1}
    assert await retained(secure_broker, secrets) == []


async def test_requests_retained_before_there_was_a_gateway_are_cleared(
    chosen: Settings, secrets: Secrets, pool: Pool, bench: Bench, door: Door, secure_broker: Broker
) -> None:
    for _ in range(3):
        handshake = bench.stranger().handshake()
        async with door.open(handshake) as client:
            await client.publish(handshake.request, handshake.hello, retain=True)
    assert len(await retained(secure_broker, secrets)) == 3
    before = refusals()
    async with running(chosen, secrets, pool):
        await eventually(lambda: cleared(secure_broker, secrets))
        assert more(before) == {"retained": 3}


async def cleared(broker: Broker, secrets: Secrets) -> bool:
    return not await retained(broker, secrets)


async def retained(broker: Broker, secrets: Secrets) -> list[str]:
    """Topics of requests that the broker keeps."""
    found: list[str] = []
    name = f"test-{random.token_hex(4)}"
    async with await Client.connect(broker.port, name, "enrollment", secrets.password("enrollment")) as client:
        assert await client.subscribe("enroll/v1/req/+") == [1]
        while True:
            try:
                found.append((await client.next(0.3)).topic)
            except TimeoutError:
                return found


async def test_what_cannot_be_read_is_refused_and_harms_nobody(
    run: Running, bench: Bench, door: Door, pool: Pool
) -> None:
    before = refusals()
    handshake = (await bench.controller()).handshake()
    async with door.open(handshake) as client:
        for payload in (b"", b"{", b"\xff", b"[" * 2000, b"{}" * 3500):
            reply = await ask(client, handshake, payload)
            assert (reply["type"], reply["code"], reply["retry_after_s"]) == ("reject", "malformed", None)
        for topic in ("enroll/v1/req/nobody", "enroll/v1/req/" + "F" * 32):
            await client.publish(topic, handshake.hello)
        other = bench.stranger().handshake()
        await client.publish(other.request, handshake.hello)
        assert (await ask(client, handshake, handshake.hello))["type"] == "challenge"
    assert more(before) == {"malformed": 7, "oversized": 1}
    for reason in ("malformed", "oversized"):  # an event each, one after the other
        await eventually(functools.partial(audited, pool, reason))
    counted = await pool.fetch("select new from audit where action = 'enrollment refused'")
    assert {json.loads(row["new"])["reason"] for row in counted} == {"malformed", "oversized"}


async def audited(pool: Pool, reason: str) -> bool:
    return bool(
        await pool.fetchval(
            "select exists (select from audit where action = 'enrollment refused' and new ->> 'reason' = $1)", reason
        )
    )


async def test_hellos_over_the_rate_are_told_to_come_back_spread_and_named_in_the_audit_trail(
    chosen: Settings, secrets: Secrets, pool: Pool, bench: Bench, door: Door
) -> None:
    before = refusals()
    async with running(chosen.model_copy(update={"enroll_hellos_per_s": 3}), secrets, pool):
        handshakes = [(await bench.controller()).handshake() for _ in range(12)]
        replies = await asyncio.gather(*(door.ask(handshake, handshake.hello) for handshake in handshakes))
        busy = [reply for reply in replies if reply["type"] == "reject"]
        assert {reply["code"] for reply in busy} == {"busy"}
        assert 5 <= len(busy) <= 9
        assert len({reply["retry_after_s"] for reply in busy}) > 2
        assert more(before) == {"busy": len(busy)}
        await eventually(lambda: audited(pool, "busy"))
        serials = set(await named(pool))
        assert serials
        assert serials <= {json.loads(handshake.hello)["serial"] for handshake in handshakes}


async def named(pool: Pool) -> list[str]:
    rows = await pool.fetch("select new -> 'serials' from audit where action = 'enrollment refused'")
    return [serial for (serials,) in rows for serial in json.loads(serials)]


async def test_a_flood_makes_the_gateway_leave_for_a_while_and_come_back(
    run: Running, bench: Bench, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "FLOOD_PER_S", 200)  # a busy machine does not come to 1000
    handshake = bench.stranger().handshake()
    lag = asyncio.create_task(worst_lag())
    left = asyncio.create_task(eventually(lambda: run.enrollment._client is None, 60))
    async with door.open(handshake) as client:
        for number in range(4000):
            client.shout(handshake.request, handshake.proof or b"{" * (number % 7))
            if number % 100 == 0:
                await asyncio.sleep(0)
        await left
    await run.ready()
    for queue in (run.enrollment._jobs, run.enrollment._replies):
        await eventually(queue.empty, 60)  # what comes while there is no room is dropped: devices ask again
    lag.cancel()
    await enroll(door, bench, await bench.controller())
    assert await lag < 2  # without the pause it is as long as the flood


async def worst_lag() -> float:
    """Of the event loop, until cancelled, in time of the processor: what other programs take is not ours."""
    worst = 0.0
    try:
        while True:
            begun = time.process_time()
            await asyncio.sleep(0.001)
            worst = max(worst, time.process_time() - begun)
    except asyncio.CancelledError:
        return worst


async def test_a_request_that_trips_over_a_defect_harms_itself_alone(
    run: Running, bench: Bench, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = refusals()
    broken, sound = (await bench.controller()).handshake(), await bench.controller()
    step = run.enrollment._steps.hello

    async def fragile(payload: bytes, hello: Any) -> Any:
        if payload == broken.hello:
            raise RuntimeError("a defect")
        return await step(payload, hello)

    monkeypatch.setattr(run.enrollment._steps, "hello", fragile)
    async with door.open(broken) as client:
        for _ in range(5):
            await client.publish(broken.request, broken.hello)
        await enroll(door, bench, sound)
    assert more(before) == {"defect": 5}


async def test_a_reply_that_the_broker_does_not_acknowledge_holds_up_no_other_request(
    run: Running, bench: Bench, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a flood: two such replies, one for each worker."""
    client = run.enrollment._client
    assert client is not None
    stuck = [(await bench.controller()).handshake() for _ in range(2)]
    publish, held = client.publish, asyncio.Event()

    async def slow(topic: str, *given: Any, **more: Any) -> None:
        if topic in {handshake.reply for handshake in stuck}:
            held.set()
            await asyncio.Event().wait()
        await publish(topic, *given, **more)

    monkeypatch.setattr(client, "publish", slow)
    async with door.open(stuck[0]) as sender:
        for handshake in stuck:
            await sender.publish(handshake.request, handshake.hello)
        await held.wait()
        await asyncio.wait_for(enroll(door, bench, await bench.controller()), service.PUBLISH_S)
