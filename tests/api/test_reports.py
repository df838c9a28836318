"""A report says what was stored, in three forms, and stays as it was made."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
import msgspec
import pytest
from pypdf import PdfReader

from api.reports import render
from api.reports.report_job import run
from api.shapes.reports import ReportDocument, ReportSection
from schema import times
from schema.alarms.machine import Alarm
from schema.jobs import ClaimedJob, JobFailed, JobProgress, RunningJob
from tests.api.accounts import Served
from tests.api.alarms import ACTIVE, become, rule
from tests.api.plant import Plant, at, text

WHY = {"why": "as the test says"}


@pytest.fixture(autouse=True)
def worker_environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the process of a job."""
    monkeypatch.setenv("BIOGATE_DATABASE_URL", database_url)


async def a_run(plant: Plant, client: Served) -> None:
    """A run of an hour with two phases, a note, an alarm that somebody acknowledged, and a gap of five minutes."""
    device = await plant.device("br-1")
    layout = await plant.layout(device, "ph", "ph_setpoint")
    rows: list[tuple[datetime, list[float | None], list[int | None] | None]] = [
        (at(second), [7 + math.sin(second / 600), 7.0], None)
        for second in range(0, 3600, 5)
        if not 1500 < second < 1800
    ]
    await plant.frames(device, layout, rows)
    number = await rule(plant.sql, "ph-high")
    acknowledged, returned = replace(ACTIVE, acknowledged=True), Alarm()
    await become(plant.sql, number, device, ACTIVE, at=at(900), detail="above 7.8")
    await become(
        plant.sql, number, device, acknowledged, cause="acknowledge", at=at(960), by=("eva", "probe <checked>")
    )
    await become(plant.sql, number, device, returned, cause="return", at=at(1200))
    await noted(client, 600, "antifoam <b>& more</b>")
    await asked(client, "/runs", run="B-1", devices=["br-1"], material="mAb-7", begins=text(0))
    phases = [{"phase": "batch", "begins": text(0), "ends": text(1800)}, {"phase": "feed", "begins": text(1800)}]
    answer = await client.put("/api/v1/runs/B-1/phases", json=WHY | {"phases": phases})
    assert answer.status_code == 200, answer.text
    await asked(client, "/runs/B-1/states", state="complete", at=text(3600))


async def asked(client: Served, path: str, **body: Any) -> httpx2.Response:
    answer = await client.post(f"/api/v1{path}", json=WHY | body)
    assert answer.status_code < 300, answer.text
    return answer


async def noted(client: Served, second: float, said: str) -> None:
    answer = await client.post("/api/v1/devices/br-1/annotations", json={"begins": text(second), "text": said})
    assert answer.status_code == 201, answer.text


async def done(plant: Plant, client: Served, **body: Any) -> str:
    """Ask for a report, do its job as the worker would, and return its id."""
    answer = await client.post("/api/v1/reports", json=body)
    assert answer.status_code == 202, answer.text
    return await again(plant, answer.json()["id"])


async def again(plant: Plant, number: str) -> str:
    row = await plant.sql.fetchrow("select * from jobs where job_id = $1", UUID(number))
    request = msgspec.json.decode(row["request"])
    job = ClaimedJob(row["job_id"], row["organization_id"], row["who"], "report", request, None, 1)
    await plant.sql.execute(
        "update jobs set state = 'running', holder = 'w', beat_at = now() where job_id = $1", job.job_id
    )
    facts = await run(RunningJob(job, None, JobProgress()))  # type: ignore[arg-type]  # it writes no files
    assert facts["no_pdf"] is None
    return number


async def read(client: Served, number: str, form: str) -> bytes:
    answer = await client.get(f"/api/v1/reports/{number}/report.{form}")
    assert answer.status_code == 200, answer.text
    found = (await client.get(f"/api/v1/reports/{number}")).json()
    assert answer.headers["etag"] == f'"{found["document_sha256" if form == "json" else f"{form}_sha256"]}"'
    return answer.content


def section(document: ReportDocument, name: str) -> ReportSection:
    return next(one for one in document.sections if one.name == name)


def rows(found: ReportSection, title: str = "") -> list[Mapping[str, Any]]:
    table = next(one for one in found.tables if one.title == title)
    return [dict(zip([one.name for one in table.columns], row, strict=True)) for row in table.rows]


