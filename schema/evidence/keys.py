"""Ed25519 keys that sign the record, and the changes from one key to the next.

A key is named by the first 16 hexadecimal digits of SHA-256 of its 32 public bytes. The texts of kind `biogate key 1`
make a chain as well: the first names no key before it and is signed by its own key; each later one is signed by both.
Whoever trusts any key of the chain can therefore find all others.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from schema.errors import BiogateError
from schema.evidence.canonical import canonical, digest
from schema.times import text as time_text

KEY_KIND = "biogate key 1"


class KeyRefused(BiogateError):
    """Raised for a key, or a change of keys, that cannot be used. The text says why."""


@dataclass(frozen=True, slots=True)
class KeyChange:
    """The text that names a key, signed by that key and, but for the first, by the key before it."""

    text: str
    signature: bytes
    signature_before: bytes | None = None


def key_id(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """The name of a key pair, 16 hexadecimal digits."""
    return digest(public_of(key).public_bytes_raw())[:16]


def public_of(key: Ed25519PrivateKey | Ed25519PublicKey) -> Ed25519PublicKey:
    return key.public_key() if isinstance(key, Ed25519PrivateKey) else key


def is_signed(text: str, signature: bytes, key: Ed25519PublicKey) -> bool:
    """Whether `signature` is that of `key` over the UTF-8 bytes of `text`."""
    try:
        key.verify(signature, text.encode())
    except InvalidSignature:
        return False
    return True


def public_pem(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """The public key as people keep it: SubjectPublicKeyInfo in PEM."""
    return public_of(key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def load_public(path: Path) -> Ed25519PublicKey:
    """Read a public key in PEM. Raises KeyRefused."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise KeyRefused(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise KeyRefused(f"{path} has no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyRefused(f"{path} has a key of another kind, not Ed25519")
    return key


def key_change(new: Ed25519PrivateKey, at: datetime, before: Ed25519PrivateKey | None = None) -> KeyChange:
    """The signed text by which `new` takes over from `before`, or is the first key of all."""
    text = canonical(
        {
            "at": time_text(at),
            "before": "" if before is None else key_id(before),
            "key": key_id(new),
            "kind": KEY_KIND,
            "public": base64.b64encode(new.public_key().public_bytes_raw()).decode(),
        }
    )
    said = text.encode()
    return KeyChange(text, new.sign(said), None if before is None else before.sign(said))


class KeyRing(Mapping[str, Ed25519PublicKey]):
    """The keys that a trusted key vouches for, by name, in the order in which they took over.

    With no trusted key the changes vouch for themselves alone: then a forger's own keys cannot be told from real ones.
    """

    def __init__(self, changes: Iterable[KeyChange], trusted: Ed25519PublicKey | None = None) -> None:
        """Raises KeyRefused if a change is not signed as it should be, or none of the keys is the trusted one."""
        self._keys: dict[str, Ed25519PublicKey] = {}
        for change in changes:
            self._add(change)
        if trusted is not None and not self._keys:
            self._keys[key_id(trusted)] = trusted
        if trusted is not None and key_id(trusted) not in self._keys:
            raise KeyRefused(f"key {key_id(trusted)}, which is trusted, vouches for none of {', '.join(self._keys)}")

    def _add(self, change: KeyChange) -> None:
        new, before = read_change(change.text)
        newest = self.newest
        name = key_id(new)
        if before != (newest or ""):
            raise KeyRefused(f"key {name} says that it follows {before or 'none'}, and not {newest or 'none'}")
        if not is_signed(change.text, change.signature, new):
            raise KeyRefused(f"the change to key {name} is not signed by it")
        if newest is not None and not is_signed(change.text, change.signature_before or b"", self._keys[newest]):
            raise KeyRefused(f"the change to key {name} is not signed by {newest}, the key before it")
        if name in self._keys:
            raise KeyRefused(f"key {name} takes over twice")
        self._keys[name] = new

    @property
    def newest(self) -> str | None:
        """The name of the key that signs now; None if there is no key."""
        return next(reversed(self._keys), None)

    def rank(self, name: str) -> int:
        """The place of a key in the order, from 0. Raises KeyError."""
        self._keys[name]
        return list(self._keys).index(name)

    def __getitem__(self, name: str) -> Ed25519PublicKey:
        return self._keys[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def read_change(text: str) -> tuple[Ed25519PublicKey, str]:
    """The key that a text of kind `biogate key 1` names, and the name of the key before. Raises KeyRefused."""
    try:
        said = json.loads(text)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(said["public"], validate=True))
        is_right = said["kind"] == KEY_KIND and said["key"] == key_id(key) and canonical(said) == text
        before = str(said["before"])
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise KeyRefused("a change of keys cannot be read") from error
    if not is_right:
        raise KeyRefused(f"a change of keys names {said['key']}, which is not the name of its key")
    return key, before
