"""What every answer has, what is logged of a request, and what it is measured by."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from pathlib import Path

import httpx2
import pytest
from pydantic import ValidationError

from api.settings import ApiSettings
from tests.api import alarms
from tests.api.accounts import api_key, bearer
from tests.api.plant import Plant, at
from tests.api.test_limits import service
from tests.api.test_operation import process
from tests.api.test_problems import assert_problem
from tests.processes import wait_until

SECRET = "bgk_abcdefghijkl_a-secret-that-nobody-may-see"


async def test_every_answer_has_the_security_headers(plant: Plant, client: httpx2.AsyncClient) -> None:
    await plant.device("br-1")
    asked = {
        "/api/v1/devices": 200,
        "/api/v1/devices.csv": 200,
        "/api/v1/devices/br-9": 404,
        "/api/v1/devices?x=1": 422,
        "/nowhere": 404,
        "/health": 200,
        "/metrics": 200,
        "/openapi.json": 200,
        "/docs": 200,
        "/static-offline-docs/swagger-ui.css": 200,
    }
    for address, status in asked.items():
        answer = await client.get(address)
        assert answer.status_code == status, address
        assert answer.headers["x-content-type-options"] == "nosniff", address
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert (
            "unsafe-inline"
            not in answer.headers["content-security-policy"].partition("script-src")[2].partition(";")[0]
        )
        assert "strict-transport-security" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
        if address.startswith("/api"):
            assert answer.headers["cache-control"] == "no-store"
        assert len(answer.headers.get_list("x-request-id")) == 1


async def test_the_pages_may_run_their_own_scripts_and_no_others(client: httpx2.AsyncClient) -> None:
    for address in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        answer = await client.get(address)
        policy = answer.headers["content-security-policy"]
        inline = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
        for script in inline:
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy, address
        assert policy.count("sha256-") == len(inline)
        assert "onload=" not in answer.text
    assert "sha256-" not in (await client.get("/health")).headers["content-security-policy"]


async def test_with_tls_in_front_browsers_are_told_to_use_nothing_else(database_url: str) -> None:
    async with service(database_url, api_tls=True) as client:
        for address in ("/health", "/nowhere", "/docs", "/api/v1/devices"):
            assert (await client.get(address)).headers["strict-transport-security"] == "max-age=31536000"


async def test_pages_of_other_origins_may_ask_only_if_the_setting_names_them(database_url: str, plant: Plant) -> None:
    key = bearer(await api_key(plant.sql))
    ours, theirs = {"Origin": "https://plant.example"}, {"Origin": "https://evil.example"}
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "idempotency-key"}
    async with service(database_url) as client:
        assert "access-control-allow-origin" not in (await client.get("/api/v1/devices", headers=key | ours)).headers
        answer = await client.options("/api/v1/devices", headers=ours | preflight)
        assert "access-control-allow-origin" not in answer.headers
    async with service(database_url, api_cors_origins="https://plant.example,http://localhost:3000") as client:
        answer = await client.get("/api/v1/devices", headers=key | ours)
        assert answer.headers["access-control-allow-origin"] == "https://plant.example"
        assert answer.headers["access-control-allow-credentials"] == "true"
        answer = await client.options("/api/v1/devices", headers=ours | preflight)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://plant.example"
        assert "access-control-allow-origin" not in (await client.get("/api/v1/devices", headers=key | theirs)).headers
        assert (await client.options("/api/v1/devices", headers=theirs | preflight)).status_code == 400


@pytest.mark.parametrize("origins", ["*", "https://a b", "plant.example", "https://a.example/", "https://*.example"])
def test_origins_are_named_one_by_one(origins: str) -> None:
    with pytest.raises(ValidationError):
        ApiSettings(database_url="postgresql://u@h/d", api_cors_origins=origins)


async def test_head_is_get_without_the_body(plant: Plant, client: httpx2.AsyncClient) -> None:
    device = await plant.device("br-1")
    await plant.frames(device, await plant.layout(device, "ph"), [(at(n), [7.0], None) for n in range(3)])
    long = "/api/v1/devices/br-1/telemetry.csv?from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z"
    for address in ("/health", "/api/v1/devices", "/api/v1/devices/br-1/latest", "/nowhere", "/docs", long):
        get, head = await client.get(address), await client.head(address)
        assert head.status_code == get.status_code, address
        assert head.content == b""
        assert head.headers.get("content-type") == get.headers.get("content-type")
        assert head.headers.get("content-length") == get.headers.get("content-length")
    answer = await client.head("/api/v1/devices/br-1/suspend")
    assert answer.status_code == 405


async def test_options_and_wrong_methods_are_told_all_that_work(plant: Plant, client: httpx2.AsyncClient) -> None:
    await plant.device("br-1")
    for address, methods in {
        "/health": "GET, HEAD, OPTIONS",
        "/api/v1/devices/br-1/commands": "GET, HEAD, OPTIONS, POST",
        "/api/v1/devices/br-1/suspend": "OPTIONS, POST",
        "/api/v1/devices/br-1": "GET, HEAD, OPTIONS, PATCH",
    }.items():
        answer = await client.options(address)
        assert (answer.status_code, answer.content) == (204, b""), address
        assert answer.headers["allow"] == methods
        wrong = await client.request("BREW", address)
        assert_problem(wrong, 405)
        assert wrong.headers["allow"] == methods
    assert_problem(await client.options("/nowhere"), 404)


async def test_a_slash_too_many_leads_nowhere(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/api/v1/devices/", headers={"Host": "evil.example"})
    assert_problem(answer, 404)


async def test_a_request_has_an_id_and_a_sane_one_of_the_client_is_kept(client: httpx2.AsyncClient) -> None:
    given = (await client.get("/health", headers={"X-Request-ID": "job-7.a_B"})).headers["x-request-id"]
    assert given == "job-7.a_B"
    made = {(await client.get("/health")).headers["x-request-id"] for _ in range(50)}
    assert len(made) == 50
    for insane in ("x" * 65, "a b", "<script>", "a\tb", "ü"):
        answer = await client.get("/health", headers={b"X-Request-ID": insane.encode()})
        assert re.fullmatch(r"[0-9a-f]{10}-[0-9a-f]+", answer.headers["x-request-id"]), insane


async def test_a_problem_of_ours_names_the_request_and_the_log_has_it(
    plant: Plant, database_url: str, tmp_path: Path
) -> None:
    key = bearer(await api_key(plant.sql))
    log = tmp_path / "log"
    async with process(log, BIOGATE_DATABASE_URL=database_url) as (_, client):
        await plant.sql.execute(
            "create or replace view api.devices as select * from public.devices where 1 / (device_id - device_id) = 0"
        )
        await plant.device("br-1")
        answer = await client.get("/api/v1/devices", headers=key | {"X-Request-ID": "mine"})
        problem = assert_problem(answer, 500)
        assert problem["request_id"] == "mine"
        assert "division" not in answer.text
        assert "request_id" not in (await client.get("/nowhere")).json()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    [answered] = [line for line in lines if line.get("request_id") == "mine" and line["event"] == "answered"]
    assert answered["status"] == 500
    [cause] = [line for line in lines if line.get("request_id") == "mine" and line["event"] == "database error"]
    assert (cause["sqlstate"], cause["level"]) == ("22012", "error")
    assert "division by zero" in cause["message"]
    assert any(one.startswith("queries/devices.py:") for one in cause["trace"])


@pytest.mark.parametrize(
    ("broken", "path", "sqlstate", "kind"),
    [
        ("drop view api.devices cascade", "/api/v1/devices", "42501", "schema"),
        ("alter view api.devices rename column title to called", "/api/v1/devices", "42703", "schema"),
        ("alter table users add check (name <> 'x') not valid", "/api/v1/auth/register", "23514", None),
        (
            "create function boom() returns trigger language plpgsql as"
            " $$ begin raise 'boom' using errcode = 'XX000'; end $$;"
            "create trigger boom before insert on users for each row execute function boom()",
            "/api/v1/auth/register",
            "XX000",
            "other",
        ),
    ],
)
async def test_the_log_has_the_sqlstate_of_what_the_database_refused_and_no_row(
    plant: Plant, database_url: str, tmp_path: Path, broken: str, path: str, sqlstate: str, kind: str | None
) -> None:
    key = bearer(await api_key(plant.sql))
    log = tmp_path / "log"
    body = {"email": "eva@example.org", "name": "x", "password": "correct horse battery"}
    async with process(log, BIOGATE_DATABASE_URL=database_url) as (_, client):
        await plant.sql.execute(broken)
        if path.endswith("register"):
            answer = await client.post(path, json=body, headers={"X-Request-ID": "mine"})
        else:
            answer = await client.get(path, headers=key | {"X-Request-ID": "mine"})
    text = log.read_text()
    causes = [json.loads(line) for line in text.splitlines() if '"database error"' in line]
    assert [(one["sqlstate"], one["kind"], one["request_id"]) for one in causes] == (
        [] if kind is None else [(sqlstate, kind, "mine")]
    )
    assert answer.status_code == {"schema": 503, "other": 500, None: 422}[kind]
    assert "$2b$" not in text


async def test_the_log_has_what_the_process_that_tries_rules_met(
    plant: Plant, database_url: str, tmp_path: Path
) -> None:
    key = bearer(await api_key(plant.sql))
    await plant.device("br-1")
    log = tmp_path / "log"
    async with process(log, False, BIOGATE_DATABASE_URL=database_url) as (_, client):
        await plant.sql.execute("create or replace view api.frames as select f.* from public.frames f where 1 / 0 = 1")
        trial = {"definition": alarms.RULE, "from": "-1h"}
        answer = await client.post("/api/v1/alarm-trials", json=trial, headers=key | {"X-Request-ID": "mine"})
        assert_problem(answer, 500)
    causes = [json.loads(line) for line in log.read_text().splitlines() if '"database error"' in line]
    assert {(one["sqlstate"], one["request_id"]) for one in causes} == {("22012", "mine")}


async def test_the_log_has_who_what_and_how_long_and_no_secrets(
    plant: Plant, database_url: str, tmp_path: Path
) -> None:
    key = await api_key(plant.sql)
    await plant.device("br-1")
    log = tmp_path / "log"
    async with process(log, BIOGATE_DATABASE_URL=database_url, BIOGATE_API_SLOW="60") as (_, client):
        assert (await client.get("/api/v1/devices", headers=bearer(key))).status_code == 200
        await client.get(f"/api/v1/devices?cursor={SECRET}", headers=bearer(key))
        async with httpx2.AsyncClient(base_url=client.base_url) as nobody:
            cookie = {"Cookie": f"__Host-biogate={SECRET}"}
            await nobody.get(f"/nowhere?token={SECRET}", headers=bearer(SECRET) | cookie)
            await nobody.get("/api/v1/devices", headers=cookie)
            await nobody.get("/api/v1/devices", headers={"Authorization": f"Basic {SECRET}"})
            await nobody.get("/" + "long" * 1000)
        await client.post("/api/v1/devices/br-1/suspend", content=SECRET, headers=bearer(key))
        await client.get("/health")
        # after they are answered
        await asyncio.to_thread(wait_until, lambda: log.read_text().count('"answered"') >= 7, 10)
    text = log.read_text()
    assert "a-secret-that" not in text
    assert key not in text
    assert key.split("_", 2)[2] not in text
    lines = [line for line in map(json.loads, text.splitlines()) if line["event"] == "answered"]
    first = lines[0]
    assert (
        first.items()
        >= {
            "method": "GET",
            "path": "/api/v1/devices",
            "route": "/api/v1/devices",
            "status": 200,
            "caller": "key",
            "who": f"key {key.split('_')[1]} (test)",
            "level": "info",
            "logger": "api",
        }.items()
    )
    assert first["bytes"] > 50
    assert 0 < first["database_ms"] <= first["milliseconds"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first["timestamp"])
    print(log.read_text())
    assert [line["caller"] for line in lines].count("anonymous") == 4
    assert max(len(line["path"]) for line in lines) <= 200
    assert not [line for line in lines if line["route"] == "/health"]


async def test_a_slow_request_is_a_warning_with_where_the_time_went(
    plant: Plant, database_url: str, tmp_path: Path
) -> None:
    key = bearer(await api_key(plant.sql))
    await plant.device("br-1")
    await plant.sql.execute("alter view api.devices rename to real_devices")
    await plant.sql.execute(
        "create view api.devices as select d.* from api.real_devices d, pg_sleep(0.3);"
        " grant select on api.devices to biogate_api"
    )
    log = tmp_path / "log"
    settings = {"BIOGATE_DATABASE_URL": database_url, "BIOGATE_API_POOL_SIZE": "2", "BIOGATE_API_SLOW": "0.25"}
    async with process(log, **settings) as (_, client):
        await client.get("/api/v1/serials", headers=key)
        answers = await asyncio.gather(*(client.get("/api/v1/devices", headers=key) for _ in range(4)))
        assert [answer.status_code for answer in answers] == [200] * 4
        wait_until(lambda: len(re.findall('"event": ?"slow"', log.read_text())) >= 4, 5, log.read_text)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    slow = [line for line in lines if line["event"] == "slow" and line["route"] == "/api/v1/devices"]
    assert len(slow) == 4
    assert {line["level"] for line in slow} == {"warning"}
    for line in slow:
        assert line["database_ms"] > 290
        total = line["waiting_ms"] + line["database_ms"] + line["rest_ms"]
        assert total == pytest.approx(line["milliseconds"], abs=0.3)
    assert max(line["waiting_ms"] for line in slow) > 200  # one connection of two listens
    assert not [line for line in lines if line["event"] == "answered" and line["route"] == "/api/v1/devices"]


async def test_a_command_waited_for_is_not_slow(plant: Plant, database_url: str, tmp_path: Path) -> None:
    key = bearer(await api_key(plant.sql))
    await plant.device("br-1")
    log = tmp_path / "log"
    async with process(log, BIOGATE_DATABASE_URL=database_url, BIOGATE_API_SLOW="2") as (_, client):
        asked = await client.post(
            "/api/v1/devices/br-1/commands",
            json={"name": "identify", "why": "test"},
            headers=key | {"Idempotency-Key": "k"},
        )
        answer = await client.get(asked.headers["location"], params={"wait": "3s"}, headers=key)
        assert answer.status_code == 200
        path = answer.request.url.path
        await asyncio.to_thread(wait_until, lambda: path in log.read_text(), 10, log.read_text)
    [line] = [line for line in map(json.loads, log.read_text().splitlines()) if line.get("path") == path]
    assert line["milliseconds"] >= 3000
    assert line["event"] == "answered"


async def test_the_quantiles_of_each_route_are_in_the_metrics(client: httpx2.AsyncClient) -> None:
    for _ in range(20):
        await client.get("/health")
        await client.get("/no/such/address")
    text = (await client.get("/metrics")).text
    for route in ("/health", "other"):
        found = {
            quantile: float(value)
            for quantile, value in re.findall(
                rf'biogate_api_request_quantile_seconds{{quantile="([\d.]+)",route="{route}"}} (\S+)', text
            )
            + re.findall(rf'biogate_api_request_quantile_seconds{{route="{route}",quantile="([\d.]+)"}} (\S+)', text)
        }
        assert found.keys() == {"0.5", "0.95", "0.99"}, route
        assert 0 < found["0.5"] <= found["0.95"] <= found["0.99"] < 60  # seconds, not milliseconds
    assert "no/such" not in text


async def test_the_address_is_what_a_trusted_proxy_says_and_nobody_else(
    plant: Plant, database_url: str, tmp_path: Path
) -> None:
    """X-Forwarded-For counts from trusted addresses alone: else it would be a way round the limits."""
    settings = {"BIOGATE_DATABASE_URL": database_url, "BIOGATE_API_ANONYMOUS_RATE": "1"}
    for trusted, refused in (("127.0.0.1", False), ("10.1.2.3", True)):
        async with (
            process(tmp_path / trusted, **settings, BIOGATE_API_TRUSTED_PROXIES=trusted) as (_, client),
            httpx2.AsyncClient(base_url=client.base_url) as nobody,
        ):
            found = [
                (await nobody.get("/nowhere", headers={"X-Forwarded-For": f"192.0.2.{n}"})).status_code
                for n in range(20)
            ]
            assert (429 in found) is refused, trusted
