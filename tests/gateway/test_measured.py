"""What a gateway tells of its batches and connects."""

from __future__ import annotations

import json
import time

import asyncpg
from paho.mqtt import publish

from tests.conftest import Broker
from tests.processes import GatewayProcess

CONNECTS = 'biogate_mqtt_connects_total{session_present="%s"}'


async def test_only_live_frames_count_for_the_lag_and_all_items_for_the_batches(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await database.execute("insert into devices (name) values ('r1')")
    gateway.start()
    t = round(time.time() * 1000)
    live = [("bioreactors/r1/telemetry", json.dumps({"t": t + n, "v": {"ph": 7.0}}), 1, False) for n in range(3)]
    old = [("bioreactors/r1/history", json.dumps({"t": t - 9_000_000, "v": {"ph": 7.0}}), 1, False)]
    bad = [("bioreactors/r1/telemetry", "no frame", 1, False)]
    publish.multiple([*live, *old, *bad], port=broker.port)
    gateway.settle(5)
    measured = gateway.metrics()
    assert measured["biogate_lag_seconds_count"] == 3
    assert measured["biogate_lag_seconds_sum"] < 9000
    assert measured["biogate_batch_frames_sum"] == 5
    assert 1 <= measured["biogate_batch_frames_count"] == measured["biogate_commit_seconds_count"] <= 5


async def test_a_connect_says_whether_the_broker_had_the_session(gateway: GatewayProcess, broker: Broker) -> None:
    for present in (0, 1):
        gateway.start()
        measured = gateway.metrics()
        assert (measured[CONNECTS % "no"], measured[CONNECTS % "yes"]) == (1 - present, present)
        assert gateway.terminate() == 0
