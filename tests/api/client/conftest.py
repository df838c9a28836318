"""The client against a real API over TCP, with a real database behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.api.accounts import api_key
from tests.api.client.asker import Asker
from tests.api.live import listening
from tests.api.plant import Plant, at


@pytest.fixture
async def key(plant: Plant) -> str:
    return await api_key(plant.sql)


@pytest.fixture(params=["sync", "async"])
async def ask(request: pytest.FixtureRequest, database_url: str, key: str) -> AsyncIterator[Asker]:
    """Each method of both clients."""
    async with listening(database_url) as (address, _):
        yield Asker(request.param, f"http://{address}", key)


@pytest.fixture
async def two_devices(plant: Plant) -> Plant:
    """br-1 has two channels, a bad and a missing sample and a gap of ten minutes; br-2 has another channel, too.

    Values stand in the order of the channels in the database: temperature, ph, dissolved_oxygen.
    """
    first, second = await plant.device("br-1"), await plant.device("br-2")
    layout = await plant.layout(first, "ph", "temperature")
    await plant.frames(first, layout, [(at(n), [37.0, 7 + n / 100], None) for n in range(5)])
    await plant.frames(first, layout, [(at(5), [37.5, None], [0, 1]), (at(6), [None, 7.5], [None, 2])])
    await plant.frames(first, layout, [(at(606), [36.5, 7.25], None)])
    other = await plant.layout(second, "dissolved_oxygen", "ph")
    await plant.frames(second, other, [(at(n), [6 + n / 100, 40.0], None) for n in range(3)])
    return plant
