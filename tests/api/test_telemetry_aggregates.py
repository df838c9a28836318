"""Buckets of a long time out of the community edition's own continuous aggregates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from api.database import Database
from api.queries import samples
from api.queries.devices import Channel
from api.queries.selection import Selection
from api.series.samples import Samples
from tests.api.plant import Plant, at, text

pytestmark = pytest.mark.timescale
HOUR, DAYS = 3600, 4
ASKED = {"device": "br-1", "channel": "ph", "bucket": "1d", "aggregate": "sum,count,max"}


@pytest.fixture(autouse=True)
async def _community(plant: Plant) -> None:
    edition = await plant.sql.fetchval("select current_setting('timescaledb.license')")
    if edition != "timescale":
        pytest.skip(f"the server has TimescaleDB's {edition} edition")
    await plant.sql.execute("select _timescaledb_functions.stop_background_workers()")


async def refresh(plant: Plant) -> None:
    for name in ("telemetry_1m", "telemetry_1h"):
        await plant.sql.execute(f"call refresh_continuous_aggregate('{name}', null, null)")


async def ask(client: httpx2.AsyncClient) -> list[list[Any]]:
    answer = await client.get(
        "/api/v1/telemetry", params={**ASKED, "from": text(-2 * HOUR + 7), "to": text(DAYS * 86_400)}
    )
    assert answer.status_code == 200, answer.text
    return [row[2:] for row in answer.json()["rows"]]


async def test_hours_come_from_the_aggregates_and_late_history_with_them(
    plant: Plant, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "ph")
    count = DAYS * 86_400 // 60
    await plant.frames(
        device, layout, [(at(n * 60), [1e308 if n == 3000 else 1.0], [1] if n == 70 else None) for n in range(count)]
    )
    await refresh(plant)
    read: list[float] = []
    pages = samples.pages

    async def watched(database: Database, wanted: Selection, channel: Channel, *more: Any) -> AsyncIterator[Samples]:
        read.append((wanted.end - wanted.begin).total_seconds())
        async for page in pages(database, wanted, channel, *more):
            yield page

    monkeypatch.setattr(samples, "pages", watched)
    # The plant's clock begins at 10:00; a bad minute and an absurd one are in the 2nd and in the 3rd day.
    wanted = [[839, 839, 1.0], [1440, 1440, 1.0], [1439, 1440, 1e308], [1440, 1440, 1.0], [600, 600, 1.0]]
    assert await ask(client) == wanted
    assert sorted(read) == [HOUR - 7, HOUR, HOUR], "the begin, and the hours of the bad and of the absurd sample"
    await plant.frames(device, layout, [(at(90), [5.0], None)])
    await refresh(plant)
    wanted[0] = [844, 840, 5.0]
    assert await ask(client) == wanted
