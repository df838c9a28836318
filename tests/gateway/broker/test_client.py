"""The library's client, as the gateway changes it."""

from __future__ import annotations

import asyncio
import socket

import aiomqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from gateway.broker.client import MqttClient, answered
from tests.conftest import Broker


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancellation_that_comes_with_the_answer_is_not_lost(turns: int) -> None:
    """Python 3.11's `wait_for` loses it after one or two turns of the loop."""
    answer = asyncio.Event()
    waiting = asyncio.create_task(answered(answer.wait(), 10))
    await asyncio.sleep(0.01)
    answer.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    taken = waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled() == taken


async def test_a_task_that_publishes_ends_when_it_is_cancelled(broker: Broker) -> None:
    async with MqttClient(broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:

        async def publish() -> None:
            while True:
                await client.publish("somewhere", b"", qos=1)

        for n in range(200):
            publishing = asyncio.create_task(publish())
            await asyncio.sleep(n % 20 / 10_000)
            publishing.cancel()
            done, _ = await asyncio.wait([publishing], timeout=5)
            assert done, f"after {n} rounds it publishes on"


@pytest.mark.parametrize("asked", ["_on_socket_open", "_on_socket_register_write"])
async def test_a_socket_that_is_closed_before_the_loop_gets_to_it_is_not_watched(asked: str) -> None:
    problems: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(context))
    client = MqttClient("127.0.0.1", 1)
    ours, theirs = socket.socketpair()
    getattr(client, asked)(paho.Client(CallbackAPIVersion.VERSION2), None, ours)
    ours.close()
    theirs.close()
    for _ in range(3):
        await asyncio.sleep(0)
    assert problems == []
    if (began := getattr(client, "_misc_task", None)) is not None:
        began.cancel()


async def test_an_answer_that_does_not_come_is_an_error() -> None:
    with pytest.raises(aiomqtt.MqttError, match=r"within 0\.01 s"):
        await answered(asyncio.Event().wait(), 0.01)
