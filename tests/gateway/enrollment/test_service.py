"""Enrollment over a real broker: requests in, replies out, and what is thrown at it."""

from __future__ import annotations

import asyncio
import functools
import json
import secrets as random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from gateway import metrics
from gateway.enrollment import service
from gateway.enrollment.service import EnrollmentService
from gateway.runtime.database import Pool, Troubles
from gateway.secrets import Secrets
from gateway.settings import Settings
from schema.enrollment import LOGIN
from tests.conftest import Broker
from tests.gateway.enrollment.bench import Bench, Controller
from tests.gateway.enrollment.handshake import Handshake, Login
from tests.mqtt import Client


@pytest.fixture
def chosen(chosen: Settings, secure_broker: Broker) -> Settings:
    return type(chosen).model_validate(chosen.model_dump() | {"mqtt_url": secure_broker.url})


class Running:
    def __init__(self, enrollment: EnrollmentService, troubles: Troubles) -> None:
        self.enrollment, self.troubles = enrollment, troubles

    async def ready(self) -> None:
        await eventually(lambda: self.enrollment._client is not None and self.enrollment._listening)


@asynccontextmanager
async def running(settings: Settings, secrets: Secrets, pool: Pool) -> AsyncIterator[Running]:
    troubles: Troubles = {}
    enrollment = EnrollmentService(settings, secrets, pool, troubles)
    task = asyncio.create_task(enrollment.run())
    run = Running(enrollment, troubles)
    try:
        await run.ready()
        yield run
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture
async def run(chosen: Settings, secrets: Secrets, pool: Pool) -> AsyncIterator[Running]:
    async with running(chosen, secrets, pool) as run:
        yield run


class Door:
    """How controllers get in; on the plain listener, as TLS is the broker's business."""

    def __init__(self, broker: Broker, secrets: Secrets) -> None:
        self._port, self._password = broker.port, secrets.password(LOGIN)

    @asynccontextmanager
    async def open(self, handshake: Handshake) -> AsyncIterator[Client]:
        async with await Client.connect(self._port, handshake.client_id, LOGIN, self._password) as client:
            assert await client.subscribe(handshake.reply) == [1]
            yield client

    async def ask(self, handshake: Handshake, payload: bytes, **more: Any) -> dict[str, Any]:
        async with self.open(handshake) as client:
            return await ask(client, handshake, payload, **more)


async def ask(client: Client, handshake: Handshake, payload: bytes, *, retain: bool = False) -> dict[str, Any]:
    """Publish, and the next reply."""
    await client.publish(handshake.request, payload, retain=retain)
    return said((await client.next(10)).payload)


def said(payload: bytes) -> dict[str, Any]:
    decoded = json.loads(payload)
    assert isinstance(decoded, dict)
    return decoded


@pytest.fixture
def door(secure_broker: Broker, secrets: Secrets) -> Door:
    return Door(secure_broker, secrets)


async def enroll(door: Door, bench: Bench, controller: Controller) -> Login:
    """The whole handshake, while the administration makes the login."""
    handshake = controller.handshake()
    async with door.open(handshake) as client:
        proof = handshake.challenged(await ask(client, handshake, handshake.hello))
        await client.publish(handshake.request, proof)
        await provisioning(bench, handshake)
        await bench.made()
        return handshake.granted(said((await client.next(10)).payload))


async def provisioning(bench: Bench, handshake: Handshake, timeout_s: float = 30) -> None:
    """Wait until the login is to be made."""
    async with asyncio.timeout(timeout_s):
        while (await bench.state(handshake))[0] != "provisioning":
            await asyncio.sleep(0.02)


async def eventually(condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = 30) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)


def refusals() -> Mapping[str, float]:
    [metric] = metrics.ENROLL_REFUSED.collect()
    return {sample.labels["reason"]: sample.value for sample in metric.samples}


def more(before: Mapping[str, float]) -> dict[str, float]:
    """What was refused since."""
    return {
        reason: count - before.get(reason, 0) for reason, count in refusals().items() if count != before.get(reason, 0)
    }


# -- the way it should go


async def test_a_controller_is_granted_a_login_without_asking_twice(run: Running, bench: Bench, door: Door) -> None:
    before = refusals()
    login = await enroll(door, bench, await bench.controller())
    assert list(await bench.logins()) == [login.username]
    assert more(before) == {}
    assert run.troubles == {}


