"""Cells in deploy/kubernetes: their networks, brokers and keys, and replicas that share a subscription."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

import gateway.settings
from deploy.stack.conf import render
from deploy.stack.paths import MOSQUITTO_CONF
from gateway.logins.roles import FIXED, device_role
from gateway.runtime.process import load_passwords
from gateway.secrets import Secrets
from tests.deploy.kustomized import KUSTOMIZE, PLANTS, labels, named, of_kind, pods, program, selects

pytestmark = pytest.mark.skipif(KUSTOMIZE is None, reason="needs kubectl or kustomize to build what it checks")


# -- networks


@pytest.mark.parametrize("plant", PLANTS)
def test_nothing_is_allowed_but_what_is_said_and_that_meets(plant: str) -> None:
    policies = of_kind(plant, "NetworkPolicy")
    base = next(one["spec"] for one in policies if one["metadata"]["name"] == "nothing-else")
    assert base["podSelector"] == {}
    assert set(base["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in base
    needs: dict[str, set[object]] = {
        "gateway": {5432, 8883},
        "alarms": {5432, 8883},
        "evidence": {5432, 8883},
        "api": {5432},
        "worker": {5432},
        "migrations": {5432},
        "canary": {8883, "http"},
    }
    for pod in pods(plant):
        out = {
            port["port"]
            for one in policies
            if one["spec"]["podSelector"] and selects(one["spec"]["podSelector"], pod)
            for rule in one["spec"].get("egress", ())
            for port in rule["ports"]
        }
        assert needs.get(labels(pod)["app.kubernetes.io/name"], set()) <= out
    database = next(one["spec"] for one in policies if one["metadata"]["name"] == "database")
    clients = database["ingress"][0]["from"][0]["podSelector"]
    assert {labels(pod)["app.kubernetes.io/name"] for pod in pods(plant) if selects(clients, pod)} == {
        name for name, ports in needs.items() if 5432 in ports
    }


# -- cells


def test_cells_have_nothing_of_each_other() -> None:
    cells = {}
    for one in of_kind("example", "Deployment"):
        if program(one["spec"]["template"]["spec"]["containers"][0]) == "gateway":
            [source] = one["spec"]["template"]["spec"]["containers"][0]["envFrom"]
            data = named("example", "ConfigMap", source["configMapRef"]["name"])["data"]
            cells[labels(one["spec"]["template"])["biogate-cell"]] = data
    assert set(cells) == {"north", "south"}
    for name, data in cells.items():
        assert data["BIOGATE_CELL"] == name
        host = data["BIOGATE_MQTT_URL"].removeprefix("mqtts://").removesuffix(":8883")
        service = named("example", "Service", host)
        assert service["spec"]["selector"]["biogate-cell"] == name
        assert name in data["BIOGATE_DEVICE_BROKER_URL"]
        assert name in data["BIOGATE_DEVICE_CERTIFICATE_BROKER_URL"]


def shell(text: str, moved: Mapping[str, object]) -> None:
    for path, place in moved.items():
        text = text.replace(path, str(place))
    done = subprocess.run(["sh", "-ec", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_broker_s_container_changes_only_paths(tmp_path: Path, secrets_dir: Path) -> None:
    pod = named("example", "StatefulSet", "mosquitto-north")["spec"]["template"]["spec"]
    text = pod["containers"][0]["command"][2]
    data, certs, conf = tmp_path / "data", tmp_path / "certs", tmp_path / "mosquitto.conf"
    data.mkdir()
    certs.mkdir()
    text = text.replace("own=/mosquitto/data", f"own={data}").replace("exec mosquitto", "true")
    moved = {
        "/etc/biogate/mosquitto.conf": MOSQUITTO_CONF,
        "/tmp/mosquitto.conf": conf,
        "/etc/biogate/security": secrets_dir / "broker",
        "/etc/mosquitto/certs": certs,
    }
    for _ in range(2):  # the second time the logins are the broker's own
        shell(text, moved)
        (data / "dynamic-security.json").write_text("its own")
    paths = {
        "plugin": "/usr/lib/mosquitto_dynamic_security.so",
        "plugin_opt_config_file": "/mosquitto/data/dynamic-security.json",
        "persistence_location": "/mosquitto/data/",
    }
    assert conf.read_text() == render(MOSQUITTO_CONF.read_text(), paths, {})
    assert {path.name for path in certs.iterdir()} == {"ca.pem", "server.pem", "server.key.pem"}
    assert (data / "dynamic-security.json").read_text() == "its own"
    mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert {"/tmp", "/mosquitto/data", "/etc/mosquitto/certs", "/etc/biogate/security"} <= mounts


@pytest.mark.parametrize("name", ["gateway-north", "alarms"])
def test_keys_are_laid_out_as_the_programs_want_them(name: str, tmp_path: Path, secrets_dir: Path) -> None:
    """As Kubernetes mounts them, their group may read them, which the programs refuse."""
    mounted = tmp_path / "keys"
    mounted.mkdir()
    for path in secrets_dir.iterdir():
        if path.is_file():
            (mounted / path.name).write_bytes(path.read_bytes())
            (mounted / path.name).chmod(0o440)
    [init] = named("example", "Deployment", name)["spec"]["template"]["spec"]["initContainers"]
    shell(init["command"][2], {"/keys/": f"{mounted}/", "/run/biogate": tmp_path})
    laid_out = tmp_path / "secrets"
    if name == "alarms":
        assert {path.name for path in laid_out.iterdir()} == {"ca.pem", "alarms.password", "vault.pem"}
        assert load_passwords(laid_out).password("alarms")
    else:
        assert Secrets.load(laid_out).password("gateway")


# -- shared subscription


def test_replicas_of_a_shared_subscription_have_cells_of_their_own() -> None:
    workload = named("emqx", "StatefulSet", "gateway-shared")
    environment = {one["name"]: one for one in workload["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert environment["BIOGATE_CELL"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert "BIOGATE_SECRETS_DIR" not in environment
    given = {name: "x" for name, one in environment.items() if "valueFrom" in one}
    given |= {name: one["value"] for name, one in environment.items() if "value" in one}
    given |= {"BIOGATE_CELL": "gateway-shared-10", "BIOGATE_DATABASE_URL": "postgresql://u@h/d"}
    fields = {name.removeprefix("BIOGATE_").lower(): value for name, value in given.items()}
    settings = gateway.settings.Settings.model_validate(fields)
    acl = named("emqx", "ConfigMap", "emqx-acl")["data"]["acl.conf"]
    assert f"$share/{settings.shared_group}/bioreactors/#" in acl


def test_emqx_s_rules_are_those_of_mosquitto() -> None:
    acl = named("emqx", "ConfigMap", "emqx-acl")["data"]["acl.conf"]
    rules = re.findall(r"\{allow, (.+?), (publish|subscribe), \[(.+?)\]\}", acl, re.DOTALL)
    allowed = {(who, what): set(re.findall(r'"(.+?)"', topics)) for who, what, topics in rules}
    device = {(one.type, one.topic) for one in device_role("${username}").acls}
    assert allowed["all", "publish"] == {topic for kind, topic in device if kind == "publishClientSend"}
    assert allowed["all", "subscribe"] == {topic for kind, topic in device if kind == "subscribeLiteral"}
    sent = {one.topic for one in FIXED["gateway"].acls if one.type == "publishClientSend"}
    assert allowed['{username, "gateway"}', "publish"] == sent
    assert allowed['{username, "alarms"}', "publish"] == {one.topic for one in FIXED["alarms"].acls}
    for what in ("publish", "subscribe"):
        assert allowed['{username, "evidence"}', what] == {one.topic for one in FIXED["evidence"].acls}
    assert acl.rstrip().endswith("{deny, all}.")
    config = named("emqx", "EMQX", "emqx")["spec"]["config"]["data"]
    assert "mqtt.shared_subscription_strategy = hash_topic" in config
    assert "mqtt.max_mqueue_len = infinity" in config
