"""How much may be asked: requests of a caller and bytes of a body."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from starlette.requests import HTTPConnection

from api.access import attempts
from api.access.roles import Role
from api.app import create_app
from api.edge import limits
from api.settings import ApiSettings
from tests.api.accounts import api_key, bearer, quick, serving
from tests.api.plant import Plant
from tests.api.test_problems import assert_problem

BIG = b"x" * 70_000


@asynccontextmanager
async def service(database_url: str, **settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Without a key."""
    app = create_app(quick(ApiSettings(database_url=database_url, **settings)))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        yield client


async def statuses(client: httpx2.AsyncClient, count: int, address: str, **how: Any) -> list[int]:
    return [(await client.get(address, **how)).status_code for _ in range(count)]


def test_a_bucket_lets_a_burst_pass_and_then_its_rate() -> None:
    buckets = limits.Buckets(10)
    now = 1000.0
    passed = sum(buckets.take("eva", now) == 0 for _ in range(100))
    assert passed == 10 * limits.BURST_S
    wait = buckets.take("eva", now)
    assert 0 < wait <= 0.1
    assert buckets.take("ben", now) == 0
    assert buckets.take("eva", now + wait * 0.9) > 0
    assert buckets.take("eva", now + wait + 1e-6) == 0
    passed = sum(buckets.take("eva", now + 1 + step / 100) == 0 for step in range(300))  # three seconds
    assert 38 <= passed <= 42
    assert sum(buckets.take("eva", now + 100) == 0 for _ in range(100)) == 10 * limits.BURST_S


def test_a_request_given_back_counts_for_nothing() -> None:
    buckets = limits.Buckets(1)
    for _ in range(100):
        assert buckets.take("eva", 5.0) == 0
        buckets.give_back("eva")


def test_no_rate_is_no_limit() -> None:
    buckets = limits.Buckets(0)
    assert {buckets.take("eva", 1.0) for _ in range(10_000)} == {0}


def test_the_buckets_do_not_grow_with_every_address_there_is() -> None:
    buckets = limits.Buckets(10)
    for number in range(5 * limits.MOST_CALLERS):
        buckets.take(str(number), 7.0)
        assert len(buckets._empty_at) <= limits.MOST_CALLERS


def network(host: str | None) -> str:
    client = None if host is None else (host, 1)
    return attempts.network(HTTPConnection({"type": "http", "client": client}))


def test_of_an_ipv6_address_the_network_counts() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff:2")
    assert network("2001:db8:1::1") != network("2001:db8::1")
    assert network("10.0.0.1") == "10.0.0.1"
    assert network("fe80::1%eth0") == network("fe80::2")
    assert network(None) == "unknown"


async def test_ipv4_callers_that_come_by_ipv6_have_a_bucket_each(database_url: str) -> None:
    """A proxy that listens on `::` tells their addresses as ::ffff:10.0.0.1 and so on."""
    async with serving(database_url, address="::ffff:10.0.0.1", api_anonymous_rate=1) as client:
        found = await statuses(client, 10, "/api/v1/devices")
        assert 429 in found
        client.move("::ffff:10.0.0.2")
        assert set(await statuses(client, 5, "/api/v1/devices")) == {401}
        client.move("10.0.0.1")
        assert 429 in await statuses(client, 5, "/api/v1/devices")


async def test_a_caller_over_the_rate_is_told_when_to_come_back(database_url: str, plant: Plant) -> None:
    key, other = [bearer(await api_key(plant.sql, role=Role.VIEWER)) for _ in range(2)]
    async with service(database_url, api_rate=4, api_anonymous_rate=1) as client:
        found = await statuses(client, 40, "/api/v1/devices", headers=key)
        assert found[:20] == [200] * 20
        assert 429 in found
        answer = await client.get("/api/v1/devices", headers=key)
        assert "slower" in assert_problem(answer, 429)["detail"]
        assert int(answer.headers["retry-after"]) == 1
        assert await statuses(client, 15, "/api/v1/devices", headers=other) == [200] * 15
        metrics = (await client.get("/metrics")).text
        assert 'biogate_api_limited_total{kind="caller"}' in metrics
        await asyncio.sleep(1)
        assert 200 in await statuses(client, 1, "/api/v1/devices", headers=key)


async def test_an_address_without_credentials_or_with_wrong_ones_is_limited_and_who_has_some_is_not(
    database_url: str, plant: Plant
) -> None:
    key = bearer(await api_key(plant.sql))
    async with service(database_url, api_anonymous_rate=2) as client:
        guesses = [
            (await client.get("/api/v1/devices", headers=bearer(f"bgk_abcdefghijkl_{number}"))).status_code
            for number in range(30)
        ]
        assert guesses[:10] == [401] * 10
        assert guesses[-1] == 429
        for address in ("/api/v1/devices", "/nowhere", "/openapi.json"):
            assert_problem(await client.get(address), 429)
        for address in ("/health", "/ready", "/metrics"):
            assert await statuses(client, 30, address) == [200] * 30
    async with service(database_url, api_anonymous_rate=2) as client:
        assert await statuses(client, 60, "/api/v1/devices", headers=key) == [200] * 60
        # These were not counted for the address either.
        assert await statuses(client, 8, "/nowhere") == [404] * 8


async def bodies(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 10_000):
        yield b" " * 10_000


async def test_a_body_too_large_is_413_whether_it_says_so_or_not(plant: Plant, client: httpx2.AsyncClient) -> None:
    await plant.device("br-1")
    for address in ("/api/v1/devices/br-1/suspend", "/api/v1/devices/br-1/commands"):
        key = {"Idempotency-Key": "k"}
        assert_problem(await client.post(address, content=BIG, headers=key), 413)
        assert_problem(await client.post(address, content=bodies(80_000), headers=key), 413)
        assert_problem(await client.post(address, content=b"{}", headers=key), 422)
    for length in ("99999999999999999999", "-1", "x"):
        lie = {"Content-Length": length}
        assert_problem(await client.post("/api/v1/devices/br-1/suspend", content=b"{}", headers=lie), 413)
    # Also where nobody would read it.
    assert_problem(await client.request("GET", "/api/v1/devices", content=BIG), 413)
    assert_problem(await client.post("/nowhere", content=BIG), 413)


async def test_the_import_of_serials_has_a_limit_of_its_own(client: httpx2.AsyncClient) -> None:
    rows = [{"serial": f"BR-{number}", "claim_key": None} for number in range(5000)]
    body = json.dumps(rows).encode()
    assert len(body) > 65536
    answer = await client.post("/api/v1/serials", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code != 413, answer.text
    answer = await client.post(
        "/api/v1/serials", content=b" ", headers={"Content-Type": "application/json", "Content-Length": str(2**25)}
    )
    assert_problem(answer, 413)
