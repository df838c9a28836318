"""The way in, with a broker that is real and somebody behind it who answers as the test likes."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiomqtt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from device_sim.claims import Claim
from device_sim.connection import ConnectionFailed, NotAuthorized, connect
from device_sim.entrance import Pace, PlantGate, shake
from device_sim.handshake import Over
from device_sim.identity import DeviceLogin, Keeper
from gateway.broker.client import MqttClient
from schema.enrollment import reply_topic
from tests.conftest import Broker
from tests.device_sim.responder import PSK, Responder, identity, self_signed

CommandAnswer = Callable[[int, bytes], list[bytes]]
"""Number of the request, from 0, and its payload → replies."""


class Office:
    def __init__(self, answer: CommandAnswer) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.times: list[float] = []

    async def work(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            assert not message.retain
            self.requests.append(message.payload)
            self.times.append(time.monotonic())
            txn = message.topic.value.rsplit("/", 1)[1]
            for reply in self.answer(len(self.requests) - 1, message.payload):
                await client.publish(reply_topic(txn), reply, qos=1)


@asynccontextmanager
async def office(broker: Broker, answer: CommandAnswer) -> AsyncIterator[Office]:
    password = (broker.secrets / "enrollment.password").read_text().strip()
    async with MqttClient(
        broker.host,
        broker.port,
        username="enrollment",
        password=password,
        identifier="office",
        protocol=aiomqtt.ProtocolVersion.V5,
    ) as client:
        await client.subscribe("$share/enroll/enroll/v1/req/+", qos=1)
        one = Office(answer)
        task = asyncio.create_task(one.work(client))
        try:
            yield one
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def entrance(broker: Broker, *, ca: Path | None = None, slots: int = 1) -> PlantGate:
    return PlantGate.at(
        f"mqtts://localhost:{broker.enroll_port}",
        ca or broker.secrets / "ca.pem",
        broker.secrets / "enroll.password",
        certificate=False,
        pace=Pace(repeat=0.2),
        slots=slots,
    )


def keeper(directory: Path) -> Keeper:
    return Keeper(directory, Claim("BR-1", 1, PSK))


def nowhere(_: str) -> None:
    pass


async def test_the_same_bytes_are_repeated_ever_more_slowly_until_there_is_a_reply(
    secure_broker: Broker, tmp_path: Path
) -> None:
    responder = Responder()
    patient = {3, 6}

    def answer(number: int, payload: bytes) -> list[bytes]:
        return [responder.answer(payload)] if number in patient else []

    async with office(secure_broker, answer) as desk:
        assert await shake(keeper(tmp_path), entrance(secure_broker), nowhere, nowhere) is None
    hellos, proofs = desk.requests[:4], desk.requests[4:]
    assert (len(set(hellos)), len(set(proofs)), len(proofs)) == (1, 1, 3)
    pauses = [later - earlier for earlier, later in zip(desk.times, desk.times[1:4], strict=False)]
    assert [round(2 * pause / 0.2) >= limit for pause, limit in zip(pauses, (1, 3, 6), strict=True)] == [True] * 3


async def test_a_handshake_goes_on_with_the_same_bytes_after_the_connection_and_the_process_are_lost(
    secure_broker: Broker, tmp_path: Path
) -> None:
    responder = Responder()
    first = keeper(tmp_path)
    async with office(
        secure_broker, lambda number, payload: [responder.answer(payload)] if number == 1 else []
    ) as desk:
        task = asyncio.create_task(shake(first, entrance(secure_broker), nowhere, nowhere))
        while len(desk.requests) < 2 or desk.requests[-1] == desk.requests[0]:
            await asyncio.sleep(0.01)
        task.cancel()
    async with office(secure_broker, lambda _, payload: [responder.answer(payload)]) as again:
        second = keeper(tmp_path)
        assert await shake(second, entrance(secure_broker), nowhere, nowhere) is None
    assert again.requests == [desk.requests[-1]]
    assert second.state.granted


async def test_what_strangers_say_on_the_topic_does_no_harm(secure_broker: Broker, tmp_path: Path) -> None:
    right, wrong, said = Responder(), Responder(psk=bytes(32)), list[str]()

    def answer(_: int, payload: bytes) -> list[bytes]:
        if b'"type":"hello"' in payload:
            return [b"", b"\xff", b"{}", wrong.answer(payload), right.answer(payload), wrong.challenge(payload)]
        other = json.loads(right.answer(payload)) | {"nonce": "A" * 15 + "B"}
        return [json.dumps(other).encode(), right.answer(payload)]

    one = keeper(tmp_path)
    async with office(secure_broker, answer) as desk:
        assert await shake(one, entrance(secure_broker), said.append, nowhere) is None
    assert len(desk.requests) == 2
    assert sum("ignored" in line for line in said) == 6
    assert one.state.gateway == right.key.public_key().public_bytes_raw()


async def test_who_has_to_wait_repeats_the_same_bytes_and_who_is_rejected_begins_anew(
    secure_broker: Broker, tmp_path: Path
) -> None:
    one, responder = keeper(tmp_path), Responder()

    def wait(number: int, payload: bytes) -> list[bytes]:
        txn = json.loads(payload)["txn"]
        if number == 1:
            pending = {"v": 1, "type": "pending", "txn": txn, "retry_after_s": 1, "reason": "approval"}
            return [json.dumps(pending).encode()]
        if number == 2:
            return [
                json.dumps({"v": 1, "type": "reject", "txn": txn, "code": "denied", "retry_after_s": None}).encode()
            ]
        return [responder.answer(payload)]

    async with office(secure_broker, wait) as desk:
        assert await shake(one, entrance(secure_broker), nowhere, nowhere) == Over("denied", None)
        assert desk.requests[1] == desk.requests[2]
        assert desk.times[2] - desk.times[1] >= 0.9
        assert one.state.handshake is None
        responder = Responder()
        assert await shake(one, entrance(secure_broker), nowhere, nowhere) is None
    first, second = (json.loads(desk.requests[number]) for number in (0, 3))
    assert first["identity"] == second["identity"]
    assert (first["txn"] == second["txn"], first["ephemeral"] == second["ephemeral"]) == (False, False)


async def test_who_waits_for_an_operator_stays_connected_and_has_the_grant_at_once(
    secure_broker: Broker, tmp_path: Path
) -> None:
    """Also where the gateway asks to come again in an hour, for what it sends by itself."""
    responder, granted = Responder(), asyncio.Event()

    def answer(number: int, payload: bytes) -> list[bytes]:
        if number == 0:
            return [responder.answer(payload)]
        txn = json.loads(payload)["txn"]
        pending = {"v": 1, "type": "pending", "txn": txn, "retry_after_s": 3600, "reason": "approval"}
        granted.set()
        return [json.dumps(pending).encode(), responder.answer(payload)]

    async with office(secure_broker, answer) as desk:
        assert await shake(keeper(tmp_path), entrance(secure_broker, slots=2), nowhere, nowhere) is None
        assert granted.is_set()
    assert len(desk.requests) == 2


async def test_who_waits_for_an_operator_gives_the_last_place_to_another(secure_broker: Broker, tmp_path: Path) -> None:
    responder, here = Responder(), entrance(secure_broker, slots=1)

    def answer(_: int, payload: bytes) -> list[bytes]:
        if b'"BR-1"' not in payload:
            return [responder.answer(payload)]
        txn = json.loads(payload)["txn"]
        return [
            json.dumps({"v": 1, "type": "pending", "txn": txn, "retry_after_s": 3600, "reason": "approval"}).encode()
        ]

    async with office(secure_broker, answer):
        waiting = asyncio.create_task(shake(keeper(tmp_path), here, nowhere, nowhere))
        other = Keeper(tmp_path, Claim("BR-2", 1, PSK))
        async with asyncio.timeout(20):
            assert await shake(other, here, nowhere, nowhere) is None
        assert not waiting.done()
        waiting.cancel()


async def test_a_broker_that_the_ca_does_not_know_is_told_nothing(secure_broker: Broker, tmp_path: Path) -> None:
    said: list[str] = []
    other = ssl.DER_cert_to_PEM_cert(self_signed(ec.generate_private_key(ec.SECP256R1())))
    (tmp_path / "other.pem").write_text(other)
    here = entrance(secure_broker, ca=tmp_path / "other.pem")
    async with office(secure_broker, lambda *_: []) as desk:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await shake(keeper(tmp_path), here, said.append, nowhere)
        assert desk.requests == []
    assert said
    assert all(line.startswith("BR-1: cannot connect to localhost:") for line in said)


def test_a_login_without_tls_is_for_loopback_alone(secure_broker: Broker) -> None:
    here = entrance(secure_broker)
    assert here.broker_of(DeviceLogin(identity("BR-1", broker="mqtt://127.0.0.1:1883"))).tls is None
    for useless in ("mqtt://plant.example:1883", "http://plant.example", "mqtts://"):
        with pytest.raises(ConnectionFailed, match=r"unusable|without TLS"):
            here.broker_of(DeviceLogin(identity("BR-1", broker=useless)))


async def test_a_login_that_the_broker_does_not_know_is_told_apart_from_a_broker_that_is_away(
    secure_broker: Broker,
) -> None:
    here = entrance(secure_broker)
    for port, failure in ((secure_broker.tls_port, NotAuthorized), (1, ConnectionFailed)):
        broker = here.broker_of(DeviceLogin(identity("BR-1", broker=f"mqtts://localhost:{port}")))
        with pytest.raises(ConnectionFailed) as raised:
            await connect(
                broker,
                "x",
                None,
                ["bioreactors/BR-1/receipt"],
                acknowledged=lambda *_: None,
                received=lambda *_: None,
                ready=lambda: None,
            )
        assert type(raised.value) is failure
