"""The arithmetic of docs/enrollment.md, written from that page alone: nothing of the gateway's is used here.

Each intermediate value is in reach, for tests that send something else than they should.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

INFO = b"biogate-enroll/1"


class Untrusted(Exception):
    """A reply that is not from who it should be, or not to us: it is to be ignored."""


@dataclass(frozen=True)
class Login:
    """What a grant says."""

    device: str
    username: str
    password: str | None
    client_id: str
    broker: str
    topic: str
    generation: int
    boot: int
    certificate: bytes | None = None
    max_packet: int | None = None

    @property
    def port(self) -> int:
        port = urlsplit(self.broker).port
        assert port is not None
        return port


class Handshake:
    """One of them, from HELLO to GRANT. `gateway`: the key kept from an earlier grant; `other` members of HELLO."""

    def __init__(
        self,
        serial: str,
        psk: bytes,
        identity: Ed25519PrivateKey,
        /,
        *,
        gateway: bytes | None = None,
        csr: bytes = b"",
        **other: Any,
    ) -> None:
        self.txn = secrets.token_hex(16)
        self.psk, self.identity, self.kept, self.csr = psk, identity, gateway, csr
        self.ephemeral = X25519PrivateKey.generate()
        said = {
            "v": 1,
            "type": "hello",
            "txn": self.txn,
            "t": int(time.time() * 1000),
            "serial": serial,
            "identity": b64(identity.public_key().public_bytes_raw()),
            "ephemeral": b64(self.ephemeral.public_key().public_bytes_raw()),
            "claim": 1,
        }
        self.hello = json.dumps(said | other).encode()
        self.body = self.proof = b""
        self.gateway = self.th2 = self.k_d = self.k_g = self.k_s = b""

    @property
    def client_id(self) -> str:
        return f"e-{self.txn}"

    @property
    def request(self) -> str:
        return f"enroll/v1/req/{self.txn}"

    @property
    def reply(self) -> str:
        return f"enroll/v1/res/{self.txn}"

    def challenged(self, challenge: dict[str, Any]) -> bytes:
        """Check message 2; message 3. Raises Untrusted."""
        try:
            body = unb64(challenge["body"])
            said = json.loads(body)
            gateway = unb64(said["gateway"])
            th2 = transcript(self.hello, body)
            shared = self.ephemeral.exchange(X25519PublicKey.from_public_bytes(unb64(said["ephemeral"])))
            k_d, k_g, k_s = derive(shared, self.psk, th2)
            if len(unb64(said["nonce"])) != 16:
                raise Untrusted("the nonce has another length")
            if not hmac.compare_digest(unb64(challenge["mac"]), mac(k_g, b"challenge" + th2)):
                raise Untrusted("who sent this does not know the claim key")
            Ed25519PublicKey.from_public_bytes(gateway).verify(unb64(challenge["sig"]), b"challenge" + th2)
        except (KeyError, ValueError, InvalidSignature) as error:
            raise Untrusted(repr(error)) from error
        if self.kept is not None and self.kept != gateway:
            raise Untrusted("another gateway than the one that granted our login")
        self.body, self.gateway, self.th2 = body, gateway, th2
        self.k_d, self.k_g, self.k_s = k_d, k_g, k_s
        self.proof = self.prove()
        return self.proof

    def prove(self, **other: Any) -> bytes:
        """Message 3; `other` members in the place of the right ones."""
        what = b"proof" + self.th2 + self.csr
        said: dict[str, Any] = {
            "v": 1,
            "type": "proof",
            "txn": self.txn,
            "sig": b64(self.identity.sign(what)),
            "mac": b64(mac(self.k_d, what)),
            "hello": b64(self.hello),
            "body": b64(self.body),
        }
        if self.csr:
            said["csr"] = b64(self.csr)
        return json.dumps(said | other).encode()

    def careless(self, challenge: dict[str, Any]) -> bytes:
        """A proof by somebody who does not mind that the challenge is wrong."""
        self.body = unb64(challenge["body"])
        self.th2 = transcript(self.hello, self.body)
        theirs = X25519PublicKey.from_public_bytes(unb64(json.loads(self.body)["ephemeral"]))
        self.k_d, self.k_g, self.k_s = derive(self.ephemeral.exchange(theirs), self.psk, self.th2)
        self.proof = self.prove()
        return self.proof

    def granted(self, grant: dict[str, Any]) -> Login:
        """Open message 4. Raises Untrusted."""
        th3 = transcript(self.hello, self.body, self.proof)
        try:
            box = ChaCha20Poly1305(self.k_s).decrypt(unb64(grant["nonce"]), unb64(grant["box"]), th3)
            said = json.loads(box)
            return Login(
                said["device"],
                said["username"],
                said.get("password"),
                said["client_id"],
                said["broker"],
                said["topic"],
                said["generation"],
                said["boot"],
                unb64(said["certificate"]) if "certificate" in said else None,
                said.get("max_packet"),
            )
        except (KeyError, ValueError, InvalidTag) as error:
            raise Untrusted(repr(error)) from error


def rogue_challenge(handshake: Handshake, psk: bytes, ephemeral: bytes | None = None) -> dict[str, str]:
    """Message 2 by a gateway of an attacker's, with keys of its own, and this claim key."""
    signer, mine = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
    said = {
        "nonce": b64(bytes(16)),
        "ephemeral": b64(ephemeral if ephemeral is not None else mine.public_key().public_bytes_raw()),
        "gateway": b64(signer.public_key().public_bytes_raw()),
        "expires_s": 120,
    }
    body = json.dumps(said).encode()
    th2 = transcript(handshake.hello, body)
    _, k_g, _ = derive(mine.exchange(handshake.ephemeral.public_key()), psk, th2)
    signed = b"challenge" + th2
    return {"txn": handshake.txn, "body": b64(body), "mac": b64(mac(k_g, signed)), "sig": b64(signer.sign(signed))}


def derive(shared: bytes, psk: bytes, th2: bytes) -> tuple[bytes, bytes, bytes]:
    """k_d, k_g, k_s."""
    keys = HKDF(SHA256(), 96, th2, INFO).derive(shared + psk)
    return keys[:32], keys[32:64], keys[64:]


def transcript(*messages: bytes) -> bytes:
    return hashlib.sha256(b"".join(len(x).to_bytes(4, "big") + x for x in (INFO, *messages))).digest()


def mac(key: bytes, what: bytes) -> bytes:
    return hmac.digest(key, what, "sha256")


def claim_key(master: bytes, serial: str) -> bytes:
    return mac(master, b"claim/1/" + serial.encode())


def fingerprint(identity: Ed25519PrivateKey) -> str:
    return base64.b32encode(hashlib.sha256(identity.public_key().public_bytes_raw()).digest()).decode()[:12]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
