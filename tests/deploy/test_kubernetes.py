"""deploy/kubernetes, as far as it can be checked without a cluster: its objects follow Kubernetes' own schema, fit
each other and the programs that they run, and their probes are answered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

import api.settings
import gateway.canary.settings
import gateway.settings
from deploy.command import WORDS
from deploy.stack.choose import MOSQUITTO_TESTED, version
from deploy.stack.paths import CHECKOUT
from deploy.worker.settings import WorkerSettings
from tests.conftest import Broker
from tests.deploy.kustomized import (
    DIRECTORY,
    KUSTOMIZE,
    PLANTS,
    Object,
    labels,
    named,
    objects,
    of_kind,
    pods,
    program,
    selects,
)
from tests.processes import GatewayProcess, wait_until

KUBERNETES = "1.34"

pytestmark = pytest.mark.skipif(KUSTOMIZE is None, reason="needs kubectl or kustomize to build what it checks")


def variables(settings: Any) -> set[str]:
    return {f"BIOGATE_{field}".upper() for field in settings.model_fields}


KNOWN = {
    "gateway": variables(gateway.settings.Settings),
    "alarms": variables(gateway.settings.Settings),
    "evidence": variables(gateway.settings.Settings),
    "worker": variables(WorkerSettings) | {"BIOGATE_API_DATABASE_URL"},
    "canary": variables(gateway.canary.settings.CanarySettings),
    "api": variables(api.settings.ApiSettings),
    "migrate": {"BIOGATE_DATABASE_URL", "BIOGATE_API_DATABASE_URL", "BIOGATE_GATEWAY_DATABASE_URL"},
}
PORTS = {
    "gateway": gateway.settings.Settings.model_fields["gateway_http_port"].default,
    "alarms": gateway.settings.Settings.model_fields["alarms_http_port"].default,
    "evidence": gateway.settings.Settings.model_fields["evidence_http_port"].default,
    "worker": WorkerSettings.model_fields["worker_http_port"].default,
    "canary": gateway.canary.settings.CanarySettings.model_fields["canary_http_port"].default,
    "api": api.settings.ApiSettings.model_fields["api_port"].default,
}


def containers(plant: str) -> Iterator[tuple[Object, Object]]:
    """Each container, with its pod's specification."""
    for pod in pods(plant):
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            yield pod["spec"], container


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
            ending = re.escape(key.rpartition(".")[2])
            assert re.search(rf"(=|/){re.escape(key)}\b| \*\.{ending}\b", command[0]), (name, key)


@pytest.mark.parametrize("plant", PLANTS)
def test_a_pod_that_takes_some_keys_of_a_secret_sees_no_others(plant: str) -> None:
    for pod, container in containers(plant):
        taken = set(re.findall(r"/keys/([\w.-]+)", " ".join(container.get("command", ()))))
        if taken:
            [keys] = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "keys"]
            assert {item["path"] for item in keys.get("items", ())} == taken, program(container)


@pytest.mark.parametrize("plant", PLANTS)
def test_the_database_s_owner_is_who_migrates_and_who_runs_commands(plant: str) -> None:
    as_owner = {program(container) for _, container in containers(plant) if "biogate-database-app" in str(container)}
    assert as_owner == {"migrate", "gateway"}


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
