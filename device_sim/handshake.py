"""The device's side of enrollment, written from docs/enrollment.md alone. Pure: no clock, no randomness, no I/O."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from schema.enrollment import Challenge, ChallengeBody, EnrollmentReject, Grant, Identity, Pending, Reply, b64, unb64
from schema.topics import ROOT, is_device_name

PROTOCOL = b"biogate-enroll/1"
MOST_HELLO = 2048
"""Bytes."""


class Ignored(Exception):
    """Raised for a reply that the device must not believe, and goes on without; the text says why."""


class ControllerSecrets(msgspec.Struct, frozen=True):
    """The keys and names that a controller keeps for life."""

    serial: str
    claim: int
    """Version of the claim key; 0: a key of the controller's own."""
    psk: bytes
    """The claim key."""
    identity: bytes
    """The private Ed25519 key."""


class DeviceHandshake(msgspec.Struct, frozen=True):
    """A handshake as far as it has come. Its requests are kept as bytes, because a repetition must be the same."""

    txn: str
    ephemeral: bytes
    """The private X25519 key."""
    hello: bytes
    body: bytes = b""
    """The body of the accepted challenge; empty if there was none."""
    proof: bytes = b""
    key: bytes = b""
    """The private key of the wanted certificate, PEM; empty: the device wants a password."""

    @property
    def request(self) -> bytes:
        """The request to send, and to repeat."""
        return self.proof or self.hello


class Proved(msgspec.Struct, frozen=True):
    """The reply was a valid challenge: the handshake goes on with a proof."""

    handshake: DeviceHandshake


class Granted(msgspec.Struct, frozen=True):
    login: Identity
    gateway: bytes
    """The gateway's public key, which the device keeps."""


class Wait(msgspec.Struct, frozen=True):
    """The reply asks for the same request again after so many seconds."""

    seconds: int
    reason: str


class Over(msgspec.Struct, frozen=True):
    """The handshake has ended; a new one may begin after so many seconds; None: an operator has to act first."""

    code: str
    seconds: int | None


class ControllerKeys(msgspec.Struct, frozen=True):
    th2: bytes
    device: bytes
    gateway: bytes
    seal: bytes


def begin(
    controller: ControllerSecrets,
    txn: str,
    ephemeral: bytes,
    time: int,
    *,
    hardware: str = "",
    firmware: str = "",
    channels: Sequence[str] = (),
    described: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
    key: bytes = b"",
) -> DeviceHandshake:
    """Begin a handshake with its HELLO. `txn` and `ephemeral` are random and new; `time` is in ms since 1970."""
    hello = {
        "v": 1,
        "type": "hello",
        "txn": txn,
        "t": time,
        "serial": controller.serial,
        "identity": b64(Ed25519PrivateKey.from_private_bytes(controller.identity).public_key().public_bytes_raw()),
        "ephemeral": b64(X25519PrivateKey.from_private_bytes(ephemeral).public_key().public_bytes_raw()),
        "claim": controller.claim,
        "hardware": hardware,
        "firmware": firmware,
        "channels": list(channels),
        "described": dict(described),
    }
    return DeviceHandshake(txn, ephemeral, _hello(hello), key=key)


def _hello(fields: dict[str, Any]) -> bytes:
    """The HELLO, in which as much is said of the channels as there is room for: titles go first, then the decimals and
    what is said of standard channels."""
    described: dict[str, dict[str, object]] = fields["described"]
    titleless = {name: {word: claim[word] for word in claim if word != "title"} for name, claim in described.items()}
    needed = {
        name: {word: claim[word] for word in claim if word != "decimals"}
        for name, claim in titleless.items()
        if "kind" in claim  # which the standard list has for its own
    }
    for said in (described, titleless, needed, {}):
        hello = {name: value for name, value in {**fields, "described": said}.items() if value not in ("", [], {})}
        if len(_json(hello)) <= MOST_HELLO:
            break
    return _json(hello)


def receive(
    handshake: DeviceHandshake, controller: ControllerSecrets, gateway: bytes | None, payload: bytes
) -> Proved | Granted | Wait | Over:
    """Process a reply; `gateway` is the key kept from an earlier grant. Raises Ignored."""
    try:
        reply = msgspec.json.decode(payload, type=Reply)
    except msgspec.DecodeError as error:
        raise Ignored(f"the reply cannot be read: {error}") from error
    if reply.txn != handshake.txn:
        raise Ignored("the reply is of another transaction")
    match reply:
        case Challenge() if not handshake.proof:
            return Proved(_prove(handshake, controller, gateway, reply))
        case Grant() if handshake.proof:
            return _open(handshake, controller, reply)
        case Pending():
            return Wait(max(1, reply.retry_after_s), reply.reason)
        case EnrollmentReject():
            return Over(reply.code, reply.retry_after_s)
    raise Ignored(f"a {type(reply).__name__} is not due")


