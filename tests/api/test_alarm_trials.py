"""A rule is tried over stored history."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from api.access.roles import Role
from api.jobs.worker import Trials
from api.problems import NotFound
from schema.alarms.rules import Rule
from tests.api import alarms
from tests.api.accounts import Served, api_key, organization, serving
from tests.api.operators import Operator
from tests.api.plant import Plant, at, text
from tests.roles import forced

SPAN = {"from": text(0), "to": text(3600)}
TRY = "/alarm-trials"


@pytest.fixture
async def engineer(plant: Plant, client: Served) -> Operator:
    return Operator(client, await api_key(plant.sql, role=Role.ENGINEER))


async def fill(plant: Plant, name: str = "br-1") -> int:
    """An hour at 1 Hz: a minute too warm at the end of each ten; the second half in a layout with one channel more."""
    device = await plant.device(name)
    values = [39.0 if n % 600 >= 540 else 37.0 for n in range(3600)]
    first = await plant.layout(device, "temperature")
    await plant.frames(device, first, [(at(n), [values[n]], None) for n in range(1800)])
    second = await plant.layout(device, "temperature", "zz")
    await plant.frames(device, second, [(at(n), [values[n], 1.0], [0, 0]) for n in range(1800, 3600)])
    return device


def definition(**changes: Any) -> dict[str, Any]:
    return {**alarms.RULE, **changes}


async def tried(it: Operator, **body: Any) -> dict[str, Any]:
    answer = await it.client.post(f"/api/v1{TRY}", json=SPAN | body, headers=it.headers)
    found: dict[str, Any] = it._checked(answer, "Trial")
    return found


def words(found: dict[str, Any]) -> list[str]:
    return [
        f"{one['device']} {one['what']} {one['begin'][14:19]}-{(one['end'] or '')[14:19]}" for one in found["periods"]
    ]


async def test_it_says_when_a_rule_would_have_fired_on_the_devices_of_its_scope(
    plant: Plant, engineer: Operator
) -> None:
    await fill(plant)
    await plant.sql.execute("update devices set tags = '{pilot}'")
    await plant.device("br-2")
    found = await tried(engineer, definition=definition(on_delay=10, enabled=False, scope={"tags": ["pilot"]}))
    assert words(found) == [f"br-1 active {n}9:10-{n + 1}0:00" for n in range(5)] + ["br-1 active 59:10-"]
    assert found["periods"][0]["value"] == 39
    assert found["periods"][0]["detail"] == "39 above 38"
    assert found["devices"] == [{"device": "br-1", "frames": 3600, "until": text(3600)}]
    assert (found["complete"], found["warnings"]) == (True, [])
    await alarms.rule(plant.sql, "stored", when=alarms.LIMIT | {"channel": "zz", "limit": 0.5}, stale_after=10)
    found = await tried(engineer, rule="stored")
    assert words(found) == ["br-1 unknown 00:00-30:00", "br-1 active 30:00-"]
    assert [one["device"] for one in found["devices"]] == ["br-1", "br-2"]
    found = await tried(engineer, rule="stored", devices=["br-2"])
    assert (found["periods"], found["complete"]) == ([], True)


async def test_silence_and_phases_count_as_they_do_live(plant: Plant, engineer: Operator) -> None:
    device = await fill(plant)
    await forced(plant.sql, "delete from frames where time >= $1 and time < $2", at(600), at(700))
    found = await tried(engineer, definition=definition(when={"kind": "silent", "after": 30}))
    assert words(found) == ["br-1 active 10:29-11:40"]
    for second, phase in ((-60, "setup"), (700, "batch"), (3000, "harvest")):
        await plant.event(device, at(second), "phase", {"phase": phase})
    found = await tried(engineer, definition=definition(scope={"phases": ["batch"]}, stale_after=120))
    assert [one for one in words(found) if "active" in one] == [
        f"br-1 active {n}9:00-{n + 1}0:00" for n in (1, 2, 3, 4)
    ]
    assert [one for one in words(found) if "suppressed" in one] == [
        *("br-1 suppressed 00:00-11:40", "br-1 suppressed 50:00-"),
    ]
    await plant.sql.execute("select run_create(1, 'B-1', array[$1::integer], $2, '{}', 'eva', 'x')", device, at(0))
    confirmed = [{"name": "batch", "begins": str(at(60)), "ends": str(at(1200)), "origin": "person"}]
    await plant.sql.execute("select run_phases_put(1, 'B-1', $1, null, 'eva', 'x')", json.dumps(confirmed))
    found = await tried(engineer, definition=definition(scope={"phases": ["setup"]}, stale_after=120))
    assert [one for one in words(found) if "suppressed" in one] == ["br-1 suppressed 01:00-"]


async def test_what_may_be_a_slip_is_a_warning(plant: Plant, engineer: Operator) -> None:
    await fill(plant)
    found = await tried(engineer, definition=definition(when=alarms.LIMIT | {"channel": "temprature"}))
    assert found["warnings"] == ["no device in its scope has ever sent 'temprature'; did you mean 'temperature'?"]
    assert [one["what"] for one in found["periods"]] == ["unknown"]
    found = await tried(engineer, definition=definition(scope={"tags": ["none"]}))
    assert (found["warnings"], found["devices"]) == (["no device is in its scope"], [])
    await plant.sql.execute("insert into devices (name) select 'd-' || n from generate_series(1, 60) n")
    found = await tried(engineer, definition=definition())
    # and perhaps, on a slow machine, that it took too long
    assert found["warnings"][0] == "more than 50 devices are in its scope: these are the first by name"
    assert len(found["devices"]) == 50


async def test_a_thousand_periods_are_enough_and_it_says_where_it_stopped(plant: Plant, engineer: Operator) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "temperature")
    await plant.frames(device, layout, [(at(n), [39.0 if n % 2 else 37.0], None) for n in range(3600)])
    await fill(plant, "br-2")
    found = await tried(engineer, definition=definition())
    assert [one["until"] for one in found["devices"]] == [text(2000), text(0)]
    assert (len(found["periods"]), found["complete"]) == (1000, False)
    assert found["warnings"] == ["it stopped with 1000 periods: `until` of each device says where"]


async def test_when_its_time_is_used_up_it_says_how_far_it_came(plant: Plant, database_url: str) -> None:
    for name in ("br-1", "br-2"):
        device = await plant.device(name)
        layout = await plant.layout(device, "temperature")
        await plant.sql.execute(
            "insert into frames select t, $1, $2, null, null, t, '{37}' from generate_series("
            "$3::timestamptz, $3 + interval '3 days' - interval '1 s', interval '1 s') t",
            *(device, layout, at(0)),
        )
    async with serving(database_url, api_trial_seconds=0.2) as client:
        engineer = Operator(client, await api_key(plant.sql, role=Role.ENGINEER))
        found = await tried(engineer, definition=definition(), to=text(3 * 86400))
    assert not found["complete"]
    assert found["warnings"] == ["it took too long and was not finished: `until` of each device says how far it came"]
    for one in found["devices"]:
        assert 2000 <= one["frames"] < 3 * 86400
        assert one["until"] == text(one["frames"] - 1)


async def test_what_cannot_be_tried_is_refused(plant: Plant, engineer: Operator) -> None:
    await plant.device("br-1")
    for body, status in (
        *(({}, 422), ({"rule": "none"}, 404), ({"rule": "none", "definition": definition()}, 422)),
        *(({"definition": definition(), "devices": ["br-9"]}, 404), ({"definition": definition(), "devices": []}, 422)),
        ({"definition": definition(), "devices": ["br-1", "br-1"]}, 422),
        ({"definition": definition(), "from": text(0), "to": text(31 * 86400 + 1)}, 422),
        ({"definition": definition(), "from": text(1), "to": text(1)}, 422),
        ({"definition": definition(when={"kind": "formula", "expression": "x >"})}, 422),
    ):
        answer = await engineer.client.post(f"/api/v1{TRY}", json=body, headers=engineer.headers)
        assert answer.status_code == status, (body, answer.text)


async def test_another_organization_s_devices_and_rules_are_not_there(
    plant: Plant, client: Served, engineer: Operator
) -> None:
    await fill(plant)
    await alarms.rule(plant.sql, "stored")
    number = await organization(plant.sql, "north")
    north = Operator(engineer.client, await api_key(plant.sql, "north", Role.ENGINEER))
    for body in ({"rule": "stored"}, {"definition": definition(), "devices": ["br-1"]}):
        answer = await north.client.post(f"/api/v1{TRY}", json=body, headers=north.headers)
        assert answer.status_code == 404, answer.text
    found = await tried(north, definition=definition(scope={"devices": ["br-1"]}))
    assert (found["devices"], found["warnings"][0]) == ([], "in its scope, but not registered: br-1")
    rule = Rule.model_validate({"name": "r", **definition()}).model_dump_json().encode()
    with pytest.raises(NotFound):  # nor for the process itself
        await Trials(client.app.state.services.settings).run(number, rule, ["br-1"], (0, 1), never)


async def never() -> bool:
    return False


async def test_one_organization_tries_one_at_a_time_and_a_lost_process_is_told(
    plant: Plant, engineer: Operator
) -> None:
    await fill(plant)
    body = SPAN | {"definition": definition()}

    async def ask() -> int:
        return (await engineer.client.post(f"/api/v1{TRY}", json=body, headers=engineer.headers)).status_code

    async def begun() -> tuple[asyncio.Task[int], int]:
        """And its process, which goes no further."""
        asked, end = asyncio.create_task(ask()), time.monotonic() + 60
        while not _children():
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        [pid] = _children()
        os.kill(pid, signal.SIGSTOP)
        return asked, pid

    asked, pid = await begun()
    assert await ask() == 429
    os.kill(pid, signal.SIGKILL)
    assert await asked == 503
    asked, pid = await begun()  # the lost one is not taken for running
    os.kill(pid, signal.SIGCONT)
    assert await asked == 200
    assert _children() == []


def _children() -> list[int]:
    """Processes of ours that try rules."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"api.jobs" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue
    return found
