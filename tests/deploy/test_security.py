"""The door of the production broker: what TLS and logins refuse, and who may read the keys."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from deploy.stack.ports import LOOPBACK
from deploy.stack.servers import LOGINS
from gateway.broker.client import MqttClient
from tests.conftest import Broker

TLS_LISTENERS = ("tls_port", "enroll_port", "certificate_port")
CONNACK = b"\x20"
UNKNOWN_ISSUER, OTHER_NAME = 20, 62  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_HOSTNAME_MISMATCH


def context(broker: Broker, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that trusts the plant's CA; with `version` it speaks no other, and would take any cipher."""
    made = ssl.create_default_context(cafile=broker.secrets / "ca.pem")
    if version is not None:
        made.maximum_version = version
        made.minimum_version = version
        made.set_ciphers("ALL:@SECLEVEL=0")
    return made


def shake_hands(port: int, tls: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSocket:
    """A connection; raises what the handshake raises. With TLS 1.3 some refusals come with a read."""
    return tls.wrap_socket(socket.create_connection((LOOPBACK, port), timeout=20), server_hostname=name)


def alert(error: ssl.SSLError, name: str) -> bool:
    """Tell whether the peer ended the handshake with the alert of that name in RFC 8446, section 6."""
    return error.reason is not None and error.reason.endswith(f"ALERT_{name.upper()}")


def password(broker: Broker, login: str) -> str:
    return (broker.secrets / f"{login}.password").read_text().strip()


def client(broker: Broker, port: int, login: str | None, identifier: str = "test", **more: Any) -> aiomqtt.Client:
    options = {"username": login, "password": password(broker, login) if login else None, "timeout": 5, **more}
    return MqttClient(
        "localhost", port, identifier=identifier, protocol=aiomqtt.ProtocolVersion.V5, **options
    )  # fmt: skip


@pytest.mark.parametrize("listener", TLS_LISTENERS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_tls_is_refused_by_the_broker(secure_broker: Broker, listener: str, version: ssl.TLSVersion) -> None:
    with pytest.raises(ssl.SSLError) as error:
        shake_hands(getattr(secure_broker, listener), context(secure_broker, version))
    assert alert(error.value, "protocol_version")


def test_tls_1_2_and_1_3_are_spoken_with_forward_secrecy(secure_broker: Broker) -> None:
    for version, shown in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        with shake_hands(secure_broker.tls_port, context(secure_broker, version)) as connection:
            cipher, _, bits = connection.cipher() or ("", "", 0)
            assert connection.version() == shown
            assert bits >= 128
            assert cipher.startswith(("ECDHE-", "TLS_"))


def test_ciphers_without_authenticated_encryption_are_refused(secure_broker: Broker) -> None:
    old = context(secure_broker, ssl.TLSVersion.TLSv1_2)
    old.set_ciphers("ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError) as error:
        shake_hands(secure_broker.tls_port, old)
    assert alert(error.value, "handshake_failure")


def answer(port: int) -> bytes:
    """The first byte that comes back for a plain CONNECT of MQTT 5."""
    with socket.create_connection((LOOPBACK, port), timeout=20) as connection:
        connection.sendall(b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03one")
        return connection.recv(1)


@pytest.mark.parametrize("listener", TLS_LISTENERS)
def test_plaintext_to_a_tls_listener_is_refused(secure_broker: Broker, listener: str) -> None:
    assert answer(secure_broker.port) == CONNACK
    with pytest.raises(ConnectionResetError):
        answer(getattr(secure_broker, listener))


def test_a_client_refuses_a_broker_of_another_authority_or_name(secure_broker: Broker) -> None:
    with pytest.raises(ssl.SSLCertVerificationError) as error:
        shake_hands(secure_broker.tls_port, ssl.create_default_context())
    assert error.value.verify_code == UNKNOWN_ISSUER
    with pytest.raises(ssl.SSLCertVerificationError) as error:
        shake_hands(secure_broker.tls_port, context(secure_broker), "other.example")
    assert error.value.verify_code == OTHER_NAME
    with shake_hands(secure_broker.tls_port, context(secure_broker), LOOPBACK):
        pass


def test_the_listener_for_certificates_wants_one(secure_broker: Broker) -> None:
    with pytest.raises(ssl.SSLError) as error:
        shake_hands(secure_broker.certificate_port, context(secure_broker)).recv(1)
    assert alert(error.value, "certificate_required")


@pytest.mark.parametrize("listener", ["port", *TLS_LISTENERS[:2]])
async def test_nobody_enters_without_login_password_and_client_id(secure_broker: Broker, listener: str) -> None:
    port = getattr(secure_broker, listener)
    tls: dict[str, Any] = {} if listener == "port" else {"tls_context": context(secure_broker)}
    async with client(secure_broker, port, "enroll", **tls):
        pass
    for refused in (
        client(secure_broker, port, None, **tls),
        client(secure_broker, port, "enroll", password="guess", **tls),
        client(secure_broker, port, None, username="nobody", password="x", **tls),
        client(secure_broker, port, "enroll", identifier="", **tls),
    ):
        with pytest.raises(aiomqtt.MqttError):
            async with refused:
                pass


def test_keys_and_logins_are_readable_by_their_owner_alone(secure_broker: Broker) -> None:
    server = secure_broker.server
    for path in (secure_broker.secrets, *secure_broker.secrets.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    broker_user = server.logins.stat().st_uid
    for path in (server.data / name for name in ("server.pem", "server.key.pem", "ca.pem")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o400, path
        assert path.stat().st_uid == broker_user
    assert stat.S_IMODE(server.logins.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.logins.parent.stat().st_mode) == 0o700
    if os.geteuid() == 0:
        assert broker_user != 0


async def test_logins_made_at_run_time_outlive_a_restart_and_a_kill(secure_broker: Broker) -> None:
    """What setup made is where the broker begins, not what it goes back to."""
    broker, server = secure_broker, secure_broker.server
    topic = "$CONTROL/dynamic-security/v1"
    command = {"commands": [{"command": "createClient", "username": "new", "password": "x" * 32}]}
    async with client(broker, broker.port, "admin") as admin:
        await admin.subscribe(f"{topic}/response")
        await admin.publish(topic, json.dumps(command))
        await asyncio.wait_for(anext(aiter(admin.messages)), 20)
    server.restart()
    server.kill()
    assert server.process.wait(10)
    server.start()
    async with client(broker, broker.port, None, username="new", password="x" * 32):
        pass
    assert '"new"' in server.logins.read_text()


def test_nothing_of_ours_is_written_where_another_user_may_write(secure_broker: Broker, tmp_path: Path) -> None:
    """A broker that was taken over puts a link in the place of its file: we must not follow it as root."""
    server, victim = secure_broker.server, tmp_path / "victim"
    server.stop()
    victim.write_text("ours")
    victim.chmod(0o600)
    server.logins.unlink()
    server.logins.symlink_to(victim)
    server.write_logins((secure_broker.secrets / "broker" / LOGINS).read_text())
    assert victim.read_text() == "ours"
    assert not server.logins.is_symlink()
    server.start()
