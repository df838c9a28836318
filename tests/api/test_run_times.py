"""Times that are those of a run or phase, wherever times are taken."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from api.access.roles import Role
from api.http.run_times import Offset, moment_text, parse_moment
from tests.api import alarms
from tests.api.accounts import api_key, bearer
from tests.api.live import listening, message, opened
from tests.api.operators import Operator
from tests.api.plant import LivePlant, Plant, at, text
from tests.api.test_devices import operator
from tests.api.test_runs import ask, make
from tests.roles import forced

__all__ = ["operator"]
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("said", "edge", "distance"),
    [
        ("start", "start", timedelta(0)),
        ("start+2h", "start", 2 * HOUR),
        ("start 2h", "start", 2 * HOUR),  # a + in an address that nobody encoded
        ("end-30m", "end", -HOUR / 2),
        (" end+1d ", "end", 24 * HOUR),
    ],
)
def test_a_distance_is_counted_from_start_or_end(said: str, edge: Any, distance: timedelta) -> None:
    assert parse_moment(said) == Offset(edge, distance)
    assert parse_moment(moment_text(Offset(edge, distance))) == Offset(edge, distance)


@pytest.mark.parametrize("said", ["begin", "start+", "start+2", "start2h", "end--1h", 7])
def test_what_is_no_distance_is_refused(said: object) -> None:
    with pytest.raises(ValueError, match=r"give ISO|must be text|as milliseconds"):
        parse_moment(said)


async def test_samples_are_of_the_time_of_a_run_or_phase(plant: Plant, operator: Operator) -> None:
    """br-1 and br-2 run from 100 s to 400 s, the phase `feed` from 200 s; a frame comes each 50 s."""
    for name in ("br-1", "br-2", "br-3"):
        device = await plant.device(name)
        layout = await plant.layout(device, "ph")
        await plant.frames(device, layout, [(at(n), [float(n)], None) for n in range(0, 600, 50)])
    await make(operator, "B-1", "br-1", "br-2", begins=text(100))
    await ask(operator, "POST", "/runs/B-1/states", state="complete", at=text(400))
    phases = [{"phase": "batch", "begins": text(100)}, {"phase": "feed", "begins": text(200)}]
    assert (await ask(operator, "PUT", "/runs/B-1/phases", phases=phases)).status_code == 200
    await make(operator, "plan", "br-3")

    async def found(**asked: Any) -> dict[str, list[float]]:
        rows = (await operator.get("/telemetry", run="B-1", channel="ph", **asked))["rows"]
        return {device: [row[2] for row in rows if row[0] == device] for device in sorted({row[0] for row in rows})}

    whole = [100.0, 150, 200, 250, 300, 350]
    assert await found() == {"br-1": whole, "br-2": whole}
    assert await found(device="*") == {"br-1": whole, "br-2": whole}, "br-3 is not in the run"
    assert await found(device="br-2", phase="feed") == {"br-2": [200, 250, 300, 350]}
    assert await found(device="br-2", phase="feed", **{"from": "start+50s", "to": "end-1m"}) == {"br-2": [250, 300]}
    assert await found(device="br-2", **{"from": "start-50s", "to": "start+1m"}) == {"br-2": [50, 100, 150]}
    assert await found(device="br-2", **{"from": text(380), "to": "end+1m"}) == {"br-2": [400, 450]}
    assert await found(device="br-1", at="start+1m,end-1s") == {"br-1": [150, 350]}
    answer = await operator.get("/telemetry", "TelemetryRead", run="B-1", device="br-1", hours="true", bucket="100s")
    assert answer["hours"] == [0.0, round(100 / 3600, 6), round(200 / 3600, 6)]
    assert (answer["since"], answer["devices"][0]["to"]) == (text(100), text(400))
    body = {"run": "B-1", "from": "end-1m", "channel": ["ph"]}
    answer = await operator.client.post("/api/v1/telemetry", json=body, headers=operator.headers)
    assert [row[2] for row in answer.json()["rows"]] == [350, 350]
    rows = (await operator.get("/devices/br-1/telemetry", run="B-1", phase="batch"))["rows"]
    assert [row[1] for row in rows] == [100, 150]
    first = await operator.get("/telemetry", run="B-1", limit=5)
    rest = await operator.get("/telemetry", run="B-1", limit=50, cursor=first["next"])
    assert [row[2] for row in first["rows"] + rest["rows"]] == whole + whole
    stream = await operator.client.get(
        "/api/v1/telemetry.arrow?run=B-1&phase=feed&from=start%2B1m", headers=operator.headers
    )
    assert stream.status_code == 200, stream.text
    estimate = await operator.client.post("/api/v1/exports/estimate", json={"run": "B-1"}, headers=operator.headers)
    assert estimate.json()["rows"] == 12

    for path, asked, status, words in (
        ("/telemetry", {"run": "B-2"}, 404, "there is no run B-2; /api/v1/runs lists those that there are"),
        ("/telemetry", {"run": "B-1", "phase": "harvest"}, 404, "run B-1 has no phase harvest; it has batch, feed"),
        ("/telemetry", {"run": "B-1", "device": "br-3"}, 422, "run: br-3 is not in run B-1, which has br-1, br-2"),
        ("/telemetry", {"run": "plan"}, 422, "run: plan has not started"),
        ("/telemetry", {"device": "br-1", "to": "end"}, 422, "to: start and end are those of a run: name it by `run`"),
        ("/telemetry", {"run": "B-1", "from": "end"}, 422, f"from: must be before `to`, which is {text(400)}"),
        ("/devices/br-3/telemetry", {"run": "B-1"}, 422, "run: br-3 is not in run B-1, which has br-1, br-2"),
        ("/devices/br-3/events", {"phase": "feed"}, 422, "phase: is one of a run: name it by `run`"),
        ("/activity", {"to": "end"}, 422, "to: start and end are those of a run: name it by `run`"),
    ):  # fmt: skip
        answer = await operator.client.get(f"/api/v1{path}", params=asked, headers=operator.headers)
        assert (answer.status_code, answer.json()["detail"]) == (status, words), asked


async def test_lists_are_of_the_time_and_the_devices_of_a_run(plant: Plant, operator: Operator) -> None:
    for name in ("br-1", "br-2"):
        device = await plant.device(name)
        for when in (0, 200, 900):
            await plant.event(device, at(when), "dosing", {"n": when})
        rule = await alarms.rule(plant.sql, f"hot-{name}")
        await alarms.become(plant.sql, rule, device)
    await forced(plant.sql, "update alarm_transitions set recorded_at = $1", at(250))
    body = {"begins": text(220), "text": "foam"}
    await operator.client.post("/api/v1/devices/br-1/annotations", json=body, headers=operator.headers)
    await make(operator, "B-1", "br-1", begins=text(100))
    await ask(operator, "POST", "/runs/B-1/states", state="complete", at=text(400))

    events = (await operator.get("/devices/br-1/events", run="B-1"))["events"]
    assert [one["data"]["n"] for one in events] == [200]
    assert (await operator.get("/devices/br-1/events", run="B-1", **{"from": "start+2m"}))["events"] == []
    notes = await operator.get("/devices/br-1/annotations", run="B-1", **{"from": "start+2m"})
    assert [one["text"] for one in notes["annotations"]] == ["foam"]
    assert (await operator.get("/devices/br-1/annotations", run="B-1", to="start+1m"))["annotations"] == []
    history = (await operator.get("/alarms/history", run="B-1"))["transitions"]
    assert {(one["device"], one["rule"]) for one in history} == {("br-1", "hot-br-1")}
    assert (await operator.get("/alarms/history", run="B-1", to="start+1m"))["transitions"] == []
    happened = (await operator.get("/activity", run="B-1", kind=["event", "alarm"]))["activity"]
    assert {(one["device"], one["kind"]) for one in happened} == {("br-1", "event"), ("br-1", "alarm")}


async def test_quarantine_audit_and_trials_are_of_the_time_of_a_run(plant: Plant, operator: Operator) -> None:
    for name in ("br-1", "br-2"):
        await plant.device(name)
        for when in (0, 200, 900):
            await plant.quarantine(at(when), name, "too-old", b"x")
    await make(operator, "B-1", "br-1", begins=text(100))
    await ask(operator, "POST", "/runs/B-1/states", state="complete", at=text(400))
    await ask(operator, "PUT", "/runs/B-1/phases", phases=[{"phase": "feed", "begins": text(300)}])

    async def rejected(**asked: str) -> list[tuple[str, str]]:
        found = (await operator.get("/quarantine", **asked))["quarantine"]
        return [(one["device"], one["received_at"]) for one in found]

    assert await rejected(run="B-1") == [("br-1", text(200))]
    assert await rejected(run="B-1", to="start+1m") == await rejected(run="B-1", phase="feed") == []
    assert len(await rejected(run="B-1", to="end+10m")) == 2
    assert len(await rejected()) == 6
    actions = [one["action"] for one in (await operator.get("/audit", run="B-1", to="now"))["events"]]
    assert "run create" in actions
    assert (await operator.get("/audit", run="B-1"))["events"] == []
    key = bearer(await api_key(plant.sql, role=Role.ENGINEER))
    body = {"definition": alarms.RULE, "run": "B-1", "phase": "feed", "from": "start-1m"}
    found = (await operator.client.post("/api/v1/alarm-trials", json=body, headers=key)).json()
    assert (found["from"], found["to"], [one["device"] for one in found["devices"]]) == (text(240), text(400), ["br-1"])
    for wrong, words in (
        ({"devices": ["br-2"]}, "br-2 is not in run B-1"),
        ({"from": "yesterday"}, "with `run` also a distance like start+2h"),
    ):
        answer = await operator.client.post("/api/v1/alarm-trials", json=body | wrong, headers=key)
        assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.text
    for path in ("quarantine", "audit", "devices/br-1/events", "telemetry"):
        answer = await operator.client.get(f"/api/v1/{path}?run=B-1&from=begin%2B2h", headers=operator.headers)
        assert (answer.status_code, "start+2h" in answer.json()["detail"]) == (422, True), answer.text


async def test_a_live_feed_is_of_the_devices_that_a_run_has(database_url: str, plant: Plant) -> None:
    vessels = LivePlant(plant.sql)
    for name in ("br-1", "br-2", "br-3"):
        await vessels.vessel(name)
    headers = bearer(await api_key(plant.sql))
    async with listening(database_url) as (address, _), httpx2.AsyncClient(base_url=f"http://{address}") as client:
        caller = Operator(client, headers["Authorization"].removeprefix("Bearer "))
        await make(caller, "B-1", "br-1", "br-3", begins="-1h")
        async with opened(address, headers, "?run=B-1", "/api/v1/ws/live-data") as socket:
            snapshot = await message(socket)
        assert {one["device"] for one in snapshot["devices"]} == {"br-1", "br-3"}
        answer = await client.get("/api/v1/live-data", params={"run": "B-9"}, headers=headers)
        assert answer.status_code == 404
