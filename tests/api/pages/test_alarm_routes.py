"""The pages of who is told of alarms: a form that keeps the URL to itself, and test messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api.access.roles import Role
from gateway.secrets import Secrets, ensure_vault
from tests.api.accounts import organization
from tests.api.pages.conftest import Visitor, visiting
from tests.api.pages.forms import Fields, forms
from tests.api.plant import Plant

URL = "mailtos://biogate:s3cret@smtp.example.org?to=shift@example.org"


@pytest.fixture
async def teller(plant: Plant, admin: Visitor, secrets_dir: Path) -> Visitor:
    await ensure_vault(plant.sql, Secrets.load(secrets_dir))
    return admin


def form(page: str, address: str) -> Fields:
    [found] = forms(page, address)
    return found


async def stored(plant: Plant) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        await plant.sql.fetchval("select definition from alarm_routes where name = 'shift'")
    )
    return found


async def test_a_route_is_made_changed_tested_and_removed(plant: Plant, teller: Visitor) -> None:
    assert "Nobody is told yet" in await teller.shown("alarms/notifications")
    fields = form(await teller.shown("alarm-routes"), "alarm-routes")
    typed = {"0.mon": "true", "0.sun": "true", "0.begins": "22:00", "0.ends": "06:30", "time_zone": "Europe/Berlin"}
    typed |= {"name": "shift", "url": URL, "why": "agreed", "tags": "a\r\nb", "group_wait_s": "12345.678901"}
    refused = await teller.post("alarm-routes", htmx=True, **fields | typed)
    assert (refused.status_code, "group_wait_s" in refused.text.lower()) == (422, True)
    typed["group_wait_s"] = "1234.5678"
    made = await teller.post("alarm-routes", **fields | typed)
    assert made.headers["location"] == "/app/main/alarm-routes/shift"
    before = await stored(plant)
    assert before["hours"] == [{"days": ["mon", "sun"], "begins": "22:00", "ends": "06:30"}]
    assert (before["tags"], before["priorities"]) == (["a", "b"], ["critical", "high"])
    page = await teller.shown("alarm-routes/shift")
    assert "s3cret" not in page + await teller.shown("alarms/notifications")
    mine = form(page, "alarm-routes/shift")
    assert (await teller.post("alarm-routes/shift", **mine | {"why": "looked"})).status_code == 303
    assert await stored(plant) == before, "saved as it is, nothing changes"
    assert await plant.sql.fetchval("select version from alarm_routes") == 1
    await teller.post("alarm-routes/shift", **mine | {"why": "all", "send_returns": "true"})
    late = await teller.post("alarm-routes/shift", htmx=True, **mine | {"why": "late", "time_zone": "UTC"})
    assert (late.status_code, "was changed meanwhile" in late.text) == (412, True)
    tested = await teller.post("alarm-routes/shift/test", htmx=True, why="does it work?")
    assert (tested.status_code, "test message" in tested.headers["hx-trigger"]) == (204, True)
    part = await teller.get("alarm-routes/shift", headers={"HX-Request": "true", "HX-Request-Type": "partial"})
    assert "on its way" in part.text
    assert "<form" not in part.text
    gone = await teller.post("alarm-routes/shift/remove", version="2", why="not used")
    assert gone.headers["location"] == "/app/main/alarms/notifications"
    assert (await teller.get("alarm-routes/shift")).status_code == 404
    rows = await plant.sql.fetch("select why, who from audit where subject = 'alarm-route/shift' order by n")
    assert [row["why"] for row in rows] == ["agreed", "all", "does it work?", "not used"]


async def test_failures_are_in_sight(plant: Plant, teller: Visitor) -> None:
    fields = form(await teller.shown("alarm-routes"), "alarm-routes")
    await teller.post("alarm-routes", **fields | {"name": "shift", "url": URL, "why": "x"})
    await plant.sql.execute("update alarm_routes set failing_since = now(), last_error = '535 <wrong password>'")
    assert "535 &lt;wrong password&gt;" in await teller.shown("alarms/notifications")
    wrong = await teller.post("alarm-routes", htmx=True, **fields | {"name": "b", "url": "file:///etc", "why": "x"})
    assert (wrong.status_code, "scheme that is not allowed" in wrong.text) == (422, True)


async def test_it_is_for_admins_and_of_their_organization(plant: Plant, teller: Visitor, database_url: str) -> None:
    fields = form(await teller.shown("alarm-routes"), "alarm-routes")
    await teller.post("alarm-routes", **fields | {"name": "shift", "url": URL, "why": "x"})
    async with visiting(database_url, plant.sql, "eva@example.org", Role.ENGINEER) as engineer:
        assert "Who is told" not in await engineer.shown("alarms")
        for path in ("alarms/notifications", "alarm-routes", "alarm-routes/shift"):
            assert (await engineer.get(path)).status_code == 403, path
        for path in ("alarm-routes", "alarm-routes/shift", "alarm-routes/shift/test", "alarm-routes/shift/remove"):
            assert (await engineer.post(path, htmx=True, why="x")).status_code == 403, path
    await organization(plant.sql, "north")
    async with visiting(database_url, plant.sql, "nora@example.org", Role.ADMIN, "north") as nora:
        assert "shift" not in (await nora.shown("alarms/notifications")).split("<h1>")[1]
        assert (await nora.get("alarm-routes/shift")).status_code == 404
        assert (await nora.post("alarm-routes/shift/remove", version="1", why="x")).status_code == 404
    assert await plant.sql.fetchval("select count(*) from alarm_routes") == 1
