"""Other clients than the usual one: MQTT 3.1.1 with another library, a certificate in the place of a password."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from pathlib import Path

import aiomqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.broker.client import MqttClient
from tests.gateway.enrollment.handshake import b64
from tests.mqtt import Client, Refused, tls
from tests.system.enrollment.device import Device, Line, Rejected
from tests.system.enrollment.plant import Plant
from tests.system.enrollment.watch import REFUSED

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("unharmed")]


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str = "whatever") -> bytes:
    """A certificate request, in any name: it does not count."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
    return built.public_bytes(Encoding.DER)


async def certified(plant: Plant, device: Device, key: ec.EllipticCurvePrivateKey, directory: Path) -> ssl.SSLContext:
    """Enroll with a certificate; how to show it."""
    await plant.enroll(device, handshake=device.handshake(csr=request(key)))
    assert device.login is not None
    assert device.login.password is None
    assert device.login.certificate is not None
    shown, secret = directory / "shown.pem", directory / "key.pem"
    certificate = x509.load_der_x509_certificate(device.login.certificate)
    assert certificate.subject.rfc4514_string() == f"CN={device.login.username}"
    shown.write_bytes(certificate.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return tls(plant.authority, (shown, secret))


async def test_mqtt_3_1_1_will_do(plant: Plant) -> None:
    device = await plant.device()
    handshake = device.handshake()
    async with MqttClient(
        "localhost",
        plant.door.port,
        identifier=handshake.client_id,
        username="enroll",
        password=plant.door.password,
        protocol=aiomqtt.ProtocolVersion.V311,
        tls_context=tls(plant.authority),
    ) as client:
        await client.subscribe(handshake.reply, qos=1)
        await client.publish(handshake.request, handshake.hello, qos=1)
        messages = aiter(client.messages)
        async with asyncio.timeout(10):
            proof = handshake.challenged(json.loads(bytes((await anext(messages)).payload)))
            await client.publish(handshake.request, proof, qos=1)
            login = device.keep(handshake, json.loads(bytes((await anext(messages)).payload)))
    async with MqttClient(
        "localhost",
        login.port,
        identifier=login.client_id,
        username=login.username,
        password=login.password,
        protocol=aiomqtt.ProtocolVersion.V311,
        tls_context=tls(plant.authority),
    ) as client:
        await client.publish(f"{login.topic}/status", device.status("online", 1), qos=1)
        await plant.until_active(device)


async def test_a_certificate_instead_of_a_password(plant: Plant, tmp_path: Path) -> None:
    device = await plant.device()
    context = await certified(plant, device, ec.generate_private_key(ec.SECP256R1()), tmp_path)
    assert device.login is not None
    assert device.login.port == plant.broker.certificate_port
    async with await device.connect(plant.authority, context=context) as client:
        assert await client.publish(f"{device.login.topic}/telemetry", device.frame()) < REFUSED
        await plant.until_active(device)
        assert await client.subscribe(f"{device.login.topic}/receipt") == [1]
        assert (await client.subscribe("bioreactors/#"))[0] >= REFUSED
        foreign = await plant.enrolled()
        assert await client.publish(f"bioreactors/{foreign.serial}/telemetry", b"{}") >= REFUSED


@pytest.mark.parametrize("action", ["suspend", "revoke"])
async def test_a_certificate_is_of_no_use_any_more(plant: Plant, tmp_path: Path, action: str) -> None:
    """Mosquitto lets it in, for the name is signed; but it may do nothing."""
    device = await plant.device()
    context = await certified(plant, device, ec.generate_private_key(ec.SECP256R1()), tmp_path)
    assert device.login is not None
    client = await device.connect(plant.authority, context=context)
    await plant.until_active(device)
    await plant.command(device, action)
    await asyncio.wait_for(asyncio.shield(client.ended), 5)
    await plant.until("select bool_and(wanted = applied) from credentials")
    with contextlib.suppress(Refused):
        again = await Client.connect(device.login.port, device.login.client_id, context=context)
        with contextlib.suppress(ConnectionError):
            assert (await again.subscribe(f"{device.login.topic}/receipt"))[0] >= REFUSED
        with contextlib.suppress(ConnectionError):
            assert await again.publish(f"{device.login.topic}/telemetry", b"{}") >= REFUSED
        again.abort()


async def test_the_listener_for_certificates_wants_one(plant: Plant) -> None:
    """Of our authority: no password will do, and no certificate that anybody signed."""
    device = await plant.enrolled()
    login = device.login
    assert login is not None
    with pytest.raises((Refused, ssl.SSLError, ConnectionError)):
        await Client.connect(
            plant.broker.certificate_port,
            login.client_id,
            login.username,
            login.password,
            context=tls(plant.authority),
        )


@pytest.mark.parametrize("what", ["noise", "rsa", "signature", "other bytes"])
async def test_a_certificate_request_that_cannot_be_used(plant: Plant, what: str) -> None:
    device = await plant.device()
    csr = request(ec.generate_private_key(ec.SECP256R1()))
    code = "certificate"
    if what == "noise":
        csr = b"\x30\x82" + bytes(200)
    elif what == "rsa":
        csr = request(rsa.generate_private_key(65537, 2048))
    elif what == "signature":
        csr = csr[:-4] + bytes(4)
    handshake = device.handshake(csr=csr)
    if what != "other bytes":
        with pytest.raises(Rejected, match=code):
            await plant.enroll(device, handshake=handshake)
    else:  # put into the proof by somebody on the way
        async with Line(plant.door, handshake) as line:
            handshake.challenged(await line.ask(handshake.hello, "challenge"))
            mallory = request(ec.generate_private_key(ec.SECP256R1()))
            reply = await line.ask(handshake.prove(csr=b64(mallory)), "grant")
            assert reply["code"] == "refused"
    assert await plant.value("select count(*) from devices where name = $1", device.serial) == 0
