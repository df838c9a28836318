"""`biogate setup`: what it makes, that it does so once, and that a kill leaves nothing half-written."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from deploy.stack.paths import BIOGATE
from gateway.logins.roles import FIXED, verifier
from gateway.operators.setup import setup
from gateway.secrets import Secrets, SecretsError, load_certificate

FILES = {
    "vault.pem", "gateway.pem", "claim-1.key", "ca.pem", "ca.key.pem", "api.secret", "gateway.password",
    "alarms.password", "enrollment.password", "admin.password", "observer.password", "enroll.password", "broker/ca.pem",
    "broker/server.pem", "broker/server.key.pem", "broker/dynamic-security.json", "evidence.password",
    "evidence/key.pem", "evidence/keys.jsonl", "evidence/public.pem",
}  # fmt: skip


def content(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def run(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*BIOGATE, "setup", str(directory), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def hosts(directory: Path) -> list[str]:
    certificate = load_certificate(directory / "broker/server.pem")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def test_everything_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "secrets"
    old = os.umask(0)
    try:
        setup(directory)
    finally:
        os.umask(old)
    assert set(content(directory)) == FILES
    for path in directory.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert Secrets.load(directory).authority is not None


def test_again_nothing_is_changed(tmp_path: Path) -> None:
    assert run(tmp_path / "s").returncode == 0
    before = content(tmp_path / "s")
    again = run(tmp_path / "s")
    assert (again.returncode, again.stderr) == (0, "")
    assert "everything is there" in again.stdout
    assert content(tmp_path / "s") == before


def test_nothing_secret_is_printed(tmp_path: Path) -> None:
    ran = run(tmp_path / "s")
    for name, data in content(tmp_path / "s").items():
        if name.endswith((".password", ".token", ".key")):
            assert data.decode().strip() not in ran.stdout + ran.stderr


def test_what_is_missing_is_made(tmp_path: Path) -> None:
    setup(tmp_path)
    before = content(tmp_path)
    (tmp_path / "api.secret").unlink()
    (tmp_path / "broker/server.pem").unlink()
    assert set(setup(tmp_path)) == {"api.secret", "broker/server.pem"}
    after = content(tmp_path)
    assert {name for name in FILES if after[name] != before[name]} == {"api.secret", "broker/server.pem"}


def test_a_kill_at_any_moment_leaves_whole_files_and_the_next_run_finishes(tmp_path: Path) -> None:
    directory = tmp_path / "s"
    child = (
        "import sys; from pathlib import Path; from gateway.operators.setup import setup; print(flush=True); input(); "
    )
    child += "setup(Path(sys.argv[1])); print('done', flush=True)"
    seen: dict[str, bytes] = {}
    killed = 0
    for round_ in range(0, 40, 3):
        process = subprocess.Popen(
            [sys.executable, "-c", child, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(round_ * 0.0004)
        process.send_signal(signal.SIGKILL)
        killed += "done" not in process.stdout.read()
        process.wait()
        now = {name: data for name, data in content(directory).items() if not Path(name).name.startswith(".")}
        assert {name: now[name] for name in seen} == seen
        seen = now
        if len(seen) == len(FILES):
            break
    assert killed >= 3
    setup(directory)
    assert set(content(directory)) == FILES
    Secrets.load(directory)
    _assert_fits(directory)


def _assert_fits(directory: Path) -> None:
    """Key and certificate belong together, and to the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "broker/server.pem", directory / "broker/server.key.pem")
    load_certificate(directory / "broker/server.pem").verify_directly_issued_by(load_certificate(directory / "ca.pem"))


def test_two_runs_at_once(tmp_path: Path) -> None:
    command = [*BIOGATE, "setup", str(tmp_path / "s")]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate()[0] for process in runs]
    assert [process.returncode for process in runs] == [0] * 4
    assert sum("everything is there" in text for text in said) == 3
    _assert_fits(tmp_path / "s")


def test_the_certificates(tmp_path: Path) -> None:
    setup(tmp_path, ["broker.example", "10.1.2.3"])
    authority, server = load_certificate(tmp_path / "ca.pem"), load_certificate(tmp_path / "broker/server.pem")
    assert hosts(tmp_path) == ["localhost", "127.0.0.1", "::1", "broker.example", "10.1.2.3"]
    assert 3640 < (authority.not_valid_after_utc - datetime.now(UTC)).days < 3660
    assert 725 < (server.not_valid_after_utc - datetime.now(UTC)).days <= 730
    _assert_fits(tmp_path)


def test_a_new_server_certificate_is_for_the_same_hosts_and_some_more(tmp_path: Path) -> None:
    setup(tmp_path, ["one.example"])
    before = content(tmp_path)
    refused = run(tmp_path, "--host", "two.example")
    assert refused.returncode == 1
    assert "two.example" in refused.stderr
    assert "--renew-certificates" in refused.stderr
    assert content(tmp_path) == before
    assert run(tmp_path, "--host", "two.example", "--renew-certificates").returncode == 0
    assert hosts(tmp_path)[-2:] == ["one.example", "two.example"]
    after = content(tmp_path)
    assert {name for name in FILES if after[name] != before[name]} == {"broker/server.pem"}
    _assert_fits(tmp_path)


def test_the_key_of_the_authority_may_be_kept_elsewhere(tmp_path: Path) -> None:
    setup(tmp_path)
    (tmp_path / "ca.key.pem").unlink()
    assert setup(tmp_path) == []
    assert Secrets.load(tmp_path).authority is None
    with pytest.raises(SecretsError, match=r"authority's key.*ca\.key\.pem"):
        setup(tmp_path, renew=True)


def test_the_brokers_logins(tmp_path: Path) -> None:
    setup(tmp_path)
    security = json.loads((tmp_path / "broker/dynamic-security.json").read_bytes())
    assert security["defaultACLAccess"] == {
        "publishClientSend": False, "publishClientReceive": False, "subscribe": False, "unsubscribe": True,
    }  # fmt: skip
    assert [client["username"] for client in security["clients"]] == list(FIXED)
    secrets = Secrets.load(tmp_path)
    for client in security["clients"]:
        assert client["iterations"] == 101
        salt = _bytes(client["salt"])
        assert len(salt) == 12
        assert _bytes(client["password"]) == verifier(secrets.password(client["username"]), salt)


def _bytes(text: str) -> bytes:

    return base64.b64decode(text, validate=True)