async def test_a_report_is_corrected_and_says_what_was_sent(plant: Plant, client: Served) -> None:
    await a_run(plant, client)
    sent = await plant.sql.fetchval("select avg(values[1]) from frames where time < $1", at(1800))
    time = {"from": text(0), "to": text(1800)}
    await asked(client, "/devices/br-1/corrections", channel="ph", offset=-1, unit="pH", **time)
    await asked(client, "/devices/br-1/corrections", channel="ph", at=text(1805), quality=1)
    document = msgspec.json.decode(
        await read(client, await done(plant, client, kind="batch", run="B-1"), "json"), type=ReportDocument
    )
    [batch, _] = rows(section(document, "phases"), "Values in each phase")
    assert batch["avg"] == pytest.approx(sent - 1, abs=1e-3)
    first, second = rows(section(document, "corrections"))
    assert (first["correction"], first["from_"], first["put"]) == (1, text(0), "sent − 1 pH")
    assert (first["sent_avg"], first["corrected_avg"]) == pytest.approx((sent, sent - 1))
    assert (second["put"], second["count"], second["corrected_avg"]) == ("quality bad", 0, None)


async def test_a_report_has_what_happened_in_the_run(plant: Plant, client: Served) -> None:
    await a_run(plant, client)
    number = await done(plant, client, kind="batch", run="B-1")
    document = msgspec.json.decode(await read(client, number, "json"), type=ReportDocument)
    assert (document.subtitle, document.begin, document.end) == ("B-1", text(0), text(3600))
    facts = {one.title: one.value for one in section(document, "identity").facts}
    assert (facts["Run"], facts["State"], facts["Material"], facts["Duration"]) == (
        "B-1",
        "complete",
        "mAb-7",
        "1 h 00 min",
    )
    first, second = rows(section(document, "phases"))
    assert (first["phase"], first["begins"], first["ends"]) == ("batch", text(0), text(1800))
    assert (second["phase"], second["begins"], second["ends"]) == ("feed", text(1800), text(3600))
    stored = await plant.sql.fetchrow(
        "select avg(values[1]) as avg, min(values[1]) as min, max(values[1]) as max from frames where time < $1",
        at(1800),
    )
    [batch, _] = rows(section(document, "phases"), "Values in each phase")
    assert (batch["phase"], batch["device"], batch["channel"], batch["setpoint"]) == ("batch", "br-1", "pH", 7.0)
    assert [batch[name] for name in ("avg", "min", "max")] == pytest.approx(list(stored.values()), abs=1e-3)
    [alarm] = rows(section(document, "alarms"), "Raised")
    assert (alarm["raised_at"], alarm["returned_at"], alarm["acknowledged_at"]) == (text(900), text(1200), text(960))
    assert (alarm["acknowledged_by"], alarm["why"], alarm["value"]) == ("eva", "probe <checked>", 39)
    [note] = rows(section(document, "notes"))
    assert (note["begins"], note["text"]) == (text(600), "antifoam <b>& more</b>")
    [complete] = rows(section(document, "completeness"))
    assert (complete["frames"], complete["first_at"], complete["last_at"]) == (661, text(0), text(3595))
    actions = [one["action"] for one in rows(section(document, "changes"))]
    assert [one for one in actions if one.startswith("run ")] == ["run create", "run phases", "run complete"]


async def test_phases_that_nobody_confirmed_stand_in_a_report_as_proposed(plant: Plant, client: Served) -> None:
    await a_run(plant, client)
    assert (await client.put("/api/v1/runs/B-1/phases", json=WHY | {"phases": []})).status_code == 200
    device = await plant.sql.fetchval("select device_id from devices")
    await plant.event(device, at(600), "phase", {"phase": "growth"})
    number = await done(plant, client, kind="batch", run="B-1")
    document = msgspec.json.decode(await read(client, number, "json"), type=ReportDocument)
    [phase] = rows(section(document, "phases"))
    assert (phase["phase"], phase["begins"], phase["origin"]) == ("growth", text(600), "event")
    assert phase["confirmed_by"] == "nobody: it is proposed"
    assert [one.title for one in section(document, "charts").charts[0].bands] == ["growth"]


