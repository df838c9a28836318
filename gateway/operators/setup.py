"""`biogate setup DIR`: makes what is missing in the secrets directory, and leaves alone what is there.

Each file comes into being whole or not at all, and what is made from another file (a certificate from its key) is made
after it; so a run that was cut off is finished by the next one.
"""

# mypy: disable-error-code="type-abstract"
# (isinstance is all that is done with these types)
from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.logins.roles import FIXED, fixed_login, new_password, security
from gateway.secrets import (
    AUTHORITY,
    AUTHORITY_KEY,
    CLAIM_BYTES,
    CLOCKS_DIFFER,
    GATEWAY,
    PASSWORD,
    VAULT,
    SecretsError,
    key_usage,
    load_certificate,
    load_key,
    read,
)
from schema.evidence import key_files

BROKER = "broker"
SERVER, SERVER_KEY = "server.pem", "server.key.pem"
SECURITY = "dynamic-security.json"
HOSTS = ("localhost", "127.0.0.1", "::1")
AUTHORITY_LIFE, SERVER_LIFE = timedelta(days=3652), timedelta(days=730)


def setup(directory: Path, hosts: Sequence[str] = (), *, renew: bool = False) -> list[str]:
    """Make what is missing; the names of what was made. With `renew`, a new server certificate, for the same key and
    hosts. Raises SecretsError for files that are there and cannot be right, and OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made: list[str] = []
    with locked(directory):
        broker = directory / BROKER
        broker.mkdir(mode=0o700, exist_ok=True)
        for leftover in (*directory.glob(".*.new"), *broker.glob(".*.new")):
            leftover.unlink()

        def make(path: Path, content: Callable[[], bytes], *, again: bool = False) -> None:
            if again or not path.exists():
                write(path, content())
                made.append(str(path.relative_to(directory)))

        make(directory / VAULT, lambda: pem(X25519PrivateKey.generate()))
        make(directory / GATEWAY, lambda: pem(Ed25519PrivateKey.generate()))
        make(directory / "claim-1.key", lambda: _line(secrets.token_hex(CLAIM_BYTES)))
        make(directory / "api.secret", lambda: _line(secrets.token_urlsafe(32)))
        for login in FIXED:
            make(directory / (login + PASSWORD), lambda: _line(new_password()))
        made += [f"{key_files.DIRECTORY}/{name}" for name in key_files.make_first(directory / key_files.DIRECTORY)]
        if not (directory / AUTHORITY).exists():  # its key may be kept elsewhere
            make(directory / AUTHORITY_KEY, lambda: pem(ec.generate_private_key(ec.SECP256R1())))
            make(directory / AUTHORITY, lambda: _authority(load_key(directory / AUTHORITY_KEY, _EC)))
        make(broker / AUTHORITY, (directory / AUTHORITY).read_bytes)
        make(broker / SERVER_KEY, lambda: pem(ec.generate_private_key(ec.SECP256R1())))
        old = load_certificate(broker / SERVER) if (broker / SERVER).exists() else None
        names = list(dict.fromkeys((*HOSTS, *(_hosts_of(old) if old else ()), *hosts)))
        make(broker / SERVER, lambda: _server(directory, names), again=renew)
        make(broker / SECURITY, lambda: _security(directory))
        if old and not renew and set(names) - set(_hosts_of(old)):
            raise SecretsError(
                f"{broker / SERVER} is not for {', '.join(sorted(set(names) - set(_hosts_of(old))))}: "
                "say --renew-certificates to have a new one for all of them, then restart the broker"
            )
    return made


_EC = ec.EllipticCurvePrivateKey


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Only one process at a time makes or changes files there. It ends with the process, however that ends."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write(path: Path, content: bytes) -> None:
    """The whole file or none, on disk, for its owner alone. What was there keeps its owner, not its content."""
    new = path.with_name(f".{path.name}.new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        if path.exists() and os.geteuid() == 0:  # the broker's files belong to the broker's user
            os.fchown(file.fileno(), path.stat().st_uid, path.stat().st_gid)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _line(text: str) -> bytes:
    return f"{text}\n".encode()


def _authority(key: _EC) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Biogate plant {secrets.token_hex(4)}")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def _server(directory: Path, hosts: Sequence[str]) -> bytes:
    """The broker's certificate: for the key that is there, and these names and addresses."""
    try:
        authority_key = load_key(directory / AUTHORITY_KEY, _EC)
    except SecretsError as error:
        raise SecretsError(f"no certificate can be issued without the authority's key: {error}") from error
    authority = load_certificate(directory / AUTHORITY)
    key = load_key(directory / BROKER / SERVER_KEY, _EC).public_key()
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(
            authority.subject,
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Biogate broker")]),
            key,
            x509.random_serial_number(),
        )
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(min(now + SERVER_LIFE, authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    return builder.sign(authority_key, SHA256()).public_bytes(Encoding.PEM)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hosts_of(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def _security(directory: Path) -> bytes:
    passwords = {login: read(directory / (login + PASSWORD)).decode().strip() for login in FIXED}
    content = security([fixed_login(login, password) for login, password in passwords.items()], [])
    return json.dumps(content, indent=1).encode()


def main(
    directory: Annotated[Path, typer.Argument(envvar="BIOGATE_SECRETS_DIR", help="the secrets directory")],
    host: Annotated[
        list[str] | None, typer.Option(help="name or address of the broker, for its certificate; may be repeated")
    ] = None,
    renew_certificates: Annotated[
        bool, typer.Option("--renew-certificates", help="a new server certificate, two years from now")
    ] = False,
) -> None:
    """Make keys, passwords and certificates that are missing. What is there stays as it is."""
    made = setup(directory, host or (), renew=renew_certificates)
    typer.echo(f"{directory}: " + (f"made {', '.join(made)}" if made else "everything is there"))
