"""Records what the devices of a plant publish and receive: `biogate sim record FILE`. The file: tape.py."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from device_sim import options
from device_sim.clock import wall_ms
from device_sim.connection import Broker
from device_sim.enroll import show
from device_sim.tape import Recorded, TapeWriter
from schema.errors import BiogateError
from schema.topics import ROOT


def main(  # noqa: PLR0917 - typer's options
    file: Annotated[Path, typer.Argument(help="the file to make")],
    topic: Annotated[list[str] | None, typer.Option(help="topic filter; default: all of all devices")] = None,
    duration: Annotated[float | None, typer.Option(min=0, help="stop after so many seconds")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="stop after so many messages")] = None,
    mqtt_url: options.MqttUrl = "mqtt://127.0.0.1:1883",
    mqtt_username: options.MqttUsername = None,
    mqtt_password: options.MqttPassword = None,
    ca: options.Ca = None,
) -> None:
    """Record a plant's messages, with their topics, properties and times."""
    try:
        broker = options.shared(mqtt_url, mqtt_username, mqtt_password, ca)
        with TapeWriter(file, wall_ms()) as tape:
            topics = topic or [f"{ROOT}/#"]
            begun = partial(show, {"recording": topics})
            asyncio.run(record(broker, tape, topics, begun, seconds=duration, count=count))
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    show({"file": str(file), "messages": tape.messages})


async def record(
    broker: Broker,
    tape: TapeWriter,
    topics: list[str],
    begun: Callable[[], None],
    *,
    seconds: float | None = None,
    count: int | None = None,
) -> None:
    """Record until a signal comes, or one of the ends; `begun` is called when it listens. Raises BiogateError if the
    broker is lost."""
    import aiomqtt  # noqa: PLC0415 - slow to import, and the other commands do without

    stop, loop, begin = asyncio.Event(), asyncio.get_running_loop(), time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    async def listen(client: Any) -> None:
        for one in topics:
            await client.subscribe(one, qos=1)
        begun()
        async for message in client.messages:
            kind = getattr(message.properties, "ContentType", None)
            after = round((time.monotonic() - begin) * 1000, 3)
            tape.write(Recorded(after, message.topic.value, message.payload, kind, message.retain))
            if tape.messages == count:
                return

    try:
        async with aiomqtt.Client(
            broker.host,
            broker.port,
            identifier=f"{broker.username or 'biogate-record'}-{secrets.token_hex(6)}",  # brokers may bind logins to it
            username=broker.username,
            password=broker.password,
            tls_context=broker.tls,
            protocol=aiomqtt.ProtocolVersion.V5,
        ) as client:
            tasks = {asyncio.create_task(listen(client), name="listen"), asyncio.create_task(stop.wait(), name="stop")}
            try:
                done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            for task in done:
                task.result()
    except aiomqtt.MqttError as error:
        raise BiogateError(f"{broker.host}:{broker.port}: {error}") from error
