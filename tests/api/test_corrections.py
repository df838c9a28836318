"""Corrections as people make them: what is refused, versions, withdrawal, what was known before, and what is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from api.queries import corrections as queries
from api.shapes.corrections import CorrectionDetail
from schema import times
from schema.times import Span
from tests.api.accounts import Served
from tests.api.conform import conforms
from tests.api.plant import Plant, at, text
from tests.in_turn import in_turn

URL = "/api/v1/devices/br-1/corrections"
TIME = {"from": text(10), "to": text(20)}
OFFSET: dict[str, Any] = {"channel": "ph", "offset": -1, "unit": "pH", "why": "wrong buffer", **TIME}


@pytest.fixture(autouse=True)
async def _device(plant: Plant) -> None:
    """One sample a second; the seventh is bad and has no value."""
    device = await plant.device("br-1")
    rows: list[tuple[datetime, list[float | None], list[int | None] | None]]
    rows = [(at(n), [37.0, 7.0 + n / 100], None) for n in range(60) if n != 7]
    await plant.frames(device, await plant.layout(device, "ph", "temperature"), [*rows, (at(7), [37.0, None], [0, 1])])


async def values(client: Served, **asked: Any) -> list[float | None]:
    found = await client.get(
        "/api/v1/devices/br-1/telemetry",
        params={"channel": "ph", "from": text(0), "to": text(60), "quality": "all", "corrections": "applied"} | asked,
    )
    assert found.status_code == 200, found.text
    return [row[1] for row in found.json()["rows"]]


async def test_a_correction_is_a_row_of_which_each_version_stays(client: Served, plant: Plant) -> None:
    sent = await values(client)
    before = times.text(datetime.now(UTC))
    made = await client.post(URL, json=OFFSET)
    assert made.status_code == 201
    detail = made.json()
    conforms(CorrectionDetail, detail)
    assert made.headers["Location"] == f"{URL}/{detail['correction']}"
    assert (detail["versions"][0]["factor"], detail["versions"][0]["offset"]) == (1, -1)
    first = await values(client)
    assert first == sent[:10] + [pytest.approx(value - 1) for value in sent[10:20] if value] + sent[20:]
    changed = await client.put(
        made.headers["Location"], json=OFFSET | {"offset": None, "value": 6.5}, headers={"If-Match": '"1"'}
    )
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    between = times.text(datetime.now(UTC))
    assert (await values(client))[10:20] == [6.5] * 10
    late = await client.put(made.headers["Location"], json=OFFSET, headers={"If-Match": '"1"'})
    assert late.status_code == 412
    gone = await client.post(f"{made.headers['Location']}/withdraw", json={"why": "the buffer was right"})
    assert [one["act"] for one in gone.json()["versions"]] == ["make", "change", "withdraw"]
    assert await values(client) == sent
    assert (await values(client, as_of=between))[10:20] == [6.5] * 10
    assert await values(client, as_of=before) == sent
    assert (await client.post(f"{made.headers['Location']}/withdraw", json={"why": "again"})).status_code == 409
    trail = await plant.sql.fetch(
        "select action, subject, old, new, why from audit where action like 'correction%' order by n"
    )
    assert [row["action"] for row in trail] == ["correction make", "correction change", "correction withdraw"]
    assert {row["subject"] for row in trail} == {"correction/1"}
    assert json.loads(trail[1]["old"])["added"] == -1
    assert (json.loads(trail[1]["new"])["value"], json.loads(trail[1]["new"])["channel"]) == (6.5, "ph")
    assert trail[2]["why"] == "the buffer was right"


async def test_nobody_overwrites_a_correction(client: Served, plant: Plant) -> None:
    await client.post(URL, json=OFFSET)
    for statement in ("update corrections set value = 1", "delete from corrections", "truncate corrections"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="never overwritten"):
            await plant.sql.execute(statement)


async def test_of_overlapping_corrections_the_one_made_last_holds(client: Served) -> None:
    await client.post(URL, json=OFFSET | {"offset": None, "value": 1})
    await client.post(URL, json=OFFSET | {"offset": None, "value": 2, "from": text(15), "to": text(25)})
    assert (await values(client))[9:26] == [pytest.approx(7.09), *[1] * 5, *[2] * 10, pytest.approx(7.25)]
    await client.put(f"{URL}/1", json=OFFSET)  # made now, of what was sent
    assert (await values(client))[15:21] == [*[pytest.approx(6.15 + n / 100) for n in range(5)], 2]


async def test_those_that_hold_are_told_in_the_order_in_which_they_were_made(client: Served) -> None:
    """The page of a vessel shows those made last."""
    for number in (1, 2, 3):
        await client.post(URL, json=OFFSET | {"offset": None, "value": number})
    await client.put(f"{URL}/1", json=OFFSET)
    await client.post(f"{URL}/2/withdraw", json={"why": "wrong"})
    database = client.app.state.services.server.of(1)
    found = await queries.holding(database, ["br-1"], Span(at(0), at(60)))
    assert [(one.correction, one.version) for one in found] == [(3, 1), (1, 2)]


async def test_one_sample_and_one_quality(client: Served) -> None:
    spike = {"channel": "ph", "at": text(30), "quality": 1, "why": "a spike"}
    assert (await client.post(URL, json=spike)).status_code == 201
    lost = {"channel": "ph", "at": text(7), "value": 7, "quality": 0, "why": "read by hand"}
    assert (await client.post(URL, json=lost)).status_code == 201
    asked = {"device": "br-1", "channel": "ph", "bucket": "1m", "from": text(0), "to": text(60), "aggregate": "count"}
    found = (await client.get("/api/v1/telemetry", params=asked)).json()
    assert found["rows"][0][2] == 59
    assert [one["from"] for one in found["corrected"]] == [text(30), text(7)]
    rows = await values(client, quality="good")
    assert len(rows) == 59
    assert rows[7] == 7


@in_turn(
    ("change", "said"),
    [
        ({"channel": "nothing"}, "never sent"),
        ({"offset": None}, "give a value"),
        ({"value": 1}, "give a value, or factor"),
        ({"unit": "°C"}, "stored in pH"),
        ({"to": text(10)}, "before `to`"),
        ({"at": text(10)}, "`from` and `to`, or `at`"),
        ({"to": "2126-01-01T00:00:00Z"}, "in the future"),
        ({"deviation": "DEV-2026-0009"}, "no deviation"),
        ({"offset": "NaN"}, "number"),
        ({"why": ""}, "why"),
    ],
)
async def test_what_is_no_correction_is_refused(client: Served, change: dict[str, Any], said: str) -> None:
    given = {name: value for name, value in (OFFSET | change).items() if value is not None}
    answer = await client.post(URL, json=given)
    assert 400 <= answer.status_code < 500
    assert said in answer.text
    assert (await client.get(URL)).json()["corrections"] == []


async def test_a_time_in_which_the_unit_changes_is_corrected_in_parts(client: Served) -> None:
    change = {"unit": "mV", "unit_since": text(15), "why": "another probe"}
    said = await client.patch("/api/v1/devices/br-1/channels/ph", json=change)
    assert said.status_code == 200, said.text
    refused = await client.post(URL, json=OFFSET)
    assert (refused.status_code, "each part" in refused.text) == (422, True)
    assert (await client.post(URL, json=OFFSET | {"to": text(15)})).status_code == 201


async def test_a_deviation_gets_a_link_and_the_feed_a_line(client: Served) -> None:
    opened = await client.post("/api/v1/deviations", json={"title": "Drift", "severity": "minor"})
    number = opened.json()["deviation"]
    for offset in (-1, -2):  # the second has the same time, and no second link
        assert (await client.post(URL, json=OFFSET | {"deviation": number, "offset": offset})).status_code == 201
    [link] = (await client.get(f"/api/v1/deviations/{number}")).json()["links"]
    assert (link["type"], link["kind"], link["reference"]) == ("corrected-by", "span", f"br-1/{text(10)}/{text(20)}")
    listed = (await client.get(URL, params={"channel": "ph"})).json()["corrections"]
    assert [(one["correction"], one["offset"], one["deviation"]) for one in listed] == [
        (2, -2, number),
        (1, -1, number),
    ]
    happened = (await client.get("/api/v1/activity", params={"kind": "correction"})).json()["activity"]
    assert [one["facts"]["correction"] for one in happened] == [2, 1]
    assert (happened[0]["device"], happened[0]["title"]) == ("br-1", "correction 2 of ph: make")
    gone = await client.delete(f"/api/v1/deviations/{number}/links/{link['id']}", params={"why": "wrong"})
    assert gone.status_code == 204, gone.text
    again = await client.put(f"{URL}/2", json=OFFSET | {"deviation": number, "offset": -3})
    assert again.status_code == 200, again.text
    links = (await client.get(f"/api/v1/deviations/{number}")).json()["links"]
    assert [one["reference"] for one in links] == [link["reference"]]


async def test_what_will_be_known_cannot_be_asked(client: Served) -> None:
    asked = {"device": "br-1", "from": text(0), "to": text(60), "as_of": "2126-01-01T00:00:00Z"}
    for url in ("/api/v1/telemetry", URL):
        answer = await client.get(url, params={"as_of": asked["as_of"]} | (asked if url != URL else {}))
        assert (answer.status_code, "future" in answer.text) == (422, True)


async def test_what_is_live_and_alarms_stay_as_devices_said(client: Served) -> None:
    await client.post(URL, json=OFFSET | {"from": text(0), "to": text(60), "offset": None, "value": 1})
    newest = {
        one["channel"]: one["value"] for one in (await client.get("/api/v1/devices/br-1/latest")).json()["values"]
    }
    assert newest["ph"] == pytest.approx(7.59)
    asked = {"device": "br-1", "channel": "ph", "mode": "latest"}
    assert (await client.get("/api/v1/telemetry", params=asked)).json()["latest"][0]["value"] == 1


async def test_a_device_has_its_share_of_versions(client: Served, plant: Plant) -> None:
    await plant.sql.execute(
        """insert into corrections (organization_id, number, version, act, device_id, channel_id, begins, ends, quality,
                                    who, why)
           select 1, 1, n, case when n = 1 then 'make' else 'change' end, device_id, channel_id, now() - interval '1 h',
                  now(), 1, 'eva', 'why'
             from devices, channels c, generate_series(1, 2000) n where c.name = 'ph'"""
    )
    refused = await client.post(URL, json=OFFSET)
    assert (refused.status_code, "2000 versions" in refused.text) == (409, True)


async def test_csv_says_in_a_header_which_corrections_there_are(client: Served) -> None:
    time = {"channel": "ph", "from": text(0), "to": text(60)}
    urls = ("/api/v1/devices/br-1/telemetry.csv", time), ("/api/v1/telemetry.csv", time | {"device": "br-1"})
    for url, asked in urls:
        assert "Biogate-Corrections" not in (await client.get(url, params=asked)).headers
    await client.post(URL, json=OFFSET)
    questions: list[tuple[dict[str, Any], str]] = [({}, "not applied; 1"), ({"bucket": "1m"}, "applied; 1")]
    for url, asked in urls:
        for more, said in (*questions, ({"limit": 10}, "not applied; 1")):
            assert (await client.get(url, params=asked | more)).headers["Biogate-Corrections"] == said
    others: list[dict[str, Any]] = [{"at": text(15)}, {"mode": "latest"}, {"mode": "plot"} | time]
    for more in others:
        told = await client.get("/api/v1/telemetry.csv", params={"device": "br-1", "channel": "ph"} | more)
        assert told.headers["Biogate-Corrections"] == "applied; 1"


async def test_the_usual_distance_of_samples_is_that_of_what_was_known(client: Served, plant: Plant) -> None:
    """What came every tenth second at first has come every second since."""
    device = await plant.device("br-2")
    layout = await plant.layout(device, "ph")
    await plant.sql.execute(
        """insert into frames (time, device_id, layout_id, received_at, values)
           select t, $1, $2, t + case when n % 10 = 0 then interval '1 s' else interval '1 day' end, '{7}'
             from generate_series(0, 600) n cross join lateral (select $3::timestamptz + n * interval '1 s' as t) t""",
        *(device, layout, at(0)),
    )
    asked = {"device": "br-2", "mode": "plot", "from": text(0), "to": text(601)}
    moments: list[dict[str, str]] = [{"as_of": text(700)}, {"as_of": text(700_000)}, {}]
    answers = [(await client.get("/api/v1/telemetry", params=asked | more)).json() for more in moments]
    assert [one["series"][0]["gap"] for one in answers] == ["30s", "3s", "3s"]


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
async def test_a_streamed_file_is_of_what_was_known_then(client: Served, kind: str) -> None:
    url, asked = f"/api/v1/devices/br-1/telemetry.{kind}", {"from": text(0), "to": text(60)}
    whole = await client.get(url, params=asked)
    then = await client.get(url, params=asked | {"as_of": text(-1000)})
    assert (whole.status_code, then.status_code) == (200, 200), then.text
    assert len(then.content) < len(whole.content)
