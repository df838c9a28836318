"""Grafana's dashboards: each says what it shows, and every query of it has an answer of a plant that runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import asyncpg
import paho.mqtt.client as mqtt
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from deploy.stack import Local
from deploy.stack.paths import BIOGATE, CHECKOUT, Paths
from deploy.stack.ports import any_free
from tests.deploy import rules
from tests.prometheus import Prometheus
from tests.reference import METRICS
from tests.schema.logins import with_login
from tests.system.deploy.conftest import FLOWING, Up, gone_afterwards
from tests.system.operation import dashboards
from tests.system.operation.dashboards import Query, View

SOURCES = yaml.safe_load((dashboards.GRAFANA / "provisioning" / "datasources" / "biogate.yml").read_text())
UNITS = {"none", "short", "string", "s", "bytes", "Bps", "reqps", "percent", "percentunit", "celsius", "rotrpm"}
BOARDS = {board["uid"]: board for board in map(dashboards.read, dashboards.FILES)}
PAGE = re.compile(r"docs/[\w/-]+\.md(?:#[\w-]+)?")
EVERY_BOARD = pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))

# -- as they are written


def test_there_is_a_dashboard_for_each_part() -> None:
    assert set(BOARDS) == {
        f"biogate-{part}" for part in ("shift", "plant", "bioreactor", "gateway", "database", "broker")
    }
    assert len(BOARDS) == len(dashboards.FILES)


def test_what_an_operator_sees_first_is_short() -> None:
    """And is what the plant's page shows, word by word."""
    plant = {panel["title"]: panel for panel in dashboards.panels(BOARDS["biogate-plant"])}
    shift = list(dashboards.panels(BOARDS["biogate-shift"]))
    assert len(shift) <= 8
    for panel in shift:
        assert panel["targets"] == plant[panel["title"]]["targets"]


OF_THE_HOST = re.compile("node_|disk:")
"""What node_exporter has, which does not run here: such a query must be understood, and may be without an answer."""


@EVERY_BOARD
def test_every_panel_says_what_it_shows_in_which_unit(board: dict[str, Any]) -> None:
    for key in ("id", "title"):
        told = [panel[key] for panel in dashboards.panels(board)]
        assert len(set(told)) == len(told)
    for panel in dashboards.panels(board):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"], panel["id"]
        assert panel["description"].endswith((".", ")")) or "docs/" in panel["description"], panel["title"]
        assert defaults["unit"] in UNITS or defaults["unit"].startswith("suffix: "), panel["title"]
        assert panel["targets"], panel["title"]
        if panel["type"] == "timeseries":
            assert not defaults["custom"]["spanNulls"], f"{panel['title']} draws lines over gaps"
        if "$__interval" in json.dumps(panel["targets"]) and panel["datasource"]["uid"] == "timescaledb":
            assert panel["interval"] == "1s", f"{panel['title']} would not look closer than a minute"
    assert board["description"]
    assert board["timezone"] == "utc"


@EVERY_BOARD
def test_health_stands_before_saturation_and_that_before_traffic(board: dict[str, Any]) -> None:
    rows = [panel["title"].split(":")[0] for panel in board["panels"] if panel["type"] == "row"]
    order = ["Health", "Saturation", "Process", "Traffic", "Traffic and gaps", "$channel"]
    assert [order.index(row) for row in rows] == sorted(order.index(row) for row in rows)


