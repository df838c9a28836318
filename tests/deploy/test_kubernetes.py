"""deploy/kubernetes, as far as it can be checked without a cluster: built by kustomize, held against Kubernetes' own
schema and the programs that it runs. Custom resources are checked for what our guarantees stand on."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

import api.settings
import gateway.canary.settings
import gateway.settings
from deploy.command import WORDS
from deploy.stack.choose import MOSQUITTO_TESTED, version
from deploy.stack.conf import render
from deploy.stack.paths import CHECKOUT, MOSQUITTO_CONF
from deploy.worker.settings import WorkerSettings
from gateway.alarms.__main__ import load_passwords
from gateway.logins.roles import FIXED, device_role
from gateway.secrets import Secrets
from tests.conftest import Broker
from tests.processes import GatewayProcess, wait_until

DIRECTORY = CHECKOUT / "deploy" / "kubernetes"
PLANTS = ("example", "emqx")
KUBERNETES = "1.34"
COMMANDS = (["kubectl", "kustomize"], ["kustomize", "build"])
KUSTOMIZE = next((command for command in COMMANDS if shutil.which(command[0])), None)
PODS = {"Deployment", "StatefulSet", "Job"}
Object = dict[str, Any]

pytestmark = pytest.mark.skipif(KUSTOMIZE is None, reason="needs kubectl or kustomize to build what it checks")


def variables(settings: Any) -> set[str]:
    return {f"BIOGATE_{field}".upper() for field in settings.model_fields}


KNOWN = {
    "gateway": variables(gateway.settings.Settings),
    "alarms": variables(gateway.settings.Settings),
    "worker": variables(WorkerSettings) | {"BIOGATE_API_DATABASE_URL"},
    "canary": variables(gateway.canary.settings.CanarySettings),
    "api": variables(api.settings.ApiSettings),
    "migrate": {"BIOGATE_DATABASE_URL", "BIOGATE_API_DATABASE_URL"},
}
PORTS = {
    "gateway": gateway.settings.Settings.model_fields["gateway_http_port"].default,
    "alarms": gateway.settings.Settings.model_fields["alarms_http_port"].default,
    "worker": WorkerSettings.model_fields["worker_http_port"].default,
    "canary": gateway.canary.settings.CanarySettings.model_fields["canary_http_port"].default,
    "api": api.settings.ApiSettings.model_fields["api_port"].default,
}


@cache
def objects(plant: str) -> tuple[Object, ...]:
    assert KUSTOMIZE
    done = subprocess.run([*KUSTOMIZE, DIRECTORY / "overlays" / plant], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(YAML(typ="safe").load_all(done.stdout))


def of_kind(plant: str, *kinds: str) -> list[Object]:
    return [one for one in objects(plant) if one["kind"] in kinds]


def named(plant: str, kind: str, name: str) -> Object:
    [found] = [one for one in of_kind(plant, kind) if one["metadata"]["name"] == name]
    return found


def pods(plant: str) -> list[Object]:
    """Templates of the pods that are made."""
    return [one["spec"]["template"] for one in of_kind(plant, *PODS)]


def containers(plant: str) -> Iterator[tuple[Object, Object]]:
    """Each container, with its pod's specification."""
    for pod in pods(plant):
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            yield pod["spec"], container


def program(container: Object) -> str | None:
    """The command of ours that it runs."""
    match container["command"]:
        case ["biogate", word]:
            return str(word)
    return None


def labels(pod: Object) -> Object:
    found: Object = pod["metadata"]["labels"]
    return found