async def test_a_channel_whose_unit_changed_in_the_run_is_in_one_unit(plant: Plant, client: Served) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "pressure")
    await plant.frames(device, layout, [(at(second), [1.0 if second < 50 else 1000.0], None) for second in range(100)])
    change = WHY | {"unit": "mbar", "unit_since": text(50)}
    assert (await client.patch("/api/v1/channels/pressure", json=change)).status_code == 200
    await asked(client, "/runs", run="B-1", devices=["br-1"], begins=text(0))
    await asked(client, "/runs/B-1/states", state="complete", at=text(100))
    body = {"kind": "batch", "sections": [{"name": "charts", "channels": ["pressure"]}]}
    assert (await client.put("/api/v1/report-templates/batch", json=WHY | body)).status_code == 201
    number = await done(plant, client, kind="batch", run="B-1")
    document = msgspec.json.decode(await read(client, number, "json"), type=ReportDocument)
    [chart] = document.sections[0].charts
    values = {round(value, 6) for point in chart.lines[0].points if point is not None for value in point[1:]}
    assert (chart.unit, values) == ("mbar", {1000.0})


async def test_a_chart_goes_through_every_extreme_and_shows_the_gap(plant: Plant, client: Served) -> None:
    await a_run(plant, client)
    number = await done(plant, client, kind="batch", run="B-1")
    document = msgspec.json.decode(await read(client, number, "json"), type=ReportDocument)
    [chart] = section(document, "charts").charts
    assert (chart.title, chart.hours, [one.title for one in chart.bands]) == ("pH", 1.0, ["batch", "feed"])
    value, setpoint = chart.lines
    assert (value.channel, setpoint.channel, setpoint.is_setpoint) == ("ph", "ph_setpoint", True)
    points = [point for point in value.points if point is not None]
    stored = await plant.sql.fetchrow("select min(values[1]), max(values[1]) from frames")
    assert (min(point[2] for point in points), max(point[3] for point in points)) == tuple(stored.values())
    at_gap = value.points.index(None)
    before, after = value.points[at_gap - 1], value.points[at_gap + 1]
    assert value.points.count(None) == 1
    assert before is not None
    assert after is not None
    assert (before[0] * 3600, after[0] * 3600) == pytest.approx((1500, 1800), abs=10)


async def test_html_and_pdf_say_it_for_people_and_are_the_same_bytes_each_time(plant: Plant, client: Served) -> None:
    await a_run(plant, client)
    number = await done(plant, client, kind="batch", run="B-1")
    document = msgspec.json.decode(await read(client, number, "json"), type=ReportDocument)
    html, pdf = await read(client, number, "html"), await read(client, number, "pdf")
    assert b"antifoam &lt;b&gt;&amp; more&lt;/b&gt;" in html
    assert b"<script" not in html
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages]
    for said in ("Batch report", "B-1", "mAb-7", "probe <checked>", "antifoam <b>& more</b>", "run create"):
        assert said in " ".join(" ".join(pages).split()), said
    assert f"page 1 of {len(pages)}" in pages[0]
    made_at = await plant.sql.fetchval("select made_at from reports")
    assert render.html(document).encode() == html
    assert render.pdf(html.decode(), times.parse_instant(document.made_at)) == pdf
    assert made_at is not None


async def test_a_report_stays_as_it_was_made(plant: Plant, client: Served) -> None:
    await a_run(plant, client)
    number = await done(plant, client, kind="batch", run="B-1")
    before = await read(client, number, "json")
    await noted(client, 700, "later")
    assert await again(plant, number) == number, "a job that is begun again makes no second one"
    assert await read(client, number, "json") == before
    assert b"later" in await read(client, await done(plant, client, kind="batch", run="B-1"), "json")
    for change in ("update reports set title = 'x'", "delete from reports", "truncate reports"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="stays as it was made"):
            await plant.sql.execute(change)
    said = await plant.sql.fetchrow("select * from audit where subject = $1", f"report/{number}")
    new = msgspec.json.decode(said["new"])
    listed = (await client.get("/api/v1/reports", params={"run": "B-1"})).json()["reports"]
    assert [one["id"] for one in listed][1] == number
    assert {name: listed[1][name] for name in new if name.endswith("sha256")} == {
        name: value for name, value in new.items() if name.endswith("sha256")
    }


