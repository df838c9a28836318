"""The short way answers as the usual one does, and lets nobody pass whom that would stop."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from api.access.roles import Role, Scope
from api.edge import shortcuts
from api.queries import latest
from api.routes.latest import PLAIN
from tests.api.accounts import Served, api_key, bearer
from tests.api.plant import Plant
from tests.api.test_problems import assert_problem

ADDRESS = "/api/v1/devices/br-1/latest"
USUAL = {"Accept": "application/json;q=0.9"}
"""Asks for the same, but not in the plainest way."""


@pytest.fixture
async def known(plant: Plant, client: Served) -> Served:
    """A caller who is remembered, and a device."""
    device = await plant.device("br-1")
    layout = await plant.layout(device, "ph", "temperature")
    await plant.frames(device, layout, [(datetime.now(UTC), [30.0, None], [0, 1])])
    await plant.device("br-2")
    await remembered(client)
    return client


async def remembered(client: Served, **headers: str) -> None:
    identities = client.identities
    async with asyncio.timeout(20):
        while not identities._listening:
            await asyncio.sleep(0.01)
    await client.get("/api/v1/devices", headers=headers)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way each request went."""
    taken: list[str] = []
    of_device = latest.of_device

    async def watched(database: Any, device: str, asked: latest.WantedLatest) -> Any:
        taken.append("short" if asked is PLAIN else "usual")
        return await of_device(database, device, asked)

    monkeypatch.setattr(latest, "of_device", watched)
    return taken


async def test_both_ways_answer_the_same(known: Served, ways: list[str]) -> None:
    for address in (ADDRESS, ADDRESS.replace("br-1", "br-2"), ADDRESS.replace("br-1", "br-9")):
        short, usual = await known.get(address), await known.get(address, headers=USUAL)
        assert short.status_code == usual.status_code
        assert short.json() == usual.json()
        names = {"x-request-id"}
        assert {n: v for n, v in short.headers.items() if n not in names} == {
            n: v for n, v in usual.headers.items() if n not in names
        }
    assert ways == ["short", "usual"] * 3


async def test_what_is_not_plain_goes_the_usual_way(known: Served, ways: list[str]) -> None:
    assert (await known.get(ADDRESS, params={"quality": "good"})).json()["quality"] == "good"
    assert (await known.get(ADDRESS, headers={"Accept": "text/csv"})).text.startswith("device,channel")
    assert (await known.get(f"{ADDRESS}.csv")).text.startswith("device,channel")
    assert ways == ["usual"] * 3
    assert_problem(await known.get(ADDRESS, params={"chanel": "ph"}), 422)
    assert_problem(await known.get("/api/v1/devices/-x/latest"), 422)
    assert_problem(await known.get(ADDRESS, headers={"Accept": "image/png"}), 406)
    assert len(ways) == 3


async def test_nobody_passes_whom_the_route_would_stop(known: Served, plant: Plant, ways: list[str]) -> None:
    without_scope = bearer(await api_key(plant.sql, scopes=[one for one in Scope if one is not Scope.TELEMETRY_READ]))
    foreign = bearer(await api_key(plant.sql, "north", Role.ADMIN))
    for _ in range(2):  # looked up, then remembered
        await remembered(known, **without_scope)
        await remembered(known, **foreign)
        assert_problem(await known.get(ADDRESS, headers=without_scope), 403)
        assert_problem(await known.get(ADDRESS, headers=foreign), 404)
        assert_problem(await known.get(ADDRESS, headers={"Biogate-Organization": "north"}), 404)
        assert_problem(await known.get(ADDRESS, headers=bearer("bgk_abcdefghijkl_x")), 401)
        assert_problem(await known.get(ADDRESS, headers={"Authorization": ""}), 401)
    assert set(ways) == {"short"}  # of the foreign one, who sees no such device
    assert len(ways) == 2


async def test_a_key_that_has_ended_takes_no_way(known: Served, plant: Plant) -> None:
    assert (await known.get(ADDRESS)).status_code == 200
    await plant.sql.execute("update api_keys set ended_at = now()")
    async with asyncio.timeout(5):  # without a notification it would take 10 s
        while (await known.get(ADDRESS)).status_code == 200:
            await asyncio.sleep(0.02)
    assert_problem(await known.get(ADDRESS), 401)


def test_a_shortcut_without_a_guard_is_not_taken_on() -> None:
    async def short(*_: object) -> None:
        return None

    @shortcuts.shortcut(short)
    async def endpoint() -> None:
        return None

    with pytest.raises(AssertionError, match="not guarded"):
        shortcuts.ShortRoute("/x", endpoint)
