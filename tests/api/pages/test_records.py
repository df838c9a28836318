"""The pages of search, of the shift log, of cards and places."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncpg
import pytest

from tests.api.accounts import OWN_PAGE
from tests.api.pages.conftest import Visitor, trail
from tests.api.pages.forms import forms
from tests.api.plant import Plant

TODAY = datetime.now(UTC).date().isoformat()


@pytest.fixture
async def plant(sql: asyncpg.Connection) -> Plant:
    return Plant(sql)


async def test_what_is_searched_for_is_shown_with_its_page(admin: Visitor, viewer: Visitor, plant: Plant) -> None:
    await plant.device("br-1")
    await admin.act("vessels/br-1/notes", begins="now", text="<i>foam</i> & acid")
    await admin.act("deviations", title="Foam over", severity="minor")
    await admin.act("shift-log", text="foam again")
    assert "It finds words in notes" in await admin.words("search?q=")
    shown = await admin.shown("search?q=foam&kind=&device=&from=&to=")
    for part in ("<mark>foam</mark>", "&amp; acid", "/vessels/br-1", "/deviations/DEV-", "/shift-log"):
        assert part in shown, part
    assert "<i>" not in shown
    assert "reason" in await admin.words("search?q=foam&kind=reason")
    assert (await viewer.get("search?q=foam&kind=reason")).status_code == 403
    assert "Nothing has these words in that time" in await admin.words("search?q=foam&to=2020-01-01")
    assert (await admin.get("search?q=!")).status_code == 422


async def test_a_shift_is_handed_over_and_accepted(admin: Visitor, operator: Visitor, plant: Plant) -> None:
    await plant.device("br-1")
    await admin.act("shift-log", text="br-1 foams", devices="br-1", handed_to=operator.email)
    assert forms(await admin.shown("shift-log"), "/accept") == []
    assert forms(await operator.shown("shift-log"), "/accept") == [{}]
    assert (await admin.refused("shift-log/1/accept"))[0] == 409
    await operator.act("shift-log/1/accept")
    assert f"to {operator.email} , accepted" in (await admin.words("shift-log")).replace(",", " ,").replace("  ", " ")
    assert (await admin.refused("shift-log", text="x", devices="br-9"))[0] == 404
    assert [event[1] for event in await trail(plant.sql)] == ["shift entry", "shift accept"]


async def test_a_card_is_written_and_what_is_due_is_seen_everywhere(admin: Visitor, plant: Plant) -> None:
    await plant.layout(await plant.device("br-1"), "ph")
    assert "Calibration due" not in await admin.words("plant")
    [sent] = forms(await admin.shown("devices/br-1"), "/br-1/card")
    lines = f"EF-1; pH; {TODAY}\r\nEF-2; DO;\r\n"
    card = sent | {"model": "Biostat", "working_volume": "3.5", "probes": lines, "why": "new"}
    await admin.act("devices/br-1/card", **card)
    assert "Model Biostat Working volume 3.5 L" in await admin.words("devices/br-1")
    for path in ("plant", "vessels/br-1", "devices/br-1"):
        assert "Calibration due of 1 probe" in await admin.words(path), path
    assert (await admin.refused("devices/br-1/card", **card))[0] == 412
    assert (await admin.refused("devices/br-1/card", **card | {"probes": "EF-1; pH; soon", "version": "2"}))[0] == 422
    [again] = forms(await admin.shown("devices/br-1"), "/br-1/card")
    await admin.act("devices/br-1/card", **again | {"why": "the same"})  # as it was shown: nothing changes
    assert [event[1] for event in await trail(plant.sql)] == ["device card", "device constants"]


async def put_place(visitor: Visitor, path: str, end: str = "", **more: str) -> int:
    fields = {"path": path, "why": "new"} | more
    address = visitor.address(f"devices-places{end}")
    return (await visitor.client.post(address, data=fields, headers=OWN_PAGE)).status_code


async def test_places_are_made_and_removed(admin: Visitor, viewer: Visitor, plant: Plant) -> None:
    assert await put_place(admin, "Basel", kind="site") == 303
    assert await put_place(admin, "Basel/Hall 2", kind="hall") == 303
    assert "Basel / Hall 2 hall" in await viewer.words("devices-places")
    assert forms(await viewer.shown("devices-places"), "remove") == []
    assert await put_place(admin, "Basel", "/remove") == 409
    assert await put_place(admin, "Basel/Hall 2", "/remove") == 303
    assert [event[1] for event in await trail(plant.sql)] == ["location create", "location create", "location remove"]
