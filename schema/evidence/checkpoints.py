"""Checkpoints: signed texts that say how far the audit chain of an organization was at a time.

Each names the hash of the text before it, so that the newest one vouches for all of them.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schema.errors import BiogateError
from schema.evidence.canonical import canonical, digest
from schema.evidence.keys import is_signed, key_id
from schema.times import text as time_text

CHECKPOINT_KIND = "biogate checkpoint 1"


class CheckpointUnreadable(BiogateError):
    """Raised for what is no text of a checkpoint."""


class CheckpointText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a checkpoint says. `hash` and `before` are hexadecimal, `before` is empty in the first one."""

    at: str
    before: str
    hash: str
    key: str
    kind: str
    n: int
    number: int
    organization: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as it is kept: its text, the signature over it, and a time stamp token (DER) if there is one."""

    text: str
    signature: bytes
    token: bytes | None = None

    @property
    def says(self) -> CheckpointText:
        """The content of the text. Raises CheckpointUnreadable."""
        return read_checkpoint(self.text)

    def is_signed(self, keys: Mapping[str, Ed25519PublicKey]) -> bool:
        """Whether one of `keys` has signed it: the one that its text names."""
        key = keys.get(self.says.key)
        return key is not None and is_signed(self.text, self.signature, key)

    def to_json(self) -> dict[str, Any]:
        """The fields under which files, bundles and messages have a checkpoint."""
        token = None if self.token is None else base64.b64encode(self.token).decode()
        return {
            "kind": "checkpoint",
            "text": self.text,
            "signature": base64.b64encode(self.signature).decode(),
            "key": self.says.key,
            "token": token,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """The opposite of `to_json`. Raises CheckpointUnreadable."""
        try:
            token = said.get("token")
            return cls(
                str(said["text"]),
                base64.b64decode(said["signature"], validate=True),
                None if token is None else base64.b64decode(token, validate=True),
            )
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise CheckpointUnreadable("it has no text and signature of a checkpoint") from error


def read_checkpoint(text: str) -> CheckpointText:
    """The content of a checkpoint's text. Raises CheckpointUnreadable."""
    try:
        said = msgspec.json.decode(text, type=CheckpointText)
        is_right = said.kind == CHECKPOINT_KIND and canonical(json.loads(text)) == text
    except (msgspec.MsgspecError, ValueError) as error:
        raise CheckpointUnreadable(f"no text of a checkpoint: {error}") from error
    if not is_right:
        raise CheckpointUnreadable("no text of a checkpoint: another kind, or not canonical")
    return said


def sign_checkpoint(
    key: Ed25519PrivateKey, organization: int, n: int, event_hash: bytes, *, at: datetime, before: Checkpoint | None
) -> Checkpoint:
    """The checkpoint after `before` of an organization whose newest event is `n` with `event_hash`."""
    text = canonical(
        {
            "at": time_text(at),
            "before": "" if before is None else digest(before.text),
            "hash": event_hash.hex(),
            "key": key_id(key),
            "kind": CHECKPOINT_KIND,
            "n": n,
            "number": 1 if before is None else before.says.number + 1,
            "organization": organization,
        }
    )
    return Checkpoint(text, key.sign(text.encode()))
