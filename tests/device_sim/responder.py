"""The gateway's side of a handshake, as little of it as a device can tell: for tests without a gateway."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding

from schema.enrollment import Challenge, ChallengeBody, Grant, Hello, Identity, Proof, b64, unb64

PSK = bytes(range(32))


def lp(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


def identity(serial: str, **more: object) -> Identity:
    given = {
        "device": serial,
        "username": f"{serial}.1",
        "client_id": secrets.token_hex(16),
        "broker": "mqtts://localhost:8883",
        "topic": f"bioreactors/{serial}",
        "generation": 1,
        "boot": 0,
        "password": "secret",
    }
    return Identity(**{**given, **more})  # type: ignore[arg-type]


@dataclass
class Responder:
    """Of one handshake."""

    psk: bytes = PSK
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    ephemeral: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    grants: Callable[[str], Identity] = identity
    """Serial → what it is granted."""
    hello: bytes = b""
    body: bytes = b""
    keys: bytes = b""
    proof: Proof | None = None

    def answer(self, payload: bytes) -> bytes:
        request = msgspec.json.decode(payload, type=Hello | Proof)
        return self.challenge(payload) if isinstance(request, Hello) else self.grant(payload)

    def challenge(self, payload: bytes) -> bytes:
        hello = msgspec.json.decode(payload, type=Hello)
        self.hello = payload
        ours = self.ephemeral.public_key().public_bytes_raw()
        gateway = self.key.public_key().public_bytes_raw()
        self.body = msgspec.json.encode(
            ChallengeBody(nonce=b64(bytes(16)), ephemeral=b64(ours), gateway=b64(gateway), expires_s=120)
        )
        shared = self.ephemeral.exchange(X25519PublicKey.from_public_bytes(unb64(hello.ephemeral)))
        self.keys = HKDF(SHA256(), 96, self.th2, b"biogate-enroll/1").derive(shared + self.psk)
        mac = hmac.digest(self.keys[32:64], b"challenge" + self.th2, "sha256")
        sig = self.key.sign(b"challenge" + self.th2)
        return msgspec.json.encode(Challenge(txn=hello.txn, body=b64(self.body), mac=b64(mac), sig=b64(sig)))

    @property
    def th2(self) -> bytes:
        return lp(b"biogate-enroll/1", self.hello, self.body)

    def grant(self, payload: bytes) -> bytes:
        """Raises InvalidSignature, AssertionError if the proof is wrong."""
        hello = msgspec.json.decode(self.hello, type=Hello)
        self.proof = msgspec.json.decode(payload, type=Proof)
        statement = b"proof" + self.th2 + unb64(self.proof.csr or "")
        Ed25519PublicKey.from_public_bytes(unb64(hello.identity)).verify(unb64(self.proof.sig), statement)
        assert unb64(self.proof.mac) == hmac.digest(self.keys[:32], statement, "sha256")
        th3 = lp(b"biogate-enroll/1", self.hello, self.body, payload)
        box = ChaCha20Poly1305(self.keys[64:]).encrypt(bytes(12), msgspec.json.encode(self.grants(hello.serial)), th3)
        return msgspec.json.encode(Grant(txn=hello.txn, nonce=b64(bytes(12)), box=b64(box)))


def self_signed(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate that nobody vouches for, DER."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "BR-1.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)
