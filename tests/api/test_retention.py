"""Holds, over HTTP and by the command."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import httpx2

from api.access.roles import Role
from schema.migrate import OPERATOR
from tests.api.accounts import api_key
from tests.api.conform import conforms
from tests.api.operators import ORDER, Operator, shape
from tests.api.plant import Plant, at, text
from tests.api.test_devices import north, operator
from tests.forked import Talking
from tests.roles import as_role

__all__ = ["north", "operator"]

PATH = "/api/v1/retention/holds"


async def hold(caller: Operator, **body: Any) -> httpx2.Response:
    return await caller.client.post(PATH, json=ORDER | body, headers=caller.headers)


async def end(caller: Operator, number: int) -> httpx2.Response:
    return await caller.client.delete(f"{PATH}/{number}", params=ORDER, headers=caller.headers)


async def listed(caller: Operator, **parameters: Any) -> list[dict[str, Any]]:
    found = await caller.get("/retention/holds", "Holds", **parameters)
    return list(found["holds"])


async def test_a_hold_is_made_and_ended_and_both_are_in_the_trail(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    await plant.sql.execute(
        "insert into retention_drops (kind, begins, ends, rows) values ('frame', $1, $2, 5)", at(0), at(10)
    )
    made = (await hold(operator, device="br-1", begins=text(5), ends=text(20))).json()
    conforms(shape("Hold"), made)
    assert (made["device"], made["begins"], made["ends"]) == ("br-1", text(5), text(20))
    assert (made["who"], made["why"], made["ended_at"], made["dropped_until"]) == (
        *(operator.who, ORDER["why"], None),
        text(10),
    )
    later = (await hold(operator, begins=text(10))).json()
    assert (later["device"], later["ends"], later["dropped_until"]) == (None, None, None)
    assert await listed(operator) == [later, made]
    first = await operator.get("/retention/holds", limit=1)
    assert [*first["holds"], *await listed(operator, limit=1, cursor=first["next"])] == [later, made]

    assert (await end(operator, made["hold_id"])).status_code == 204
    assert (await end(operator, made["hold_id"])).status_code == 404
    assert [one["ended_at"] is None for one in await listed(operator)] == [True, False]
    rows = await plant.sql.fetch("select action, subject, who, why from audit where subject like 'hold/%' order by n")
    assert [tuple(row) for row in rows] == [
        (action, f"hold/{number}", operator.who, ORDER["why"])
        for action, number in (
            ("retention hold", made["hold_id"]),
            ("retention hold", later["hold_id"]),
            ("retention hold end", made["hold_id"]),
        )
    ]


async def test_the_organization_that_runs_the_installation_sees_the_holds_of_all(
    operator: Operator, north: Operator
) -> None:
    theirs = (await hold(north)).json()
    ours = (await hold(operator)).json()
    assert (theirs["organization"], ours["organization"]) == ("north", "main")
    assert await listed(north) == [theirs]
    assert await listed(operator) == [ours, theirs]
    assert (await end(north, ours["hold_id"])).status_code == 404


async def test_what_was_dropped_while_a_hold_was_in_force_is_not_what_it_keeps(
    plant: Plant, operator: Operator
) -> None:
    dropped = "insert into retention_drops (kind, begins, ends, rows, dropped_at) values ('frame', $1, $2, 5, $3)"
    made = (await hold(operator, begins=text(5), ends=text(20))).json()
    await plant.sql.execute(dropped, at(0), at(10), datetime.now(UTC))
    assert [one["dropped_until"] for one in await listed(operator)] == [None]
    await end(operator, made["hold_id"])
    await plant.sql.execute(dropped, at(0), at(12), datetime.now(UTC))
    assert [one["dropped_until"] for one in await listed(operator)] == [text(12)]


async def test_what_cannot_be_held_is_said(plant: Plant, operator: Operator, north: Operator) -> None:
    await plant.device("br-1")
    assert (await hold(north, device="br-1")).status_code == 404
    assert (await hold(operator, begins=text(5), ends=text(5))).status_code == 422
    engineer = Operator(operator.client, await api_key(plant.sql, role=Role.ENGINEER))
    assert (await hold(engineer)).status_code == 403
    assert await listed(operator) == []


async def test_who_owns_the_database_holds_for_everybody(plant: Plant, north: Operator, database_url: str) -> None:
    def command(*arguments: str, status: int = 0) -> str:
        environment = {**os.environ, "BIOGATE_DATABASE_URL": as_role(database_url, OPERATOR)}
        child = Talking("deploy.command", "hold", *arguments, environment=environment)
        said = child.finish()
        assert child.wait() == status, said
        return said

    why = ("--why", "inspection", "--who", "eva")
    said = command("make", "--organization", "north", "--from", "2026-03-01Z", "--to", "2026-03-02Z", *why)
    [made] = await listed(north)
    assert said == f"hold {made['hold_id']} is in force\n"
    assert (made["begins"], made["who"]) == ("2026-03-01T00:00:00.000000Z", "eva")
    assert command("list").splitlines()[1].split("\t")[1:5] == [
        *("north", "all", "2026-03-01 00:00:00Z", "2026-03-02 00:00:00Z")
    ]
    command("make", "--device", "br-9", *why, status=1)
    assert "has ended" in command("end", str(made["hold_id"]), *why)
    command("end", str(made["hold_id"]), *why, status=1)
    assert len(await listed(north)) == 1
