"""A plant a module: its tests share servers, gateway and event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.stack import Local
from tests.conftest import Broker, start_broker
from tests.system.enrollment.plant import Neighbour, Plant, neighbour
from tests.system.enrollment.watch import Count


@pytest.fixture(scope="module")
def module_broker(stack: Local, secrets_dir: Path) -> Iterator[Broker]:
    with start_broker(stack, None, secrets_dir) as broker:
        yield broker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(
    module_broker: Broker,
    module_database_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Plant]:
    """With one gateway; a module's SETTINGS are the gateway's."""
    settings = getattr(request.module, "SETTINGS", {})
    plant = Plant(module_broker, module_database_url, tmp_path_factory.mktemp("plant"), **settings)
    try:
        plant.start()
        yield plant
    finally:
        plant.kill()
    assert not plant.complaints()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other(plant: Plant) -> AsyncIterator[Neighbour]:
    """Another device of the plant, sending all the while."""
    async with neighbour(plant) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def unharmed(plant: Plant, other: Neighbour) -> AsyncIterator[None]:
    """Nobody else notices anything of the test: an honest device enrolls at once, the other device's frames are all
    there, no login is lost, and the gateway is the same process and knows of no defect."""
    process, logins = plant.gateway.child.pid, await plant.devices_logins()
    yield
    await plant.quickly()
    await other.assert_whole()
    assert (plant.gateway.child.pid, plant.gateway.child.poll()) == (process, None)
    assert not plant.complaints()
    assert not await plant.value("select exists (select from audit_faults())")
    ended = await plant.sql("select username from credentials where wanted = 'absent'")
    assert logins - await plant.devices_logins() <= {row["username"] for row in ended}


@pytest_asyncio.fixture(loop_scope="module")
async def count(plant: Plant) -> Count:
    return Count(plant, await plant.audited())
