"""A database that is away: the processes say so within seconds, whichever way it is away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import Broker
from tests.faults.proxy import Link, Mode, Network, through
from tests.processes import AlarmsProcess, GatewayProcess, wait_until

LOADED_S = 2.0
"""What a machine that does other things as well may add."""


@pytest.fixture
def link(database_url: str) -> Iterator[Link]:
    with Network() as network:
        yield network.link(urlsplit(database_url).port or 5432)


@pytest.mark.parametrize("mode", [Mode.HANG, Mode.CUT], ids=str)
@pytest.mark.parametrize(
    ("kind", "metric"),
    [(GatewayProcess, "biogate_database_reachable"), (AlarmsProcess, "biogate_alarm_database_reachable")],
)
def test_ready_and_a_metric_say_it(
    kind: type[GatewayProcess], metric: str, mode: Mode, link: Link, database_url: str, broker: Broker, tmp_path: Path
) -> None:
    process = kind(through(link, database_url), broker.url, tmp_path / "log")
    process.start()
    try:
        wait_until(lambda: process.metrics().get(metric) == 1, 30)
        link.set(mode)
        began = time.monotonic()
        status, body = process.get("/ready")
        assert time.monotonic() - began < 2 + LOADED_S
        assert (status, "database" in body) == (503, True), body
        wait_until(lambda: process.metrics()[metric] == 0, 30)
        link.set(Mode.PASS)
        wait_until(lambda: process.metrics()[metric] == 1, 20)
        process.wait_ready(60)
    finally:
        process.end()
