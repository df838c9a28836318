"""A real Prometheus scrapes real processes, while real faults happen to them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from deploy.stack import Local, scraping
from deploy.stack.paths import CHECKOUT, Paths
from deploy.stack.ports import any_free
from tests.api.accounts import api_key
from tests.conftest import Broker
from tests.deploy import rules
from tests.processes import GatewayProcess, wait_until
from tests.prometheus import Prometheus

DURATION = re.compile(r"(\[|for: )\d+[mhd]\b")
FIRED_S = 60
AWAY = (
    ("BiogateDatabaseAway", "critical"),
    ("BiogateNotConnected", "critical"),
    ("BiogateCanaryLost", "critical"),
)
DOWN = "BiogateGatewayDown", "critical"

FALSIFY = """
create function falsify() returns trigger language plpgsql as $$
begin
    new.values = array[-1];
    return new;
end $$;
create trigger falsify before insert on frames for each row execute function falsify()"""
"""Whatever is stored from now on is -1."""


@pytest.fixture
def hasty_rules(tmp_path: Path) -> Path:
    """The rules, looking back for seconds only."""
    folder = tmp_path / "rules"
    folder.mkdir()
    for file in rules.FILES:
        text = DURATION.sub(lambda match: match[1] + ("6s" if match[1] == "[" else "1s"), file.read_text())
        (folder / file.name).write_text(text.replace("offset 15m", "offset 5s"))
    return folder


class Watched:
    """A plant's processes, and the Prometheus that scrapes them."""

    def __init__(self, prometheus: Prometheus, gateway: GatewayProcess) -> None:
        self.prometheus, self.gateway = prometheus, gateway

    def ask(self, path: str, **parameters: str) -> Any:
        with urllib.request.urlopen(
            f"{self.prometheus.url}{path}?{urllib.parse.urlencode(parameters)}", timeout=5
        ) as it:
            return json.load(it)["data"]

    def up(self) -> dict[str, str]:
        return {target["labels"]["job"]: target["health"] for target in self.ask("/api/v1/targets")["activeTargets"]}

    def firing(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {
            (alert["labels"]["alertname"], alert["labels"]["severity"]): alert
            for alert in self.ask("/api/v1/alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def wait_for(self, *alerts: tuple[str, str]) -> None:
        wait_until(lambda: set(alerts) <= set(self.firing()), FIRED_S, lambda: str(sorted(self.firing())))

    def wait_for_the_end_of(self, *alerts: tuple[str, str]) -> None:
        wait_until(lambda: not set(alerts) & set(self.firing()), FIRED_S, lambda: str(sorted(self.firing())))

    def metrics(self, job: str) -> set[str]:
        return set(self.ask("/api/v1/label/__name__/values", **{"match[]": f'{{job="{job}"}}'}))


@contextmanager
def running(log: Path, *arguments: str, **environment: str) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=CHECKOUT, env={**os.environ, **environment},
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield
    finally:
        process.kill()
        process.wait()
        print(log.read_text()[-1500:])


@pytest.fixture
async def watched(
    stack: Local, gateway: GatewayProcess, broker: Broker, database_url: str, tmp_path: Path, hasty_rules: Path
) -> AsyncIterator[Watched]:
    """Gateway, API, canary, two simulated devices, and no alarms process."""
    sql = await asyncpg.connect(database_url)
    await sql.execute("insert into devices (name) values ('canary'), ('sim-0001'), ('sim-0002')")
    (tmp_path / "key").write_text(await api_key(sql))
    await sql.close()
    login = {"host": "127.0.0.1", "port": broker.port, "tls": False, "username": "", "password": "", "device": "canary"}
    (tmp_path / "login.json").write_text(json.dumps(login))
    gateway.forked = False  # with its own metrics, and not those of whatever else was imported before
    gateway.start(ready=False)
    ports = {"gateway": gateway.port} | {job: any_free() for job in ("api", "canary", "simulator")}
    urls = {job: f"http://127.0.0.1:{port}" for job, port in ports.items()}
    conf = tmp_path / "prometheus.yml"
    conf.write_text(scraping.render(urls, hasty_rules).replace("10s", "1s").replace("timeout: 5s", "timeout: 1s"))
    simulator = ["device_sim", "--devices", "2", "--rate", "5", "--mqtt-url", broker.url]
    paths = Paths(f"{stack.paths.name}/prometheus")
    with ExitStack() as parts:
        parts.enter_context(
            running(tmp_path / "api.log", "api", BIOGATE_DATABASE_URL=database_url, BIOGATE_API_PORT=str(ports["api"]))
        )
        parts.enter_context(running(tmp_path / "simulator.log", *simulator, "--http-port", str(ports["simulator"])))
        parts.enter_context(
            running(
                tmp_path / "canary.log",
                "gateway.canary",
                BIOGATE_CANARY_LOGIN=str(tmp_path / "login.json"),
                BIOGATE_CANARY_KEY_FILE=str(tmp_path / "key"),
                BIOGATE_CANARY_API_URL=urls["api"],
                BIOGATE_CANARY_HTTP_PORT=str(ports["canary"]),
                BIOGATE_CANARY_INTERVAL_S="0.5",
                BIOGATE_CANARY_DEADLINE_S="4",
            )
        )
        server = parts.enter_context(Prometheus(paths, conf, tmp_path / "data", port=any_free()))
        yield Watched(server, gateway)


@pytest.mark.parametrize("broker", [{"sys_interval": "1"}], indirect=True)
@pytest.mark.timeout(400)
async def test_faults_raise_their_alerts_which_end_with_them(
    watched: Watched, database_url: str, postgres_url: str
) -> None:
    wait_until(lambda: list(watched.up().values()) == ["up"] * 4, FIRED_S, lambda: str(watched.up()))
    gateway = watched.gateway
    gateway.settle(20)
    wait_until(lambda: "biogate_broker_uptime_seconds" in watched.metrics("gateway"), FIRED_S)
    for job, part in (("gateway", "gateway"), ("api", "API"), ("canary", "canary"), ("simulator", "simulator")):
        ours = {name for name in watched.metrics(job) if name.startswith("biogate_")}
        assert ours, job
        assert ours <= rules.exported(part), f"{job} has what docs/reference.md does not"
    watched.wait_for(("Watchdog", "none"), ("BiogateTargetAbsent", "warning"))
    watched.wait_for_the_end_of(*AWAY, DOWN)  # which a start together can look like

    database = urlsplit(database_url).path[1:]
    admin = await asyncpg.connect(postgres_url)
    try:
        await admin.execute(f"alter database {database} with allow_connections false")
        await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", database)
        watched.wait_for(*AWAY)
        for alert in watched.firing().values():
            for text in alert["annotations"].values():
                assert "<" not in text, "a template that cannot be filled in"
    finally:
        await admin.execute(f"alter database {database} with allow_connections true")
        await admin.close()
    watched.wait_for_the_end_of(*AWAY)

    gateway.kill()
    watched.wait_for(DOWN)
    gateway.start()
    watched.wait_for_the_end_of(DOWN)

    sql = await asyncpg.connect(database_url)
    await sql.execute(FALSIFY)
    await sql.close()
    watched.wait_for(("BiogateCanaryWrong", "critical"))