@EVERY_BOARD
def test_panels_do_not_lie_on_each_other(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def sources(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("datasource"), dict):
            yield value["datasource"]
        for item in value.values():
            yield from sources(item)
    elif isinstance(value, list):
        for item in value:
            yield from sources(item)


@EVERY_BOARD
def test_data_sources_are_those_that_are_provisioned(board: dict[str, Any]) -> None:
    given = {source["uid"]: source["type"] for source in SOURCES["datasources"]}
    for source in sources(board):
        assert given.get(source["uid"]) == source["type"] or source["uid"] == "-- Mixed --"


@EVERY_BOARD
def test_pages_and_dashboards_that_are_named_exist(board: dict[str, Any]) -> None:
    for panel in dashboards.panels(board):
        for found in PAGE.findall(panel["description"]):
            page, _, anchor = found.partition("#")
            headings = re.findall(r"^#+ (.+)$", (CHECKOUT / page).read_text(), re.MULTILINE)
            assert not anchor or anchor in {heading.lower().replace(" ", "-") for heading in headings}, found
    for uid in re.findall(r"/d/([\w-]+)", json.dumps(board)):
        assert uid in BOARDS, uid


@EVERY_BOARD
def test_every_metric_that_is_asked_for_is_exported(board: dict[str, Any]) -> None:
    exported = set().union(*(rules.exported(part) for part in METRICS))
    for query in dashboards.queries(board):
        if query.kind != "sql":
            assert {name for name in metrics(query.text) if name.startswith("biogate_")} <= exported, query.name
            assert set(re.findall(r"\w+:[\w:]+", query.text)) <= rules.recorded(), query.name


def metrics(text: str) -> set[str]:
    """Without the names of recorded figures."""
    return set(rules.NAME.findall(re.sub(r"\w+:[\w:]+", "", text)))


def stems(names: set[str]) -> set[str]:
    """Of a histogram any part."""
    return {re.sub("_(bucket|count|sum)$", "", name) for name in names}


def test_the_dashboard_that_an_alert_names_shows_what_the_alert_asks_for() -> None:
    recorded = {rule["record"]: rule["expr"] for _, rule in rules.rules() if "record" in rule}
    shown: dict[str, set[str]] = {}
    for uid, board in BOARDS.items():
        texts = [query.text for query in dashboards.queries(board) if query.kind != "sql"]
        texts += [recorded[name] for text in texts for name in re.findall(r"\w+:[\w:]+", text)]
        shown[uid] = stems(set().union(*map(metrics, texts)))
    lacking = {}
    for alert in rules.alerts():
        texts = [alert.expr, *(recorded[name] for name in re.findall(r"\w+:[\w:]+", alert.expr))]
        uid = alert.annotations["dashboard"].removeprefix("/d/")
        if lacks := stems(set().union(*map(metrics, texts))) - shown[uid]:
            lacking[str(alert)] = (uid, lacks)
    assert lacking == {}


# -- in a plant that runs

DEVICE = "own-0001"
LOOPS = ("temperature", "ph", "dissolved_oxygen")
CHANNELS = (
    *(f"{loop}{part}" for loop in LOOPS for part in ("", "_setpoint", "_output")),
    *(
        "agitation",
        "gas_flow",
        "exhaust_o2",
        "exhaust_co2",
        "otr",
        "ctr",
        "rq",
        "feed_a_rate",
        "feed_a_total",
        "volume",
    ),
)
STEP = timedelta(seconds=2)
BEGIN, GAP, BACK = (timedelta(seconds=-s) for s in (600, 300, 180))
"""Its frames begin, cease, and come again, before now."""
RULE = {
    "title": "Temperature high",
    "priority": "high",
    "when": {"kind": "limit", "channel": "temperature", "level": "high", "limit": 38.0},
}
RULES = "rule_files:\n  - {}/firing.yml\n"
FIRING = "groups: [{name: tests, rules: [{alert: Fires, expr: vector(1), labels: {severity: warning}}]}]"
ENOUGH_S = 90.0


class Refused(Exception):
    """By a data source: the query is wrong."""


@dataclass(frozen=True)
class Plant:
    """`make up`, a controller with a past of ten minutes, a Prometheus, and a login of the organization's."""

    prometheus: str
    sql: asyncpg.Connection
    now: datetime

    def view(self, back: timedelta = timedelta(minutes=15), interval: int = 2) -> View:
        end = datetime.now(UTC)
        return View(end - back, end, interval, {"device": DEVICE, "channel": "ph", "cell": ".*"})

    async def answer(self, query: Query, view: View) -> list[dict[str, Any]]:
        """Rows, or series that have a value. Raises for what the data source refuses."""
        if query.kind == "sql":
            try:
                return [dict(row) for row in await self.sql.fetch(view.expand(query.text))]
            except asyncpg.PostgresError as error:
                raise Refused(f"{query.name}: {error}") from error
        return await asyncio.to_thread(self._series, query, view)

    def _series(self, query: Query, view: View) -> list[dict[str, Any]]:
        if query.kind == "labels":
            found = re.fullmatch(r"label_values\((\w+), (\w+)\)", query.text)
            assert found is not None, query.text
            path, asked = f"label/{found[2]}/values", {"match[]": found[1]}
            return [{"value": value} for value in self._ask(path, asked)]
        asked = {"query": view.expand(query.text)}
        if query.form == "instant":
            series = self._ask("query", asked)["result"]
            return [one for one in series if one["value"][1] != "NaN"]
        asked |= {"start": str(view.end.timestamp() - 20), "end": str(view.end.timestamp()), "step": "2"}
        series = self._ask("query_range", asked)["result"]
        return [one for one in series if any(value != "NaN" for _, value in one["values"])]

    def _ask(self, path: str, asked: dict[str, str]) -> Any:
        url = f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(asked)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            raise Refused(f"{asked}: {error.read().decode()}") from error


def biogate(environment: dict[str, str], *arguments: str) -> None:
    subprocess.run(
        [*BIOGATE, *arguments], cwd=CHECKOUT, env={**os.environ, **environment}, check=True, capture_output=True
    )


def ask(endpoints: dict[str, str], method: str, path: str, body: dict[str, Any]) -> None:
    key = Path(endpoints["BIOGATE_API_KEY_FILE"]).read_text().strip()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    url = f"{endpoints['BIOGATE_API_URL']}/api/v1/{path}"
    asked = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(asked, timeout=20) as answer:
        assert answer.status < 300


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def tell(login: dict[str, Any], now: datetime) -> None:
    """The controller's past: frames with a gap and bad values, phases, a dose, and a message that is none."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=login["client_id"], protocol=mqtt.MQTTv5)
    client.username_pw_set(login["username"], login["password"])
    client.tls_set(login["ca_file"])
    client.connect(login["host"], login["port"])
    client.loop_start()

    def publish(topic: str, content: object) -> None:
        client.publish(f"{login['topic']}/{topic}", json.dumps(content), qos=1).wait_for_publish(20)

    publish("status", {"status": "online", "boot": 1, "t": milliseconds(now + BEGIN), "firmware": "2.1"})
    for back, phase in ((BEGIN, "inoculation"), (GAP, "batch")):
        publish("event", {"type": "phase", "t": milliseconds(now + back), "boot": 1, "data": {"phase": phase}})
    for seq in range(round(-BEGIN / STEP)):
        at = BEGIN + seq * STEP
        if at < GAP or at >= BACK:
            values = dict.fromkeys(CHANNELS, 37.0 + (at >= BACK) * 2)
            quality = {"q": dict.fromkeys(LOOPS, 1)} if seq % 50 == 7 else {}
            frame = {"boot": 1, "seq": seq, "t": milliseconds(now + at), "v": values, **quality}
            client.publish(f"{login['topic']}/telemetry", json.dumps(frame), qos=1)
    publish("telemetry", "not telemetry")
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def up(stack: Local, tmp_path: Path) -> Iterator[Up]:
    with gone_afterwards(Up(f"{stack.paths.name}-dashboards", tmp_path / "output")) as up:
        up.canary = True
        up.start(BIOGATE_DATABASE_BYTES="1000000000", BIOGATE_CANARY_INTERVAL_S="1")
        up.wait_for(FLOWING.pattern, ENOUGH_S)
        yield up
        up.end(signal.SIGINT)


@pytest.fixture
async def plant(up: Up, tmp_path: Path) -> AsyncIterator[Plant]:
    endpoints, now = up.endpoints(), datetime.now(UTC)
    conf, scraped = tmp_path / "prometheus.yml", up.paths.prometheus.read_text()
    conf.write_text(
        scraped.replace("10s", "1s")
        .replace("timeout: 5s", "timeout: 1s")
        .replace("rule_files:\n", RULES.format(tmp_path))
    )
    (tmp_path / "firing.yml").write_text(FIRING)
    name = f"dashboards-{os.getpid()}"
    with Prometheus(Paths(f"{up.paths.name}/prometheus"), conf, tmp_path / "data", port=any_free()) as prometheus:
        ask(endpoints, "PUT", "alarm-rules/high?why=tests", RULE)
        biogate(endpoints, "devices", "login", DEVICE, "--to", str(tmp_path / "login"), "--why", "tests")
        await asyncio.to_thread(tell, json.loads((tmp_path / "login" / "login.json").read_text()), now)
        ask(endpoints, "POST", f"devices/{DEVICE}/annotations", {"begins": (now + GAP).isoformat(), "text": "probe"})
        biogate(endpoints, "sql-login", "add", name, "--to", str(tmp_path / "password"), "--why", "tests")
        sql = await asyncpg.connect(
            with_login(endpoints["BIOGATE_DATABASE_URL"], name, (tmp_path / "password").read_text().strip())
        )
        try:
            yield Plant(prometheus.url, sql, now)
        finally:
            await sql.close()
            biogate(endpoints, "sql-login", "end", name, "--why", "tests")


def fits(query: Query, rows: list[dict[str, Any]]) -> bool:
    """Whether Grafana can draw it."""
    if query.kind != "sql" or query.form == "instant":
        return bool(rows)
    if query.form == "time_series" and rows:
        times = [row["time"] for row in rows]
        assert times == sorted(times), f"{query.name} is not in the order of time"
        assert set(rows[0]) == {"time", "metric", "value"}, query.name
        return any(row["value"] is not None for row in rows)
    return any(value is not None for row in rows for value in row.values())


async def test_every_query_has_an_answer(plant: Plant) -> None:
    waiting = [(uid, query) for uid, board in BOARDS.items() for query in dashboards.queries(board)]
    refused: list[str] = []
    deadline = asyncio.get_running_loop().time() + ENOUGH_S
    while waiting and not refused:
        assert asyncio.get_running_loop().time() < deadline, f"no answer: {waiting}"
        asked, waiting = waiting, []
        for uid, query in asked:
            try:
                if not fits(query, await plant.answer(query, plant.view())) and not OF_THE_HOST.search(query.text):
                    waiting.append((uid, query))
            except Refused as error:
                refused.append(f"{uid}: {error}")
        await asyncio.sleep(1 if waiting else 0)
    assert refused == []

    board = BOARDS["biogate-bioreactor"]
    of = {query.name: query for query in dashboards.queries(board)}
    lost, back = plant.now + GAP, plant.now + BACK
    for name in ("Temperature/A", "pH/A", "pH/B", "$channel/A"):
        line = await plant.answer(of[name], plant.view())
        ends = [row["time"] for row in line if row["value"] is None]
        assert len(ends) == 1, f"{name} is not interrupted where nothing was received"
        assert lost - 2 * STEP < ends[0] < back, name
        assert not [row for row in line if lost < row["time"] < back - STEP and row["value"] is not None], name
    marked = await plant.answer(of["pH/D"], plant.view())
    assert {row["metric"] for row in marked} == {"pH, bad"}
    quality = await plant.answer(of["Quality/A"], plant.view())
    assert {row["value"] for row in quality if row["metric"] == "ph"} == {0, 1, None}
    assert {row["value"] for row in quality if row["metric"] == "agitation"} == {0, None}
    [frames] = await plant.answer(of["Frames missing/A"], plant.view())
    assert frames == {"missing": round((BACK - GAP) / STEP), "lost": 0}

    for query in of.values():  # from afar, out of what was summed up by the minute
        rows = await plant.answer(query, plant.view(timedelta(hours=20), 60))
        assert fits(query, rows) or "quality <> 0" in query.text, query.name
    assert {row["device"] for row in await plant.answer(of["$device"], plant.view())} >= {DEVICE}
    assert {row["channel"] for row in await plant.answer(of["$channel"], plant.view())} >= {"ph", "agitation"}
