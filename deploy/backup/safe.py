"""Seals the directory of secrets as one file that a passphrase opens. A backup without the keys opens no vault, and a
backup with the keys in clear would open the plant.

    tar → ChaCha20-Poly1305, with a key made of the passphrase by scrypt (n = 2^16, r = 8) and a salt of its own
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from deploy.stack.errors import StackError

MAGIC = b"biogate-secrets/1\n"
SALT = 16
NONCE = bytes(12)
"""The nonce may be constant, because each salt gives a key that seals one archive only."""
SHORTEST = 12


def read(file: Path | None) -> bytes:
    """The passphrase in a file. Raises StackError."""
    if file is None:
        raise StackError("secrets are kept under a passphrase: say --passphrase-file")
    try:
        passphrase = file.read_bytes().strip()
    except OSError as error:
        raise StackError(f"{file} cannot be read: {error.strerror}") from error
    if len(passphrase) < SHORTEST:
        raise StackError(f"the passphrase in {file} is shorter than {SHORTEST} characters")
    return passphrase


def seal(directory: Path, passphrase: bytes) -> bytes:
    """Seal a directory of secrets. Raises StackError if it is none."""
    if not (directory / "vault.pem").exists():
        raise StackError(f"{directory} is no directory of secrets: it has no vault.pem")
    packed, salt = io.BytesIO(), os.urandom(SALT)
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(directory, arcname=".")
    return MAGIC + salt + ChaCha20Poly1305(_key(passphrase, salt)).encrypt(NONCE, packed.getvalue(), MAGIC)


def unseal(sealed: bytes, passphrase: bytes, to: Path) -> None:
    """Unseal the secrets into a directory that does not exist yet. Raises StackError."""
    salt, box = sealed[len(MAGIC) :][:SALT], sealed[len(MAGIC) + SALT :]
    try:
        packed = ChaCha20Poly1305(_key(passphrase, salt)).decrypt(NONCE, box, MAGIC)
    except InvalidTag as error:
        raise StackError("the secrets cannot be opened: another passphrase, or the file is damaged") from error
    try:
        to.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise StackError(f"{to} cannot be made: {error.strerror}") from error
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(to, filter="data")


def _key(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=2**16, r=8, p=1).derive(passphrase)
