"""Enrolls all controllers of a claims file: `biogate sim enroll --claims FILE …`.

Writes one JSON object a line to standard output: one for each device (serial, device, generation, seconds; or why it
got no login), then a summary. Exit status 0: each device has used its login; 1: some have not; 2: wrong usage, or a
damaged file.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import mqtt5
import typer

from device_sim.boots import next_boots
from device_sim.claims import Claim, read_claims
from device_sim.clock import wall_ms
from device_sim.connection import ACCEPTED, ConnectionFailed, NotAuthorized, connect
from device_sim.entrance import Pace, PlantGate, Point, shake
from device_sim.firmware import FIRMWARE
from device_sim.frames import Format
from device_sim.handshake import Over
from device_sim.identity import DeviceLogin, Keeper
from schema.command_line import alone, start
from schema.messages import CONTENT_JSON
from schema.topics import Kind

DECIMALS = 3


class Step(StrEnum):
    """The progress of a device. hello, proof: the broker acknowledged the request. challenge, grant: received, not yet
    stored. stored: the login is stored. connected: the login was used, which is not yet stored."""

    HELLO = "hello"
    CHALLENGE = "challenge"
    PROOF = "proof"
    GRANT = "grant"
    STORED = "stored"
    CONNECTED = "connected"


def main(  # noqa: PLR0917 - typer's options
    enroll: Annotated[
        str, typer.Option(envvar="BIOGATE_ENROLL_URL", help="listener for enrollment, mqtts://host:port")
    ],
    claims: Annotated[Path, typer.Option(help="CSV: serial,claim_key,version")],
    ca: Annotated[Path, typer.Option(envvar="BIOGATE_MQTT_CA_FILE", help="certificate of the plant's CA")],
    enroll_password_file: Annotated[
        Path, typer.Option(envvar="BIOGATE_ENROLL_PASSWORD_FILE", help="file: password of the login enroll")
    ],
    state: Annotated[Path, typer.Option(help="directory of the devices' files")],
    concurrency: Annotated[int, typer.Option(min=1, help="handshakes that run at once")] = 20,
    starts: Annotated[float, typer.Option(min=0.01, help="handshakes that begin in a second")] = 15.0,
    certificate: Annotated[bool, typer.Option("--certificate", help="ask for certificates, not passwords")] = False,
    factory_reset: Annotated[list[str] | None, typer.Option(help="serial of a device that forgets all first")] = None,
    repeat_after: Annotated[float, typer.Option(min=0.1, help="seconds until a request is repeated")] = 2.0,
    stop_at: Annotated[Step | None, typer.Option(help="kill this process when a device has come so far")] = None,
) -> None:
    """Enroll controllers, and use each new login once."""
    try:
        pace = Pace(repeat=repeat_after)
        entrance = PlantGate.at(enroll, ca, enroll_password_file, certificate=certificate, pace=pace, slots=concurrency)
        keepers = open_keepers(state, read_claims(claims, warn), factory_reset or [])
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error

    def at(point: str) -> None:
        if point == stop_at:
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    raise typer.Exit(0 if asyncio.run(enroll_all(keepers, entrance, 1 / starts, at)) else 1)


def open_keepers(state: Path, claims: list[Claim], resets: list[str]) -> list[Keeper]:
    """Open the devices' files, after the factory resets. Raises ValueError, OSError."""
    if unknown := set(resets) - {claim.serial for claim in claims}:
        raise ValueError(f"not in the claims file: {', '.join(sorted(unknown))}")
    keepers = [Keeper(state, claim) for claim in claims]
    for keeper in keepers:
        if keeper.serial in resets:
            factory_reset(keeper)
    return keepers


def factory_reset(keeper: Keeper) -> None:
    """Reset a device. Its login goes first: a device without a boot counter must not publish under an old name."""
    keeper.factory_reset()
    state = keeper.path.parent
    for what in ("boot", "commands"):
        (state / f"{keeper.serial}.{what}").unlink(missing_ok=True)
    shutil.rmtree(state / keeper.serial, ignore_errors=True)


