"""What people note about a time of a device."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from api.access.roles import Role
from tests.api.accounts import api_key
from tests.api.operators import ORDER, Operator
from tests.api.plant import Plant, text
from tests.api.test_devices import north, operator
from tests.api.test_lists import everything, table

__all__ = ["north", "operator"]

PATH = "/devices/br-1/annotations"


async def note(caller: Operator, begins: float, ends: float | None = None, words: str = "x") -> dict[str, Any]:
    body = {"begins": text(begins), "text": words} | ({} if ends is None else {"ends": text(ends)})
    answer = await caller.client.post(f"/api/v1{PATH}", json=body, headers=caller.headers)
    assert answer.status_code == 201, answer.text
    made = dict(answer.json())
    shown = await caller.client.get(answer.headers["location"], headers=caller.headers)
    assert shown.json() == made
    return made


async def withdraw(caller: Operator, number: int, path: str = PATH, **asked: Any) -> httpx2.Response:
    return await caller.client.delete(f"/api/v1{path}/{number}", params=ORDER | asked, headers=caller.headers)


@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_annotations_that_overlap_a_time_come_newest_first(plant: Plant, operator: Operator, limit: int) -> None:
    await plant.device("br-1")
    for begins, ends, words in (
        *((0, 10, "early"), (5, None, "instant"), (8, 30, "long"), (20, 25, "late"), (20, None, "late too")),
        (20, 22, "late, three"),
    ):
        await note(operator, begins, ends, words)

    async def found(**asked: Any) -> list[str]:
        return [one["text"] for one in await everything(operator.client, PATH, "annotations", limit=limit, **asked)]

    assert await found() == ["late, three", "late too", "late", "long", "instant", "early"]
    assert await found(**{"from": text(10), "to": text(20)}) == ["long", "early"]
    assert await found(**{"from": text(5), "to": text(5.5)}) == ["instant", "early"]
    assert await found(to=text(5)) == ["early"]
    assert await found(**{"from": text(23)}) == ["late", "long"]
    assert [row["text"] for row in await table(operator.client, PATH)] == await found()


async def test_an_annotation_is_shown_until_it_is_withdrawn_and_the_trail_keeps_it(
    plant: Plant, operator: Operator
) -> None:
    await plant.device("br-1")
    await plant.device("br-2")
    made = await note(operator, 0, 10, " Probe\nchanged ")
    assert (made["text"], made["who"], made["begins"], made["ends"]) == (
        *("Probe\nchanged", operator.who, text(0), text(10)),
    )
    page = await operator.get(PATH, "Annotations")
    assert page["annotations"] == [made]
    assert (await withdraw(operator, made["id"], "/devices/br-2/annotations")).status_code == 404
    assert (await withdraw(operator, made["id"], why="")).status_code == 422
    answer = await withdraw(operator, made["id"])
    assert answer.status_code == 200, answer.text
    assert answer.json()["withdrawn_at"] is not None
    assert (await withdraw(operator, made["id"])).status_code == 404
    assert (await operator.get(PATH))["annotations"] == []
    events = (await operator.get("/audit", subject="device/br-1", order="asc"))["events"]
    assert [(event["action"], event["why"]) for event in events] == [
        *(("annotation", "annotation"), ("annotation withdraw", "as the test says")),
    ]
    assert events[0]["new"] == {
        **{"id": made["id"], "text": "Probe\nchanged"},
        **{"begins": events[0]["new"]["begins"], "ends": events[0]["new"]["ends"]},
    }


async def test_who_may_annotate_and_with_what(plant: Plant, operator: Operator, north: Operator) -> None:
    await plant.device("br-1")
    made = await note(operator, 0)
    viewer = Operator(operator.client, await api_key(plant.sql, role=Role.VIEWER))
    await viewer.get(PATH, "Annotations")
    assert (await withdraw(viewer, made["id"])).status_code == 403
    assert await north.not_shown(PATH) == 404
    assert (await withdraw(north, made["id"])).status_code == 404
    for caller, body, status in (
        (viewer, {"begins": text(0), "text": "x"}, 403),
        (north, {"begins": text(0), "text": "x"}, 404),
        (operator, {"begins": text(0)}, 422),
        (operator, {"begins": text(0), "text": " "}, 422),
        (operator, {"begins": text(0), "text": "x" * 2001}, 422),
        (operator, {"begins": text(0), "text": "a\u0000"}, 422),
        (operator, {"begins": text(0), "text": "x", "who": "eva"}, 422),
        (operator, {"begins": "yesterday", "text": "x"}, 422),
        (operator, {"begins": text(1), "ends": text(0), "text": "x"}, 422),
    ):
        answer = await caller.client.post(f"/api/v1{PATH}", json=body, headers=caller.headers)
        assert answer.status_code == status, (body, answer.text)
    assert len((await operator.get(PATH))["annotations"]) == 1
