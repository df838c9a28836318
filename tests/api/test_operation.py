"""Health, metrics, the description, and the process itself."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from api.settings import ApiSettings
from tests.api.accounts import api_key, bearer
from tests.api.conform import conforms
from tests.api.operators import shape
from tests.api.plant import Plant, at, text
from tests.faults.proxy import Link, Mode, Network, through
from tests.forked import Forked
from tests.gateway.material import until

LOADED_S = 1.0
"""What a machine that does other things as well may add."""
LISTENING = re.compile(r"running on http://127\.0\.0\.1:(\d+)")


@asynccontextmanager
async def process(
    log: Path, forked: bool = True, /, **settings: str
) -> AsyncIterator[tuple[Forked | subprocess.Popen[bytes], httpx2.AsyncClient]]:
    """`python -m api` on a free port, asked by an admin."""
    sql = await asyncpg.connect(settings["BIOGATE_DATABASE_URL"])
    headers = bearer(await api_key(sql))
    await sql.close()
    environment = {**os.environ, "BIOGATE_API_PORT": "0", "BIOGATE_API_ACQUIRE_TIMEOUT": "60", **settings}
    child: Forked | subprocess.Popen[bytes]
    log.touch()
    if forked:
        child = Forked("api", environment=environment, out=log)
    else:
        with log.open("wb") as out:
            child = subprocess.Popen([sys.executable, "-m", "api"], env=environment, stdout=out, stderr=out)
    try:
        async with asyncio.timeout(60):
            while (found := LISTENING.search(log.read_text())) is None:
                assert child.poll() is None, log.read_text()
                await asyncio.sleep(0.05)
        address = f"http://127.0.0.1:{found[1]}"
        async with httpx2.AsyncClient(base_url=address, timeout=30, headers=headers) as client:
            yield child, client
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


async def test_the_process_answers_over_tcp_and_ends_with_0_on_sigterm(
    database_url: str, plant: Plant, tmp_path: Path
) -> None:
    device = await plant.device("br-1")
    await plant.frames(device, await plant.layout(device, "ph"), [(at(0), [7.0], None)])
    log = tmp_path / "log"
    async with process(log, False, BIOGATE_DATABASE_URL=database_url) as (child, client):
        assert (await client.get("/health")).json() == {"status": "alive"}
        assert (await client.get("/ready")).json() == {"status": "ready"}
        answer = await client.get("/api/v1/devices/br-1/telemetry", params={"from": text(0), "to": text(1)})
        assert answer.json()["rows"] == [[text(0), 7.0]]
        assert "uvicorn" not in answer.headers.get("server", "")
        child.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(child.wait, 15) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    [answered] = [line for line in lines if line["event"] == "answered" and "telemetry" in line["path"]]
    assert (answered["status"], answered["route"]) == (200, "/api/v1/devices/{device}/telemetry")


@asynccontextmanager
async def hanging_network(link: Link, _: asyncpg.Connection) -> AsyncIterator[None]:
    link.set(Mode.HANG)
    yield
    link.set(Mode.PASS)


@asynccontextmanager
async def locked_migrations(_: Link, sql: asyncpg.Connection) -> AsyncIterator[None]:
    async with sql.transaction():
        await sql.execute("lock table _pogo_migration")
        yield


@pytest.mark.parametrize(("hanging", "reachable"), [(hanging_network, 0), (locked_migrations, 1)])
async def test_ready_answers_within_two_seconds_whatever_hangs(
    database_url: str,
    plant: Plant,
    tmp_path: Path,
    hanging: Callable[[Link, asyncpg.Connection], AbstractAsyncContextManager[None]],
    reachable: int,
) -> None:
    with Network() as network:
        link = network.link(urlsplit(database_url).port or 5432)
        settings = {"BIOGATE_DATABASE_URL": through(link, database_url)}

        async def is_reachable() -> int:
            found = re.search(
                r"^biogate_api_database_reachable (\d)", (await client.get("/metrics")).text, re.MULTILINE
            )
            assert found is not None
            return int(found[1])

        async with process(tmp_path / "log", **settings) as (_, client):
            assert (await client.get("/ready")).status_code == 200
            async with hanging(link, plant.sql):
                began = asyncio.get_running_loop().time()
                answer = await client.get("/ready")
                took = asyncio.get_running_loop().time() - began
                assert answer.status_code == 503
                assert "within 1.5 s" in answer.json()["detail"]
                assert took < 2 + LOADED_S
                await until(lambda: says(is_reachable(), reachable))
            await until(lambda: says(is_reachable(), 1))


async def says(asked: Awaitable[float], expected: float) -> bool:
    return await asked == expected


async def test_downloads_broken_off_leave_nothing_running_and_the_pool_whole(
    database_url: str, plant: Plant, tmp_path: Path
) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "ph")
    await plant.sql.execute(
        "insert into frames select t, $1, $2, null, null, t, array[1] from generate_series($3::timestamptz,"
        " $3::timestamptz + interval '2 days', interval '1 s') t",
        *(device, layout, at(0)),
    )
    asked = {"from": text(0), "to": text(3 * 86400)}
    settings = {"BIOGATE_DATABASE_URL": database_url, "BIOGATE_API_POOL_SIZE": "3"}
    async with process(tmp_path / "log", **settings) as (_, client):
        for number in range(30):
            parameters = asked if number % 2 else {**asked, "bucket": "1s"}
            async with client.stream("GET", "/api/v1/devices/br-1/telemetry.csv", params=parameters) as answer:
                assert answer.status_code == 200
                await anext(answer.aiter_bytes(100))
        answers = await asyncio.gather(*(client.get("/api/v1/devices") for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        busy = (
            "select count(*) from pg_stat_activity where application_name = 'biogate-api'"
            " and datname = current_database() and state <> 'idle'"
        )
        async with asyncio.timeout(20):
            while await plant.sql.fetchval(busy):
                await asyncio.sleep(0.05)

        async def aborted() -> float:
            told = re.search(
                r'requests_total\{.*telemetry\.csv",status="aborted"\} (\S+)', (await client.get("/metrics")).text
            )
            return 0 if told is None else float(told[1])

        await until(lambda: says(aborted(), 30))


async def test_an_answer_that_fails_half_way_is_not_complete_for_the_client(
    database_url: str, plant: Plant, tmp_path: Path
) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "ph")
    await plant.sql.execute(
        "insert into frames select t, $1, $2, null, null, t, array[1] from generate_series($3::timestamptz,"
        " $3::timestamptz + interval '10 days', interval '1 s') t",
        *(device, layout, at(0)),
    )
    asked = {"from": text(0), "to": text(11 * 86400)}
    async with process(tmp_path / "log", BIOGATE_DATABASE_URL=database_url) as (_, client):
        async with client.stream("GET", "/api/v1/devices/br-1/telemetry.csv", params=asked) as answer:
            assert answer.status_code == 200
            parts = answer.aiter_bytes()
            await anext(parts)
            await plant.sql.execute("alter view api.frames rename to frames_away")
            with pytest.raises(httpx2.RemoteProtocolError):
                await _read_on(parts)
        assert (await client.get("/health")).status_code == 200


async def _read_on(parts: AsyncIterator[bytes]) -> None:
    async for _ in parts:
        pass


def test_wrong_settings_are_named_without_their_values() -> None:
    environment = {**os.environ, "BIOGATE_API_PORT": "x", "BIOGATE_DATABASE_URL": "mysql://u:secret@h/d"}
    done = subprocess.run(
        [sys.executable, "-m", "api"], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "BIOGATE_API_PORT" in done.stderr
    assert "BIOGATE_DATABASE_URL" in done.stderr
    assert "secret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_every_setting_is_described() -> None:
    assert all(field.description for field in ApiSettings.model_fields.values())


async def test_requests_are_counted_by_route_method_and_status(plant: Plant, client: httpx2.AsyncClient) -> None:
    await plant.device("br-1")
    await client.get("/api/v1/devices/br-1/latest")
    await client.get("/api/v1/devices/br-2/latest")
    await client.get("/nowhere/at/all")
    await client.request("BREW", "/api/v1/devices")
    metrics = (await client.get("/metrics")).text
    route = 'route="/api/v1/devices/{device}/latest"'
    assert f'biogate_api_requests_total{{method="GET",{route},status="2xx"}}' in metrics
    assert f'biogate_api_requests_total{{method="GET",{route},status="4xx"}}' in metrics
    assert 'biogate_api_requests_total{method="GET",route="other",status="4xx"}' in metrics
    assert 'method="other"' in metrics
    assert "nowhere" not in metrics
    assert f'biogate_api_request_seconds_bucket{{le="0.05",{route}}}' in metrics


async def test_docs_work_without_internet(client: httpx2.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    resources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert resources
    for address in resources:
        assert address.startswith("/")
        assert (await client.get(address)).status_code == 200


async def test_every_route_is_described_with_an_example_and_its_problems(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert len(document["paths"]) > 30
    for path, operations in document["paths"].items():
        for operation in operations.values():
            answers = operation["responses"]
            assert operation["summary"], path
            good = {status: answer for status, answer in answers.items() if status.startswith("2")}
            for answer in good.values():
                told = (
                    kind
                    for kind in answer.get("content", {}).values()
                    if kind.get("schema", {}).get("format") != "binary"
                )
                assert all({"example", "examples"} & kind.keys() for kind in told), path
            problems = {status: answer for status, answer in answers.items() if status not in good}
            assert "500" in problems, path
            assert all(list(answer["content"]) == ["application/problem+json"] for answer in problems.values()), path
            if path.startswith("/api/v1"):
                assert {"422", "503", "504"} <= problems.keys(), path
            for parameter in operation.get("parameters", []):
                assert parameter.get("description") or parameter["schema"].get("description"), (path, parameter["name"])


async def test_the_examples_have_the_shape_of_the_answers(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        if not path.startswith("/api/v1"):
            continue
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                content: dict[str, Any] = answer.get("content", {}).get("application/json", {})
                if status.startswith("2") and content:
                    models = [
                        shape(one["$ref"].rsplit("/", 1)[1])
                        for one in content["schema"].get("oneOf", [content["schema"]])
                    ]
                    examples = [example["value"] for example in content["examples"].values()]
                    assert examples, path
                    of_each = models if len(models) > 1 else models * len(examples)  # one of each, in this order
                    for model, example in zip(of_each, examples, strict=True):
                        conforms(model, example)
