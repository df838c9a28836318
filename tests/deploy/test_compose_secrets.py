"""docker-compose.yml: which container sees which secret, and with which rights each one runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from deploy.stack.paths import CHECKOUT
from gateway.runtime.process import load_passwords
from gateway.secrets import VAULT, load_key
from schema.migrate import OPERATOR
from tests.deploy.composed import FILE, OURS, PASSFILE, SERVICES, mounts
from tests.roles import as_role


def test_no_secret_is_in_the_file_nor_in_the_environment() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            assert not re.search("(PASSWORD|TOKEN|KEY|SECRET)$", variable), (name, variable)
            assert not urlsplit(value).password, (name, variable)
            if variable.endswith("DATABASE_URL"):
                assert PASSFILE in service["environment"], name
            if variable == PASSFILE or variable.endswith("FILE"):
                assert str(Path(value).parent) in mounts(service).values(), (name, variable)
    assert not re.search(r"\b[0-9a-f]{32,}\b|BEGIN .*KEY", FILE.read_text())


DATABASE_LOGINS = {
    "api": "biogate_web",
    "gateway": "biogate_intake",
    "alarms": "biogate_evaluator",
    "worker": "biogate_jobs",
    "evidence": "biogate_signer",
    "controllers": "biogate_tools",
    "canary-login": "biogate_tools",
    "migrations": "biogate",
    "grafana-login": "biogate",
}
WHO_SEES = {
    "secrets": {"setup", "gateway", "controllers", "canary-login"},
    "alarms-secrets": {"setup", "migrations", "alarms"},
    "gateway-login": {"setup", "migrations", "gateway"},
    "broker-security": {"setup", "broker", "proxy"},
    "database-login": {
        *("setup", "database", "migrations", "grafana-login"),
    },
    "tools-login": {"setup", "migrations", "controllers", "canary-login"},
    "api-secret": {"setup", "migrations", "api"},
    "grafana-login": {"setup", "grafana-login", "grafana"},
    "controllers": {"controllers", "simulator"},
    "canary": {"canary-login", "canary"},
    "worker-login": {"setup", "migrations", "worker"},
    "evidence-key": {"setup", "evidence"},
    "evidence-login": {"setup", "migrations", "evidence"},
}
WHO_WRITES = {
    "grafana-login": {"setup", "grafana-login"}, "controllers": {"controllers"}, "canary": {"canary-login"},
    "evidence-key": {"setup", "evidence"},
}  # fmt: skip
"""Others than `setup` alone."""


@pytest.mark.parametrize("volume", WHO_SEES)
def test_secrets_are_seen_only_where_they_are_needed(volume: str) -> None:
    assert {name for name, service in SERVICES.items() if volume in mounts(service)} == WHO_SEES[volume]
    writers = {
        name
        for name, service in SERVICES.items()
        for given in service.get("volumes", [])
        if given.startswith(f"{volume}:") and not given.endswith(":ro")
    }
    assert writers == WHO_WRITES.get(volume, {"setup"})


def test_what_runs_logs_in_at_the_database_with_least_rights() -> None:
    """The owner's login is of the services alone that make tables and roles, and run to their end."""
    for name, service in OURS.items():
        url = service.get("environment", {}).get("BIOGATE_DATABASE_URL")
        if url is not None:
            assert urlsplit(url).username == DATABASE_LOGINS[name]
            assert service["restart"] == "no" or DATABASE_LOGINS[name] != "biogate"


def test_the_alarms_process_starts_with_the_secrets_that_it_gets(secrets_dir: Path, tmp_path: Path) -> None:
    given = re.search(r"install -m 600 (.*) alarms\n", OURS["setup"]["command"][2])
    assert given
    for file in given[1].split():
        shutil.copy(secrets_dir / Path(file).name, tmp_path)
    tmp_path.chmod(0o700)
    assert load_passwords(tmp_path).password("alarms")
    assert load_key(tmp_path / VAULT, X25519PrivateKey)  # type: ignore[type-abstract]
    assert not list(tmp_path.glob("claim-*"))
    assert not (tmp_path / "ca.key.pem").exists()


def test_nothing_plain_leaves_a_container() -> None:
    assert OURS["gateway"]["environment"]["BIOGATE_MQTT_URL"].startswith("mqtts://")
    assert not any(port.endswith(":1883") for port in SERVICES["broker"]["ports"])


def test_all_simulated_controllers_have_claim_keys() -> None:
    count = re.search(r"--devices=(\d+)", " ".join(OURS["simulator"]["command"]))
    assert count
    assert f"claim-keys --prefix sim- --count {count[1]} " in OURS["controllers"]["command"][2]


async def test_the_scripts_of_setup_and_controllers_can_run_again(tmp_path: Path, database_url: str) -> None:
    """With the volumes as they are after the image has made them."""
    for volume in {Path(at).relative_to("/var/lib/biogate").parts[0] for at in mounts(OURS["setup"]).values()}:
        (tmp_path / volume).mkdir(mode=0o700)
    (tmp_path / "controllers").mkdir(mode=0o700)
    programs = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": programs, "PYTHONPATH": str(CHECKOUT)}
    environment["BIOGATE_DATABASE_URL"] = as_role(database_url, OPERATOR)
    environment["BIOGATE_SECRETS_DIR"] = str(tmp_path / "secrets")

    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def run() -> dict[Path, bytes]:
        for name in ("setup", "controllers"):
            shell, flags, text = OURS[name]["command"]
            command = [shell, flags, text.replace("/var/lib/biogate", str(tmp_path))]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        return contents()

    first = run()
    assert run() == first
    handed_out = {path.name for path in (tmp_path / "controllers").iterdir()}
    assert handed_out == {"claims.csv", "ca.pem", "enroll.password"}
    shared = {path for path in first if path.stat().st_mode & 0o077}
    assert shared == {tmp_path / "grafana" / "admin.password"}, "Grafana has another user, and is in our group"
    assert all(path.stat().st_mode & 0o037 == 0 for path in shared)
    password = first[tmp_path / "api" / "biogate_web.password"].decode().strip()
    assert first[tmp_path / "api" / "pgpass"].decode() == f"*:*:*:biogate_web:{password}\n"
    assert (tmp_path / "database" / "biogate.password") in first
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("select count(*) from serials where device like 'sim-000_'") == 8
    await connection.close()


DROPS_ROOT = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
"""What a container needs whose entrypoint gives files to its own user and becomes that user."""


def test_programs_run_without_rights() -> None:
    for service in (*OURS.values(), SERVICES["prometheus"]):
        assert service["read_only"]
        assert "cap_add" not in service
    for service in SERVICES.values():
        assert service["cap_drop"] == ["ALL"]
        assert set(service.get("cap_add", [])) <= DROPS_ROOT
        assert service["security_opt"] == ["no-new-privileges:true"]
