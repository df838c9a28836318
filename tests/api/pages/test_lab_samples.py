"""Samples and material on pages: added, measured, corrected, approved, imported; their versions and their balance."""

from __future__ import annotations

from typing import Any

import asyncpg

from tests.api.pages.conftest import Visitor, trail
from tests.api.plant import Plant, at, text

ROWS = {"analyte_1": "glucose", "value_1": "4,2", "unit_1": "g/L", "method_1": "HPLC", "analyte_2": "lactate"}


async def test_a_sample_is_added_measured_and_approved_by_who_may(
    operator: Visitor, plant: Plant, sql: asyncpg.Connection, database_url: str
) -> None:
    await plant.device("br-1")
    assert "Add one here or on the page of its vessel" in await operator.words("samples")
    to = await operator.act("samples", device="br-1", taken_at=text(0), location="port 2", **ROWS)
    assert to == "/app/main/samples/br-1-s1"
    words = await operator.words("samples")
    assert "br-1-s1 br-1 – 2026-03-01 10:00:00 UTC port 2 glucose 4.2 g/L , lactate – taken otto@example.org" in words
    page = await operator.shown("samples/br-1-s1")
    assert 'name="value_1" size="7" aria-label="Value 1" autocomplete="off" value="4.2"' in page
    assert "/approve" not in page, "an operator may not"
    same = {"version": "1", "taken_at": text(0), "location": "port 2", "why": "measured", **ROWS}
    status, said = await operator.refused("samples/br-1-s1", **same)
    assert (status, "says nothing else than what is stored" in said) == (422, True)
    await operator.act("samples/br-1-s1", **same, value_2="< 0.1", unit_2="g/L")
    status, said = await operator.refused("samples/br-1-s1", **same, value_2="5")
    assert (status, "changed meanwhile" in said) == (412, True)
    status, said = await operator.refused("samples/br-1-s1", **same | {"version": "2", "value_1": "1.2.3"})
    assert (status, "neither a number nor a reading" in said) == (422, True)
    status, said = await operator.refused("samples/br-1-s1", **same | {"version": "2"}, value_4="3")
    assert (status, "nalyte_4" in said or "nalyte 4" in said) == (422, True)
    versions = await operator.words("samples/br-1-s1")
    assert "2 measure" in versions
    assert "1 take" in versions
    assert await trail(sql) == [
        ("otto@example.org", "sample take", "sample/br-1-s1", "taken"),
        ("otto@example.org", "sample measure", "sample/br-1-s1", "measured"),
    ]


async def test_an_engineer_approves_and_a_correction_takes_that_away(
    engineer: Visitor, plant: Plant, sql: asyncpg.Connection
) -> None:
    await plant.device("br-1")
    await engineer.act("samples", device="br-1", sample="S-7", taken_at=text(0), analyte_1="glucose", value_1="4.2")
    assert "Approve S-7" in await engineer.words("samples/S-7")
    await engineer.act("samples/S-7/approve", version="1", why="fits")
    assert "approved , version 2" in await engineer.words("samples/S-7")
    assert "Approve S-7" not in await engineer.words("samples/S-7")
    fields = {"version": "2", "taken_at": text(0), "analyte_1": "glucose", "value_1": "4.6", "why": "dilution"}
    await engineer.act("samples/S-7", **fields)
    assert "measured , version 3" in await engineer.words("samples/S-7")
    await engineer.act("samples/S-7/withdraw", why="of another vessel")
    assert "S-7" not in await engineer.words("samples")
    assert "S-7" in await engineer.words("samples?withdrawn=true")
    assert "it was withdrawn" in await engineer.words("samples/S-7")
    assert [row[1] for row in await trail(sql)] == [
        "sample take",
        "sample approve",
        "sample correct",
        "sample withdraw",
    ]


async def test_samples_are_filtered_and_live(operator: Visitor, viewer: Visitor, plant: Plant) -> None:
    await plant.device("br-1")
    await operator.act("samples", device="br-1", sample="a", taken_at=text(0), analyte_1="glucose", value_1="1")
    await operator.act("samples", device="br-1", sample="b", taken_at=text(86400), analyte_1="lactate")
    assert "No sample fits." in await viewer.words("samples?device=br-2")
    for query, shown, hidden in (
        ("analyte=glucose", ">a</a>", ">b</a>"),
        ("status=taken", ">b</a>", ">a</a>"),
        (f"from={at(86400).date()}&to=&device=&status=", ">b</a>", ">a</a>"),
    ):
        page = await viewer.shown(f"samples?{query}")
        assert (shown in page, hidden in page) == (True, False), query
    assert "Add a sample" not in await viewer.words("samples")
    assert (await viewer.part("samples")).startswith("<div")
    for path in ("samples", "samples/a", "samples/a/withdraw", "materials"):
        assert (await viewer.post(path, why="x")).status_code == 403, path
    assert "a glucose" in await viewer.words("vessels/br-1")


