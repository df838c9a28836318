"""The gateway's keys and passwords: a directory of files, made by `biogate setup`, read once at the start.

    vault.pem            opens what is sealed in the database       ca.pem, ca.key.pem     the plant's own authority
    gateway.pem          signs challenges: devices keep the public  <login>.password       password of a login of ours
    claim-<n>.key        masters of claim keys, by version          broker/                files for the broker

A file that other users may read is refused.
"""

# mypy: disable-error-code="type-abstract"
# (these types are used with isinstance alone)
from __future__ import annotations

import hashlib
import hmac
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import asyncpg
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.errors import GatewayError

VAULT, GATEWAY, AUTHORITY, AUTHORITY_KEY = "vault.pem", "gateway.pem", "ca.pem", "ca.key.pem"
PASSWORD = ".password"  # noqa: S105 - the suffix of a login's file
CLAIM_BYTES = 32
CLOCKS_DIFFER = timedelta(hours=1)
"""A certificate begins to be valid so long before its issue, as a controller's clock may be slow."""
MIN_PASSWORD = 32
"""Least characters of a password. The broker's hash has few iterations, so that nobody must be able to guess it."""

PrivateKey = TypeVar("PrivateKey", X25519PrivateKey, Ed25519PrivateKey, EllipticCurvePrivateKey)


class SecretsError(GatewayError):
    """A file of the secrets directory is missing, open to other users, or has the wrong content."""


@dataclass(frozen=True)
class BrokerPasswords:
    """Passwords of our logins at the broker: all that a process needs that connects to it and does nothing else."""

    directory: Path
    passwords: Mapping[str, str] = field(repr=False)

    @classmethod
    def load(cls, directory: Path) -> BrokerPasswords:
        """Read and check the files of passwords in `directory`. Raises SecretsError, which says what to do."""
        if not directory.is_dir():
            raise SecretsError(f"{directory} is no directory: make it with `biogate setup {directory}`")
        _refuse_open(directory)
        found = {path.name.removesuffix(PASSWORD): _password(path) for path in sorted(directory.glob(f"*{PASSWORD}"))}
        return BrokerPasswords(directory, found)

    def password(self, login: str) -> str:
        """The password of one of the gateway's logins at the broker. Raises SecretsError if its file is missing."""
        try:
            return self.passwords[login]
        except KeyError:
            raise SecretsError(f"{self.directory / (login + PASSWORD)} is missing: run `biogate setup`") from None


@dataclass(frozen=True)
class Secrets(BrokerPasswords):
    """All keys and passwords, in memory. None of them shows in a repr."""

    vault: X25519PrivateKey = field(repr=False)
    gateway: Ed25519PrivateKey = field(repr=False)
    claims: Mapping[int, bytes] = field(repr=False)
    """Master keys by version, 1 and up."""
    authority: tuple[x509.Certificate, EllipticCurvePrivateKey] | None = field(repr=False)
    """None if ca.key.pem is kept elsewhere: then this gateway issues no certificates."""

    @classmethod
    def load(cls, directory: Path) -> Secrets:
        """Read and check the files in `directory`. Raises SecretsError, which names the file and says what to do."""
        known = BrokerPasswords.load(directory)
        claims = {_version(path): _claim(path) for path in sorted(directory.glob("claim-*.key"))}
        if not claims:
            raise SecretsError(f"{directory} has no claim-1.key: run `biogate setup {directory}`")
        authority = None
        if (directory / AUTHORITY_KEY).exists():
            authority = (
                load_certificate(directory / AUTHORITY),
                load_key(directory / AUTHORITY_KEY, EllipticCurvePrivateKey),
            )
        return cls(
            directory,
            known.passwords,
            load_key(directory / VAULT, X25519PrivateKey),
            load_key(directory / GATEWAY, Ed25519PrivateKey),
            claims,
            authority,
        )


def claim_key(master: bytes, serial: str) -> bytes:
    """The claim key of a serial number, as flashed or printed at production: HMAC-SHA256 of it under `master`."""
    return hmac.digest(master, b"claim/1/" + serial.encode(), hashlib.sha256)


async def ensure_vault(connection: asyncpg.Pool | asyncpg.Connection, secrets: Secrets) -> None:
    """Store the public key that secrets are sealed to. Raises SecretsError if the database has another one already."""
    ours = secrets.vault.public_key().public_bytes_raw()
    await connection.execute("insert into vault (public_key) values ($1) on conflict do nothing", ours)
    if await connection.fetchval("select public_key from vault") != ours:
        raise SecretsError(
            f"the database's secrets are sealed to another key than {secrets.directory / VAULT}: all gateways of a "
            "database share one secrets directory; bring the right one here"
        )


def read(path: Path) -> bytes:
    """The content of a secret file. Raises SecretsError if other users may read it, or nobody can."""
    _refuse_open(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise SecretsError(f"{path} cannot be read: {error.strerror}") from error


def load_key(path: Path, kind: type[PrivateKey]) -> PrivateKey:
    """Read a private key of type `kind`, PKCS #8 in PEM. Raises SecretsError."""
    try:
        key = load_pem_private_key(read(path), None)
    except (ValueError, TypeError) as error:
        raise SecretsError(f"{path} has no private key in PEM without a passphrase") from error
    if not isinstance(key, kind):
        raise SecretsError(f"{path} has a key of another kind, not {kind.__name__}")
    return key


def load_certificate(path: Path) -> x509.Certificate:
    """Read a certificate in PEM, which is no secret and may be open to others. Raises SecretsError."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SecretsError(f"{path} has no certificate that can be read") from error


def key_usage(*, authority: bool) -> x509.KeyUsage:
    """What the key of a certificate is for: to sign certificates, or messages alone."""
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _refuse_open(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise SecretsError(f"{path} cannot be read: {error.strerror}: run `biogate setup`") from error
    if mode & 0o077:
        raise SecretsError(f"{path} is open to others (mode {mode:o}): chmod go= {path}")


def _version(path: Path) -> int:
    number = path.name.removeprefix("claim-").removesuffix(".key")
    if not number.isdecimal() or not 1 <= int(number) <= 32767:
        raise SecretsError(f"{path}: a master of claim keys is named claim-<1 to 32767>.key")
    return int(number)


def _claim(path: Path) -> bytes:
    text = read(path).strip()
    try:
        key = bytes.fromhex(text.decode())
    except ValueError:
        key = b""
    if len(key) != CLAIM_BYTES:
        raise SecretsError(f"{path} is not {2 * CLAIM_BYTES} hexadecimal digits")
    return key


def _password(path: Path) -> str:
    try:
        password = read(path).decode("ascii").strip()
    except UnicodeDecodeError:
        password = ""
    if len(password) < MIN_PASSWORD:
        raise SecretsError(f"{path} is not {MIN_PASSWORD} or more ASCII characters")
    return password
