"""Publishes a recording once more: `biogate sim replay FILE --shift --speed 10`."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import mqtt5
import typer

from device_sim import options, tape
from device_sim.clock import SimulatedClock, wall_ms
from device_sim.connection import ACCEPTED, Broker, ConnectionFailed, DeviceConnection, connect
from device_sim.enroll import show
from device_sim.shifting import Shift, lowest_boots
from device_sim.tape import Recorded
from schema.errors import BiogateError
from schema.messages import CONTENT_MSGPACK
from schema.topics import Kind, parse

LAST_WAIT = 30.0
"""Seconds to wait for the last PUBACKs."""


class Boots(StrEnum):
    KEEP = "keep"
    RENEW = "renew"


def main(  # noqa: PLR0917 - typer's options
    file: Annotated[Path, typer.Argument(help="a file of `sim record`")],
    speed: Annotated[float, typer.Option(min=0.001, help="as a multiple of the recorded one; inf: no waits")] = 1.0,
    shift: Annotated[
        bool, typer.Option("--shift/--as-recorded", help="move all times, so that the last ones are now")
    ] = False,
    boots: Annotated[
        Boots | None, typer.Option(help="the devices' boot numbers; default: renewed with --shift, else kept")
    ] = None,
    mqtt_url: options.MqttUrl = "mqtt://127.0.0.1:1883",
    mqtt_username: options.MqttUsername = None,
    mqtt_password: options.MqttPassword = None,
    ca: options.Ca = None,
) -> None:
    """Publish a recording: what devices said, not what they were told."""
    try:
        broker = options.shared(mqtt_url, mqtt_username, mqtt_password, ca)
        begin, length = tape.begin_of(file), max((message.after for message in tape.read(file)), default=0.0)
        lowest = lowest_boots(tape.read(file)) if (boots or (Boots.RENEW if shift else Boots.KEEP)) == "renew" else None
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    start = wall_ms() - length + length / speed  # the last message is due now, and none is ahead of its time
    shifting = Shift(start - begin if shift else 0.0, int(time.time()), lowest)
    try:
        sent, unacknowledged = asyncio.run(replay(broker, file, shifting, SimulatedClock(start, speed)))
    except ConnectionFailed as error:
        raise BiogateError(str(error)) from error
    show({"messages": sent, "unacknowledged": unacknowledged})
    raise typer.Exit(1 if unacknowledged else 0)


async def replay(broker: Broker, file: Path, shift: Shift, clock: SimulatedClock) -> tuple[int, int]:
    """Publish what devices published, at its time; return how many messages, and how many without a PUBACK."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    waiting: set[int] = set()
    refused = 0

    def acknowledged(packet: int, code: mqtt5.PubAckReasonCode) -> None:
        nonlocal refused
        waiting.discard(packet)
        refused += code not in ACCEPTED

    client = f"biogate-replay-{secrets.token_hex(6)}"
    connection = await connect(
        broker, client, None, [], acknowledged=acknowledged, received=lambda *_: None, ready=lambda: None
    )
    sent = 0
    for message in tape.read(file):
        parts = parse(message.topic)
        if parts is None:
            continue
        await _room(connection, clock.seconds_until(clock.begin + message.after))
        if stop.is_set():
            break
        waiting.add(_publish(connection, message, shift, retain=parts[1] is Kind.STATUS))
        sent += 1
    connection.flush()
    end = time.monotonic() + LAST_WAIT
    while waiting and time.monotonic() < end and not connection.closed.done():  # noqa: ASYNC110 - a set
        await asyncio.sleep(0.01)
    connection.disconnect()
    return sent, len(waiting) + refused


async def _room(connection: DeviceConnection, seconds: float) -> None:
    """Wait until it is time, and there is room. Raises ConnectionFailed."""
    if seconds > 0:
        connection.flush()
        await asyncio.sleep(seconds)
    while connection.room == 0:
        connection.flush()
        await asyncio.sleep(0.002)
        if connection.closed.done():
            raise connection.closed.result()


def _publish(connection: DeviceConnection, message: Recorded, shift: Shift, *, retain: bool) -> int:
    content_type = message.content_type or CONTENT_MSGPACK
    return connection.publish(message.topic, shift.payload(message), content_type=content_type, retain=retain)
