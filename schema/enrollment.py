"""The messages of the enrollment handshake, version 1; docs/enrollment.md explains them in words and figures.

All are JSON. Binary values are base64url without padding. A HELLO has at most MAX_HELLO bytes, a PROOF MAX_REQUEST, a
reply MAX_REPLY.
"""

from __future__ import annotations

import base64
import hashlib
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from schema.channels import LONGEST_UNIT, MOST_DECIMALS, Kind, wrong_in_name
from schema.topics import END

PROTOCOL = b"biogate-enroll/1"
"""The begin of each transcript, and the info of the key derivation."""

REQUESTS, REPLIES = "enroll/v1/req/", "enroll/v1/res/"
LOGIN = "enroll"
"""The user name that all devices without a login of their own share."""

MAX_HELLO, MAX_REQUEST, MAX_REPLY = 2048, 6144, 4096

Txn = Annotated[str, Meta(pattern="^[0-9a-f]{32}" + END, description="128 random bits, new for each handshake")]
Serial = Annotated[
    str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}" + END, description="serial number of the controller")
]
Key = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{43}" + END, description="32 bytes")]
Mac = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{43}" + END, description="HMAC-SHA256, 32 bytes")]
Signature = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{86}" + END, description="Ed25519, 64 bytes")]
Words = Annotated[str, Meta(max_length=64)]


class ChannelClaim(msgspec.Struct, frozen=True, kw_only=True):
    """What the firmware says of a channel; what it does not say is as before, or as the standard list says."""

    unit: Annotated[str, Meta(min_length=1, max_length=LONGEST_UNIT)] | UnsetType = UNSET
    title: Annotated[str, Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    kind: Kind | UnsetType = UNSET
    low: float | UnsetType = UNSET
    """With `high` the range of usual values, in the unit."""
    high: float | UnsetType = UNSET
    decimals: Annotated[int, Meta(ge=0, le=MOST_DECIMALS)] | UnsetType = UNSET
    step: bool | UnsetType = UNSET
    """True: a value holds until the next one, like a setpoint."""

    def __post_init__(self) -> None:
        for text in (self.unit, self.title):
            if text is not UNSET and not text.isprintable():
                raise ValueError("a text has characters that cannot be printed")
        if (self.low is UNSET) != (self.high is UNSET):
            raise ValueError("low and high go together")
        if self.low is not UNSET and self.high is not UNSET and not self.low < self.high:
            raise ValueError("low is not below high")


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="hello"):
    """Step 1, device → gateway: the device names itself and the keys that it will use."""

    v: Literal[1]
    txn: Txn
    t: float
    """The device's clock, ms since 1970. People read it; a wrong clock is no obstacle."""
    serial: Serial
    identity: Key
    """Ed25519 public key, made once in the controller's life and kept."""
    ephemeral: Key
    """X25519 public key, new for each handshake."""
    claim: Annotated[int, Meta(ge=0, le=32767)] = 1
    """Version of the master key from which the claim key was derived; 0 for a claim key of the device's own."""
    hardware: Words | None = None
    firmware: Words | None = None
    channels: Annotated[list[Words], Meta(max_length=64)] = []
    described: Annotated[dict[Words, ChannelClaim], Meta(max_length=64)] = {}
    """What the firmware says of its channels, where it is not what the standard list says."""

    def __post_init__(self) -> None:
        for name in self.described:
            if wrong := wrong_in_name(name):
                raise ValueError(wrong)


class Challenge(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="challenge"):
    """Step 2, gateway → device. `body` is base64url of a ChallengeBody's JSON; its bytes go into the transcript."""

    v: Literal[1] = 1
    txn: Txn
    body: str
    mac: Mac
    """HMAC under k_g; it proves that the sender knows the claim key."""
    sig: Signature
    """Signature by the gateway's key."""


class ChallengeBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a challenge, which goes into the transcript."""

    nonce: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{22}" + END, description="16 random bytes")]
    ephemeral: Key
    gateway: Key
    """The gateway's Ed25519 public key: a device keeps it, and refuses another one when it enrolls again."""
    expires_s: int
    """Seconds that the proof may take."""


class Proof(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="proof"):
    """Step 3, device → gateway: the device proves that it has the identity key and the claim key."""

    v: Literal[1]
    txn: Txn
    sig: Signature
    mac: Mac
    hello: Annotated[str, Meta(max_length=2731)]
    """The HELLO as it was sent: the gateway keeps nothing of a handshake before its proof."""
    body: Annotated[str, Meta(max_length=1024)]
    """The challenge's `body` as it came."""
    csr: Annotated[str, Meta(max_length=1400)] | None = None
    """PKCS #10, DER: asks for a certificate instead of a password."""


class Grant(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="grant"):
    """Step 4, gateway → device. `box` is sealed under k_s and holds the JSON of an Identity."""

    v: Literal[1] = 1
    txn: Txn
    nonce: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{16}" + END, description="12 bytes")]
    box: str


class Identity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The content of a grant: the device's name, its login, where to connect."""

    device: str
    username: str
    client_id: str
    broker: str
    """mqtts://host:port; mqtt:// on loopback only."""
    topic: str
    """The begin of the device's topics: bioreactors/ and its name."""
    generation: int
    """The generation of this login, which the device repeats in each status."""
    boot: int
    """The boot counter starts here, or goes on if it is greater."""
    max_packet: int | None = None
    """Bytes of the largest MQTT packet that the device may send: the broker ends the connection at a larger one."""
    password: str | None = None
    certificate: str | None = None
    """X.509, DER, base64url; given instead of a password."""


class Pending(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="pending"):
    """The handshake waits: the device repeats the same bytes after so many seconds."""

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
    """Too many handshakes run at once, or this serial was tried too often."""
    UNKNOWN_CLAIM = "unknown-claim"
    """There is no claim key for this serial and version."""
    REFUSED = "refused"
    """The proof is wrong: another claim key, or another identity key."""
    BLOCKED = "blocked"
    """The serial is blocked: it was revoked or retired, or an operator blocked it."""
    DENIED = "denied"
    """An operator denied the request."""
    QUOTA = "quota"
    """The quota of the import that this serial came with is used up."""
    EXPIRED = "expired"
    """The handshake took too long, or its grant was not used in time."""
    CONFLICT = "conflict"
    """Other bytes came for a step that has been answered: a transaction number is for one handshake."""
    CERTIFICATE = "certificate"
    """The certificate request cannot be used, or no certificates are issued here."""


class EnrollmentReject(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="reject"):
    """This handshake has ended. The device may begin a new one, with a new txn, after so many seconds; null: not
    without an operator."""

    v: Literal[1] = 1
    txn: Txn
    code: str
    """One of Refusal's values; later versions may add others."""
    retry_after_s: int | None = None


class Renewal(msgspec.Struct, frozen=True):
    """Retained on the device's identity topic: a device whose login has an older generation enrolls again."""

    renew: int


Request = Hello | Proof
Reply = Challenge | Grant | Pending | EnrollmentReject


def request_topic(txn: str) -> str:
    return REQUESTS + txn


def reply_topic(txn: str) -> str:
    return REPLIES + txn


def client_id(txn: str) -> str:
    """The MQTT client id under which a device connects for the handshake."""
    return f"e-{txn}"


def b64(data: bytes) -> str:
    """`data` in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The bytes of base64url without padding. Raises ValueError."""
    if not set(text) <= ALPHABET:
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def fingerprint(identity: bytes) -> str:
    """The fingerprint of an identity key: 12 base32 characters, which people compare with the controller's display."""
    return base64.b32encode(hashlib.sha256(identity).digest())[:12].decode()
