"""Makes challenges of which nothing is kept: nonce and ephemeral key follow from the HELLO and from a secret that all
gateways derive. The device's PROOF brings HELLO and challenge back, and the gateway makes the key again.

The secret follows from the gateways' key and from a salt in the database, which is a new one each minute. When the salt
is deleted nobody can make the keys again, so that a key that is stolen later opens no handshake.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gateway.enrollment.handshake import (
    NONCE_BYTES,
    HandshakeRefused,
    IssuedChallenge,
    answer,
    challenge_body,
    transcript,
)
from schema.enrollment import ChallengeBody, Hello, Proof, unb64

SALT_BYTES = 32
MINUTE_BYTES = 4
"""The beginning of a nonce is the minute of the salt."""


class ChallengeSecret(NamedTuple):
    """What the challenges of a minute are made from, in one cell."""

    minute: int
    key: bytes

    @classmethod
    def of(cls, vault: X25519PrivateKey, cell: str, minute: int, salt: bytes) -> ChallengeSecret:
        return cls(
            minute, hmac.digest(vault.private_bytes_raw(), transcript(b"challenges", cell.encode(), salt), "sha256")
        )

    def challenge(
        self, payload: bytes, hello: Hello, psk: bytes, signer: Ed25519PrivateKey, *, expires_s: int
    ) -> IssuedChallenge:
        """Challenge a HELLO, which came as `payload`; the same one for the same bytes. Raises HandshakeRefused."""
        minute = self.minute.to_bytes(MINUTE_BYTES, "big")
        nonce = minute + hmac.digest(self.key, transcript(b"nonce", payload), "sha256")[: NONCE_BYTES - MINUTE_BYTES]
        ephemeral = X25519PrivateKey.from_private_bytes(
            hmac.digest(self.key, transcript(b"ephemeral", payload, nonce), "sha256")
        )
        body = challenge_body(nonce, ephemeral, signer, expires_s)
        return answer(payload, hello, body, psk, signer, ephemeral=ephemeral)


def minute_of(proof: Proof) -> int:
    """The minute of the salt from which the challenge of a proof was made. Raises HandshakeRefused."""
    try:
        nonce = unb64(msgspec.json.decode(unb64(proof.body), type=ChallengeBody).nonce)
    except (ValueError, msgspec.DecodeError) as error:
        raise HandshakeRefused("body") from error
    return int.from_bytes(nonce[:MINUTE_BYTES], "big")