async def test_a_template_lays_a_report_out_and_its_versions_stay(plant: Plant, client: Served) -> None:
    await a_run(plant, client)
    body = {"kind": "batch", "title": "Chargenprotokoll", "zone": "Europe/Berlin", "header": "Works 3", **WHY}
    sections = [{"name": "notes", "title": "Bemerkungen", "text": "Von Hand."}, {"name": "charts", "channels": ["ph"]}]
    usual = (await client.get("/api/v1/report-templates/batch")).json()
    assert usual["version"] == 0
    put = await client.put(
        "/api/v1/report-templates/batch", json=body | {"sections": sections}, headers={"If-None-Match": "*"}
    )
    assert (put.status_code, put.headers["etag"]) == (201, '"1"')
    number = await done(plant, client, kind="batch", run="B-1")
    document = msgspec.json.decode(await read(client, number, "json"), type=ReportDocument)
    assert (document.title, document.template_version) == ("Chargenprotokoll", 1)
    assert (document.sections[0].name, document.sections[0].title) == ("notes", "Bemerkungen")
    assert document.sections[0].text == "Von Hand."
    html = (await read(client, number, "html")).decode()
    assert "2026-03-01 11:10:00" in html, "the note, by the clocks of Berlin"
    assert "Works 3" in html
    changed = await client.put("/api/v1/report-templates/batch", json=body | {"sections": sections[:1]})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    stale = await client.put(
        "/api/v1/report-templates/batch", json=body | {"sections": sections}, headers={"If-Match": '"1"'}
    )
    assert stale.status_code == 412
    refused = await client.put("/api/v1/report-templates/batch", json=body | {"zone": "Mars", "sections": sections})
    assert (refused.status_code, "Europe/Berlin" in refused.json()["detail"]) == (422, True)
    other = await client.put("/api/v1/report-templates/shift", json=body | {"sections": sections})
    assert (other.status_code, "lays out shift reports" in other.json()["detail"]) == (409, True)


async def test_a_shift_report_is_of_a_time_and_of_devices(plant: Plant, client: Served) -> None:
    await a_run(plant, client)
    await plant.device("br-2")
    number = await done(plant, client, kind="shift", **{"from": text(0), "to": text(800)})
    document = msgspec.json.decode(await read(client, number, "json"), type=ReportDocument)
    assert (document.title, document.end) == ("Shift report", text(800))
    assert rows(section(document, "alarms"), "Raised") == []
    assert [one["device"] for one in rows(section(document, "completeness"))] == ["br-1", "br-2"]


async def test_what_cannot_be_reported_is_refused_in_words(
    client: Served, plant: Plant, subtests: pytest.Subtests
) -> None:
    await plant.device("br-1")
    await asked(client, "/runs", run="B-2", devices=["br-1"])
    for body, status, said in (
        ({"kind": "batch", "run": "B-9"}, 404, "there is no run B-9"),
        ({"kind": "batch"}, 422, "a batch report is of a run"),
        ({"kind": "batch", "run": "B-2"}, 409, "has not started"),
        ({"kind": "shift"}, 422, "give `from`"),
        ({"kind": "shift", "from": text(10), "to": text(0)}, 422, "must be before"),
        ({"kind": "shift", "from": text(0), "template": "batch"}, 409, "lays out batch reports"),
        ({"kind": "shift", "from": text(0), "template": "none"}, 404, "there is no template none"),
    ):
        with subtests.test(said):
            answer = await client.post("/api/v1/reports", json=body)
            assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text


async def test_the_reports_of_an_organization_have_their_share_of_the_database(plant: Plant, client: Served) -> None:
    await a_run(plant, client)
    answer = await client.post("/api/v1/reports", json={"kind": "batch", "run": "B-1"})
    big = await plant.sql.fetchval(
        """insert into reports (report_id, organization_id, kind, title, subtitle, begins, ends, template,
                                template_version, made_by, made_at, document, html, pdf)
           values (gen_random_uuid(), 1, 'shift', '', '', now(), now(), 'shift', 0, 'eva', now(),
                   convert_to(repeat(repeat('x', 10000), 20000), 'UTF8'), '', '') returning report_id"""
    )
    await plant.sql.execute(  # packed already, as the first is: to pack each would take seconds
        """insert into reports (report_id, organization_id, kind, title, subtitle, begins, ends, template,
                                template_version, made_by, made_at, document, html, pdf)
           select gen_random_uuid(), 1, 'shift', '', '', now(), now(), 'shift', 0, 'eva', now(),
                  document, document, document
             from reports, generate_series(1, 9) where report_id = $1""",
        big,
    )
    with pytest.raises(JobFailed, match="more than 5 GiB"):
        await again(plant, answer.json()["id"])
