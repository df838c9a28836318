"""The session at a real broker: stopping at any moment ends it."""

from __future__ import annotations

import asyncio
import contextlib

import aiomqtt
import pytest

from gateway.broker.address import BrokerLogin
from gateway.broker.client import MqttClient
from gateway.broker.outbox import Outbox
from gateway.broker.session import IntakeSession
from gateway.broker.window import IntakeWindow
from schema.messages import MOST_PACKET
from tests.conftest import Broker
from tests.faults.proxy import Mode, Network
from tests.gateway.material import settings, until
from tests.gateway.test_path import publish
from tests.processes import GatewayProcess

LOGIN = BrokerLogin("biogate-test")


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 10, 20, 50, 1000])
async def test_a_stop_at_any_moment_of_connecting_ends_the_session(broker: Broker, turns: int) -> None:
    session = IntakeSession(
        settings(mqtt_url=broker.url), LOGIN, IntakeWindow(2**20), Outbox(), lambda _: None, before_connect=lambda: None
    )
    session.lead()
    running = asyncio.create_task(session.run())
    for _ in range(turns):
        await asyncio.sleep(0)
    session.stop_intake()
    await session.leave()
    async with asyncio.timeout(20):
        await running
    assert not session.subscribed


async def test_a_broker_that_is_away_is_tried_again_until_it_is_there(broker: Broker) -> None:
    broker.server.stop()
    session = IntakeSession(
        settings(mqtt_url=broker.url), LOGIN, IntakeWindow(2**20), Outbox(), lambda _: None, before_connect=lambda: None
    )
    session.lead()
    running = asyncio.create_task(session.run())
    await asyncio.sleep(0.1)
    assert not session.subscribed
    broker.server.start()
    await until(lambda: session.subscribed)
    session.stop_intake()
    await session.leave()
    async with asyncio.timeout(20):
        await running


async def test_a_stop_while_the_broker_is_away_ends_the_session(broker: Broker) -> None:
    broker.server.stop()
    session = IntakeSession(
        settings(mqtt_url=broker.url), LOGIN, IntakeWindow(2**20), Outbox(), lambda _: None, before_connect=lambda: None
    )
    session.lead()
    running = asyncio.create_task(session.run())
    await asyncio.sleep(0)
    session.stop_intake()
    await session.leave()
    async with asyncio.timeout(20):
        await running


async def test_what_is_to_be_known_before_a_connect_is_so_before_any_message_that_the_broker_kept(
    broker: Broker,
) -> None:
    """The broker sends what it kept right behind its answer to CONNECT, before that to SUBSCRIBE."""
    window, before, after = IntakeWindow(2**20), list[int](), list[bool]()
    session = IntakeSession(
        *(settings(mqtt_url=broker.url), LOGIN, window, Outbox(), after.append),
        before_connect=lambda: before.append(window.waiting),
    )
    running = asyncio.create_task(session.run())
    session.lead()
    await until(lambda: after == [False])
    await session.stand_down()
    await publish(broker, [("bioreactors/r1/telemetry", bytes(100))] * 30)
    session.lead()
    await until(lambda: after == [False, True])
    await until(lambda: window.waiting == 30)
    assert before == [0, 0]
    session.stop_intake()
    await session.leave()
    async with asyncio.timeout(5):
        await running


async def test_a_full_window_takes_no_new_connection_when_the_link_breaks(broker: Broker) -> None:
    """It would bring all unacknowledged messages once more, and the next one again."""
    window, came = IntakeWindow(20_000), list[bool]()
    with Network() as network:
        link = network.link(broker.port)
        chosen = settings(mqtt_url=f"mqtt://127.0.0.1:{link.port}", keep_alive_s=2)
        session = IntakeSession(chosen, LOGIN, window, Outbox(), came.append, before_connect=lambda: None)
        session.lead()
        running = asyncio.create_task(session.run())
        await until(lambda: session.subscribed)
        await publish(broker, [("bioreactors/r1/telemetry", bytes(1000))] * 30)
        await until(lambda: window.full)
        taken = window.bytes
        link.set(Mode.CUT)
        await until(lambda: not session.subscribed)
        link.set(Mode.PASS)
        await asyncio.sleep(0.5)  # for a connection that shall not be made
        assert (window.bytes, came) == (taken, [False])
        await window.take(1000, 10**9)
        window.release(taken)
        await until(lambda: came == [False, True])
        await until(lambda: window.full)
        session.stop_intake()
        await session.leave()
        async with asyncio.timeout(20):
            await running


async def is_taken(client: MqttClient, size: int) -> bool:
    """Whether the broker takes a message of that size, or ends the connection: `publish` alone would not hear of it."""
    with contextlib.suppress(aiomqtt.MqttError):
        async with client:
            sent = asyncio.ensure_future(client.publish("bioreactors/r1/telemetry", bytes(size), qos=1, timeout=20))
            ended = asyncio.ensure_future(anext(aiter(client.messages)))
            await asyncio.wait({sent, ended}, return_when=asyncio.FIRST_COMPLETED)
            taken = not ended.done()
            for task in (sent, ended):
                task.cancel()
            await asyncio.wait({sent, ended})
            return taken and sent.exception() is None
    return False


@pytest.mark.parametrize("protocol", [aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5])
async def test_a_client_that_sends_too_large_a_packet_again_and_again_is_counted(
    gateway: GatewayProcess, broker: Broker, protocol: aiomqtt.ProtocolVersion
) -> None:
    gateway.start()
    for size, accepted in ((MOST_PACKET - 100, True), (MOST_PACKET, False), (MOST_PACKET + 200_000, False)):
        assert await is_taken(MqttClient(broker.host, broker.port, protocol=protocol), size) == accepted
    await until(lambda: gateway.metrics()["biogate_broker_oversize_packets_total"] == 2)
