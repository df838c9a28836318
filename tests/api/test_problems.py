"""Wrong input and trouble: a problem document that says what to change, and never a stack trace."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from api.access.tokens import ApiKey
from api.app import create_app
from api.settings import ApiSettings
from tests.api.accounts import api_key, bearer
from tests.api.plant import T0, Plant

T = "/api/v1/devices/br-1/telemetry"

WRONG = [
    # address, status, what the detail must say
    ("/nowhere", 404, "/docs"),
    ("/api/v1/devices/br-9", 404, "/api/v1/devices"),
    ("/api/v1/devices/br-9/telemetry", 404, "br-9"),
    ("/api/v1/devices/br-9/latest", 404, "br-9"),
    ("/api/v1/devices/br-9/events", 404, "br-9"),
    ("/api/v1/devices/-br", 422, "letters"),
    (f"/api/v1/devices/{'x' * 65}/channels", 422, "64"),
    ("/api/v1/devices/br%001", 422, "letters"),
    (f"{T}?chanels=ph", 422, "chanels: no such parameter; did you mean channels?"),
    (f"{T}?zzz=1", 422, "there are aggregate"),
    ("/api/v1/devices?offset=5", 422, "offset"),
    ("/api/v1/devices/br-1?x=1", 422, "x: no such parameter"),
    (f"{T}?channel=Ph", 422, "did you mean ph?"),
    (f"{T}?channel=", 422, "/api/v1/devices/br-1/channels"),
    (f"{T}?channel=ph&channels=ph", 422, "twice"),
    (f"{T}?channel=p%00h", 422, "NUL"),
    (f"{T}?from=yesterday", 422, "ISO 8601"),
    (f"{T}?from=2026-01-01T00:00:00", 422, "zone"),
    (f"{T}?from=2026-01-01", 422, "write 2026-01-01Z"),
    (f"{T}?from=1796000000", 422, "is it in seconds? Then write 1796000000000"),
    (f"{T}?from=20260101", 422, "is it a date? Then write 2026-01-01Z"),
    ("/api/v1/devices/br-1/annotations?from=1796000000", 422, "in seconds?"),
    ("/api/v1/alarms/health?from=1796000000", 422, "in seconds?"),
    ("/api/v1/devices/br-1/events?from=1796000000", 422, "in seconds?"),
    (f"{T}?from=2026-01-01T00:00:00+02:00", 422, "%2B"),
    (f"{T}?from=2026-13-01T00:00:00Z", 422, "ISO 8601"),
    (f"{T}?from=0001-01-01T00:00:00Z", 422, "1900"),
    (f"{T}?from=9999-12-31T23:59:59-10:00", 422, "9000"),
    (f"{T}?from=9999999999999999", 422, "9000"),
    (f"{T}?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 422, "before `to`"),
    (f"{T}?from=2026-01-01T00:00:00Z&from=2026-01-02T00:00:00Z", 422, "more than once"),
    (f"{T}?bucket=0s", 422, "more than 0"),
    (f"{T}?bucket=1y", 422, "10s or 5m"),
    (f"{T}?bucket=999999999w", 422, "at most"),
    (f"{T}?bucket=1m&limit=5", 422, "leave limit"),
    (f"{T}?bucket=1m&aggregate=mean", 422, "avg"),
    (f"{T}?aggregate=avg", 422, "bucket=1m"),
    (f"{T}?quality=best", 422, "'good'"),
    (f"{T}?limit=0", 422, "limit: "),
    (f"{T}?limit=1.5", 422, "limit"),
    (f"{T}?limit=99999999999999999999", 422, "rows"),
    (f"{T}?format=xml", 422, "'csv'"),
    (f"{T}.csv?format=json", 422, ".csv"),
    (f"{T}?cursor=x", 422, "next"),
    (f"{T}?cursor=%C3%A9", 422, "next"),
    (f"{T}?cursor=bnVsbA", 422, "next"),
    ("/api/v1/devices?limit=1001", 422, "1000"),
    ("/api/v1/devices/br-1?format=csv", 422, "json"),
    ("/api/v1/latest?within=0h", 422, "more than 0"),
    ("/api/v1/quarantine?reason=nonsense", 422, "too-old"),
    ("/api/v1/quarantine?state=gone", 422, "replayed"),
    ("/api/v1/quarantine/0", 422, "number"),
    ("/api/v1/quarantine/x", 422, "number"),
    ("/api/v1/quarantine/99999999999999999999", 422, "number"),
    ("/api/v1/quarantine/7", 404, "/api/v1/quarantine"),
    ("/api/v1/devices/br-1/events?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 422, "before"),
]


@pytest.fixture
async def device(plant: Plant) -> int:
    device = await plant.device("br-1")
    await plant.layout(device, "ph", "temperature")
    return device


def assert_problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "instance"} <= content.keys()
    assert content["status"] == status
    assert content["type"].startswith("urn:biogate:problem:")
    assert "Traceback" not in answer.text
    return content


async def test_wrong_input_is_told_what_to_change(device: int, client: httpx2.AsyncClient) -> None:
    for address, status, words in WRONG:
        answer = await client.get(address)
        assert words in assert_problem(answer, status)["detail"], (address, answer.text)


async def test_a_wrong_method_is_told_the_right_one(device: int, client: httpx2.AsyncClient) -> None:
    answer = await client.post("/api/v1/devices")
    assert "GET" in assert_problem(answer, 405)["detail"]
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_a_format_there_is_not_is_told_those_there_are(device: int, client: httpx2.AsyncClient) -> None:
    for address in (T, "/api/v1/devices", "/api/v1/latest"):
        answer = await client.get(address, headers={"accept": "application/xml, text/csv;q=0"})
        assert "text/csv" in assert_problem(answer, 406)["detail"]


async def test_a_cursor_of_another_query_is_refused(device: int, plant: Plant, client: httpx2.AsyncClient) -> None:
    for number in range(3):
        await plant.device(f"more-{number}")
    cursor = (await client.get("/api/v1/devices?limit=1")).json()["next"]
    for address in (f"{T}?cursor=", "/api/v1/latest?cursor=", "/api/v1/quarantine?cursor="):
        assert "cursor" in assert_problem(await client.get(address + cursor), 422)["detail"]
    assert (await client.get(f"/api/v1/devices?limit=2&cursor={cursor}")).status_code == 200


async def test_a_query_over_its_time_is_told_to_ask_for_less(device: int, plant: Plant, database_url: str) -> None:
    layout = await plant.layout(device, "ph")
    await plant.sql.execute(
        "insert into frames select t, $1, $2, null, null, t, array[1] from generate_series($3::timestamptz,"
        " $3::timestamptz + interval '1 day', interval '1 s') t",
        device,
        layout,
        T0,
    )
    app = create_app(ApiSettings(database_url=database_url, api_statement_timeout=0.02))
    headers = bearer(await api_key(plant.sql))
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://api", headers=headers) as it,
    ):
        answer = await it.get(f"{T}?from=2026-03-01T00:00:00Z&to=2026-03-05T00:00:00Z&bucket=1m")
        assert "wider buckets" in assert_problem(answer, 504)["detail"]


async def test_without_a_database_all_but_health_and_metrics_say_503_and_when_to_retry() -> None:
    app = create_app(ApiSettings(database_url="postgresql://nobody@127.0.0.1:9/none"))
    headers = bearer(str(ApiKey.new()))
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://api", headers=headers) as it,
    ):
        for address in ("/ready", "/api/v1/devices", T, f"{T}.csv", "/api/v1/latest", "/api/v1/quarantine"):
            answer = await it.get(address)
            assert "database" in assert_problem(answer, 503)["detail"]
            assert int(answer.headers["retry-after"]) > 0
        for address in ("/health", "/metrics", "/docs", "/openapi.json"):
            assert (await it.get(address)).status_code == 200


async def test_a_lost_connection_is_a_503_and_the_next_request_works(
    device: int, plant: Plant, client: httpx2.AsyncClient
) -> None:
    assert (await client.get("/api/v1/devices")).status_code == 200
    await plant.sql.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where application_name = 'biogate-api' and datname = current_database()"
    )
    answers = [await client.get("/api/v1/devices") for _ in range(2)]
    assert answers[0].status_code in {200, 503}
    assert answers[1].status_code == 200


async def test_missing_migrations_make_it_not_ready(plant: Plant, client: httpx2.AsyncClient) -> None:
    assert (await client.get("/ready")).status_code == 200
    await plant.sql.execute("delete from _pogo_migration where migration_id = '0002_standard_channels'")
    problem = assert_problem(await client.get("/ready"), 503)
    assert problem["pending"] == ["0002_standard_channels"]
    assert "biogate migrate" in problem["detail"]
    await plant.sql.execute("alter view api.frames rename to frames_away")
    assert "biogate migrate" in assert_problem(await client.get("/api/v1/latest"), 503)["detail"]


async def test_an_error_of_ours_shows_nothing_of_itself(plant: Plant, client: httpx2.AsyncClient) -> None:
    await plant.device("br-1")
    await plant.sql.execute(
        "create or replace view presence as select device_id, name as device, 1/0 = 1 as online, 1::bigint as boot,"
        " now() as since, now() as received_at, 1::bigint as oldest_seq, '' as firmware, '' as why from devices"
    )
    answer = await client.get("/api/v1/devices/br-1")
    problem = assert_problem(answer, 500)
    assert "division" not in answer.text
    assert "log" in problem["detail"]
