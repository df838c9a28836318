"""Seals secrets in the database to a public key, so that a process that stores one cannot read any.

    X25519 (a new key for each) → HKDF-SHA256 → ChaCha20-Poly1305, with the place it is kept in as associated data

The gateways have the private key, in a file (vault.pem); the public key is in the table `vault`.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE = bytes(12)
"""The nonce may be constant, because each key seals one secret only."""


class Unreadable(Exception):
    """Raised when a secret was sealed to another key or for another place, or is damaged."""


def seal(public: bytes, secret: bytes, place: str) -> bytes:
    """Seal `secret` for the holder of the private key of `public` (32 bytes), for this `place` (table and row)."""
    ephemeral = X25519PrivateKey.generate()
    ours = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    return ours + ChaCha20Poly1305(_key(shared, ours + public)).encrypt(NONCE, secret, place.encode())


def unseal(private: X25519PrivateKey, sealed: bytes, place: str) -> bytes:
    """Return the secret that was sealed. Raises Unreadable."""
    ours, box = sealed[:32], sealed[32:]
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(ours))
        key = _key(shared, ours + private.public_key().public_bytes_raw())
        return ChaCha20Poly1305(key).decrypt(NONCE, box, place.encode())
    except (InvalidTag, ValueError) as error:
        raise Unreadable(f"{place} cannot be unsealed with this key") from error


def _key(shared: bytes, salt: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, b"biogate-sealed/1").derive(shared)
