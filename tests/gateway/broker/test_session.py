"""The session at a real broker: stopping at any moment ends it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.broker.address import BrokerLogin
from gateway.broker.outbox import Outbox
from gateway.broker.session import IntakeSession
from gateway.broker.window import IntakeWindow
from tests.conftest import Broker
from tests.gateway.material import settings, until

LOGIN = BrokerLogin("biogate-test")


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 10, 20, 50, 1000])
async def test_a_stop_at_any_moment_of_connecting_ends_the_session(broker: Broker, turns: int) -> None:
    session = IntakeSession(settings(mqtt_url=broker.url), LOGIN, IntakeWindow(2**20), Outbox(), lambda _: None)
    session.lead()
    running = asyncio.create_task(session.run())
    for _ in range(turns):
        await asyncio.sleep(0)
    session.stop_intake()
    await session.leave()
    async with asyncio.timeout(5):
        await running
    assert not session.subscribed


async def test_a_broker_that_is_away_is_tried_again_until_it_is_there(broker: Broker) -> None:
    broker.server.stop()
    session = IntakeSession(settings(mqtt_url=broker.url), LOGIN, IntakeWindow(2**20), Outbox(), lambda _: None)
    session.lead()
    running = asyncio.create_task(session.run())
    await asyncio.sleep(0.1)
    assert not session.subscribed
    broker.server.start()
    await until(lambda: session.subscribed)
    session.stop_intake()
    await session.leave()
    async with asyncio.timeout(5):
        await running


async def test_a_stop_while_the_broker_is_away_ends_the_session(broker: Broker) -> None:
    broker.server.stop()
    session = IntakeSession(settings(mqtt_url=broker.url), LOGIN, IntakeWindow(2**20), Outbox(), lambda _: None)
    session.lead()
    running = asyncio.create_task(session.run())
    await asyncio.sleep(0)
    session.stop_intake()
    await session.leave()
    async with asyncio.timeout(5):
        await running
