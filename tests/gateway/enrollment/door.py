"""A gateway that enrolls over a real broker, the door by which controllers get in there, and what it refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway import metrics
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
