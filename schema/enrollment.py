"""The messages of the enrollment handshake, version 1: docs/enrollment.md says what they mean, in words and figures.

All are JSON. Binary values are base64url without padding. Requests are at most MAX_REQUEST bytes, replies MAX_REPLY.
"""

from __future__ import annotations

import base64
import hashlib
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PROTOCOL = b"biogate-enroll/1"
"""Begins each transcript, and is the info of the key derivation."""

REQUESTS, REPLIES = "enroll/v1/req/", "enroll/v1/res/"
LOGIN = "enroll"
"""User name, shared by all devices that have no login of their own yet."""

MAX_REQUEST, MAX_REPLY = 2048, 4096

Txn = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", description="128 random bits, new for each handshake")]
Serial = Annotated[
    str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="serial number of the controller")
]
Key = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{43}$", description="32 bytes")]
Mac = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{43}$", description="HMAC-SHA256, 32 bytes")]
Signature = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{86}$", description="Ed25519, 64 bytes")]
Words = Annotated[str, Meta(max_length=64)]


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="hello"):
    """1, device → gateway: who I am, and the keys I will use."""

    v: Literal[1]
    txn: Txn
    t: float
    """The device's clock, ms since 1970. For people; a clock that is wrong is no obstacle."""
    serial: Serial
    identity: Key
    """Ed25519 public key, made once in the controller's life and kept."""
    ephemeral: Key
    """X25519 public key, new for each handshake."""
    claim: Annotated[int, Meta(ge=0, le=32767)] = 1
    """Version of the master key from which the claim key was made; 0 for a claim key of its own."""
    hardware: Words | None = None
    firmware: Words | None = None
    channels: Annotated[list[Words], Meta(max_length=64)] = []


class Challenge(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="challenge"):
    """2, gateway → device. `body` is base64url of the JSON of a ChallengeBody; its bytes go into the transcript."""

    v: Literal[1] = 1
    txn: Txn
    body: str
    mac: Mac
    """Under k_g: whoever sent this knows the claim key."""
    sig: Signature
    """By the gateway's key."""


class ChallengeBody(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into the transcript of a challenge."""

    nonce: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{22}$", description="16 random bytes")]
    ephemeral: Key
    gateway: Key
    """The gateway's Ed25519 public key: a device keeps it, and refuses another one when it enrolls again."""
    expires_s: int
    """How long the proof may take."""


class Proof(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="proof"):
    """3, device → gateway: I have the identity key, and the claim key."""

    v: Literal[1]
    txn: Txn
    sig: Signature
    mac: Mac
    csr: Annotated[str, Meta(max_length=1400)] | None = None
    """PKCS #10, DER: to get a certificate instead of a password."""


class Grant(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="grant"):
    """4, gateway → device. `box` is sealed under k_s and holds the JSON of an Identity."""

    v: Literal[1] = 1
    txn: Txn
    nonce: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{16}$", description="12 bytes")]
    box: str


class Identity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a device is given: its name, its login, where to connect."""

    device: str
    username: str
    client_id: str
    broker: str
    """mqtts://host:port; mqtt:// on loopback only."""
    topic: str
    """What its topics begin with: bioreactors/ and the name."""
    generation: int
    """Of this login; to be said in each status."""
    boot: int
    """The boot counter starts here, or goes on if it is greater."""
    password: str | None = None
    certificate: str | None = None
    """X.509, DER, base64url, in the place of a password."""


class Pending(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="pending"):
    """Not yet: repeat the same bytes after so many seconds."""

    v: Literal[1] = 1
    txn: Txn
    retry_after_s: int
    reason: str = ""


class Refusal(StrEnum):
    """Why a handshake ends without a grant."""

    MALFORMED = "malformed"
    """The request cannot be read, is too large, or is retained."""
    CLOSED = "closed"
    """Enrollment is switched off."""
    BUSY = "busy"
    """Too many handshakes at once, or too many tries for this serial."""
    UNKNOWN_CLAIM = "unknown-claim"
    """There is no claim key for this serial and version."""
    REFUSED = "refused"
    """The proof is wrong: another claim key, or another identity key."""
    BLOCKED = "blocked"
    """The serial is blocked: revoked, retired, or by an operator."""
    DENIED = "denied"
    """An operator said no."""
    QUOTA = "quota"
    """The import this serial came with has no place left."""
    EXPIRED = "expired"
    """The handshake took too long, or its grant was not used in time."""
    CONFLICT = "conflict"
    """Other bytes for a step that has been answered: a transaction number is for one handshake."""
    CERTIFICATE = "certificate"
    """The certificate request cannot be used, or no certificates are issued here."""


class EnrollmentReject(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="reject"):
    """This handshake has ended. A new one, with a new txn, after so many seconds; null: not without an operator."""

    v: Literal[1] = 1
    txn: Txn
    code: str
    """One of Refusal's; new ones may come."""
    retry_after_s: int | None = None


class Renewal(msgspec.Struct, frozen=True):
    """Retained on the device's identity topic: enroll again, if your login is of an older generation."""

    renew: int


Request = Hello | Proof
Reply = Challenge | Grant | Pending | EnrollmentReject


def request_topic(txn: str) -> str:
    return REQUESTS + txn


def reply_topic(txn: str) -> str:
    return REPLIES + txn


def client_id(txn: str) -> str:
    """Under which a device connects for the handshake."""
    return f"e-{txn}"


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The bytes of base64url without padding. Raises ValueError."""
    if not set(text) <= ALPHABET:
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def fingerprint(identity: bytes) -> str:
    """Of an identity key: 12 base32 characters, which people compare with the controller's display."""
    return base64.b32encode(hashlib.sha256(identity).digest())[:12].decode()
