"""Prometheus and Grafana in docker-compose.yml."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
from ruamel.yaml import YAML

from api.admin.sql import MOST_CONNECTIONS, end_login
from deploy.stack.paths import CHECKOUT
from tests.deploy.composed import OURS, SERVICES, mounts


async def test_grafana_s_login_is_made_once_and_again_if_half_of_it_is_missing(
    tmp_path: Path, database: asyncpg.Connection, database_url: str
) -> None:
    login = f"grafana_{uuid4().hex[:8]}"  # logins are the server's, not a database's
    shell, flags, text = OURS["grafana-login"]["command"]
    text = re.sub(r"(sql-login (?:add|end)|grep -qx) grafana", rf"\1 {login}", text)
    text = text.replace("/var/lib/biogate/grafana", str(tmp_path)).replace("$$", "$")
    programs = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": programs, "PYTHONPATH": str(CHECKOUT), "BIOGATE_DATABASE_URL": database_url}
    password = tmp_path / "database.password"

    async def made() -> str:
        done = subprocess.run([shell, flags, text], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert password.stat().st_mode & 0o777 == 0o640
        assert await database.fetchval("select true from pg_roles where rolname = $1 and rolcanlogin", login)
        return password.read_text()

    try:
        first = await made()
        assert await made() == first
        password.unlink()
        second = await made()
        await end_login(database, login)
        assert len({first, second, await made()}) == 3
    finally:
        await end_login(database, login)


def test_prometheus_asks_services_that_listen_there() -> None:
    said = YAML(typ="safe").load(CHECKOUT / "deploy" / "prometheus" / "prometheus.yml")["scrape_configs"]
    targets = {target for job in said for static in job["static_configs"] for target in static["targets"]}
    assert len(targets) >= 5
    for host, _, port in (target.partition(":") for target in targets):
        service = SERVICES[host]
        given = [*service["command"], *map(str, service.get("environment", {}).values())]
        there = {port, f"--http-port={port}", f"--web.listen-address=0.0.0.0:{port}"}
        assert there & set(given), (host, port)
        assert any("0.0.0.0" in word for word in given), host


def test_grafana_s_data_sources_are_there() -> None:
    """Their hosts, logins and files are those of docker-compose.yml."""
    place = CHECKOUT / "deploy" / "grafana" / "provisioning"
    sources = YAML(typ="safe").load(place / "datasources" / "biogate.yml")["datasources"]
    by_uid = {source["uid"]: source for source in sources}
    assert urlsplit(by_uid["prometheus"]["url"]).hostname in SERVICES
    sql = by_uid["timescaledb"]
    assert sql["url"].partition(":")[0] in SERVICES
    assert f"sql-login add {sql['user']} " in OURS["grafana-login"]["command"][2]
    assert sql["jsonData"]["maxOpenConns"] < MOST_CONNECTIONS
    directory, _, file = sql["secureJsonData"]["password"].removeprefix("$__file{").removesuffix("}").rpartition("/")
    assert mounts(SERVICES["grafana"])["grafana-login"] == directory
    assert f"mv database.password.new {file}" in OURS["grafana-login"]["command"][2]
    assert SERVICES["grafana"]["environment"]["GF_PATHS_PROVISIONING"] == "/etc/biogate/grafana/provisioning"
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (CHECKOUT / "deploy" / "grafana" / home.partition("grafana/")[2]).exists()
    provider = YAML(typ="safe").load(place / "dashboards" / "biogate.yml")["providers"][0]
    assert provider["options"]["path"].startswith(mounts(SERVICES["grafana"])["./deploy/grafana"])
