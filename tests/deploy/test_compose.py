"""docker-compose.yml, as far as it can be checked without an engine."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic_settings import BaseSettings
from ruamel.yaml import YAML

import api.settings
import gateway.settings
from deploy.stack.choose import MOSQUITTO_TESTED, POSTGRES_TESTED, TIMESCALE_TESTED, version
from deploy.stack.paths import CHECKOUT

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
    "schema.migrate": {"BIOGATE_DATABASE_URL"},
    "gateway.devices": variables(gateway.settings.Settings),
    "device_sim": {"BIOGATE_MQTT_URL", "BIOGATE_MQTT_USERNAME", "BIOGATE_MQTT_PASSWORD"},
}


def test_it_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_parts_are_there() -> None:
    assert set(SERVICES) == {"broker", "database", "migrations", "devices", "gateway", "api", "simulator"}
    assert set(OURS) == set(SERVICES) - {"broker", "database"}


@pytest.mark.parametrize("name", OURS)
def test_its_variables_exist_in_the_settings(name: str) -> None:
    service = OURS[name]
    module = service["command"][2]
    assert set(service["environment"]) <= KNOWN[module]


@pytest.mark.parametrize("name", OURS)
def test_its_program_exists(name: str) -> None:
    python, flag, module = OURS[name]["command"][:3]
    assert (python, flag) == ("python", "-m")
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


def test_mounted_files_exist() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (CHECKOUT / source).is_file()


def test_the_simulated_devices_are_registered() -> None:
    names = OURS["devices"]["command"][4:]
    simulator = OURS["simulator"]["command"]
    assert names == [f"sim-{n:04}" for n in range(1, int(simulator[simulator.index("--devices") + 1]) + 1)]


def test_the_gateway_has_time_to_drain() -> None:
    drain = gateway.settings.Settings.model_fields["shutdown_timeout_s"].default
    assert int(OURS["gateway"]["stop_grace_period"].removesuffix("s")) > drain


def test_programs_run_without_rights() -> None:
    for service in OURS.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
    assert "\nUSER biogate\n" in (CHECKOUT / "deploy" / "Dockerfile").read_text()