async def test_material_is_recorded_corrected_and_balanced(
    operator: Visitor, plant: Plant, sql: asyncpg.Connection
) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "weight")
    await plant.frames(device, layout, [(at(0), [2.0], None), (at(3600), [2.1], None)])
    fields = {"kind": "feed", "material": "glucose", "quantity": "120", "unit": "mL", "begins": text(60), "ends": ""}
    await operator.act("materials", device="br-1", lot="G-1", **fields)
    number = await sql.fetchval("select number from materials")
    words = await operator.words("materials")
    assert "br-1 in feed glucose G-1 120 mL" in words
    assert "br-1 in feed glucose 1 0.12 kg 0.12 L" in words
    to = await operator.act(
        f"materials/{number}", **fields | {"quantity": "112", "version": "1", "why": "read again", "lot": ""}
    )
    assert to == f"/app/main/materials/{number}"
    words = await operator.words(f"materials/{number}")
    assert words.index("2 correct") < words.index("1 add")
    assert words.count("lot G-1") == 1, "its lot was taken away"
    balance = await operator.words("materials?device=br-1&from=2026-03-01&to=2026-03-01&density=1")
    assert "Balance of br-1" in balance
    assert "In 0.112 kg" in balance
    assert "volumes are taken for masses by 1 kg/L" in balance
    status, said = await operator.refused("materials", device="br-1", **fields | {"unit": "mol"})
    assert (status, "must be one of" in said) == (422, True)
    await operator.act(f"materials/{number}/withdraw", why="x")
    assert "No record fits" in await operator.words("materials")
    assert [row[1] for row in await trail(sql)] == ["material add", "material correct", "material withdraw"]


async def test_a_file_is_looked_at_and_then_taken(operator: Visitor, plant: Plant, sql: asyncpg.Connection) -> None:
    await plant.device("br-1")
    rows = "sample;device;time;glucose [g/L]\nS-1;br-1;2026-03-01 11:00;4,2\nS-2;br-1;;4,2\n"
    fields: dict[str, Any] = {"rows": rows, "zone": "Europe/Berlin", "why": "HPLC"}
    dry = fields | {"dry_run": "true"}
    answer = await operator.post("sample-imports", htmx=True, **dry)
    assert "This would store:</b> 1 new" in answer.text
    assert "a new sample needs a time" in answer.text
    assert await sql.fetchval("select count(*) from lab_samples") == 0
    answer = await operator.post("sample-imports", htmx=True, **fields)
    assert ("Stored:</b> 1 new" in answer.text, answer.headers["hx-trigger"]) == (True, "changed")
    whole = await operator.post("sample-imports", **fields)
    assert "1 as before" in whole.text
    assert "S-1;br-1" in whole.text, "what was typed stays"
    large = fields | {"rows": rows + ";" * 2**17, "dry_run": "true"}
    assert (await operator.post("sample-imports", **large)).status_code == 200, "384 KiB as a form"
    status, said = await operator.refused("sample-imports", **fields | {"zone": "Mars"})
    assert (status, "there is no time zone" in said) == (422, True)


async def test_a_file_of_material_is_looked_at_before_it_is_imported(
    operator: Visitor, plant: Plant, sql: asyncpg.Connection
) -> None:
    await plant.device("br-1")
    assert 'href="/app/main/material-imports"' in await operator.shown("materials")
    assert "Columns device, time, kind, material" in await operator.words("material-imports")
    rows = "device;time;kind;material;quantity [mL]\nbr-1;2026-03-01 11:00;feed;glucose;120\nbr-1;;feed;glucose;120\n"
    fields: dict[str, Any] = {"rows": rows, "zone": "Europe/Berlin", "why": "sheet"}
    answer = await operator.post("material-imports", htmx=True, dry_run="true", **fields)
    assert "This would store:</b> 1 new, 0 corrected" in answer.text
    assert await sql.fetchval("select count(*) from materials") == 0
    whole = await operator.post("material-imports", **fields)
    assert ("feed: glucose" in whole.text, "br-1;;feed" in whole.text) == (True, True), "what was typed stays"
    assert await sql.fetchval("select who from materials where source = 'import'") == "otto@example.org"
    status, said = await operator.refused("material-imports", **fields | {"rows": "a;b\n1;2\n"})
    assert (status, "has no column for kind, material, quantity, begins" in said) == (422, True)


async def test_another_organization_s_are_not_there(stranger: Visitor, operator: Visitor, plant: Plant) -> None:
    await plant.device("br-1")
    await operator.act("samples", device="br-1", sample="a", taken_at=text(0))
    assert (await stranger.get("samples/a")).status_code == 404
    assert (await stranger.post("samples", device="br-1", taken_at=text(0))).status_code == 404
