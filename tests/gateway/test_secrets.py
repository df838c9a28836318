"""Reading the secrets directory: what is refused, and in which words."""

from __future__ import annotations

import hashlib
import hmac
import shutil
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gateway.operators.setup import pem, setup, write
from gateway.secrets import Secrets, SecretsError, claim_key, ensure_vault
from schema.sealed import Unreadable, seal, unseal


@pytest.fixture
def directory(secrets_dir: Path, tmp_path: Path) -> Path:
    """A copy of our own."""
    return Path(shutil.copytree(secrets_dir, tmp_path / "secrets"))


def test_what_is_there_is_read(directory: Path) -> None:
    (directory / "claim-12.key").write_text("0f" * 32)
    (directory / "claim-12.key").chmod(0o600)
    secrets = Secrets.load(directory)
    assert set(secrets.claims) == {1, 12}
    assert secrets.claims[12] == b"\x0f" * 32
    assert secrets.password("admin") == (directory / "admin.password").read_text().strip()
    assert secrets.authority is not None
    assert repr(secrets) == f"Secrets(directory={directory!r})"


def test_a_claim_key_is_made_as_the_wire_format_says() -> None:
    master = bytes(range(32))
    assert claim_key(master, "BR-2044") == hmac.new(master, b"claim/1/BR-2044", hashlib.sha256).digest()


@pytest.mark.parametrize(
    "name", ["vault.pem", "gateway.pem", "claim-1.key", "ca.key.pem", "admin.password", "observer.password"]
)
def test_a_file_that_others_may_read_is_refused(directory: Path, name: str) -> None:
    (directory / name).chmod(0o640)
    with pytest.raises(SecretsError, match=rf"{name} is open to others \(mode 640\): chmod go="):
        Secrets.load(directory)


def test_a_directory_that_others_may_enter_is_refused(directory: Path) -> None:
    directory.chmod(0o750)
    with pytest.raises(SecretsError, match="open to others"):
        Secrets.load(directory)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("vault.pem", "", "has no private key in PEM"),
        ("gateway.pem", "x", "has no private key in PEM"),
        ("ca.pem", "x", "has no certificate"),
        ("claim-1.key", "00" * 31, "is not 64 hexadecimal digits"),
        ("claim-1.key", "00" * 33, "is not 64 hexadecimal digits"),
        ("claim-1.key", "zz" * 32, "is not 64 hexadecimal digits"),
        ("claim-x.key", "00" * 32, "is named claim-<1 to 32767>.key"),
        ("claim-0.key", "00" * 32, "is named claim-<1 to 32767>.key"),
        ("admin.password", "secret", "is not 32 or more ASCII characters"),
        ("admin.password", "ä" * 40, "is not 32 or more ASCII characters"),
    ],
)
def test_a_file_with_something_else_in_it_is_refused(directory: Path, name: str, text: str, words: str) -> None:
    write(directory / name, text.encode())
    with pytest.raises(SecretsError, match=words) as refusal:
        Secrets.load(directory)
    assert name in str(refusal.value)
    assert not text or text not in str(refusal.value).replace(str(directory), "").replace(name, "")


def test_a_key_of_another_kind_is_refused(directory: Path) -> None:
    shutil.copy(directory / "gateway.pem", directory / "vault.pem")
    with pytest.raises(SecretsError, match=r"vault\.pem has a key of another kind, not X25519PrivateKey"):
        Secrets.load(directory)


@pytest.mark.parametrize("name", ["vault.pem", "gateway.pem", "ca.pem", "claim-1.key"])
def test_a_file_that_is_missing_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(SecretsError, match=name.replace(".", r"\.")):
        Secrets.load(directory)


def test_a_password_that_is_missing_is_named_when_it_is_needed(directory: Path) -> None:
    (directory / "enrollment.password").unlink()
    secrets = Secrets.load(directory)
    with pytest.raises(SecretsError, match=r"enrollment\.password is missing"):
        secrets.password("enrollment")


def test_no_directory_at_all(tmp_path: Path) -> None:
    with pytest.raises(SecretsError, match=r"make it with `biogate setup"):
        Secrets.load(tmp_path / "none")


async def test_the_vault_is_opened_by_one_key_alone(
    directory: Path, database: asyncpg.Connection, tmp_path: Path
) -> None:
    secrets = Secrets.load(directory)
    for _ in range(2):
        await ensure_vault(database, secrets)
    public = await database.fetchval("select public_key from vault")
    sealed = seal(public, b"x", "here")
    assert unseal(secrets.vault, sealed, "here") == b"x"
    with pytest.raises(Unreadable):
        unseal(secrets.vault, sealed, "there")

    write(directory / "vault.pem", pem(X25519PrivateKey.generate()))
    with pytest.raises(SecretsError, match="sealed to another key"):
        await ensure_vault(database, Secrets.load(directory))
    assert await database.fetchval("select public_key from vault") == public
    setup(tmp_path / "other")
    with pytest.raises(SecretsError, match="share one secrets directory"):
        await ensure_vault(database, Secrets.load(tmp_path / "other"))
