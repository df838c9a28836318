"""docker-compose.yml, as far as it can be checked without an engine."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from pydantic_settings import BaseSettings
from ruamel.yaml import YAML

import api.settings
import gateway.canary.settings
import gateway.settings
from deploy.command import HIDDEN, WORDS
from deploy.stack.choose import MOSQUITTO_TESTED, POSTGRES_TESTED, TIMESCALE_TESTED, version
from deploy.stack.conf import render
from deploy.stack.paths import CHECKOUT, MOSQUITTO_CONF
from deploy.worker.settings import WorkerSettings
from schema.migrate import LOGINS
from tests.deploy.composed import COMPOSE, FILE, OURS, PASSFILE, SERVICES, mounts


def variables(settings: type[BaseSettings]) -> set[str]:
    prefix = settings.model_config["env_prefix"]
    return {f"{prefix}{field}".upper() for field in settings.model_fields}


KNOWN = {
    "gateway": variables(gateway.settings.Settings),
    "api": variables(api.settings.ApiSettings),
    "accounts": {"BIOGATE_DATABASE_URL"},
    "sql-login": {"BIOGATE_DATABASE_URL"},
    "migrate": {"BIOGATE_DATABASE_URL", *LOGINS.values()},
    "devices": variables(gateway.settings.Settings),
    "alarms": variables(gateway.settings.Settings),
    "evidence": variables(gateway.settings.Settings),
    "worker": variables(WorkerSettings) | {"BIOGATE_API_DATABASE_URL"},
    "canary": variables(gateway.canary.settings.CanarySettings),
    "setup": set(),
    "passwords": set(),
    "sim": set(),
}


OTHERS = {"broker", "database", "prometheus", "grafana", "proxy", "alertmanager", "host"}
PLANT = {"BIOGATE_ADDRESS": "plant.example", "BIOGATE_BIND": "0.0.0.0"}


def interpolated(text: str, environment: Mapping[str, str]) -> str:
    """A value of the file as Compose reads it, with these variables in `.env`."""
    return re.sub(r"\$\{(\w+):-(.*?)\}", lambda match: environment.get(match[1]) or match[2], text)


def words(service: dict[str, Any]) -> list[str]:
    """The commands of ours that it runs, in a shell or without."""
    return re.findall(r"\bbiogate ([\w-]+)", " ".join(service["command"]))


def test_it_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_parts_are_there() -> None:
    assert set(SERVICES) == {
        "setup", "broker", "database", "migrations", "controllers", "gateway", "api", "simulator",
        "prometheus", "grafana", "grafana-login", "alarms", "evidence", "worker", "canary", "canary-login", "proxy",
        "alertmanager", "host",
    }  # fmt: skip
    assert set(OURS) == set(SERVICES) - OTHERS
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {
        **{name: ["simulator"] for name in ("controllers", "simulator")},
        **{
            name: ["observability"]
            for name in ("prometheus", "alertmanager", "host", "grafana-login", "grafana", "canary-login", "canary")
        },
    }


def test_what_a_part_depends_on_is_started_with_it() -> None:
    for name, service in SERVICES.items():
        for other in service.get("depends_on", {}):
            assert set(SERVICES[other].get("profiles", [])) <= set(service.get("profiles", [])), (name, other)


@pytest.mark.parametrize("name", OURS)
def test_its_variables_exist_in_the_settings(name: str) -> None:
    service = OURS[name]
    known = set[str]().union(*(KNOWN[word] for word in words(service)))
    assert set(service.get("environment", {})) <= known | {PASSFILE}


@pytest.mark.parametrize("name", OURS)
def test_its_program_exists(name: str) -> None:
    assert words(OURS[name])
    assert set(words(OURS[name])) <= {*HIDDEN, *(word for group in WORDS.values() for word in group)}


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only_until_the_plant_has_an_address(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert interpolated(port, {}).startswith("127.0.0.1:")
        opened = interpolated(port, {"BIOGATE_BIND": "0.0.0.0"})
        assert opened.startswith("0.0.0.0:") is (name in {"broker", "proxy"}), "these two speak TLS"


def test_every_port_of_the_machine_can_be_another() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    variables = [re.findall(r"\$\{(BIOGATE_\w+PORT):-(\d+)\}", port) for port in published]
    assert [len(found) for found in variables] == [1] * len(published)
    assert len({found[0] for found in variables}) == len(published)
    assert len({found[0][1] for found in variables}) == len(published)


def test_one_variable_is_the_plant_s_address_in_certificate_and_grants(tmp_path: Path) -> None:
    shell, flags, text = OURS["setup"]["command"]
    for volume in ("secrets", "api", "database", "grafana", "gateway", "alarms", "evidence", "worker", "tools"):
        (tmp_path / volume).mkdir(mode=0o700)
    programs = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    subprocess.run(
        [shell, flags, text.replace("/var/lib/biogate", str(tmp_path))],
        env={"PATH": programs, "PYTHONPATH": str(CHECKOUT), **PLANT},
        check=True,
    )
    certificate = x509.load_pem_x509_certificate((tmp_path / "secrets" / "broker" / "server.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    hosts = names.get_values_for_type(x509.DNSName)
    for given, host in (({}, "broker"), (PLANT, "plant.example")):
        for variable in ("BIOGATE_DEVICE_BROKER_URL", "BIOGATE_DEVICE_CERTIFICATE_BROKER_URL"):
            url = urlsplit(interpolated(OURS["gateway"]["environment"][variable], given))
            assert url.hostname == host in hosts
            inside = {interpolated(port, given).rpartition(":")[2] for port in SERVICES["broker"]["ports"]}
            assert str(url.port) in inside


def test_the_proxy_ends_tls_and_the_api_believes_it() -> None:
    conf = (CHECKOUT / "deploy" / "proxy" / "nginx.conf").read_text()
    here = mounts(SERVICES["proxy"])
    for file in re.findall(r"ssl_certificate(?:_key)? +(\S+);", conf):
        assert Path(file).parent == Path(here["broker-security"])
        assert Path(file).name in {"server.pem", "server.key.pem"}
    [upstream] = re.findall(r"proxy_pass http://(\w+):(\d+);", conf)
    assert upstream == ("api", OURS["api"]["environment"]["BIOGATE_API_PORT"])
    [listening] = re.findall(r"listen (\d+) ssl;", conf)
    assert SERVICES["proxy"]["ports"][0].endswith(f":{listening}")
    uid = re.search(r"^USER (\d+)", (CHECKOUT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    assert uid
    assert SERVICES["proxy"]["user"].partition(":")[0] == uid[1], "whose the key is"
    given = OURS["api"]["environment"]
    settings = api.settings.ApiSettings.model_validate(
        {"database_url": "postgresql://u@h/d"}
        | {name.removeprefix("BIOGATE_").lower(): value for name, value in given.items() if "API_T" in name}
    )
    assert settings.api_tls
    assert settings.api_trusted_proxies


def test_the_gateway_knows_the_broker_s_limits() -> None:
    gateway_service = OURS["gateway"]
    conf = gateway_service["environment"]["BIOGATE_BROKER_CONF"]
    assert mounts(gateway_service)["./mosquitto.conf"] == conf == mounts(SERVICES["broker"])["./mosquitto.conf"]


def test_alerts_go_to_the_alertmanager_that_is_there() -> None:
    conf = YAML(typ="safe").load(CHECKOUT / "deploy" / "prometheus" / "prometheus.yml")
    [target] = conf["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert f"--web.listen-address=0.0.0.0:{port}" in SERVICES[host]["command"]
    [file] = [option.partition("=")[2] for option in SERVICES[host]["command"] if option.startswith("--config.file")]
    assert mounts(SERVICES[host])["./deploy/prometheus/alertmanager.yml"] == file


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
    for name in set(SERVICES) - set(OURS):
        assert re.search(r":v?\d+\.\d+\.\d+", SERVICES[name]["image"]), "a whole version, not what is newest today"


def test_mounted_files_and_volumes_exist() -> None:
    sources = {source for service in SERVICES.values() for source in mounts(service)}
    sources.remove("/")  # of which the host's exporter reads the sizes
    assert {source for source in sources if not source.startswith("./")} == set(COMPOSE["volumes"])
    for source in sources - set(COMPOSE["volumes"]):
        assert (CHECKOUT / source).exists(), source


def test_files_are_where_they_are_mounted() -> None:
    """Paths in settings and options below a volume of the same service, and the volume's owner is the image's user."""
    made = (CHECKOUT / "deploy" / "Dockerfile").read_text()
    for name, service in OURS.items():
        said = " ".join([*service["command"], *map(str, service.get("environment", {}).values())])
        for path in re.findall(r"/var/lib/biogate/\w+", said):
            assert path in mounts(service).values(), (name, path)
        for target in mounts(service).values():
            if not target.startswith("/var/lib/biogate/"):
                continue
            assert f"biogate/{target.removeprefix('/var/lib/biogate/')}" in made


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


def test_the_gateway_has_time_to_drain() -> None:
    drain = gateway.settings.Settings.model_fields["shutdown_timeout_s"].default
    assert int(OURS["gateway"]["stop_grace_period"].removesuffix("s")) > drain


@pytest.mark.parametrize("name", SERVICES)
def test_memory_processes_and_logs_are_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["pids_limit"] > 0
    assert {"max-size", "max-file"} == set(service["logging"]["options"])


def test_the_limits_hold_what_the_settings_allow() -> None:
    """A full queue of the broker takes 1.75 times its payload (mosquitto.conf); the database has its shared buffers."""
    queue = re.search(r"^max_queued_bytes (\d+)$", MOSQUITTO_CONF.read_text(), re.MULTILINE)
    buffers = re.search(
        r"^shared_buffers = '(\d+)MB'", (CHECKOUT / "deploy" / "postgresql.conf").read_text(), re.MULTILINE
    )
    assert queue
    assert buffers
    assert 1.75 * int(queue[1]) < size(SERVICES["broker"]["mem_limit"])
    assert 4 * int(buffers[1]) * 2**20 <= size(SERVICES["database"]["mem_limit"])
    assert gateway.settings.Settings.model_fields["window_bytes"].default * 8 < size(OURS["gateway"]["mem_limit"])


def size(text: str) -> int:
    return int(text[:-1]) * {"m": 2**20, "g": 2**30}[text[-1]]


def test_health_checks_ask_the_port_that_the_program_listens_on() -> None:
    asked = {name: service["healthcheck"]["test"] for name, service in OURS.items() if "healthcheck" in service}
    assert set(asked) == {"gateway", "api", "alarms", "evidence", "worker", "canary"}
    for name, test in asked.items():
        *check, port = test[:4]
        assert check == ["CMD", "biogate", "ready"]
        assert port in {value for variable, value in OURS[name]["environment"].items() if variable.endswith("_PORT")}