def selects(selector: Object, pod: Object) -> bool:
    """matchLabels and `In`, which is what we use."""
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    equal = all(labels(pod).get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return equal and all(
        one["operator"] == "In" and labels(pod).get(one["key"]) in one["values"]
        for one in selector.get("matchExpressions", ())
    )


def standard(one: Object) -> bool:
    """Whether Kubernetes itself has it."""
    group = one["apiVersion"].rpartition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


@pytest.mark.parametrize("plant", PLANTS)
def test_it_follows_the_schema_of_kubernetes(plant: str) -> None:
    checked = [one for one in objects(plant) if standard(one)]
    for one in checked:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
    assert {one["kind"] for one in objects(plant) if one not in checked} <= {
        "Cluster", "ScheduledBackup", "ObjectStore", "PodMonitor", "PrometheusRule", "EMQX"
    }  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
def test_everything_is_in_one_namespace_that_is_made(plant: str) -> None:
    [namespace] = of_kind(plant, "Namespace")
    assert {one["metadata"].get("namespace", namespace["metadata"]["name"]) for one in objects(plant)} == {"biogate"}


@pytest.mark.parametrize("plant", PLANTS)
def test_programs_settings_and_ports_are_those_of_the_code(plant: str) -> None:
    given = {one["metadata"]["name"]: set(one["data"]) for one in of_kind(plant, "ConfigMap")}
    run = set()
    for _, container in containers(plant):
        word = program(container)
        if word is None:
            continue
        run.add(word)
        assert word in {name for words in WORDS.values() for name in words}
        names = {one["name"] for one in container.get("env", ())}
        for source in container.get("envFrom", ()):
            names |= given[source["configMapRef"]["name"]]
        assert names <= KNOWN[word], names - KNOWN[word]
        assert [port["containerPort"] for port in container.get("ports", ())] == [
            port for name, port in PORTS.items() if name == word
        ]
    assert run == set(KNOWN)


@pytest.mark.parametrize("plant", PLANTS)
def test_selectors_match_the_pods_they_are_meant_for(plant: str) -> None:
    """A service, a budget or a workload that selects nothing, or another's pods, says nothing of it when applied."""
    for one in of_kind(plant, "Deployment", "StatefulSet"):
        assert [pod for pod in pods(plant) if selects(one["spec"]["selector"], pod)] == [one["spec"]["template"]]
    for one in of_kind(plant, "Service"):
        [pod] = [pod for pod in pods(plant) if selects({"matchLabels": one["spec"]["selector"]}, pod)]
        offered = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in one["spec"]["ports"]} <= offered
    for one in of_kind(plant, "PodDisruptionBudget"):
        assert len([pod for pod in pods(plant) if selects(one["spec"]["selector"], pod)]) == 1
    for one in of_kind(plant, "HorizontalPodAutoscaler"):
        named(plant, one["spec"]["scaleTargetRef"]["kind"], one["spec"]["scaleTargetRef"]["name"])
    services = {one["metadata"]["name"] for one in of_kind(plant, "Service")}
    assert {one["spec"]["serviceName"] for one in of_kind(plant, "StatefulSet")} <= services


def test_hosts_in_settings_are_services() -> None:
    emqx = {f"{one['metadata']['name']}-listeners" for one in of_kind("emqx", "EMQX")}
    for plant in PLANTS:
        services = {one["metadata"]["name"] for one in of_kind(plant, "Service")} | emqx
        for one in of_kind(plant, "ConfigMap"):
            for url in re.findall(r"MQTT_URL': '(\S+?)'", str(one["data"])):
                assert re.fullmatch(r"mqtts://([\w-]+):8883", url)[1] in services  # type: ignore[index]


def used_secrets(plant: str) -> dict[str, set[str]]:
    """Secret → keys of it that are used; `*` for all of them."""
    used: dict[str, set[str]] = {}
    for one in objects(plant):
        for found in walk(one):
            if "secretName" in found:
                keys = {item["key"] for item in found.get("items", ())} or {"*"}
                used.setdefault(found["secretName"], set()).update(keys)
            for reference in ("secretKeyRef", "accessKeyId", "secretAccessKey"):
                if reference in found:
                    used.setdefault(found[reference]["name"], set()).add(found[reference]["key"])
    return used


