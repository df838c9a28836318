"""The shift log: entries, and handovers that one person gives and another accepts."""

from __future__ import annotations

from typing import Any

from api.access.roles import Role
from tests.api.accounts import api_key, log_in, user
from tests.api.operators import Operator
from tests.api.plant import Plant
from tests.api.test_deviations import send
from tests.api.test_devices import north, operator
from tests.api.test_lists import everything, table

__all__ = ["north", "operator"]

IDA = "ida@example.org"


async def written(caller: Operator, text: str = "quiet", **more: Any) -> dict[str, Any]:
    answer = await send(caller, "POST", "/shift-log", {"text": text} | more)
    assert answer.status_code == 201, answer.text
    assert (await send(caller, "GET", answer.headers["location"].removeprefix("/api/v1"))).json() == answer.json()
    return dict(answer.json())


async def test_entries_come_newest_first_by_place_device_and_what_waits(plant: Plant, operator: Operator) -> None:
    await user(plant.sql, IDA, "main", Role.OPERATOR)
    await plant.device("br-1")
    await plant.sql.execute("update devices set location = 'Hall 2/Bay 4'")
    await written(operator, "first", location="Hall 2/Bay 4", devices=["br-1", "br-1"])
    await written(operator, "second", handed_to="Ida@example.org")
    await written(operator, "third")

    async def found(**asked: Any) -> list[str]:
        return [one["text"] for one in await everything(operator.client, "/shift-log", "entries", limit=1, **asked)]

    assert await found() == ["third", "second", "first"]
    assert [row["text"] for row in await table(operator.client, "/shift-log")] == await found()
    assert (await found(location="Hall 2"), await found(device="br-1")) == (["first"], ["first"])
    assert await found(waiting="true") == ["second"]
    page = await operator.get("/shift-log", "ShiftEntries")
    assert (page["entries"][2]["devices"], page["entries"][1]["handed_to"]) == (["br-1"], IDA)


async def test_only_whom_it_is_handed_to_accepts_it_and_once(plant: Plant, operator: Operator) -> None:
    for email in (IDA, "eva@example.org"):
        await user(plant.sql, email, "main", Role.OPERATOR)
    number = (await written(operator, handed_to=IDA))["id"]
    path = f"/shift-log/{number}/accept"
    assert (await send(operator, "POST", path)).status_code == 403  # a key is nobody
    people = {email: (await log_in(operator.client, email))["headers"] for email in ("eva@example.org", IDA)}
    for email, status in (("eva@example.org", 409), (IDA, 200), (IDA, 409)):
        answer = await operator.client.post(f"/api/v1{path}", headers=people[email])
        assert answer.status_code == status, answer.text
    assert (await operator.get(f"/shift-log/{number}", "ShiftEntry"))["accepted_at"] is not None
    events = (await operator.get("/audit", subject=f"shift/{number}", order="asc"))["events"]
    assert [(one["action"], one["who"]) for one in events] == [("shift entry", operator.who), ("shift accept", IDA)]
    [entry] = (await operator.get("/activity", kind="shift"))["activity"]
    assert (entry["title"], entry["facts"]["accepted"]) == ("quiet", True)


async def test_what_cannot_be_written_and_who_may_not(plant: Plant, operator: Operator, north: Operator) -> None:
    await plant.device("br-1")
    number = (await written(operator))["id"]
    viewer = Operator(operator.client, await api_key(plant.sql, role=Role.VIEWER))
    for caller, body, status in (
        (viewer, {"text": "x"}, 403),
        (operator, {"text": " "}, 422),
        (operator, {"text": "x", "devices": ["br-9"]}, 404),
        (operator, {"text": "x", "handed_to": "nobody@example.org"}, 404),
        (operator, {"text": "x", "location": "Hall 9"}, 404),
        (operator, {"text": "x", "who": "eva"}, 422),
        (north, {"text": "x", "devices": ["br-1"]}, 404),
    ):
        assert (await send(caller, "POST", "/shift-log", body)).status_code == status, body
    assert (await send(north, "GET", f"/shift-log/{number}")).status_code == 404
    assert (await north.get("/shift-log"))["entries"] == []
    assert (await viewer.get("/shift-log"))["entries"][0]["id"] == number