async def test_an_approval_is_acted_on_and_the_grant_published_at_once(run: Running, bench: Bench, door: Door) -> None:
    handshake = bench.stranger().handshake()
    async with door.open(handshake) as client:
        proof = handshake.challenged(await ask(client, handshake, handshake.hello))
        assert (await ask(client, handshake, proof))["type"] == "pending"
        await bench.approve(handshake)
        await provisioning(bench, handshake, 1)
        await bench.made()
        handshake.granted(said((await client.next(1)).payload))


async def test_what_was_approved_while_nobody_listened_is_found(
    chosen: Settings, secrets: Secrets, pool: Pool, bench: Bench, door: Door
) -> None:
    handshake = bench.stranger().handshake()
    async with running(chosen, secrets, pool):
        proof = handshake.challenged(await door.ask(handshake, handshake.hello))
        assert (await door.ask(handshake, proof))["type"] == "pending"
    await bench.approve(handshake)
    async with door.open(handshake) as client, running(chosen, secrets, pool):
        await provisioning(bench, handshake)
        await bench.made()
        handshake.granted(said((await client.next(10)).payload))


async def test_two_gateways_make_one_login_of_one_handshake(
    chosen: Settings, secrets: Secrets, pool: Pool, run: Running, bench: Bench, door: Door
) -> None:
    async with running(chosen, secrets, pool):
        for _ in range(4):
            controller = await bench.controller()
            handshake = controller.handshake()
            async with door.open(handshake) as client:
                for _ in range(4):
                    client.shout(handshake.request, handshake.hello)
                replies = {(await client.next()).payload for _ in range(4)}
                assert len(replies) <= 2  # a minute may have ended between them
                proof = handshake.challenged(said(replies.pop()))
                for _ in range(4):
                    client.shout(handshake.request, proof)
                await provisioning(bench, handshake)
                await bench.made()
                while (reply := said((await client.next()).payload))["type"] == "pending":
                    pass
                handshake.granted(reply)
    assert len(await bench.logins()) == 4


# -- what is thrown at it


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


# -- broker and database go away


async def test_a_broker_that_restarts_is_come_back_to(
    run: Running, bench: Bench, door: Door, secure_broker: Broker
) -> None:
    handshake = (await bench.controller()).handshake()
    proof = handshake.challenged(await door.ask(handshake, handshake.hello))
    secure_broker.server.kill()
    await eventually(lambda: run.enrollment._client is None)
    secure_broker.server.start()
    await run.ready()
    async with door.open(handshake) as client:
        await client.publish(handshake.request, proof)
        await provisioning(bench, handshake)
        await bench.made()
        handshake.granted(said((await client.next(10)).payload))


async def test_a_database_that_ends_all_connections_is_come_back_to(
    run: Running, bench: Bench, door: Door, database: asyncpg.Connection
) -> None:
    handshake = bench.stranger().handshake()
    async with door.open(handshake) as client:
        proof = handshake.challenged(await ask(client, handshake, handshake.hello))
        assert (await ask(client, handshake, proof))["type"] == "pending"
        await database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'biogate-%'"
            " and datname = current_database()"
        )
        await bench.pool.expire_connections()  # ours are among them
        await database.execute("select enrollment_approve($1, null, 'olga', 'seen it')", handshake.txn)
        await provisioning(bench, handshake)
        await bench.made()
        handshake.granted(said((await client.next(10)).payload))
    await run.ready()
    await eventually(lambda: run.troubles == {})


async def test_what_took_too_long_is_swept(
    chosen: Settings, secrets: Secrets, pool: Pool, bench: Bench, door: Door
) -> None:
    quick = chosen.model_copy(update={"enroll_approval_s": 1})
    handshake = bench.stranger().handshake()
    async with running(quick, secrets, pool):
        proof = handshake.challenged(await door.ask(handshake, handshake.hello))
        await door.ask(handshake, proof)

        async def expired() -> bool:
            return (await bench.state(handshake))[0] == "expired"

        await eventually(expired, 10)
        assert (await door.ask(handshake, handshake.hello))["code"] == "expired"


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