def walk(tree: Any) -> Iterator[Object]:
    if isinstance(tree, dict):
        yield tree
        for branch in tree.values():
            yield from walk(branch)
    elif isinstance(tree, list):
        for branch in tree:
            yield from walk(branch)


@pytest.mark.parametrize("plant", PLANTS)
def test_secrets_and_maps_that_are_used_are_made_here_or_by_commands_of_the_page(plant: str) -> None:
    page = (CHECKOUT / "docs" / "scale.md").read_text()
    made_here = {one["metadata"]["name"] for one in of_kind(plant, "ConfigMap")}
    for one in objects(plant):
        for found in walk(one):
            for reference in ("configMap", "configMapRef"):
                if reference in found and found[reference]["name"] not in made_here:
                    assert f"create configmap {found[reference]['name']} " in page
    cluster = named(plant, "Cluster", "biogate-database")["metadata"]["name"]
    for name, keys in used_secrets(plant).items():
        if name == f"{cluster}-app":  # by CloudNativePG
            assert keys == {"uri"}
            continue
        command = re.search(rf"create secret generic {name} .*?(?=\n\s*kubectl|\n\n)", page, re.DOTALL)
        assert command, name
        for key in keys - {"*"}:
            assert re.search(rf"(=|/){re.escape(key)}\b", command[0]), (name, key)


@pytest.mark.parametrize("plant", PLANTS)
def test_no_secret_is_in_the_files(plant: str) -> None:
    assert not of_kind(plant, "Secret")
    for path in DIRECTORY.rglob("*.yaml"):
        assert not re.search(r"BEGIN .*KEY|\b[0-9a-f]{32,}\b|://\w+:[^@\s]+@", path.read_text()), path


@pytest.mark.parametrize("plant", PLANTS)
def test_images_are_pinned(plant: str) -> None:
    images = {container["image"] for _, container in containers(plant)}
    images |= {one["spec"]["image"] for one in of_kind(plant, "EMQX")}
    images |= {one["spec"]["imageName"] for one in of_kind(plant, "Cluster")}
    for image in images:
        assert re.search(r":[\w.-]*\d[\w.-]*$", image), image
        if image.startswith("eclipse-mosquitto:"):
            assert version(image.rpartition(":")[2]) >= MOSQUITTO_TESTED


