"""Runs one enrollment handshake over MQTT, until a login is stored."""

from __future__ import annotations

import asyncio
import random
import secrets
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from device_sim.clock import wall_ms
from device_sim.connection import Broker, ConnectionFailed, DeviceConnection, connect, tls_context
from device_sim.firmware import FIRMWARE
from device_sim.handshake import DeviceHandshake, Granted, Ignored, Over, Proved, Wait, begin, receive
from device_sim.identity import DeviceLogin, Keeper
from device_sim.process.readings import CHANNELS
from device_sim.vessels import DESCRIBED
from schema.enrollment import LOGIN, client_id, reply_topic, request_topic, unb64
from schema.messages import CONTENT_JSON

HARDWARE = "simulated"
STAY = 10
"""A device that has to wait longer (s) stays connected only while this process has a free place for another handshake:
so the grant comes at once, and those that wait for an operator keep nobody out. A real controller just stays."""

Point = Callable[[str], None]
"""Called with how far a device has come: begin, hello, challenge, proof, grant, stored, connected."""


@dataclass(frozen=True)
class Pace:
    """The waits of a device, in seconds."""

    repeat: float = 2.0
    """The wait until a request is repeated for the first time; it doubles each time."""
    longest: float = 60.0
    without_operator: float = 3600.0
    """The wait until the next handshake, when only an operator can change the answer."""
    refused: float = 60.0
    """The wait between two tries to connect with a login that the broker refuses."""
    enroll_again: float = 600.0
    """The time of such refusals after which the device enrolls again."""


@dataclass(frozen=True)
class PlantGate:
    """The place at which the devices of a plant enroll, and what they share."""

    broker: Broker
    """The listener for handshakes."""
    ca: Path
    tls: ssl.SSLContext
    """The TLS context of logins with a password."""
    certificate: bool
    """Whether to ask for certificates instead of passwords."""
    pace: Pace
    slots: asyncio.Semaphore
    """A handshake holds one while it is connected."""

    @classmethod
    def at(cls, url: str, ca: Path, password_file: Path, *, certificate: bool, pace: Pace, slots: int) -> PlantGate:
        """Read the configuration from its files. Raises ValueError, OSError."""
        tls = tls_context(ca)
        broker = Broker.at(url, LOGIN, password_file.read_text().strip(), lambda: tls)
        return cls(broker, ca, tls, certificate, pace, asyncio.Semaphore(slots))

    def broker_of(self, login: DeviceLogin) -> Broker:
        """The broker to which a device connects with its login. Raises ConnectionFailed if the login is unusable."""
        identity = login.identity
        try:
            tls = self.tls
            if identity.certificate:
                ours = x509.load_der_x509_certificate(unb64(identity.certificate)).public_bytes(Encoding.PEM)
                tls = tls_context(self.ca, ours + login.key)
            broker = Broker.at(identity.broker, identity.username, identity.password, lambda: tls)
        except (ValueError, OSError) as error:
            raise ConnectionFailed(f"the granted login is unusable: {error}") from error
        if broker.tls is None and not _loopback(broker.host):
            raise ConnectionFailed(f"the granted login is for {identity.broker}, without TLS")
        return broker


async def shake(keeper: Keeper, entrance: PlantGate, say: Callable[[str], None], at: Point) -> Over | None:
    """Run a handshake, or the rest of one; return None once its login is stored, else how it ended."""
    pace = entrance.pace
    if keeper.state.handshake is None:
        await asyncio.to_thread(keeper.go_on, _new(keeper, entrance))
    delay = pace.repeat
    while True:
        try:
            async with entrance.slots:
                at("begin")
                outcome = await _talk(keeper, entrance, say, at)
        except ConnectionFailed as error:
            say(f"{keeper.serial}: {error}")
            await asyncio.sleep(delay * random.uniform(0.75, 1.25))
            delay = min(2 * delay, pace.longest)
            continue
        if isinstance(outcome, Granted):
            at("grant")
            await asyncio.to_thread(keeper.grant, outcome)
            at("stored")
            return None
        if isinstance(outcome, Over):
            await asyncio.to_thread(keeper.give_up)
            return outcome
        say(f"{keeper.serial}: waits for {outcome.reason or 'the gateway'}")
        await asyncio.sleep(outcome.seconds * random.uniform(1.0, 1.25))
        delay = pace.repeat


async def _talk(keeper: Keeper, entrance: PlantGate, say: Callable[[str], None], at: Point) -> Granted | Over | Wait:
    """Exchange messages over one connection, until there is something to do without it. Raises ConnectionFailed."""
    handshake = keeper.state.handshake
    assert handshake
    replies: asyncio.Queue[bytes | None] = asyncio.Queue()
    connection = await connect(
        entrance.broker,
        client_id(handshake.txn),
        None,
        [reply_topic(handshake.txn)],
        acknowledged=lambda *_: at("proof" if keeper.state.handshake and keeper.state.handshake.proof else "hello"),
        received=lambda _, payload: replies.put_nowait(payload),
        ready=lambda: None,
    )
    connection.closed.add_done_callback(lambda _: replies.put_nowait(None))
    try:
        delay = entrance.pace.repeat
        wait = 0.0
        while True:
            if wait == 0.0:
                _send(connection, request_topic(handshake.txn), handshake.request)
                wait, delay = delay * random.uniform(0.75, 1.25), min(2 * delay, entrance.pace.longest)
            payload, wait = await _next(replies, wait)
            if payload is None:
                if connection.closed.done():
                    raise connection.closed.result()
                continue
            try:
                outcome = receive(handshake, keeper.state.controller, keeper.state.gateway, payload)
            except Ignored as why:
                say(f"{keeper.serial}: a reply is ignored: {why}")
                continue
            match outcome:
                case Proved():
                    at("challenge")
                    handshake = outcome.handshake
                    await asyncio.to_thread(keeper.go_on, handshake)
                    wait, delay = 0.0, entrance.pace.repeat
                case Wait() if outcome.seconds <= STAY or not entrance.slots.locked():
                    if outcome.seconds > STAY:
                        say(f"{keeper.serial}: waits for {outcome.reason or 'the gateway'}, and stays connected")
                    wait, delay = float(outcome.seconds), entrance.pace.repeat
                case _:
                    return outcome
    finally:
        connection.disconnect()


async def _next(replies: asyncio.Queue[bytes | None], wait: float) -> tuple[bytes | None, float]:
    """The next reply and the seconds left to wait; None and 0 when the wait is over."""
    begin = time.monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(wait):
            payload = await replies.get()
        return payload, max(0.001, wait - (time.monotonic() - begin))
    return None, 0.0


def _send(connection: DeviceConnection, topic: str, payload: bytes) -> None:
    if connection.room > 0:
        connection.publish(topic, payload, content_type=CONTENT_JSON)
        connection.flush()


def _new(keeper: Keeper, entrance: PlantGate) -> DeviceHandshake:
    key = b""
    if entrance.certificate:
        private = ec.generate_private_key(ec.SECP256R1())
        key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return begin(
        keeper.state.controller,
        secrets.token_hex(16),
        secrets.token_bytes(32),
        wall_ms(),
        hardware=HARDWARE,
        firmware=FIRMWARE,
        channels=CHANNELS,
        described=DESCRIBED,
        key=key,
    )


def _loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"
