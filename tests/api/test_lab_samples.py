"""Lab samples: taken, measured, approved, corrected; never overwritten."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx2
import pytest

from api.access.roles import Role
from schema import times
from tests.api.accounts import api_key
from tests.api.operators import Operator
from tests.api.plant import Plant, at, text
from tests.api.test_devices import operator
from tests.api.test_lists import everything, table

__all__ = ["operator"]

GLUCOSE = {"analyte": "glucose", "value": 4.2, "unit": "g/L", "method": "HPLC"}


async def send(caller: Operator, method: str, path: str, **body: Any) -> httpx2.Response:
    return await caller.client.request(method, f"/api/v1{path}", json=body, headers=caller.headers)


async def add(caller: Operator, seconds: float = 0, **body: Any) -> dict[str, Any]:
    answer = await send(caller, "POST", "/samples", device="br-1", taken_at=text(seconds), **body)
    assert answer.status_code == 201, answer.text
    made = dict(answer.json())
    assert (await caller.client.get(answer.headers["location"], headers=caller.headers)).json() == made
    return made


async def by_role(plant: Plant, client: httpx2.AsyncClient, role: Role) -> Operator:
    return Operator(client, await api_key(plant.sql, role=role))


async def test_a_sample_is_taken_measured_and_approved_in_versions(
    plant: Plant, client: httpx2.AsyncClient, operator: Operator
) -> None:
    await plant.device("br-1")
    made = await add(operator, location="port 2", analytes=[{"analyte": "glucose"}, {"analyte": "lactate"}])
    assert (made["sample"], made["version"], made["status"], made["act"]) == ("br-1-s1", 1, "taken", "take")
    first = await send(operator, "PATCH", "/samples/br-1-s1", analytes=[GLUCOSE], why="HPLC of Monday")
    assert first.status_code == 200, first.text
    assert (first.json()["version"], first.json()["status"], first.json()["act"]) == (2, "taken", "measure")
    low = {"analyte": "lactate", "value": "< 0.1", "unit": "g/L"}
    second = (await send(operator, "PATCH", "/samples/br-1-s1", analytes=[low], why="the rest")).json()
    assert second["status"] == "measured"
    assert [(one["value"], one["reading"]) for one in second["analytes"]] == [(4.2, None), (None, "< 0.1")]
    assert second["analytes"][0]["measured_by"] == operator.who
    shift = await by_role(plant, client, Role.OPERATOR)
    refused = await send(shift, "POST", "/samples/br-1-s1/approve", why="fits")
    assert refused.status_code == 403, "an operator may not approve"
    engineer = await by_role(plant, client, Role.ENGINEER)
    approved = await send(engineer, "POST", "/samples/br-1-s1/approve", why="fits")
    assert (approved.json()["status"], approved.json()["version"]) == ("approved", 4)
    assert {one["approved_by"] for one in approved.json()["analytes"]} == {engineer.who}
    again = await send(engineer, "POST", "/samples/br-1-s1/approve", why="fits")
    assert (again.status_code, again.json()["detail"]) == (409, "sample br-1-s1 is approved already")
    versions = (await operator.get("/samples/br-1-s1/versions"))["versions"]
    assert [(one["version"], one["why"]) for one in versions] == [
        *((4, "fits"), (3, "the rest"), (2, "HPLC of Monday"), (1, "taken")),
    ]
    assert [one["superseded_at"] is None for one in versions] == [True, False, False, False]
    trail = await plant.sql.fetch("select action, old, new from audit where subject = 'sample/br-1-s1' order by n")
    assert [row["action"] for row in trail] == ["sample take", "sample measure", "sample measure", "sample approve"]
    assert trail[1]["old"] == trail[0]["new"]
    assert json.loads(trail[3]["new"])["analytes"]["glucose"]["approved_by"] == engineer.who


async def test_nothing_is_taken_or_added_in_the_future(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    for path, when in (("/samples", "taken_at"), ("/materials", "begins")):
        body: dict[str, object] = {"device": "br-1", when: "2100-01-01T00:00:00Z"}
        body |= {"kind": "feed", "material": "x", "quantity": 1, "unit": "L"} if path == "/materials" else {}
        refused = await send(operator, "POST", path, **body)
        assert (refused.status_code, "now or in the past" in refused.json()["detail"]) == (409, True), refused.text


async def test_a_correction_is_a_version_that_needs_a_reason_and_a_new_approval(
    plant: Plant, client: httpx2.AsyncClient, operator: Operator
) -> None:
    await plant.device("br-1")
    engineer = await by_role(plant, client, Role.ENGINEER)
    await add(operator, sample="S-7", analytes=[GLUCOSE, {"analyte": "lactate", "value": 1}])
    await send(engineer, "POST", "/samples/S-7/approve", why="fits")
    without = await send(operator, "PATCH", "/samples/S-7", analytes=[{"analyte": "glucose", "value": 4.6}])
    assert without.status_code == 422, "a correction needs a reason"
    change = {"analytes": [{"analyte": "glucose", "value": 4.6}], "why": "dilution was 1:11"}
    stale = await send(operator, "PATCH", "/samples/S-7", version=1, **change)
    assert (stale.status_code, stale.json()["title"]) == (412, "Not as expected")
    said = (await send(operator, "PATCH", "/samples/S-7", version=2, **change)).json()
    glucose, lactate = said["analytes"]
    assert (said["act"], said["status"], glucose["value"], glucose["unit"]) == ("correct", "measured", 4.6, "g/L")
    assert (glucose["status"], glucose["approved_by"], glucose["method"]) == ("measured", None, "HPLC")
    assert lactate["status"] == "approved", "what was not corrected stays approved"
    part = (await send(engineer, "POST", "/samples/S-7/approve", analytes=["glucose"], why="fits")).json()
    assert part["status"] == "approved"
    gone = (await send(operator, "PATCH", "/samples/S-7", without=["lactate"], note="one peak", why="no")).json()
    assert ([one["analyte"] for one in gone["analytes"]], gone["note"], gone["act"]) == (
        *(["glucose"], "one peak", "correct"),
    )
    for nothing in ({}, {"note": "one peak"}, {"analytes": [GLUCOSE | {"value": 4.6}]}):
        refused = await send(operator, "PATCH", "/samples/S-7", why="nothing", **nothing)
        assert refused.status_code == 422, nothing
    await send(operator, "POST", "/samples/S-7/withdraw", why="of another vessel")
    assert (await operator.get("/samples"))["samples"] == []
    assert [one["sample"] for one in (await operator.get("/samples", withdrawn=True))["samples"]] == ["S-7"]
    after = await send(operator, "PATCH", "/samples/S-7", note="x", why="x")
    assert (after.status_code, after.json()["detail"]) == (409, "sample S-7 was withdrawn")


async def test_what_is_no_sample_is_refused_with_its_field(
    plant: Plant, operator: Operator, subtests: pytest.Subtests
) -> None:
    await plant.device("br-1")
    for body, detail in (
        ({"sample": "S 7"}, "sample"),
        ({"analytes": [GLUCOSE, GLUCOSE]}, "glucose twice"),
        ({"analytes": [{"analyte": "glucose", "value": True}]}, "value"),
        ({"analytes": [{"analyte": "glucose", "value": ""}]}, "value"),
        ({"taken_at": "2026-03-01T10:00:00"}, "the zone is missing"),
        ({"status": "approved"}, "status"),
    ):
        with subtests.test(repr(body)):
            answer = await send(operator, "POST", "/samples", **({"device": "br-1", "taken_at": text(0)} | body))
            assert answer.status_code == 422
            assert detail in answer.json()["detail"]


async def test_a_name_is_given_once(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    await add(operator, sample="br-1-s1")
    assert (await add(operator))["sample"] == "br-1-s2"
    answer = await send(operator, "POST", "/samples", device="br-1", taken_at=text(0), sample="br-1-s1")
    assert answer.status_code == 409
    assert "there is a sample br-1-s1 already" in answer.json()["detail"]
    absent = await send(operator, "POST", "/samples", device="br-9", taken_at=text(0))
    assert absent.status_code == 404


async def test_samples_are_found_by_device_time_analyte_and_status(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    await plant.device("br-2")
    await add(operator, 0, sample="a", analytes=[GLUCOSE])
    await add(operator, 10, sample="b", analytes=[{"analyte": "lactate"}])
    await send(operator, "POST", "/samples", device="br-2", taken_at=text(10), sample="c")

    async def found(**asked: Any) -> list[str]:
        return [one["sample"] for one in await everything(operator.client, "/samples", "samples", limit=1, **asked)]

    assert await found() == ["c", "b", "a"]
    assert await found(device="br-1") == ["b", "a"]
    assert await found(analyte="glucose") == ["a"]
    assert await found(status="taken") == ["c", "b"]
    assert await found(**{"from": text(0), "to": text(10)}) == ["a"]
    rows = await table(operator.client, "/samples", limit=1000)
    assert [row["sample"] for row in rows] == ["c", "b", "a"]
    assert json.loads(rows[2]["analytes"])[0]["value"] == 4.2


async def test_a_sample_is_of_the_run_that_had_its_device_then(plant: Plant, operator: Operator) -> None:
    device = await plant.device("br-1")
    await plant.device("br-2")
    for name, begins, ends in (("R-1", 0, 100), ("R-2", 100, None)):
        run = await plant.sql.fetchval(
            "insert into runs (organization_id, name, state, begins, ends, created_by)"
            " values (1, $1, $2, $3, $4, 'eva') returning run_id",
            *(name, "running" if ends is None else "complete", at(begins), None if ends is None else at(ends)),
        )
        await plant.sql.execute(
            "insert into run_devices select run_id, $2, 1, begins, ends from runs where run_id = $1", run, device
        )
    for seconds, name in ((-1, "before"), (0, "a"), (99.9, "b"), (100, "c")):
        await add(operator, seconds, sample=name)
        material = {"device": "br-1", "kind": "feed", "material": name, "quantity": 1, "unit": "kg"}
        await send(operator, "POST", "/materials", **material, begins=text(seconds))
    await send(operator, "POST", "/samples", device="br-2", taken_at=text(50), sample="other")
    found = (await operator.get("/samples"))["samples"]
    runs = {one["sample"]: one["run"] for one in found}
    assert runs == {"before": None, "a": "R-1", "b": "R-1", "c": "R-2", "other": None}
    assert [one["sample"] for one in (await operator.get("/samples", run="R-1"))["samples"]] == ["b", "a"]
    late = await operator.get("/samples", run="R-1", **{"from": "start+50s"})
    assert [one["sample"] for one in late["samples"]] == ["b"]
    assert (await operator.get("/samples/b"))["run"] == "R-1"
    assert [one["material"] for one in (await operator.get("/materials", run="R-1"))["materials"]] == ["b", "a"]
    assert sum(one["mass"] for one in (await operator.get("/material-sums", run="R-2"))["sums"]) == 1
    balance = await operator.get("/devices/br-1/material-balance", run="R-1")
    assert (balance["went_in"], balance["from"], balance["to"]) == (2.0, text(0), text(100))
    assert await operator.not_shown("/samples", run="R-9") == 404
    assert await operator.not_shown("/samples", run="R-1", device="br-2") == 422
    assert await operator.not_shown("/devices/br-1/material-balance") == 422


async def test_the_database_refuses_to_overwrite_what_is_stored(
    plant: Plant, operator: Operator, subtests: pytest.Subtests
) -> None:
    await plant.device("br-1")
    await add(operator, sample="a", analytes=[GLUCOSE])
    await send(operator, "PATCH", "/samples/a", analytes=[{"analyte": "glucose", "value": 5}], why="x")
    body = {"device": "br-1", "kind": "feed", "material": "x", "quantity": 1, "unit": "g", "begins": text(0)}
    assert (await send(operator, "POST", "/materials", **body)).status_code == 201
    for statement in (
        "update lab_samples set note = 'x'",
        "update lab_samples set superseded_at = null where version = 1",
        "update lab_samples set superseded_at = now(), why = 'x'",
        "update lab_samples set superseded_at = now() where version = 1",
        "delete from lab_samples",
        "update lab_analytes set value = 1",
        "delete from lab_analytes",
        "truncate lab_analytes, lab_samples",
        "update materials set quantity = 1",
        "delete from materials",
        "truncate materials",
    ):
        with subtests.test(statement), pytest.raises(asyncpg.InsufficientPrivilegeError, match="never overwritten"):
            await plant.sql.execute(statement)


async def test_a_sample_is_read_as_it_was_known(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    before = times.text(datetime.now(UTC))
    await add(operator, analytes=[GLUCOSE])
    first = times.text(datetime.now(UTC))
    corrected = {"analytes": [GLUCOSE | {"value": 4.6}], "why": "diluted 1:11"}
    assert (await send(operator, "PATCH", "/samples/br-1-s1", **corrected)).status_code == 200
    second = times.text(datetime.now(UTC))
    await send(operator, "POST", "/samples/br-1-s1/withdraw", why="of another vessel")

    async def known(path: str, as_of: str) -> Any:
        return await operator.client.get(f"/api/v1{path}", params={"as_of": as_of}, headers=operator.headers)

    one = "/samples/br-1-s1"
    assert (await known(one, before)).status_code == 404
    assert [(await known(one, then)).json()["analytes"][0]["value"] for then in (first, second)] == [4.2, 4.6]
    lists = [(await known("/samples", then)).json()["samples"] for then in (before, first, second)]
    assert [[it["analytes"][0]["value"] for it in some] for some in lists] == [[], [4.2], [4.6]]
    assert (await send(operator, "GET", "/samples")).json()["samples"] == []
    assert (await known("/samples", "2126-01-01Z")).status_code == 422
