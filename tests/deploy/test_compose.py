"""docker-compose.yml, as far as it can be checked without an engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic_settings import BaseSettings
from ruamel.yaml import YAML

import api.settings
import gateway.settings
from deploy.stack.choose import MOSQUITTO_TESTED, POSTGRES_TESTED, TIMESCALE_TESTED, version
from deploy.stack.conf import render
from deploy.stack.paths import CHECKOUT, MOSQUITTO_CONF

FILE = CHECKOUT / "docker-compose.yml"
COMPOSE: dict[str, Any] = YAML(typ="safe").load(FILE)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def variables(settings: type[BaseSettings]) -> set[str]:
    prefix = settings.model_config["env_prefix"]
    return {f"{prefix}{field}".upper() for field in settings.model_fields}


KNOWN = {
    "gateway": variables(gateway.settings.Settings),
    "api": variables(api.settings.Settings),
    "schema.migrate": {"BIOGATE_DATABASE_URL", "BIOGATE_API_DATABASE_URL"},
    "gateway.devices": variables(gateway.settings.Settings),
    "gateway.setup": set(),
    "device_sim": set(),
}


def modules(service: dict[str, Any]) -> list[str]:
    """The programs of ours that its command runs, in a shell or without."""
    return re.findall(r"\bpython -m ([\w.]+)", " ".join(service["command"]))


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Volume or file → where it is."""
    pairs = (volume.split(":") for volume in service.get("volumes", []))
    return {source: target for source, target, *_ in pairs}


def test_it_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_parts_are_there() -> None:
    assert set(SERVICES) == {
        "setup", "broker", "database", "migrations", "controllers", "gateway", "api", "simulator"
    }  # fmt: skip
    assert set(OURS) == set(SERVICES) - {"broker", "database"}


@pytest.mark.parametrize("name", OURS)
def test_its_variables_exist_in_the_settings(name: str) -> None:
    service = OURS[name]
    for module in modules(service):
        assert set(service.get("environment", {})) <= KNOWN[module]


@pytest.mark.parametrize("name", OURS)
def test_its_program_exists(name: str) -> None:
    assert modules(OURS[name])
    for module in modules(OURS[name]):
        path = CHECKOUT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", SERVICES)
def test_what_it_depends_on_says_when_it_is_ready(name: str) -> None:
    for other, dependency in SERVICES[name].get("depends_on", {}).items():
        if dependency["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert dependency["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"] == "no"


def test_images_are_pinned_to_tested_versions() -> None:
    broker = SERVICES["broker"]["image"].removeprefix("eclipse-mosquitto:")
    assert version(broker) >= MOSQUITTO_TESTED
    timescale, _, postgres = SERVICES["database"]["image"].removeprefix("timescale/timescaledb:").partition("-pg")
    assert version(timescale) >= TIMESCALE_TESTED
    assert postgres == str(POSTGRES_TESTED)


def test_mounted_files_and_volumes_exist() -> None:
    sources = {source for service in SERVICES.values() for source in mounts(service)}
    assert {source for source in sources if not (CHECKOUT / source).is_file()} == set(COMPOSE["volumes"])


def test_files_are_where_they_are_mounted() -> None:
    """Paths in settings and options below a volume of the same service, and the volume's owner is the image's user."""
    made = (CHECKOUT / "deploy" / "Dockerfile").read_text()
    for name, service in OURS.items():
        said = " ".join([*service["command"], *map(str, service.get("environment", {}).values())])
        for path in re.findall(r"/var/lib/biogate/\w+", said):
            assert path in mounts(service).values(), (name, path)
        for target in mounts(service).values():
            assert f"biogate/{target.removeprefix('/var/lib/biogate/')}" in made


def test_no_secret_is_in_the_file_but_the_database_s_default() -> None:
    given = [pair for service in SERVICES.values() for pair in service.get("environment", {}).items()]
    secret = {(name, value) for name, value in given if re.search("(PASSWORD|TOKEN|KEY)$", name)}
    assert secret == {("POSTGRES_PASSWORD", "${BIOGATE_DATABASE_PASSWORD:-biogate}")}
    assert not re.search(r"\b[0-9a-f]{32,}\b|BEGIN .*KEY", FILE.read_text())


def test_only_gateways_and_production_see_the_plant_s_secrets() -> None:
    assert {name for name, service in SERVICES.items() if "secrets" in mounts(service)} == {
        "setup", "gateway", "controllers"
    }  # fmt: skip
    assert {name for name, service in SERVICES.items() if "broker-security" in mounts(service)} == {"setup", "broker"}


def test_nothing_plain_leaves_a_container() -> None:
    assert OURS["gateway"]["environment"]["BIOGATE_MQTT_URL"].startswith("mqtts://")
    assert not any(port.endswith(":1883") for port in SERVICES["broker"]["ports"])


def test_all_simulated_controllers_have_claim_keys() -> None:
    count = re.search(r"--devices=(\d+)", " ".join(OURS["simulator"]["command"]))
    assert count
    assert f"claim-keys --prefix sim- --count {count[1]} " in OURS["controllers"]["command"][2]


def script(tmp_path: Path) -> list[str]:
    """What the broker's container runs, line by line, with our file and a place of our own."""
    text = str(SERVICES["broker"]["command"][2]).replace("/etc/biogate/mosquitto.conf", str(MOSQUITTO_CONF))
    return text.replace("/tmp/mosquitto.conf", str(tmp_path / "mosquitto.conf")).replace("\\\n", "").splitlines()


def test_the_broker_s_container_changes_only_paths(tmp_path: Path) -> None:
    change, *_, start = script(tmp_path)
    subprocess.run(["sh", "-ec", change], check=True)
    conf = MOSQUITTO_CONF.read_text()
    paths = {
        "plugin": "/usr/lib/mosquitto_dynamic_security.so",
        "plugin_opt_config_file": "/mosquitto/data/dynamic-security.json",
        "persistence_location": "/mosquitto/data/",
    }
    assert (tmp_path / "mosquitto.conf").read_text() == render(conf, paths, {})
    assert start == f"exec mosquitto -c {tmp_path / 'mosquitto.conf'}"


async def test_the_scripts_of_setup_and_controllers_can_run_again(tmp_path: Path, database_url: str) -> None:
    """With the volumes as they are after the image has made them."""
    for volume in ("secrets", "api", "controllers"):
        (tmp_path / volume).mkdir(mode=0o700)
    programs = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": programs, "PYTHONPATH": str(CHECKOUT), "BIOGATE_DATABASE_URL": database_url}
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
    assert all(path.stat().st_mode & 0o077 == 0 for path in first)
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("select count(*) from serials where device like 'sim-000_'") == 8
    await connection.close()


def test_the_gateway_has_time_to_drain() -> None:
    drain = gateway.settings.Settings.model_fields["shutdown_timeout_s"].default
    assert int(OURS["gateway"]["stop_grace_period"].removesuffix("s")) > drain


def test_programs_run_without_rights() -> None:
    for service in OURS.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
    assert "\nUSER biogate\n" in (CHECKOUT / "deploy" / "Dockerfile").read_text()
