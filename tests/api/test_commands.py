"""Commands over HTTP. What the gateway and the device do of it is written here as the gateway writes it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from api.access.roles import Role, Scope
from tests.api.accounts import api_key, bearer
from tests.api.plant import Plant
from tests.api.test_problems import assert_problem

ADDRESS = "/api/v1/devices/br-1/commands"
ORDER = {"name": "setpoint", "parameters": {"channel": "ph", "value": 7.1}, "why": "feeding"}


@pytest.fixture
async def device(plant: Plant) -> int:
    device = await plant.device("br-1")
    await plant.layout(device, "ph", "temperature")
    return device


async def ask(client: httpx2.AsyncClient, key: str = "k1", **changes: Any) -> httpx2.Response:
    return await client.post(ADDRESS, json={**ORDER, **changes}, headers={"Idempotency-Key": key})


async def count(plant: Plant) -> int:
    return int(await plant.sql.fetchval("select count(*) from commands"))


async def test_a_command_is_accepted_and_can_be_followed(device: int, plant: Plant, client: httpx2.AsyncClient) -> None:
    before = datetime.now(UTC)
    answer = await ask(client, boot=7, expires_in="90s")
    assert answer.status_code == 202, answer.text
    command = answer.json()
    assert answer.headers["location"] == f"/api/v1/commands/{command['id']}"
    assert (command["device"], command["name"], command["state"]) == ("br-1", "setpoint", "waiting")
    assert command["parameters"] == ORDER["parameters"]
    assert command["boot"] == 7
    assert command["requested_by"].startswith("key ")
    expires = datetime.fromisoformat(command["expires_at"])
    assert timedelta(seconds=89) < expires - before < timedelta(seconds=95)
    assert (await client.get(answer.headers["location"])).json() == command
    await plant.sql.execute(
        "update commands set state = 'done', sent_at = now(), ended_at = now(), detail = 'set',"
        " result = '{\"value\": 7.1}'"
    )
    ended = (await client.get(answer.headers["location"])).json()
    assert (ended["state"], ended["detail"], ended["result"]) == ("done", "set", {"value": 7.1})
    assert ended["ended_at"] is not None


async def test_a_command_lives_for_a_minute_unless_said_otherwise(device: int, client: httpx2.AsyncClient) -> None:
    command = (await ask(client)).json()
    instants = [datetime.fromisoformat(command[name]) for name in ("requested_at", "expires_at")]
    assert instants[1] - instants[0] == timedelta(seconds=60)


async def test_a_precondition_may_ask_for_nothing(device: int, client: httpx2.AsyncClient) -> None:
    assert (await ask(client, precondition={})).json()["precondition"] == {}


async def test_a_repeated_request_is_the_same_command_whatever_has_changed_since(
    device: int, plant: Plant, client: httpx2.AsyncClient
) -> None:
    await plant.status(device, 7, datetime.now(UTC), online=True)
    first = await ask(client, precondition={"online": True})
    assert first.status_code == 202, first.text
    await plant.status(device, 7, datetime.now(UTC), online=False)
    await plant.sql.execute("update devices set state = 'suspended'")
    again = await ask(client, precondition={"online": True})
    assert again.status_code == 200, again.text
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.json() == first.json()
    assert await count(plant) == 1


async def test_twenty_at_once_with_one_key_are_one_command(
    device: int, plant: Plant, client: httpx2.AsyncClient
) -> None:
    answers = await asyncio.gather(*(ask(client) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await count(plant) == 1


async def test_a_key_is_not_for_two_requests(device: int, plant: Plant, client: httpx2.AsyncClient) -> None:
    await plant.device("br-2")
    assert (await ask(client)).status_code == 202
    for changes in (
        {"parameters": {"channel": "ph", "value": 7.2}},
        {"name": "identify"},
        {"boot": 1},
        {"expires_in": "61s"},
        {"precondition": {"online": False}},
        {"why": "another"},
    ):
        assert "another request" in assert_problem(await ask(client, **changes), 409)["detail"]
    elsewhere = await client.post(ADDRESS.replace("br-1", "br-2"), json=ORDER, headers={"Idempotency-Key": "k1"})
    assert_problem(elsewhere, 409)
    assert await count(plant) == 1
    assert (await ask(client, "k2")).status_code == 202


async def test_two_callers_may_take_the_same_key(device: int, plant: Plant, client: httpx2.AsyncClient) -> None:
    first = (await ask(client)).json()
    other = await client.post(
        ADDRESS, json=ORDER, headers={"Idempotency-Key": "k1"} | bearer(await api_key(plant.sql, role=Role.ENGINEER))
    )
    assert other.status_code == 202
    assert other.json()["id"] != first["id"]


async def test_without_an_idempotency_key_nothing_is_asked(
    device: int, plant: Plant, client: httpx2.AsyncClient
) -> None:
    for headers in ([], [("Idempotency-Key", "")], [("Idempotency-Key", "x" * 201)], [("Idempotency-Key", "a b")]):
        answer = await client.post(ADDRESS, json=ORDER, headers=headers)
        assert "dose twice" in assert_problem(answer, 422)["detail"]
    twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert_problem(await client.post(ADDRESS, json=ORDER, headers=twice), 422)
    assert await count(plant) == 0


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "Set Point"}, "name"),
    ({"name": "x" * 65}, "name"),
    ({"why": " "}, "why"),
    ({"who": "eva"}, "who"),
    ({"boot": -1}, "boot"),
    ({"boot": 2**63}, "boot"),
    ({"boot": "7"}, "boot"),
    ({"expires_in": "500ms"}, "expires_in"),
    ({"expires_in": "25h"}, "expires_in"),
    ({"expires_in": 60}, "expires_in"),
    ({"parameters": []}, "parameters"),
    ({"parameters": {"a": "x" * 9000}}, "8192"),
    ({"parameters": {"a": "nul \0"}}, "NUL"),
    ({"parameters": {"nul \0": 1}}, "NUL"),
    ({"parameters": {"a": [{"b": 2**60}]}}, "2^53"),
    ({"precondition": {"min": 1}}, "channel"),
    ({"precondition": {"channel": "ph", "within": "2d"}}, "within"),
    ({"precondition": {"channel": "ph", "min": "7"}}, "min"),
    ({"precondition": {"onlin": True}}, "onlin"),
    ({"precondition": {"online": "yes"}}, "online"),
]


async def test_what_cannot_be_asked_is_refused_and_says_why(
    device: int, plant: Plant, client: httpx2.AsyncClient
) -> None:
    for number, (changes, words) in enumerate(WRONG):
        assert words in assert_problem(await ask(client, f"k{number}", **changes), 422)["detail"], changes
    for text in (
        '{"name": "a", "why": "b", "parameters": {"x": NaN}}',
        '{"name": "a", "why": "b", "parameters": {"x": 1e999}}',
    ):
        answer = await client.post(ADDRESS, content=text, headers={"Idempotency-Key": "n"})
        assert "number" in assert_problem(answer, 422)["detail"]
    deep = '{"name": "a", "why": "b", "parameters": {"x": ' + "[" * 3000 + "]" * 3000 + "}}"
    assert_problem(await client.post(ADDRESS, content=deep, headers={"Idempotency-Key": "n"}), 422)
    assert await count(plant) == 0


async def test_a_device_out_of_use_and_an_unknown_one_take_no_commands(
    device: int, plant: Plant, client: httpx2.AsyncClient
) -> None:
    for state in ("suspended", "revoked", "retired"):
        await plant.sql.execute("update devices set state = $1", state)
        assert state in assert_problem(await ask(client, state), 409)["detail"]
    unknown = await client.post("/api/v1/devices/br-9/commands", json=ORDER, headers={"Idempotency-Key": "k"})
    assert_problem(unknown, 404)
    supposed = await client.post(
        "/api/v1/devices/br-9/commands",
        json=ORDER | {"precondition": {"online": False}},
        headers={"Idempotency-Key": "k"},
    )
    assert_problem(supposed, 404)
    assert await count(plant) == 0


async def test_a_precondition_that_does_not_hold_asks_nothing_and_tells_what_is(
    device: int, plant: Plant, client: httpx2.AsyncClient
) -> None:
    layout = await plant.sql.fetchval("select layout_id from device_layouts where device_id = $1", device)
    now = datetime.now(UTC)
    await plant.status(device, 7, now, online=True)
    await plant.frames(
        device,
        layout,
        [
            (now - timedelta(minutes=5), [30.0, None], None),
            (now - timedelta(seconds=40), [None, 7.0], None),
            (now - timedelta(seconds=20), [None, 9.0], [None, 1]),  # bad: does not count
        ],
    )
    held = {"online": True, "boot": 7, "channel": "ph", "min": 7.0, "max": 7.0}
    broken: list[tuple[dict[str, Any], str]] = [
        ({"online": False}, "it is online"),
        ({"boot": 8}, "its boot is 7, not 8"),
        ({"channel": "ph", "min": 7.01}, "ph is 7.0"),
        ({"channel": "ph", "max": 6.99}, "ph is 7.0"),
        ({"channel": "ph", "within": "30s"}, "no good value of the last 30s"),
        ({"channel": "temperature"}, "no good value of the last 1m"),
        ({"channel": "nothing"}, "no good value"),
    ]
    for number, (supposed, words) in enumerate(broken):
        problem = assert_problem(await ask(client, f"k{number}", precondition=supposed), 412)
        assert words in problem["detail"]
        assert problem["present"]["boot"] == 7
    problem = assert_problem(await ask(client, "p", precondition={"channel": "ph", "min": 8}), 412)
    assert problem["present"] == {
        "online": True,
        "boot": 7,
        "channel": "ph",
        "value": 7.0,
        "time": (now - timedelta(seconds=40)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    assert await count(plant) == 0
    accepted = await ask(client, "held", precondition=held)
    assert accepted.status_code == 202, accepted.text
    assert accepted.json()["precondition"] == held | {"within": "1m"}
    wide = await ask(client, "wide", precondition={"channel": "temperature", "within": "6m"})
    assert wide.status_code == 202


async def test_a_device_that_has_never_been_there_is_not_online(device: int, client: httpx2.AsyncClient) -> None:
    assert_problem(await ask(client, "a", precondition={"online": True}), 412)
    assert (await ask(client, "b", precondition={"online": False})).status_code == 202


async def test_the_list_is_newest_first_in_pages_and_by_state(
    device: int, plant: Plant, client: httpx2.AsyncClient
) -> None:
    made = [(await ask(client, f"k{number}")).json()["id"] for number in range(5)]
    await plant.sql.execute("update commands set requested_at = now()")  # of one instant: the id decides
    await plant.sql.execute("update commands set state = 'sent' where command_id::text = any ($1)", made[:2])
    found: list[str] = []
    following = None
    for _ in range(3):
        page = (await client.get(ADDRESS, params={"limit": 2} | ({"cursor": following} if following else {}))).json()
        found += [command["id"] for command in page["commands"]]
        following = page["next"]
    assert following is None
    assert found == sorted(made, reverse=True)
    await plant.sql.execute(
        "update commands set requested_at = now() + interval '1 s' where command_id::text = $1", made[3]
    )
    assert (await client.get(ADDRESS)).json()["commands"][0]["id"] == made[3]
    waiting = (await client.get(ADDRESS, params={"state": "waiting"})).json()["commands"]
    assert {command["id"] for command in waiting} == set(made[2:])
    both = (await client.get(ADDRESS, params={"state": ["waiting", "sent"]})).json()["commands"]
    assert len(both) == 5
    rows = (await client.get(f"{ADDRESS}.csv")).text.splitlines()
    assert rows[0].startswith("id,device,name,parameters")
    assert len(rows) == 6
    assert_problem(await client.get(ADDRESS, params={"state": "gone"}), 422)


async def test_waiting_ends_with_the_command(device: int, plant: Plant, client: httpx2.AsyncClient) -> None:
    address = (await ask(client)).headers["location"]
    begun = asyncio.get_running_loop().time()
    waiting = asyncio.create_task(client.get(address, params={"wait": "30s"}))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    busy = await plant.sql.fetchval(
        "select count(*) from pg_stat_activity where application_name = 'biogate-api' and datname = current_database()"
        " and state <> 'idle'"
    )
    assert busy == 0
    await plant.sql.execute("update commands set state = 'refused', ended_at = now(), detail = 'no such channel'")
    command = (await waiting).json()
    assert (command["state"], command["detail"]) == ("refused", "no such channel")
    assert asyncio.get_running_loop().time() - begun < 15


async def test_waiting_is_over_when_patience_is(device: int, client: httpx2.AsyncClient) -> None:
    address = (await ask(client)).headers["location"]
    begun = asyncio.get_running_loop().time()
    assert (await client.get(address, params={"wait": "1s"})).json()["state"] == "waiting"
    assert 0.9 < asyncio.get_running_loop().time() - begun < 15
    assert_problem(await client.get(address, params={"wait": "61s"}), 422)


async def test_a_command_that_waits_can_be_taken_back_and_one_that_is_sent_cannot(
    device: int, plant: Plant, client: httpx2.AsyncClient
) -> None:
    waits, sent = [(await ask(client, key)).headers["location"] for key in ("a", "b")]
    await plant.sql.execute("update commands set state = 'sent' where idempotency_key = 'b'")
    answer = await client.post(f"{waits}/cancel", json={"why": "a mistake"})
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["detail"]) == ("cancelled", "a mistake")
    for address in (waits, sent):
        assert_problem(await client.post(f"{address}/cancel", json={"why": "a mistake"}), 409)
    nothing = "/api/v1/commands/00000000-0000-0000-0000-000000000000"
    assert_problem(await client.post(f"{nothing}/cancel", json={"why": "x"}), 404)
    assert_problem(await client.get(nothing), 404)
    assert_problem(await client.get("/api/v1/commands/x"), 422)


async def test_all_of_it_is_in_the_audit_trail_with_who_and_why(
    device: int, plant: Plant, client: httpx2.AsyncClient
) -> None:
    command = (await ask(client)).json()
    await client.post(f"/api/v1/commands/{command['id']}/cancel", json={"why": "a mistake"})
    rows = await plant.sql.fetch("select * from audit where action like 'command%' order by n")
    assert [row["action"] for row in rows] == ["command request", "command cancelled"]
    assert {row["who"] for row in rows} == {command["requested_by"]}
    assert {row["subject"] for row in rows} == {"device/br-1"}
    assert json.loads(rows[0]["new"])["command"] == command["id"]
    assert json.loads(rows[0]["new"])["parameters"] == ORDER["parameters"]
    assert json.loads(rows[1]["new"])["detail"] == "a mistake"
    assert rows[0]["why"] == "feeding"


async def test_engineers_ask_and_viewers_look(device: int, plant: Plant, client: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    for role in (Role.VIEWER, Role.OPERATOR):
        less = bearer(await api_key(plant.sql, role=role))
        assert_problem(await client.post(ADDRESS, json=ORDER, headers=key | less), 403)
        assert (await client.get(ADDRESS, headers=less)).status_code == 200
    reader = bearer(await api_key(plant.sql, role=Role.ADMIN, scopes=[Scope.COMMANDS_READ]))
    assert_problem(await client.post(ADDRESS, json=ORDER, headers=key | reader), 403)
    writer = bearer(await api_key(plant.sql, role=Role.ENGINEER, scopes=[Scope.COMMANDS_WRITE]))
    answer = await client.post(ADDRESS, json=ORDER, headers=key | writer)
    assert answer.status_code == 202
    assert_problem(await client.get(answer.headers["location"], headers=writer), 403)
    cancel = f"{answer.headers['location']}/cancel"
    assert_problem(await client.post(cancel, json={"why": "x"}, headers=reader), 403)


async def test_another_organization_finds_nothing(device: int, plant: Plant, client: httpx2.AsyncClient) -> None:
    address = (await ask(client)).headers["location"]
    other = bearer(await api_key(plant.sql, "north"))
    assert_problem(await client.get(address, headers=other), 404)
    assert_problem(await client.post(f"{address}/cancel", json={"why": "x"}, headers=other), 404)
    assert_problem(await client.get(ADDRESS, headers=other), 404)
    assert_problem(await client.post(ADDRESS, json=ORDER, headers={"Idempotency-Key": "k1"} | other), 404)
    assert await count(plant) == 1
