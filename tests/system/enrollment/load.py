"""Devices enroll while others send: `python -m tests.system.enrollment.load --devices 1000`.

500 devices, which have enrolled before, send 20 frames a second each, with their logins; meanwhile the others begin,
all at the same moment, as after a power cut, and do what docs/enrollment.md says, also when they are told to come back.
At the end it prints, as JSON, how long that took, the lag of the frames meanwhile, and whether any are missing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import re
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import mqtt5
import msgpack
import numpy as np
import typer

import deploy.stack
from deploy.stack.paths import BIOGATE
from schema.migrate import migrate
from tests.conftest import start_broker
from tests.gateway.enrollment.handshake import Login
from tests.mqtt import HOST, Refused, tls
from tests.system.enrollment.device import Device, Rejected
from tests.system.enrollment.plant import Plant, eventually

PATIENCE_S = 900.0
BUCKET = re.compile(r'^biogate_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)
WARM_UP_S = 5.0
CHANNELS = 20
WINDOW = 1000
"""Messages a sender may have unacknowledged."""


class Sender(asyncio.Protocol):
    """A device with a login, cheap for the machine: times and numbers are written into one prebuilt packet."""

    def __init__(self, login: Login) -> None:
        self.connected = asyncio.get_running_loop().create_future()
        self.published = self.acknowledged = 0
        self._login = login
        self._partial = b""
        self._transport: asyncio.Transport | None = None
        values = {f"channel_{n:02d}": 37.0 + n * 1.234567 for n in range(CHANNELS)}
        payload = msgpack.packb({"boot": login.boot, "seq": 2**52, "t": 2**52, "v": values})
        qos = mqtt5.QoS.AT_LEAST_ONCE
        packet = mqtt5.PublishPacket(f"{login.topic}/telemetry", payload, qos=qos, packet_id=0x7EEF).write()
        self._packet = bytearray(packet)
        self._id_at = packet.index(b"\x7e\xef")
        self._seq_at = packet.index(b"\xa3seq\xcf") + 5
        self._t_at = packet.index(b"\xa1t\xcf") + 3

    @property
    def may_publish(self) -> bool:
        return self.published - self.acknowledged < WINDOW

    def publish(self) -> None:
        struct.pack_into(">H", self._packet, self._id_at, self.published % 65535 + 1)
        struct.pack_into(">Q", self._packet, self._seq_at, self.published)
        struct.pack_into(">Q", self._packet, self._t_at, int(time.time() * 1000))
        self.published += 1
        assert self._transport is not None, "the broker has closed the connection"
        self._transport.write(bytes(self._packet))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        assert self._login.password is not None
        packet = mqtt5.ConnectPacket(
            self._login.client_id,
            username=self._login.username,
            password=self._login.password.encode(),
            clean_start=True,
            keep_alive=60,
        )
        transport.write(packet.write())

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.connected.done():
            self.connected.set_exception(exc or ConnectionError("the broker does not let us in"))

    def data_received(self, data: bytes) -> None:
        data = self._partial + data
        at = 0
        while len(data) - at >= 2 and len(data) - at >= 2 + data[at + 1]:  # no packet here has 128 bytes
            kind = data[at] >> 4
            if kind == 2:
                assert data[at + 3] == 0, "refused"
                self.connected.set_result(None)
            elif kind == 4:
                assert data[at + 1] == 2 or data[at + 4] < 0x80, "not authorized"
                self.acknowledged += 1
            at += 2 + data[at + 1]
        self._partial = data[at:]


async def send(port: int, logins: list[Login], rate: float, context: ssl.SSLContext | None, pipe: Connection) -> None:
    """Until something comes down the pipe; then answers with what was published and acknowledged."""
    loop = asyncio.get_running_loop()
    plant = []
    for login in logins:
        _, sender = await loop.create_connection(
            lambda login=login: Sender(login),
            HOST,
            port,
            ssl=context,
            server_hostname="localhost" if context else None,
        )
        await sender.connected
        plant.append(sender)
    pipe.send("sending")
    begun, sent = loop.time(), 0
    while not pipe.poll():
        due = int((loop.time() - begun) * rate)
        while sent < due and plant[sent % len(plant)].may_publish:
            plant[sent % len(plant)].publish()
            sent += 1
        await asyncio.sleep(0.005)
    seconds = loop.time() - begun
    await eventually(lambda: _all_acknowledged(plant), 60, "all are acknowledged")
    published = sum(sender.published for sender in plant)
    pipe.send({"frames_published": published, "frames_per_s": round(published / seconds)})


async def _all_acknowledged(plant: list[Sender]) -> bool:
    return all(sender.acknowledged == sender.published for sender in plant)


def sender_process(port: int, logins: list[Login], rate: float, authority: Path | None, pipe: Connection) -> None:
    """In a process of its own: the handshakes shall not slow it down."""
    asyncio.run(send(port, logins, rate, tls(authority) if authority else None, pipe))


async def enroll(plant: Plant, device: Device, t0: float, use: bool) -> dict[str, Any]:
    """As the page says: patiently. Times in s since `t0`, and how long the handshake took that succeeded."""
    refusals = 0
    while True:
        begun = time.monotonic()
        try:
            await device.enroll(plant.door, patience_s=PATIENCE_S, handshake=device.handshake())
        except Rejected as reject:
            if reject.code not in ("busy", "expired"):
                raise
            refusals += 1
            await asyncio.sleep(reject.retry_after_s or 60)
        except (OSError, Refused, TimeoutError):  # the listener is full
            refusals += 1
            await asyncio.sleep(2)
        else:
            break
    granted = time.monotonic()
    if use:
        await (await device.connect(plant.authority)).close()
    return {"granted": granted - t0, "handshake": granted - begun, "refusals": refusals}


def lag(plant: Plant) -> dict[float, float]:
    """Frames by upper bound of their lag in s, cumulative."""
    return {float(bound): float(count) for bound, count in BUCKET.findall(plant.gateway.get("/metrics")[1])}


def quantile(before: Mapping[float, float], after: Mapping[float, float], share: float) -> float:
    """An upper bound of it, in s: that of its bucket."""
    counts = {bound: after[bound] - before.get(bound, 0) for bound in sorted(after)}
    wanted = share * max(counts.values())
    return next(bound for bound, count in counts.items() if count >= wanted)


async def measure(plant: Plant, devices: int, senders: int, rate: float, encrypted: bool) -> dict[str, Any]:
    sending = await crowd(plant, "load", senders)
    await asyncio.gather(*(enroll(plant, device, 0, use=True) for device in sending))
    await plant.until(
        "select count(*) = $1 from credentials where activated_at is not null", senders, timeout_s=PATIENCE_S
    )
    newcomers = await crowd(plant, "new", devices)
    logins = [device.login for device in sending if device.login is not None]
    ours, theirs = multiprocessing.Pipe()
    port = plant.broker.tls_port if encrypted else plant.broker.port
    arguments = (port, logins, rate, plant.authority if encrypted else None, theirs)
    process = multiprocessing.get_context("spawn").Process(target=sender_process, args=arguments, daemon=True)
    process.start()
    assert await asyncio.to_thread(ours.recv) == "sending"
    await asyncio.sleep(WARM_UP_S)
    before, t0 = lag(plant), time.monotonic()
    outcomes = await asyncio.gather(*(enroll(plant, device, t0, use=True) for device in newcomers))
    enrolled_s = max(outcome["granted"] for outcome in outcomes)
    await plant.until(
        "select count(*) = $1 from credentials where activated_at is not null", senders + devices, timeout_s=60
    )
    active_s, after = time.monotonic() - t0, lag(plant)
    ours.send("stop")
    frames = await asyncio.to_thread(ours.recv)
    process.join(10)
    stored = "select count(*) from frames join devices using (device_id) where name like 'load-%'"
    deadline = time.monotonic() + 60
    while await plant.value(stored) < frames["frames_published"] and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
    took = np.array([outcome["handshake"] for outcome in outcomes])
    return {
        "devices": devices,
        "all_enrolled_s": round(enrolled_s, 1),
        "all_active_s": round(active_s, 1),
        "handshake_p50_s": round(float(np.quantile(took, 0.5)), 3),
        "handshake_p99_s": round(float(np.quantile(took, 0.99)), 3),
        "told_to_come_back": sum(outcome["refusals"] for outcome in outcomes),
        "identities": await plant.value("select count(distinct device_id) from credentials where applied = 'present'"),
        "lag_p50_s_below": quantile(before, after, 0.5),
        "lag_p99_s_below": quantile(before, after, 0.99),
        **frames,
        "frames_stored": await plant.value(stored),
    }


async def crowd(plant: Plant, prefix: str, number: int) -> list[Device]:
    """In the list of those that may enroll, by one import."""
    devices = [plant.made(f"{prefix}-{n:05d}") for n in range(number)]
    serials = [device.serial for device in devices]
    await plant.sql(
        """select serials_import($1, $1, array_fill(1::smallint, array[$2::integer]),
                                 array_fill(null::bytea, array[$2::integer]), $3, null, 'load', 'delivered')""",
        serials,
        number,
        prefix,
    )
    return devices


async def prepare(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await migrate(connection)
    await connection.close()


def main(
    devices: Annotated[int, typer.Option(min=1, help="that enroll")] = 1000,
    senders: Annotated[int, typer.Option(min=1, help="that send meanwhile")] = 500,
    rate: Annotated[float, typer.Option(help="frames a second, of all senders")] = 10_000,
    hellos_per_s: Annotated[int, typer.Option(help="the gateway's BIOGATE_ENROLL_HELLOS_PER_S")] = 20,
    sessions: Annotated[int, typer.Option(help="the gateway's BIOGATE_ENROLL_SESSIONS")] = 200,
    encrypted: Annotated[bool, typer.Option("--tls", help="the frames too come by TLS")] = False,
) -> None:
    """Enroll devices beside a full load; prints what became of both."""
    logging.getLogger("pogo_core").setLevel(logging.ERROR)
    with (
        tempfile.TemporaryDirectory(prefix="biogate-enroll-") as name,
        deploy.stack.local(f"enroll-{os.getpid()}") as stack,
    ):
        directory = Path(name)
        subprocess.run([*BIOGATE, "setup", str(directory / "secrets")], check=True, stdout=subprocess.DEVNULL)
        asyncio.run(prepare(stack.database_url))
        with start_broker(stack, None, directory / "secrets") as broker:
            plant = Plant(
                broker, stack.database_url, directory, enroll_hellos_per_s=hellos_per_s, enroll_sessions=sessions
            )
            try:
                plant.start()
                print(json.dumps(asyncio.run(measure(plant, devices, senders, rate, encrypted)), indent=1))
                for line in plant.complaints():
                    print(line, file=sys.stderr)
            except BaseException:
                print(plant.gateway.log.read_text()[-3000:], file=sys.stderr)
                raise
            finally:
                plant.kill()


if __name__ == "__main__":
    typer.run(main)
