"""The database in deploy/kubernetes: commits on two nodes, backups, and connections for all."""

from __future__ import annotations

import pytest

import api.settings
from tests.deploy.kustomized import KUSTOMIZE, PLANTS, named, of_kind, program

pytestmark = pytest.mark.skipif(KUSTOMIZE is None, reason="needs kubectl or kustomize to build what it checks")


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
