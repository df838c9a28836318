"""Tables that are streamed have places: for each caller, for each organization, and in all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.api.accounts import Served, api_key, bearer, organization, serving
from tests.api.plant import Plant, at, text
from tests.gateway.material import until

OF_ONE, CONNECTIONS = 2, 40
"""So that there are five places."""
TABLES = ("devices/br-1/telemetry.csv", "devices/br-1/telemetry.arrow", "telemetry.parquet")

WAITING = """
select count(*) from pg_stat_activity
 where datname = current_database() and application_name = 'biogate-api' and wait_event_type = 'Lock'"""


@pytest.fixture
async def served(database_url: str, plant: Plant) -> AsyncIterator[Served]:
    """A device of each of three organizations, with frames that can be read."""
    for name in ("br-1", "north", "south"):
        device = await plant.device(name)
        await plant.frames(device, await plant.layout(device, "ph"), [(at(0), [7.0], None)])
    for name in ("north", "south"):
        number = await organization(plant.sql, name)
        await plant.sql.execute("update devices set organization_id = $1 where name = $2", number, name)
    given: dict[str, Any] = {"api_streams": OF_ONE, "api_connections": CONNECTIONS, "api_rate": 0}
    async with serving(database_url, base="http://api", api_statement_timeout=60, **given) as it:
        yield it


@asynccontextmanager
async def nobody_reads(database_url: str) -> AsyncIterator[None]:
    """Whoever reads frames waits."""
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute("lock table frames in access exclusive mode")
        yield
    await connection.close()


async def waiting(sql: asyncpg.Connection, count: int) -> None:
    """Until so many answers wait for frames."""

    async def are() -> bool:
        return bool(await sql.fetchval(WAITING) == count)

    await until(are, 30)


class Caller:
    """Asks with a key of its own, each time for a table that is streamed."""

    def __init__(self, served: Served, sql: asyncpg.Connection, key: str, device: str) -> None:
        self._served, self._sql, self._headers, self._device = served, sql, bearer(key), device
        self._asked = 0

    async def get(self) -> httpx2.Response:
        path = TABLES[self._asked % len(TABLES)].replace("br-1", self._device)
        self._asked += 1
        asked = {"from": text(0), "to": text(60)} | ({} if path.startswith("devices/") else {"device": self._device})
        return await self._served.get(f"/api/v1/{path}", params=asked, headers=self._headers)

    async def begin(self) -> asyncio.Task[httpx2.Response]:
        """Ask, and wait until the answer waits for frames."""
        before = await self._sql.fetchval(WAITING)
        asked = asyncio.create_task(self.get())
        await waiting(self._sql, before + 1)
        return asked


async def test_streams_are_shared_among_callers_and_organizations(
    served: Served, plant: Plant, database_url: str
) -> None:
    own = [Caller(served, plant.sql, await api_key(plant.sql), "br-1") for _ in range(3)]
    north, south = [Caller(served, plant.sql, await api_key(plant.sql, name), name) for name in ("north", "south")]
    async with nobody_reads(database_url):
        begun = [await own[0].begin(), await own[0].begin()]
        refused = await own[0].get()
        assert (refused.status_code, "you have 2 streams of tables open" in refused.text) == (429, True)
        assert refused.headers["Retry-After"] == "5"
        begun.append(await own[1].begin())
        refused = await own[2].get()
        assert (refused.status_code, "your organization has 3 streams" in refused.text) == (429, True)
        begun.append(await north.begin())
        refused = await north.get()
        assert (refused.status_code, "your organization has 1 streams" in refused.text) == (429, True)
        begun.append(await south.begin())
        refused = await own[1].get()
        assert (refused.status_code, "too many streams of tables are open" in refused.text) == (503, True)
        gone = begun.pop()
        gone.cancel()
        await waiting(plant.sql, 4)
        begun.append(await south.begin())
    answers = await asyncio.gather(*begun)
    assert [answer.status_code for answer in answers] == [200] * 5
    for _ in range(2 * len(TABLES)):
        assert (await own[0].get()).status_code == 200


async def test_a_stream_that_is_refused_or_asked_for_by_head_keeps_no_place(served: Served, plant: Plant) -> None:
    headers = bearer(await api_key(plant.sql))
    for _ in range(OF_ONE + 1):
        for table in TABLES:
            wrong = await served.get(f"/api/v1/{table}", params={"from": "never"}, headers=headers)
            assert wrong.status_code == 422
        head = await served.head("/api/v1/devices/br-1/telemetry.csv", params={"from": text(0)}, headers=headers)
        assert head.status_code == 200
