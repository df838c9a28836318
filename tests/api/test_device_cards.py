"""Cards of devices with probes whose calibration becomes due, and places as things of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.access.roles import Role
from api.queries import device_cards
from tests.api.accounts import api_key
from tests.api.operators import ORDER, Operator
from tests.api.plant import Plant
from tests.api.test_deviations import send
from tests.api.test_devices import north, operator

__all__ = ["north", "operator"]

PATH = "/devices/br-1/card"
TODAY = datetime.now(UTC).date()
YESTERDAY, TOMORROW = ((TODAY + timedelta(days=days)).isoformat() for days in (-1, 1))


def probe(serial: str, due_on: str | None) -> dict[str, Any]:
    return {"serial": serial, "kind": "pH", "due_on": due_on}


async def test_a_card_is_empty_then_written_and_the_trail_has_both(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    empty = await operator.get(PATH, "DeviceCard")
    assert (empty["version"], empty["model"], empty["probes"], empty["working_volume"]) == (1, "", [], None)
    body = ORDER | {
        "model": "B",
        "working_volume": 3500,
        "working_volume_unit": "mL",
        "probes": [probe("E1", TOMORROW)],
    }
    answer = await send(operator, "PUT", PATH, body, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    assert (await send(operator, "PUT", PATH, body, headers={"If-Match": '"1"'})).status_code == 412
    card = await operator.get(PATH, "DeviceCard")
    assert (card["model"], card["working_volume"], card["due"]) == ("B", 3.5, 0)
    assert (await operator.get("/devices/br-1/constants"))["constants"] == {"working_volume": 3.5}
    await send(operator, "PUT", PATH, ORDER | {"model": "C"})
    card = await operator.get(PATH)
    assert (card["model"], card["working_volume"], card["probes"]) == ("C", 3.5, [])
    events = (await operator.get("/audit", subject="device/br-1", action="device card", order="asc"))["events"]
    assert [(one["old"] or {}).get("model") for one in events] == [None, "B"]
    assert [one["new"]["model"] for one in events] == ["B", "C"]


async def test_a_calibration_is_due_from_its_day_on_and_is_told(
    plant: Plant, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plant.device("br-1")
    await plant.device("br-2")
    probes = [probe("E1", YESTERDAY), probe("E2", TODAY.isoformat()), probe("E3", TOMORROW), probe("E4", None)]
    answer = await send(operator, "PUT", PATH, ORDER | {"probes": probes})
    assert ([one["due"] for one in answer.json()["probes"]], answer.json()["due"]) == ([True, True, False, False], 2)
    database = operator.client.app.state.services.server.of(1)  # type: ignore[attr-defined]
    assert await device_cards.due(database) == {"br-1": 2}
    assert await device_cards.due(database, "br-2") == {}
    happened = (await operator.get("/activity", kind="calibration"))["activity"]
    assert [(one["device"], one["title"], one["time"][:10]) for one in happened] == [
        ("br-1", "calibration of pH probe E2 due", TODAY.isoformat()),
        ("br-1", "calibration of pH probe E1 due", YESTERDAY),
    ]
    other = ORDER | {"probes": [probe("E9", None), probe("E2", TOMORROW)]}
    answer = await send(operator, "PUT", "/devices/br-2/card", other)
    assert (answer.status_code, "probe E2 is on the card of br-1" in answer.json()["detail"]) == (409, True)
    await plant.sql.execute("update devices set state = 'retired' where name = 'br-1'")
    assert (await send(operator, "PUT", "/devices/br-2/card", other)).status_code == 200
    await plant.sql.execute("update devices set state = 'active' where name = 'br-1'")
    monkeypatch.setattr(device_cards, "today", lambda: TODAY + timedelta(days=1))
    assert (await operator.get(PATH))["due"] == 3


async def test_places_are_a_tree_and_devices_are_in_them(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")

    async def put(path: str, kind: str) -> int:
        return (await send(operator, "PUT", "/locations", ORDER | {"path": path, "kind": kind})).status_code

    assert await put("Basel/Hall 2", "hall") == 409  # there is no Basel
    assert [
        await put(*one) for one in (("Basel", "site"), ("Basel/Hall 2", "hall"), ("Basel/Hall 2/Bay 4", "bench"))
    ] == [200] * 3
    await send(operator, "PATCH", "/devices/br-1", ORDER | {"location": "Basel/Hall 2/Bay 4"})
    found = (await operator.get("/locations", "Locations"))["locations"]
    assert [(one["path"], one["devices"]) for one in found] == [
        *(("Basel", 1), ("Basel/Hall 2", 1), ("Basel/Hall 2/Bay 4", 1))
    ]
    for path in ("Basel", "Basel/Hall 2/Bay 4"):
        assert (await send(operator, "DELETE", "/locations", params=ORDER | {"path": path})).status_code == 409
    await send(operator, "PATCH", "/devices/br-1", ORDER | {"location": ""})
    assert (await send(operator, "DELETE", "/locations", params=ORDER | {"path": found[2]["path"]})).status_code == 204
    for path in ("", "/", "a//b", " a/b", "a/b/c/d/e/f"):
        assert await put(path, "hall") in {409, 422}, path


async def test_who_may_and_what_is_refused(plant: Plant, operator: Operator, north: Operator) -> None:
    await plant.device("br-1")
    mere = Operator(operator.client, await api_key(plant.sql, role=Role.OPERATOR))
    assert (await send(mere, "PUT", PATH, ORDER)).status_code == 403
    assert (await send(mere, "PUT", "/locations", ORDER | {"path": "x", "kind": "site"})).status_code == 403
    for method, body in (("GET", None), ("PUT", ORDER)):
        assert (await send(north, method, PATH, body)).status_code == 404
    for more in (
        {"probes": [probe("", None)]},
        {"probes": [probe("E1", "soon")]},
        {"working_volume": 0},
        {"working_volume": 1, "working_volume_unit": "gal"},
        {"volume": 1},
    ):
        assert (await send(operator, "PUT", PATH, ORDER | more)).status_code == 422, more
