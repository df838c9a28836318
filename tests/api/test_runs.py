"""Runs over HTTP: made, changed, stepped and listed, and their phases."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import httpx2
import pytest

from schema.migrate import OPERATOR
from tests.api.operators import ORDER, Operator
from tests.api.plant import Plant, at, text
from tests.api.test_devices import north, operator
from tests.api.test_lists import everything
from tests.forked import Talking
from tests.roles import as_role

__all__ = ["north", "operator"]


async def ask(caller: Operator, method: str, path: str, if_match: str | None = None, **body: Any) -> httpx2.Response:
    headers = caller.headers | ({} if if_match is None else {"If-Match": if_match})
    return await caller.client.request(method, f"/api/v1{path}", json=ORDER | body, headers=headers)


async def make(caller: Operator, run: str, *devices: str, **facts: Any) -> dict[str, Any]:
    answer = await ask(caller, "POST", "/runs", run=run, devices=devices, **facts)
    assert answer.status_code == 201, answer.text
    shown = await caller.client.get(answer.headers["location"], headers=caller.headers)
    found, made = (re.sub(r'"hours":[^,}]*', "", one.text) for one in (shown, answer))  # those of what lasts grow
    assert found == made
    return dict(answer.json())


async def refused(caller: Operator, method: str, path: str, **body: Any) -> tuple[int, str]:
    answer = await ask(caller, method, path, **body)
    return answer.status_code, answer.json().get("detail")


async def test_a_run_is_planned_started_held_and_ended_with_the_allowed_steps_alone(
    plant: Plant, operator: Operator
) -> None:
    await plant.device("br-1")
    made = await make(operator, "B-1", "br-1", material="mAb-7", recipe="fed batch", recipe_version="3")
    assert (made["state"], made["begins"], made["devices"], made["hours"]) == ("idle", None, ["br-1"], None)
    assert await refused(operator, "POST", "/runs", run="B-1") == (409, "there is a run B-1 already")
    assert await refused(operator, "POST", "/runs/B-1/states", state="held") == (
        *(409, "run B-1 is idle, and can become running, aborting, aborted"),
    )
    for state, when in (("running", 0), ("holding", 10), ("held", 20), ("restarting", 30), ("running", 40)):
        shown = (await ask(operator, "POST", "/runs/B-1/states", state=state, at=text(when))).json()
        assert shown.get("state") == state, shown
    assert shown["begins"] == text(0)
    assert await refused(operator, "POST", "/runs/B-1/states", state="complete", at=text(30)) == (
        *(409, "run B-1 became running at 2026-03-01T10:00:40Z, which is later"),
    )
    assert (await refused(operator, "POST", "/runs/B-1/states", state="complete", at="2100-01-01Z"))[0] == 409
    shown = (await ask(operator, "POST", "/runs/B-1/states", state="complete", at=text(3600))).json()
    assert (shown["ends"], shown["hours"], shown["next_states"]) == (text(3600), 1.0, [])
    for same in ({}, {"at": text(3600)}):  # once more is no change
        again = (await ask(operator, "POST", "/runs/B-1/states", state="complete", **same)).json()
        assert (again["version"], again["ends"]) == (shown["version"], text(3600))
    status, detail = await refused(operator, "POST", "/runs/B-1/states", state="complete", at=text(3000))
    assert (status, detail.startswith(f"run B-1 is complete since {text(3600)[:19]}Z: PATCH corrects")) == (409, True)
    assert [one["state"] for one in shown["states"]] == [
        *("idle", "running", "holding", "held", "restarting", "running", "complete"),
    ]
    assert await refused(operator, "POST", "/runs/B-1/states", state="running") == (
        *(409, "run B-1 is complete, and can become nothing else"),
    )


async def test_times_and_facts_are_corrected_with_a_reason_and_only_of_the_version_that_was_seen(
    plant: Plant, operator: Operator
) -> None:
    await plant.device("br-1")
    made = await make(operator, "B-1", "br-1", begins=text(0), note="to be corrected")
    changed = await ask(operator, "PATCH", "/runs/B-1", '"1"', begins=text(-600), strain="CHO", note=None)
    assert changed.status_code == 200, changed.text
    shown = changed.json()
    assert (shown["begins"], shown["strain"], shown["note"]) == (text(-600), "CHO", None)
    assert (shown["states"][0]["at"], changed.headers["ETag"], made["version"]) == (text(-600), '"2"', 1)
    assert (await ask(operator, "PATCH", "/runs/B-1", '"1"', strain="HEK")).status_code == 412
    assert (await ask(operator, "PATCH", "/runs/B-1", strain="CHO")).json()["version"] == 2  # nothing is other
    assert await refused(operator, "PATCH", "/runs/B-1", ends=text(60)) == (
        *(409, "run B-1 is running: start or end it first, then correct when it was"),
    )
    events = (await operator.get("/audit", subject="run/B-1", order="asc"))["events"]
    assert [(one["action"], one["why"]) for one in events] == [
        (action, ORDER["why"]) for action in ("run create", "run change")
    ]
    for second, state in enumerate(("stopping", "stopped")):
        stepped = await ask(operator, "POST", "/runs/B-1/states", state=state, at=text(second))
        assert stepped.status_code == 200, stepped.text
    ended = (await ask(operator, "PATCH", "/runs/B-1", ends=text(60))).json()
    assert [ended["ends"], *(one["at"] for one in ended["states"] if one["state"] == "stopped")] == [text(60)] * 2


async def test_a_device_is_in_one_run_at_a_time(plant: Plant, operator: Operator, north: Operator) -> None:
    for name in ("br-1", "br-2"):
        await plant.device(name)
    await make(operator, "B-1", "br-1", begins=text(0))
    await make(operator, "B-2", "br-1", "br-2")  # planned: it may be in another one until then
    taken = "br-1 is in run B-1 from 2026-03-01 10:00 on (UTC): a device is in one run at a time"
    assert await refused(operator, "POST", "/runs/B-2/states", state="running", at=text(60)) == (409, taken)
    assert await refused(operator, "POST", "/runs", run="B-3", devices=["br-1"], begins=text(60)) == (409, taken)
    await ask(operator, "POST", "/runs/B-1/states", state="stopped", at=text(60))
    assert (await ask(operator, "POST", "/runs/B-2/states", state="running", at=text(60))).status_code == 200
    assert await refused(operator, "PATCH", "/runs/B-1", ends=text(61)) == (
        *(409, "br-1 is in run B-2 from 2026-03-01 10:01 on (UTC): a device is in one run at a time"),
    )
    assert await refused(operator, "POST", "/runs", run="B-4", devices=["br-9"]) == (404, "there is no device br-9")
    assert await refused(north, "POST", "/runs", run="B-4", devices=["br-1"]) == (404, "there is no device br-1")
    await make(north, "B-1")  # a name is another organization's, too


async def test_phases_are_proposed_by_events_and_confirmed_by_a_person(plant: Plant, operator: Operator) -> None:
    device = await plant.device("br-1")
    for when, phase in ((0, "batch"), (300, "feed"), (500, "feed"), (900, "harvest")):
        await plant.event(device, at(when), "phase", {"phase": phase})
    await make(operator, "B-1", "br-1", begins=text(0))

    async def shown() -> list[tuple[Any, ...]]:
        found = (await operator.get("/runs/B-1/phases", "RunPhases"))["phases"]
        return [(one["phase"], one["begins"], one["ends"], one["status"], one["origin"]) for one in found]

    assert await shown() == [
        ("batch", text(0), text(300), "proposed", "event"),
        ("feed", text(300), text(900), "proposed", "event"),
        ("harvest", text(900), None, "proposed", "event"),
    ]
    said = [{"phase": "batch", "begins": text(0), "origin": "event"}, {"phase": "fed batch", "begins": text(320)}]
    answer = await ask(operator, "PUT", "/runs/B-1/phases", phases=said)
    assert answer.status_code == 200, answer.text
    assert await shown() == [
        ("batch", text(0), text(320), "confirmed", "event"),
        ("fed batch", text(320), text(900), "confirmed", "person"),
        ("harvest", text(900), None, "proposed", "event"),
    ]
    spans = [("batch", 0, 320), ("feed", 400, None), ("rest", 320, 400)]
    for who, count in (("ida", 2), ("eva", 3)):  # what stays keeps who has confirmed it, also what has no end yet
        phases = [
            {"name": name, "begins": text(begin), "ends": None if end is None else text(end), "origin": "person"}
            for name, begin, end in spans[:count]
        ]
        await plant.sql.execute("select run_phases_put(1, 'B-1', $1, null, $2, 'x')", json.dumps(phases), who)
    confirmed = await plant.sql.fetch("select name, confirmed_by from run_phases order by begins")
    assert [tuple(row) for row in confirmed] == [("batch", "ida"), ("rest", "eva"), ("feed", "ida")]
    both = [{**said[0], "ends": text(400)}, said[1]]
    assert await refused(operator, "PUT", "/runs/B-1/phases", phases=both) == (409, "two phases are at the same time")
    outside = [{"phase": "early", "begins": text(-5), "ends": text(5)}]
    assert await refused(operator, "PUT", "/runs/B-1/phases", phases=outside) == (
        *(409, "phase early would lie outside run B-1: change the phases, too"),
    )


@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_runs_are_found_by_each_filter_newest_first(plant: Plant, operator: Operator, limit: int) -> None:
    await plant.device("br-1")
    await make(operator, "B-1", "br-1", begins=text(0), material="mAb-7", strain="CHO")
    await ask(operator, "POST", "/runs/B-1/states", state="complete", at=text(60))
    await make(operator, "B-2", "br-1", begins=text(100), material="mAb-7", strain="HEK", note="100% O2")
    await make(operator, "plan", material="x")

    async def found(**asked: Any) -> list[str]:
        return [one["run"] for one in await everything(operator.client, "/runs", "runs", limit=limit, **asked)]

    assert await found() == ["plan", "B-2", "B-1"]
    assert await found(state="complete") == ["B-1"]
    assert await found(state=["idle", "running"]) == ["plan", "B-2"]
    assert await found(material="mAb-7") == ["B-2", "B-1"]
    assert await found(strain="HEK", device="br-1") == ["B-2"]
    assert await found(q="0%") == ["B-2"]
    assert await found(q="b-") == ["B-2", "B-1"]


async def test_events_of_a_device_start_and_end_runs_where_the_organization_wants_that(
    plant: Plant, operator: Operator
) -> None:
    device = await plant.device("br-1")
    await plant.event(device, at(0), "run", {"run": "B-1", "state": "running"})
    assert (await operator.get("/runs"))["runs"] == []
    proposed = {"run": "B-1", "device": "br-1", "begins": text(0)}
    assert (await operator.get("/run-proposals", "RunProposals", **{"from": text(-1)}))["proposals"] == [proposed]
    assert (await operator.get("/run-proposals"))["proposals"] == []  # of the last 30 days
    answer = await ask(operator, "PATCH", "/organization", runs_automatic=True)
    assert answer.json()["runs_automatic"] is True
    await plant.event(device, at(10), "run", {"run": "B-2", "state": "running", "strain": "CHO"})
    await plant.event(device, at(20), "run", {"run": "B-2", "state": "idle"})  # cannot be
    await plant.event(device, at(30), "run", {"run": "B-2", "state": "complete"})
    [run] = (await operator.get("/runs"))["runs"]
    assert (run["run"], run["state"], run["begins"], run["ends"]) == ("B-2", "complete", text(10), text(30))
    assert (run["devices"], run["strain"], run["created_by"]) == (["br-1"], "CHO", "device br-1")
    [refusal] = (await operator.get("/audit", action="run refuse"))["events"]
    assert (refusal["why"], refusal["subject"]) == (
        "run B-2 is running, and can become complete, holding, held, stopping, stopped, aborting, aborted",
        "device/br-1",
    )


async def test_what_is_no_plan_in_the_event_of_a_device_is_none(plant: Plant, operator: Operator) -> None:
    device = await plant.device("br-1")
    await ask(operator, "PATCH", "/organization", runs_automatic=True)
    for second, given in enumerate(
        (5, "x", [5], [{"a": None}], {"a": [None]}, [{"channel": "ph", "points": []}], None)
    ):
        name = f"B-{second}"
        for state in ("running", "complete"):
            said = {"run": name, "state": state, "plan": given}
            await plant.event(device, at(2 * second + (state == "complete")), "run", said)
        assert (await operator.get(f"/runs/{name}", "RunDetail"))["plan"] == []
        assert (await operator.get(f"/runs/{name}/plan", "RunPlan"))["deviations"] == []


async def test_the_command_lists_starts_and_ends_runs(plant: Plant, operator: Operator, database_url: str) -> None:
    await plant.device("br-1")
    environment = os.environ | {"BIOGATE_DATABASE_URL": as_role(database_url, OPERATOR)}

    def command(*arguments: str, status: int = 0) -> str:
        child = Talking("deploy.command", "runs", *arguments, environment=environment)
        said = child.finish()
        assert child.wait() == status, said
        return said

    why = ("--why", "agreed", "--who", "eva")
    assert command("start", "B-1", "--device", "br-1", "--at", text(0), *why) == "run B-1 is running\n"
    command("start", "B-2", "--device", "br-9", *why, status=1)
    command("end", "B-1", "--as", "held", *why, status=2)
    assert command("end", "B-1", "--as", "stopped", "--at", text(60), *why) == "run B-1 is stopped\n"
    assert command("list").splitlines()[1].split()[:3] == ["B-1", "stopped", "br-1"]
    assert "B-1" in command("show", "B-1")
    command("show", "B-9", status=1)
    assert (await operator.get("/runs/B-1"))["hours"] == round(60 / 3600, 4)


async def test_the_gateway_s_login_may_do_what_an_event_means(plant: Plant, operator: Operator) -> None:
    device = await plant.device("br-1")
    await ask(operator, "PATCH", "/organization", runs_automatic=True)
    await plant.sql.execute("set role biogate_gateway")
    await plant.event(device, at(0), "run", {"run": "B-1", "state": "running"})
    await plant.event(device, at(5), "run", {"run": "B-1", "state": "idle"})
    await plant.event(device, at(9), "run", {"run": "B-1", "state": "complete"})
    await plant.sql.execute("reset role")
    assert (await operator.get("/runs/B-1"))["state"] == "complete"