@pytest.mark.parametrize("plant", PLANTS)
def test_pods_run_without_rights(plant: str) -> None:
    for specification, container in containers(plant):
        around, own = specification["securityContext"], container["securityContext"]
        assert around["runAsNonRoot"]
        assert around["seccompProfile"] == {"type": "RuntimeDefault"}
        assert specification["automountServiceAccountToken"] is False
        assert own == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
        }  # fmt: skip
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
    uid = re.search(r"^USER (\d+)", (CHECKOUT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    assert uid
    ours = {int(one["securityContext"]["runAsUser"]) for one, container in containers(plant) if program(container)}
    assert ours == {int(uid[1])}


@pytest.mark.parametrize("plant", PLANTS)
def test_what_serves_is_probed_spread_and_has_a_budget(plant: str) -> None:
    budgets = [one["spec"]["selector"] for one in of_kind(plant, "PodDisruptionBudget")]
    for one in of_kind(plant, "Deployment", "StatefulSet"):
        pod = one["spec"]["template"]
        [container] = pod["spec"]["containers"]
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
        if one["spec"].get("replicas") == 1:  # a broker has no second, and the canary needs none
            assert labels(pod)["app.kubernetes.io/name"] in {"mosquitto", "canary"}
            continue
        assert any(selects(budget, pod) for budget in budgets)
        [spread] = pod["spec"]["topologySpreadConstraints"]
        assert selects(spread["labelSelector"], pod)


@pytest.mark.parametrize("plant", PLANTS)
def test_gateways_have_time_to_drain(plant: str) -> None:
    drain = gateway.settings.Settings.model_fields["shutdown_timeout_s"].default
    for specification, container in containers(plant):
        if program(container) == "gateway":
            assert specification["terminationGracePeriodSeconds"] >= drain + 5


async def test_the_probes_are_answered_by_a_leader_and_by_its_standby(
    gateway: GatewayProcess, broker: Broker, database_url: str, tmp_path: Path
) -> None:
    """A standby that is not ready would stop each rollout: the leader is replaced only when the others are ready."""
    [probed] = [one for _, one in containers("example") if program(one) == "gateway"][:1]
    live, ready = (probed[f"{probe}Probe"]["httpGet"]["path"] for probe in ("liveness", "readiness"))
    standby = GatewayProcess(database_url, broker.url, tmp_path / "standby.log")
    gateway.start()
    standby.start(ready=False)
    try:
        wait_until(lambda: "standby" in standby.get("/ready")[1], 20, lambda: standby.get("/ready")[1])
        for process in (gateway, standby):
            assert (process.get(live)[0], process.get(ready)[0]) == (200, 200)
        assert standby.get("/ready")[0] == 503
        broker.server.stop()
        wait_until(lambda: gateway.get(ready)[0] == 503, 20, lambda: gateway.get(ready)[1])
        assert gateway.get(live)[0] == 200
    finally:
        standby.kill()


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
    assert acl.rstrip().endswith("{deny, all}.")
    config = named("emqx", "EMQX", "emqx")["spec"]["config"]["data"]
    assert "mqtt.shared_subscription_strategy = hash_topic" in config
    assert "mqtt.max_mqueue_len = infinity" in config


# -- the database


@pytest.mark.parametrize("plant", PLANTS)
def test_a_commit_is_on_two_nodes_before_it_is_acknowledged(plant: str) -> None:
    cluster = named(plant, "Cluster", "biogate-database")["spec"]
    assert cluster["instances"] >= 3
    assert cluster["postgresql"]["synchronous"] == {
        "method": "any", "number": 1, "dataDurability": "required", "failoverQuorum": True
    }  # fmt: skip
    assert cluster["postgresql"]["parameters"]["synchronous_commit"] == "on"
    assert cluster["affinity"]["podAntiAffinityType"] == "required"
    assert "timescaledb" in cluster["postgresql"]["shared_preload_libraries"]


@pytest.mark.parametrize("plant", PLANTS)
def test_its_backups_can_be_restored_to_any_time(plant: str) -> None:
    cluster = named(plant, "Cluster", "biogate-database")
    [plugin] = cluster["spec"]["plugins"]
    assert plugin["isWALArchiver"]
    named(plant, "ObjectStore", plugin["parameters"]["barmanObjectName"])
    [backup] = of_kind(plant, "ScheduledBackup")
    assert backup["spec"]["cluster"]["name"] == cluster["metadata"]["name"]
    assert backup["spec"]["pluginConfiguration"]["name"] == plugin["name"]
    assert len(backup["spec"]["schedule"].split()) == 6


@pytest.mark.parametrize("plant", PLANTS)
def test_it_has_connections_for_all(plant: str) -> None:
    """With as many API processes as there may ever be, and each gateway twice while one replaces another."""
    most = int(named(plant, "Cluster", "biogate-database")["spec"]["postgresql"]["parameters"]["max_connections"])
    pool = api.settings.ApiSettings.model_fields["api_pool_size"].default
    [autoscaler] = of_kind(plant, "HorizontalPodAutoscaler")
    processes = sum(
        one["spec"]["replicas"]
        for one in of_kind(plant, "Deployment", "StatefulSet")
        if (program(one["spec"]["template"]["spec"]["containers"][0]) or "").startswith("gateway")
    )
    assert (autoscaler["spec"]["maxReplicas"] + 1) * (pool + 2) + processes * 12 < most - 10