async def enroll_all(keepers: list[Keeper], entrance: PlantGate, apart: float, at: Point) -> bool:
    """Enroll all devices, beginning handshakes `apart` seconds apart. Return whether each has used its login."""
    begin, delays = time.monotonic(), itertools.count()
    async with asyncio.TaskGroup() as tasks:
        running = []
        for keeper in keepers:
            delay = 0.0 if keeper.state.newest else apart * next(delays)
            running.append(tasks.create_task(_one(keeper, entrance, delay, at), name=keeper.serial))
    durations = sorted(seconds for task in running if (seconds := task.result()) is not None)
    summary: dict[str, object] = {"final": True, "devices": len(keepers), "enrolled": len(durations)}
    if durations:
        for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            summary[f"seconds_{name}"] = durations[min(len(durations) - 1, int(part * len(durations)))]
    show({**summary, "seconds": round(time.monotonic() - begin, DECIMALS)})
    return len(durations) == len(keepers)


async def _one(keeper: Keeper, entrance: PlantGate, delay: float, at: Point) -> float | None:
    """Enroll one device; return the seconds from the first connection on, or None if only an operator can help."""
    await asyncio.sleep(delay)
    begin: list[float] = []

    def passed(point: str) -> None:
        if not begin:
            begin.append(time.monotonic())
        at(point)

    over = await enroll_one(keeper, entrance, passed)
    if over:
        show({"serial": keeper.serial, "rejected": over.code})
        return None
    login = keeper.state.login
    assert login
    seconds = round(time.monotonic() - begin[0], DECIMALS) if begin else 0.0
    names = {"serial": keeper.serial, "device": login.identity.device, "generation": login.generation}
    show({**names, "seconds": seconds})
    return seconds


async def enroll_one(keeper: Keeper, entrance: PlantGate, at: Point) -> Over | None:
    """Enroll until the device has used a login: return None, or why it cannot get one without an operator."""
    delay = entrance.pace.repeat
    while keeper.state.login is None or keeper.state.handshake:
        if keeper.state.granted is None:
            over = await shake(keeper, entrance, warn, at)
            if over and over.seconds is None:
                return over
            if over and over.seconds:
                warn(f"{keeper.serial}: {over.code}, again in {over.seconds} s")
                await asyncio.sleep(over.seconds)
            continue
        try:
            await _use(keeper, keeper.state.granted, entrance, at)
        except ConnectionFailed as error:
            warn(f"{keeper.serial}: {error}")
            await asyncio.sleep(delay * random.uniform(0.75, 1.25))
            delay = min(2 * delay, entrance.pace.longest)
            if isinstance(error, NotAuthorized):
                keeper.give_up()  # the login was not used in time
    return None


async def _use(keeper: Keeper, login: DeviceLogin, entrance: PlantGate, at: Point) -> None:
    """Publish an online and an offline status with the new login. Raises ConnectionFailed."""
    identity, begun = login.identity, wall_ms()
    acknowledged: asyncio.Queue[mqtt5.PubAckReasonCode | None] = asyncio.Queue()
    connection = await connect(
        entrance.broker_of(login),
        identity.client_id,
        None,
        [],
        acknowledged=lambda _, code: acknowledged.put_nowait(code),
        received=lambda *_: None,
        ready=lambda: None,
    )
    connection.closed.add_done_callback(lambda _: acknowledged.put_nowait(None))
    try:
        [boot] = next_boots(keeper.path.parent, [keeper.serial], identity.boot)
        for word, time_ in (("online", begun), ("offline", begun + 1)):
            status = {"status": word, "t": time_, "boot": boot, "oldest": 0, "firmware": FIRMWARE}
            payload = Format.JSON.encode({**status, "generation": login.generation})
            connection.publish(f"{identity.topic}/{Kind.STATUS}", payload, content_type=CONTENT_JSON, retain=True)
            connection.flush()
            code = await acknowledged.get()
            if code is None:
                raise connection.closed.result()
            if code not in ACCEPTED:
                raise NotAuthorized(f"the broker refused a status: {code.name}")
            if word == "online":
                at("connected")
                await asyncio.to_thread(keeper.used)
    finally:
        connection.disconnect()


def show(line: dict[str, object]) -> None:
    """Print an object as a line of JSON."""
    print(json.dumps(line), flush=True)


def warn(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    start(alone(main), "biogate sim enroll")
