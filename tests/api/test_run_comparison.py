"""Runs beside each other, against curves whose figures are known."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import pytest

from tests.api.operators import Operator
from tests.api.plant import Plant, at, text
from tests.api.test_devices import operator
from tests.api.test_runs import ask, make

__all__ = ["operator"]
STEP = 10.0
LENGTH = 400
"""Frames of a run, one each STEP seconds."""
APART = 10_000
RAMP = [{"hours": 0, "value": 0}, {"hours": 1, "value": 3.6}]


async def runs(plant: Plant, operator: Operator, **levels: float) -> None:
    """A device and a run of each name: its x is that level, 10 more in the phase feed, which begins after 1000 s, and
    its feed_rate is 0 and then 2. The runs begin APART seconds one after the other."""
    for number, (name, level) in enumerate(levels.items()):
        device = await plant.device(f"br-{name}")
        layout = await plant.layout(device, "x", "feed_rate")
        rows = await plant.sql.fetch("select name from channels where name in ('x', 'feed_rate') order by channel_id")
        begin = number * APART
        frames: list[tuple[datetime, list[float | None], list[int | None] | None]] = []
        for n in range(LENGTH):
            feeding = n * STEP >= 1000
            values: dict[str, float | None] = {"x": level + 10.0 * feeding, "feed_rate": 2.0 * feeding}
            frames.append((at(begin + n * STEP), [values[row["name"]] for row in rows], None))
        await plant.frames(device, layout, frames)
        await make(operator, name, f"br-{name}", begins=text(begin))
        await ask(operator, "POST", f"/runs/{name}/states", state="complete", at=text(begin + LENGTH * STEP))
        phases = [{"phase": "batch", "begins": text(begin)}, {"phase": "feed", "begins": text(begin + 1000)}]
        assert (await ask(operator, "PUT", f"/runs/{name}/phases", phases=phases)).status_code == 200


async def test_runs_are_compared_from_their_start_or_from_a_phase_and_scored(plant: Plant, operator: Operator) -> None:
    await runs(plant, operator, a=1.0, b=2.0, c=3.0, odd=2.0)
    device = await plant.sql.fetchval("select device_id from devices where name = 'br-odd'")
    layout = await plant.sql.fetchval("select layout_id from device_layouts where device_id = $1", device)
    await plant.frames(  # between 500 s and 600 s it is far off
        device, layout, [(at(3 * APART + 500 + n * STEP + 1), [902.0, 902.0], None) for n in range(10)]
    )

    whole = await operator.question("/runs/compare", "AlignedRuns", runs=["a", "b"], channel=["x"], max_points=400)
    assert (whole["bucket"], len(whole["hours"]), whole["hours"][1]) == ("10s", LENGTH, round(STEP / 3600, 6))
    assert [(one["run"], one["since"], one["shift_s"]) for one in whole["series"]] == [
        ("a", text(0), 0.0),
        ("b", text(APART), 0.0),
    ]
    assert whole["series"][1]["values"] == [2.0] * 100 + [12.0] * 300
    feed = await operator.question("/runs/compare", runs=["a"], channel=["x"], phase="feed", max_points=10)
    assert (feed["phase"], feed["bucket"], feed["series"][0]["since"]) == ("feed", "5m", text(1000))
    assert feed["series"][0]["values"] == [11.0] * 10
    around = await operator.question("/runs/compare", runs=["a"], channel=["x"], phase="feed", begin=-0.5, end=0.5)
    assert (around["hours"][0], around["bucket"]) == (-0.5, "10s")  # no narrower than samples come
    values = [one for one in around["series"][0]["values"] if one is not None]
    assert values == [1.0] * 100 + [11.0] * 180

    found = await operator.question(
        "/runs/envelope", "Envelope", references=["a", "b", "c"], runs=["b", "odd"], channel=["x"], k=2, max_points=400
    )
    [band] = found["envelopes"]
    assert (band["middle"][0], band["low"][0], band["high"][0], band["count"][0]) == (2.0, 0.0, 4.0, 3)
    inside, odd = found["scores"]
    assert (inside["run"], inside["score"], inside["excursions"]) == ("b", 100.0, [])
    [left] = odd["excursions"]
    assert (left["begin"], left["duration"]) == (round(500 / 3600, 6), round(100 / 3600, 6))
    assert (left["begins"], left["distance"]) == (text(3 * APART + 500), 452.0 - 4.0)  # the mean of 2 and 902
    assert odd["score"] == pytest.approx(100 * (LENGTH - 10) / LENGTH, abs=1e-3)
    quantiles = await operator.question(
        "/runs/envelope", references=["a", "b", "c"], channel=["x"], quantiles=[0, 1], max_points=400
    )
    assert [quantiles["envelopes"][0][part][0] for part in ("low", "middle", "high")] == [1.0, 2.0, 3.0]

    for body, status, words in (
        ({"runs": ["a", "x"], "channel": ["x"]}, 404, "there is no run x; /api/v1/runs lists those that there are"),
        ({"runs": ["a"], "channel": ["x"], "phase": "harvest"}, 404, "run a has no phase harvest; it has batch, feed"),
        ({"runs": ["a"], "channel": ["x"], "begin": 3, "end": 2}, 422, "`end` must be after `begin`"),
    ):
        answer = await operator.client.post("/api/v1/runs/compare", json=body, headers=operator.headers)
        assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text


async def test_figures_of_a_run_phase_by_phase_and_plan_beside_what_was(plant: Plant, operator: Operator) -> None:
    await runs(plant, operator, a=1.0)
    found = (await operator.get("/runs/a/statistics", "RunStatistics", channel=["x", "feed_rate"]))["statistics"]
    figures = {(one["phase"], one["channel"]): one for one in found}
    assert set(figures) == {(phase, channel) for phase in (None, "batch", "feed") for channel in ("x", "feed_rate")}
    feed = figures["feed", "x"]
    assert (feed["avg"], feed["min"], feed["max"], feed["stddev"], feed["count"]) == (11.0, 11.0, 11.0, 0.0, 300)
    assert (feed["hours"], feed["percent_good"]) == (round(3000 / 3600, 6), 100.0)
    assert figures[None, "x"]["avg"] == (100 * 1 + 300 * 11) / 400
    assert figures[None, "x"]["stddev"] == pytest.approx(math.sqrt(100 * 300 / 400 / 399) * 10)
    assert figures["feed", "feed_rate"]["integral"] == pytest.approx(2 * 2990 / 3600, rel=1e-6)

    profiles: list[dict[str, Any]] = [
        {"channel": "x", "phase": "feed", "points": [{"hours": 0, "value": 10.5}]},
        {"channel": "x", "phase": "batch", "kind": "ramp", "points": RAMP},
        {"channel": "feed_rate", "points": [{"hours": 0, "value": 0}, {"hours": 0.5, "value": 2}]},
    ]
    answer = await ask(operator, "PATCH", "/runs/a", plan=profiles)
    assert answer.status_code == 200, answer.text
    against = (await operator.get("/runs/a/plan", "RunPlan"))["deviations"]
    shown = {(one["channel"], one["phase"]): one for one in against}
    assert (shown["x", "feed"]["planned"], shown["x", "feed"]["deviation"]) == (10.5, 0.5)
    ramp = shown["x", "batch"]  # in 1000 s from 0 to 1, its mean is a half
    assert (ramp["planned"], ramp["deviation"]) == (pytest.approx(0.5, abs=0.005), pytest.approx(0.5, abs=0.005))
    assert ramp["largest"] == pytest.approx(1.0, abs=0.01)
    late = shown["feed_rate", "feed"]  # 800 s of 3000 s it was 2 too much
    assert (late["deviation"], late["largest"]) == (pytest.approx(2 * 800 / 3000), 2.0)
    unknown = [*profiles, profiles[0] | {"channel": "acidity"}]
    assert (await ask(operator, "PATCH", "/runs/a", plan=unknown)).status_code == 200
    again = await operator.get("/runs/a/plan", "RunPlan")
    assert again["deviations"] == against, "a profile of an unknown channel hides no other one"
    assert ["acidity" in one for one in again["warnings"]] == [True]


async def test_phases_are_proposed_by_data_where_no_event_tells_them(plant: Plant, operator: Operator) -> None:
    await runs(plant, operator, a=1.0)
    assert (await ask(operator, "PUT", "/runs/a/phases", phases=[])).status_code == 200
    found = await operator.get("/runs/a/proposals", "ProposedPhases")
    assert found["method"] == "data"
    assert [(one["phase"], one["begins"], one["ends"]) for one in found["phases"]] == [
        ("start", text(0), text(1000)),
        ("feed on", text(1000), text(LENGTH * STEP)),
    ]
    assert found["phases"][1]["evidence"] == "feed_rate from 0 to 2"
    device = await plant.sql.fetchval("select device_id from devices")
    await plant.event(device, at(0), "phase", {"phase": "batch"})
    found = await operator.get("/runs/a/proposals")
    assert (found["method"], [one["phase"] for one in found["phases"]]) == ("event", ["batch"])
