"""Runs on pages: the list, one run, what people do with it, and the comparison."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.api.pages.conftest import Visitor, trail
from tests.api.pages.forms import forms
from tests.api.plant import Plant, at, text

OTTO = "otto@example.org"


async def curves(plant: Plant, device: str, begin: float, level: float) -> int:
    """100 samples of temperature, one each 10 s, with a gap from the 40th to the 60th."""
    number = await plant.device(device)
    layout = await plant.layout(number, "temperature")
    await plant.frames(number, layout, [(at(begin + 10 * n), [level], None) for n in range(100) if not 40 <= n < 60])
    return number


def facts(page: str) -> dict[str, Any]:
    [found] = re.findall(r'class="runs" data-facts="([^"]*)"', page)
    return dict(json.loads(html.unescape(found)))


async def test_a_run_is_made_started_corrected_and_ended_on_pages(plant: Plant, operator: Visitor) -> None:
    await curves(plant, "br-1", 0, 37)
    assert "No run fits. A run is a batch" in await operator.words("runs")
    made = {"run": "B-1", "devices": "br-1", "material": "mAb-7", "begins": "", "note": "", "why": "planned"}
    assert await operator.act("runs", **made) == "/app/main/runs/B-1"
    assert "Phases begin with the run." in await operator.words("runs/B-1")
    assert await operator.act("runs/B-1/state", state="running", at=text(0), why="inoculated") == "/app/main/runs/B-1"
    [edit] = forms(await operator.shown("runs/B-1"), "/runs/B-1")
    assert (edit["devices"], edit["begins"], edit["material"]) == (["br-1"], [text(0)], ["mAb-7"])
    changed = {name: value[0] for name, value in edit.items()} | {"begins": text(-60), "material": "", "why": "earlier"}
    await operator.act("runs/B-1", **changed)
    status, words = await operator.refused("runs/B-1", **changed)
    assert (status, "was changed meanwhile" in words) == (412, True)
    await operator.act("runs/B-1/state", state="complete", at=text(1000), why="harvested")
    words = await operator.words("runs/B-1")
    assert "complete, 0.3 h" in words
    assert "Material –" in words
    assert [(one[0], one[1], one[3]) for one in await trail(plant.sql)] == [
        (OTTO, "run create", "planned"),
        (OTTO, "run running", "inoculated"),
        (OTTO, "run change", "earlier"),
        (OTTO, "run complete", "harvested"),
    ]
    assert "B-1 complete br-1 – –" in await operator.words("runs?state=complete&q=b-")
    assert "No run fits. Show all" in await operator.words("runs?material=x")
    assert (await operator.part("runs")).startswith('<div class="scroll"')


async def test_a_run_that_a_device_tells_of_is_proposed_until_somebody_makes_it(
    plant: Plant, operator: Visitor
) -> None:
    number, begun = await plant.device("br-1"), datetime.now(UTC) - timedelta(hours=1)
    await plant.event(number, begun, "run", {"run": "B-7", "state": "running"})
    [fields] = [one for one in forms(await operator.shown("runs"), "/runs") if one.get("run", [""])[0]]
    assert (fields["run"], fields["devices"]) == (["B-7"], ["br-1"])
    made = {name: value[0] for name, value in fields.items()} | {"why": "it is so"}
    assert await operator.act("runs", **made) == "/app/main/runs/B-7"
    assert await plant.sql.fetchval("select begins from runs") == begun
    assert "Devices say" not in await operator.words("runs")


async def test_proposed_phases_are_confirmed_edited_and_removed(plant: Plant, operator: Visitor) -> None:
    number = await curves(plant, "br-1", 0, 37)
    for when, phase in ((0, "batch"), (300, "feed")):
        await plant.event(number, at(when), "phase", {"phase": phase})
    await operator.act("runs", run="B-1", devices="br-1", begins=text(0), why="x")
    assert "proposed : event of br-1" in await operator.words("runs/B-1")

    def change(page: str, which: int) -> dict[str, str]:
        return {name: value[0] for name, value in forms(page, "/phases")[which].items()} | {"why": "seen"}

    await operator.act("runs/B-1/phases", **change(await operator.shown("runs/B-1"), 0))
    words = await operator.words("runs/B-1")
    assert f"confirmed by {OTTO}" in words
    assert "proposed : event of br-1" in words  # the feed
    [confirm] = forms(await operator.shown("runs/B-1"), "/phases/all")
    await operator.act("runs/B-1/phases/all", version=confirm["version"][0], why="all")
    assert "proposed" not in await operator.words("runs/B-1")
    edited = change(await operator.shown("runs/B-1"), 1) | {"phase": "fed batch"}
    await operator.act("runs/B-1/phases", **edited)
    rows = await plant.sql.fetch("select name, begins, origin from run_phases order by begins")
    assert [tuple(row) for row in rows] == [("batch", at(0), "event"), ("fed batch", at(300), "person")]
    version = await plant.sql.fetchval("select version from runs")
    await operator.act("runs/B-1/phases/remove", was=text(300), version=version, why="no")
    assert await plant.sql.fetchval("select count(*) from run_phases") == 1
    chart = facts(await operator.shown("runs/B-1"))
    assert [name for name, _ in chart["phases"]] == ["batch", "feed"]


async def test_a_run_shows_curves_gaps_plan_alarms_and_what_happened(plant: Plant, operator: Visitor) -> None:
    number = await curves(plant, "br-1", 0, 37)
    await plant.event(number, at(100), "dosing", {"volume": 1})
    await operator.act("runs", run="B-1", devices="br-1", begins=text(0), why="x")
    await operator.act("runs/B-1/state", state="complete", at=text(1000), why="x")
    profile = [{"channel": "temperature", "points": [{"hours": 0, "value": 36.5}]}]
    version = await plant.sql.fetchval("select version from runs")
    await operator.act("runs/B-1/plan", plan=json.dumps(profile), version=version, why="recipe 3")
    words = await operator.words("runs/B-1")
    assert "no sample from 0.11 h to 0.17 h" in words  # 400 s to 600 s
    assert "Temperature – 36.5" in words
    assert " 0.5 " in words
    assert "br-1: dosing" in words
    assert "No alarm changed in this run." in words
    chart = facts(await operator.shown("runs/B-1"))
    assert chart["charts"][0]["plan"] == [36.5] * 100
    assert chart["charts"][0]["lines"][0] == [37.0] * 40 + [None] * 20 + [37.0] * 40
    status, words = await operator.refused("runs/B-1/plan", plan='[{"channel": "x"}]', version=version + 1, why="x")
    assert (status, "Plan: 0.points: Field required" in words) == (422, True)


async def test_where_minutes_of_history_meet_live_seconds_there_is_no_gap(plant: Plant, operator: Visitor) -> None:
    number = await plant.device("br-1")
    layout = await plant.layout(number, "temperature")
    seconds = [*range(0, 600, 60), *range(600, 900)]
    await plant.frames(number, layout, [(at(n), [37.0], None) for n in seconds])
    await operator.act("runs", run="B-1", devices="br-1", begins=text(0), why="x")
    await operator.act("runs/B-1/state", state="complete", at=text(900), why="x")
    assert "No gap: nowhere are samples further apart" in await operator.words("runs/B-1")
    [line] = facts(await operator.shown("runs/B-1"))["charts"][0]["lines"]
    assert None not in line
    assert False in line  # the line goes on from minute to minute


async def test_the_list_leads_to_a_comparison(plant: Plant, operator: Visitor) -> None:
    await curves(plant, "br-1", 0, 37)
    await operator.act("runs", run="B-1", devices="br-1", begins=text(0), why="x")
    await operator.act("runs", run="B-2", why="x")
    page = await operator.shown("runs")
    assert 'name="run" form="chosen" value="B-1"' in page
    assert 'value="B-2"' not in page  # it is planned: there is nothing to compare
    words = await operator.words("compare?run=B-1&phase=inoculation")
    assert "run B-1 has no phase inoculation" in words


async def test_figures_of_each_phase_stand_beside_what_was_planned(plant: Plant, operator: Visitor) -> None:
    await curves(plant, "br-1", 0, 37)
    await operator.act("runs", run="B-1", devices="br-1", begins=text(0), why="x")
    assert "runs/B-1/figures" in await operator.shown("runs/B-1")
    await operator.act("runs/B-1/state", state="complete", at=text(1000), why="x")
    version = "select version from runs"
    for phase, begins in (("batch", 0), ("feed", 200)):
        now = await plant.sql.fetchval(version)
        await operator.act("runs/B-1/phases", phase=phase, begins=text(begins), version=now, why="x")
    profile = [{"channel": "temperature", "phase": "feed", "points": [{"hours": 0, "value": 36.5}]}]
    now = await plant.sql.fetchval(version)
    await operator.act("runs/B-1/plan", plan=json.dumps(profile), version=now, why="recipe 3")
    words = await operator.words("runs/B-1/figures")
    figures = "37 °C 37 37 0 100.0 %"
    for row in (f"whole run 0.28 – {figures}", f"batch 0.06 – {figures}", f"feed 0.22 36.5 °C {figures}"):
        assert f"Temperature {row}" in words, words
    assert (await operator.part("runs/B-1/figures")).startswith("<div")
    await plant.device("br-2")
    await operator.act("runs", run="B-2", devices="br-2", begins=text(0), why="x")
    assert "There is no sample of this run yet." in await operator.words("runs/B-2/figures")


async def test_runs_are_laid_over_each_other_with_an_envelope_and_a_score(plant: Plant, operator: Visitor) -> None:
    for number, level in enumerate((36.0, 37.0, 38.0, 45.0)):
        await curves(plant, f"br-{number}", 0, level)
        await operator.act("runs", run=f"B-{number}", devices=f"br-{number}", begins=text(0), why="x")
        await operator.act(f"runs/B-{number}/state", state="complete", at=text(1000), why="x")
    assert "Name runs to lay their curves" in await operator.words("compare")
    page = await operator.shown("compare?run=B-1,B-3&reference=B-0, B-1, B-2&channel=temperature")
    [chart] = facts(page)["charts"]
    assert (len(chart["lines"]), chart["band"][0][0], chart["band"][1][0]) == (2, 34.0, 40.0)
    words = await operator.words("compare?run=B-1,B-3&reference=B-0, B-1, B-2")
    assert "B-1 100.0 % none" in words
    assert "B-3 left the envelope Temperature from 0.00 h for 6.667 min, at most 5 above it" in words
    assert "there is no run B-9" in await operator.words("compare?run=B-9")


async def test_plant_and_vessel_say_the_run_and_its_hours(plant: Plant, operator: Visitor) -> None:
    device = await curves(plant, "br-1", 0, 37)
    await plant.event(device, datetime.now(UTC) - timedelta(minutes=85), "phase", {"phase": "cip"})
    await operator.act("runs", run="B-1", devices="br-1", begins="-90m", why="x")
    assert "cip B-1" in await operator.words("plant")
    version = await plant.sql.fetchval("select version from runs")
    await operator.act("runs/B-1/phases", phase="batch", begins="-80m", version=version, why="x")
    assert "batch B-1 1 h 30 min" in await operator.words("plant")  # confirmed
    words = await operator.words("vessels/br-1")
    assert "1 h 30 min in run B-1" in words
    assert "batch · 1 h 30 min in run" in words
    assert "Phase… cip proposed batch" in words
    await plant.event(device, datetime.now(UTC) - timedelta(minutes=5), "phase", {"phase": "harvest"})
    assert "harvest B-1 1 h 30 min" in await operator.words("plant")  # what was confirmed lasts to the next phase
    assert "harvest · 1 h 30 min in run" in await operator.words("vessels/br-1")


async def test_who_may_not_sees_no_button_and_others_see_nothing(
    plant: Plant, operator: Visitor, viewer: Visitor, stranger: Visitor
) -> None:
    await plant.device("br-1")
    await operator.act("runs", run="B-1", devices="br-1", begins=text(0), why="x")
    page = await viewer.shown("runs/B-1")
    assert "State…" not in page
    assert forms(page, "/phases") == []
    assert (await viewer.post("runs/B-1/state", state="held", why="x")).status_code == 403
    assert (await viewer.post("runs", run="B-2", why="x")).status_code == 403
    assert (await stranger.get("runs/B-1")).status_code == 404
    assert "B-1" not in await stranger.words("runs")
    assert (await stranger.refused("runs/B-1/state", state="held", why="x"))[0] == 404
