"""The alerts, evaluated with the labels that Kubernetes' pod monitors give: two cells, each with a standby."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import rules
from tests.deploy.kustomized import KUSTOMIZE, labels, named, of_kind, pods
from tests.deploy.rules import PROMETHEUS
from tests.prometheus import programs
from tests.prometheus_rule import FILE, rendered

pytestmark = pytest.mark.skipif(KUSTOMIZE is None, reason="needs kubectl or kustomize to build what it checks")
SERIES = re.compile(r'^(\w+)\{job="(\w+)", instance="(\w+)"(?:, cell="main")?(.*)\}$')
STANDBY = {"g2", "alarms2", "e2"}
JOBS = ("gateway", "api", "alarms", "evidence", "worker", "canary")


def targets(plant: str) -> list[dict[str, str]]:
    """The labels of each target of ours, as the Prometheus operator and Prometheus make them of pods and monitors."""
    spec = named(plant, "PodMonitor", "biogate")["spec"]
    [endpoint] = spec["podMetricsEndpoints"]
    [selected] = spec["selector"]["matchExpressions"]
    found = []
    for pod in pods(plant):
        if labels(pod).get(selected["key"]) not in selected["values"]:
            continue
        for number in range(2):
            name = f"{labels(pod)[selected['key']]}-{labels(pod).get('biogate-cell', 'shared')}-{number}"
            meta = {f"__meta_kubernetes_pod_label_{meta_name(key)}": value for key, value in labels(pod).items()}
            meta["__meta_kubernetes_pod_name"] = name
            target = {"job": labels(pod)[spec["jobLabel"]], "instance": f"{name}:{endpoint['port']}", "pod": name}
            for rule in endpoint["relabelings"]:
                value = ";".join(meta.get(source, "") for source in rule["sourceLabels"])
                if match := re.fullmatch(rule["regex"], value):
                    target[rule["targetLabel"]] = match[1]
            found.append({"namespace": "biogate", **target})
    return found


def meta_name(label: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", label)


def healthy(plant: str) -> list[dict[str, str]]:
    """The series of a healthy plant, for each cell and program of this one."""
    [test] = rules.read(PROMETHEUS / "tests" / "healthy.yml")["tests"]
    cells: dict[tuple[str, str], list[dict[str, str]]] = {}
    for target in targets(plant):
        cells.setdefault((target["job"], target.get("cell", "")), []).append(target)
    made = []
    for entry in test["input_series"]:
        match = SERIES.match(entry["series"])
        assert match is not None, entry
        name, job, instance, more = match.groups()
        for (of, _), replicas in cells.items():
            if of == job:
                target = replicas[instance in STANDBY and len(replicas) > 1]
                made.append({"series": f"{name}{{{shown(target)}{more}}}", "values": entry["values"]})
    return made


def shown(target: Mapping[str, str]) -> str:
    return ", ".join(f'{key}="{value}"' for key, value in target.items())


def evaluate(tmp_path: Path, series: list[dict[str, str]], at: str, expected: list[dict[str, Any]]) -> None:
    """Have promtool compare which alerts fire, and in how many cells, under the rules as the operator gets them."""
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": yaml.safe_load(rendered())["spec"]["groups"]}))
    question = 'count by (alertname, cell) (ALERTS{alertstate="firing", alertname!="Watchdog"})'
    test = {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [{"expr": question, "eval_time": at, "exp_samples": expected}],
    }
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]})
    )
    done = subprocess.run(
        [programs() / "promtool", "test", "rules", str(tmp_path / "test.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_for_the_operator_are_those_of_the_files() -> None:
    assert FILE.read_text() == rendered(), "python -m tests.prometheus_rule > deploy/kubernetes/monitoring/rules.yaml"
    [rule] = of_kind("example", "PrometheusRule")
    assert rule["spec"]["groups"]


def test_each_target_has_its_program_as_job_and_each_gateway_its_cell() -> None:
    assert {target["job"] for target in targets("example")} == set(JOBS)
    assert {target.get("cell") for target in targets("example") if target["job"] == "gateway"} == {"north", "south"}
    shared = [one["cell"] for one in targets("emqx") if one["pod"].startswith("gateway-shared")]
    assert len(set(shared)) == len(shared) == 2


@pytest.mark.parametrize("at", ["30m", "1h30m", "2h"])
def test_in_a_healthy_plant_of_two_cells_no_alert_fires(tmp_path: Path, at: str) -> None:
    evaluate(tmp_path, healthy("example"), at, [])


def test_a_backup_of_the_operator_s_is_one(tmp_path: Path) -> None:
    """CloudNativePG writes no row in the table backups: its plugin has a metric. It is 0 before the first backup."""
    ours = [one for one in healthy("example") if "biogate_backup_" not in one["series"]]
    plugin = "barman_cloud_cloudnative_pg_io_last_available_backup_timestamp{job='biogate/biogate-database'}"
    missing = [{"labels": '{alertname="BiogateBackupMissing"}', "value": 1}]
    evaluate(tmp_path, [*ours, {"series": plugin, "values": "0x120"}], "1h30m", missing)
    evaluate(tmp_path, [*ours, {"series": plugin, "values": "60x120"}], "1h30m", [])


@pytest.mark.parametrize(
    ("job", "alert", "cells"),
    [
        ("gateway", "BiogateGatewayDown", ["north", "south"]),
        ("api", "BiogateApiDown", [""]),
        ("alarms", "BiogateAlarmsDown", [""]),
    ],
)
def test_a_program_that_is_down_is_told(tmp_path: Path, job: str, alert: str, cells: list[str]) -> None:
    down = [target for target in targets("example") if target["job"] == job]
    up = [target for target in targets("example") if target["job"] != job]
    series = [{"series": f"up{{{shown(target)}}}", "values": "0x10"} for target in down]
    series += [{"series": f"up{{{shown(target)}}}", "values": "1x10"} for target in up]
    expected = [
        {"labels": f'{{alertname="{alert}"' + (f', cell="{cell}"' if cell else "") + "}", "value": 1} for cell in cells
    ]
    evaluate(tmp_path, series, "2m", expected)
