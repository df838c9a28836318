"""The directory of the signing key, which only the signing process reads.

key.pem      the private key that signs now                public.pem   its public key, to be kept by others
keys.jsonl   each key that has signed, with its signatures  next.pem    the next one, while a change is being made
"""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from schema.evidence.canonical import canonical
from schema.evidence.keys import KeyChange, KeyRefused, KeyRing, key_change, key_id, public_pem
from schema.evidence.sources import file_keys, key_line
from schema.private import write_over

SIGNING, NEXT, CHANGES, PUBLIC = "key.pem", "next.pem", "keys.jsonl", "public.pem"
DIRECTORY = "evidence"
"""The name of the directory among the secrets."""


@dataclass(frozen=True)
class SigningKeys:
    """The key that signs now, and all changes up to it."""

    private: Ed25519PrivateKey = field(repr=False)
    changes: list[KeyChange]

    @property
    def ring(self) -> KeyRing:
        return KeyRing(self.changes, self.private.public_key())


def make_first(directory: Path) -> list[str]:
    """Make what is missing of the first key; the names of what was made. Raises KeyRefused and OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = []
    if not (directory / SIGNING).exists():
        write_over(directory / SIGNING, _pem(Ed25519PrivateKey.generate()))
        made.append(SIGNING)
    if not (directory / CHANGES).exists():
        _write_changes(directory, [key_change(_private(directory / SIGNING), datetime.now(UTC))])
        made.append(CHANGES)
    if not (directory / PUBLIC).exists():
        write_over(directory / PUBLIC, public_pem(load_keys(directory).private))
        made.append(PUBLIC)
    return made


def load_keys(directory: Path) -> SigningKeys:
    """Read the keys. A change that was cut off counts once both keys have signed it. Raises KeyRefused."""
    try:
        changes = file_keys(directory / CHANGES)
    except OSError as error:
        raise KeyRefused(f"{directory / CHANGES} cannot be read: {error.strerror}: run `biogate setup`") from error
    newest = KeyRing(changes).newest
    for path in (directory / SIGNING, directory / NEXT):
        if path.exists() and key_id(private := _private(path)) == newest:
            return SigningKeys(private, changes)
    raise KeyRefused(f"{directory / SIGNING} is not key {newest}, the newest of {CHANGES}")


def change_key(directory: Path) -> tuple[str, str]:
    """Make a new key that takes over from the one that signs; the names of both. It may be cut off at any moment, and
    done again. Raises KeyRefused and OSError."""
    old = load_keys(directory)
    if (directory / NEXT).exists():
        if key_id(_private(directory / NEXT)) == key_id(old.private):
            (directory / NEXT).replace(directory / SIGNING)
        else:
            (directory / NEXT).unlink()
    new = Ed25519PrivateKey.generate()
    write_over(directory / NEXT, _pem(new))
    _write_changes(directory, [*old.changes, key_change(new, datetime.now(UTC), old.private)])
    (directory / NEXT).replace(directory / SIGNING)
    write_over(directory / PUBLIC, public_pem(new))
    return key_id(old.private), key_id(new)


def _write_changes(directory: Path, changes: list[KeyChange]) -> None:
    write_over(directory / CHANGES, "".join(f"{canonical(key_line(change))}\n" for change in changes))


def _private(path: Path) -> Ed25519PrivateKey:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise KeyRefused(f"{path} is open to others (mode {mode:o}): chmod go= {path}")
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise KeyRefused(f"{path} cannot be read: {error.strerror}: run `biogate setup`") from error
    except (ValueError, TypeError) as error:
        raise KeyRefused(f"{path} has no private key in PEM without a passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyRefused(f"{path} has a key of another kind, not Ed25519")
    return key


def _pem(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


RESUMES = "resume-{}.json"
"""What a person asks of the signing process: to go on with an organization whose chain is not what was signed."""


def ask_to_resume(directory: Path, organization: int, who: str, why: str) -> None:
    """Ask the signing process to go on. Raises OSError."""
    write_over(directory / RESUMES.format(organization), canonical({"who": who, "why": why}))


def asked_to_resume(directory: Path, organization: int) -> tuple[str, str] | None:
    """Who has asked for it, and why; None: nobody."""
    try:
        said = json.loads((directory / RESUMES.format(organization)).read_text())
        return str(said["who"]), str(said["why"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def has_resumed(directory: Path, organization: int) -> None:
    """It was done. Raises OSError."""
    (directory / RESUMES.format(organization)).unlink(missing_ok=True)