def transcript(*parts: bytes) -> bytes:
    """The transcript hash: th2 of HELLO payload and challenge body; th3 of both and the PROOF payload."""
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in (PROTOCOL, *parts))).digest()


def keys(ephemeral: bytes, theirs: bytes, psk: bytes, th2: bytes) -> ControllerKeys:
    """Derive the handshake's keys (docs/enrollment.md). Raises ValueError if the peer's key gives a zero secret."""
    shared = X25519PrivateKey.from_private_bytes(ephemeral).exchange(X25519PublicKey.from_public_bytes(theirs))
    if not any(shared):
        raise ValueError("the ephemeral key gives a zero secret")
    derived = HKDF(SHA256(), 96, th2, PROTOCOL).derive(shared + psk)
    return ControllerKeys(th2, derived[:32], derived[32:64], derived[64:])


def _prove(
    handshake: DeviceHandshake, controller: ControllerSecrets, gateway: bytes | None, challenge: Challenge
) -> DeviceHandshake:
    try:
        raw = unb64(challenge.body)
        body = msgspec.json.decode(raw, type=ChallengeBody)
        derived = keys(handshake.ephemeral, unb64(body.ephemeral), controller.psk, transcript(handshake.hello, raw))
        signed = b"challenge" + derived.th2
        if not hmac.compare_digest(hmac.digest(derived.gateway, signed, "sha256"), unb64(challenge.mac)):
            raise Ignored("the sender does not know the claim key")
        Ed25519PublicKey.from_public_bytes(unb64(body.gateway)).verify(unb64(challenge.sig), signed)
    except InvalidSignature as error:
        raise Ignored("the signature is wrong") from error
    except (ValueError, msgspec.DecodeError) as error:
        raise Ignored(f"the body is wrong: {error}") from error
    if gateway is not None and unb64(body.gateway) != gateway:
        raise Ignored("another gateway granted the login before")
    csr = _csr(handshake.key, controller.serial) if handshake.key else b""
    statement = b"proof" + derived.th2 + csr
    proof = {
        "v": 1,
        "type": "proof",
        "txn": handshake.txn,
        "sig": b64(Ed25519PrivateKey.from_private_bytes(controller.identity).sign(statement)),
        "mac": b64(hmac.digest(derived.device, statement, "sha256")),
        "hello": b64(handshake.hello),
        "body": challenge.body,
    }
    if csr:
        proof["csr"] = b64(csr)
    return msgspec.structs.replace(handshake, body=raw, proof=_json(proof))


def _open(handshake: DeviceHandshake, controller: ControllerSecrets, grant: Grant) -> Granted:
    body = msgspec.json.decode(handshake.body, type=ChallengeBody)
    th2 = transcript(handshake.hello, handshake.body)
    derived = keys(handshake.ephemeral, unb64(body.ephemeral), controller.psk, th2)
    th3 = transcript(handshake.hello, handshake.body, handshake.proof)
    try:
        opened = ChaCha20Poly1305(derived.seal).decrypt(unb64(grant.nonce), unb64(grant.box), th3)
        login = msgspec.json.decode(opened, type=Identity)
        _check(login, handshake.key)
    except InvalidTag as error:
        raise Ignored("the box was not sealed for this handshake") from error
    except (ValueError, msgspec.DecodeError) as error:
        raise Ignored(f"the granted login is unusable: {error}") from error
    return Granted(login, unb64(body.gateway))


def _check(login: Identity, key: bytes) -> None:
    if not is_device_name(login.device) or login.topic != f"{ROOT}/{login.device}":
        raise ValueError(f"name {login.device!r} and topic {login.topic!r}")
    if not key:
        if not login.password:
            raise ValueError("there is no password")
        return
    if not login.certificate:
        raise ValueError("there is no certificate")
    ours = load_pem_private_key(key, None).public_key()
    if x509.load_der_x509_certificate(unb64(login.certificate)).public_key() != ours:
        raise ValueError("the certificate is of another key")


def _csr(key: bytes, serial: str) -> bytes:
    private = load_pem_private_key(key, None)
    assert isinstance(private, EllipticCurvePrivateKey)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, serial)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(private, SHA256())
    return request.public_bytes(Encoding.DER)


def _json(message: dict[str, object] | dict[str, str | int]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()
