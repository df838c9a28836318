"""Telemetry of one or many devices: what can be asked, in which forms it is answered, and what is refused."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx2
import pytest

from api.queries.deadline import Deadline
from api.shapes.telemetry_many import TelemetryRead
from tests.api.conform import conforms
from tests.api.plant import Plant, at, text

URL = "/api/v1/telemetry"
LISTS = ("device", "channel", "channels", "aggregate", "at")
RANGE = {"from": text(0), "to": text(600)}


async def fill(plant: Plant) -> None:
    """br-1 sends ph and a setpoint each 10 s, with a gap from 200 to 400; br-2 sends ph each minute; br-3 nothing."""
    first, second = await plant.device("br-1"), await plant.device("br-2")
    await plant.device("br-3")
    layout = await plant.layout(first, "ph", "ph_setpoint")
    seconds = [*range(-20, 200, 10), *range(400, 620, 10)]
    marks: dict[int, list[int | None]] = {30: [1, 0]}
    await plant.frames(
        first, layout, [(at(one), [one / 100, 7.0 if one < 300 else 8.0], marks.get(one)) for one in seconds]
    )
    layout = await plant.layout(second, "feed_a_rate", "ph")
    await plant.frames(second, layout, [(at(one), [-one / 100, 36.0], None) for one in range(0, 600, 60)])
    await plant.event(first, at(100), "phase", {"phase": "batch"})
    await plant.event(first, at(150), "phase", {"phase": "feed"})


async def ask(client: httpx2.AsyncClient, **asked: Any) -> dict[str, Any]:
    """By address and by body; both say the same."""
    ranged = {} if "at" in asked or asked.get("mode") == "latest" or "phase" in asked else RANGE
    answer = await client.get(URL, params={**ranged, **asked})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    conforms(TelemetryRead, content)
    given = {**ranged, **asked}
    listed = {name: [value] for name, value in given.items() if name in LISTS and isinstance(value, str)}
    answer = await client.post(URL, json=given | listed)
    if "cursor" not in asked:
        assert {**answer.json(), "next": None} == {**content, "next": None}
    return content


async def table(client: httpx2.AsyncClient, **asked: Any) -> list[list[str]]:
    ranged = {} if "at" in asked or asked.get("mode") == "latest" else RANGE
    answer = await client.get(f"{URL}.csv", params={**ranged, **asked})
    assert answer.status_code == 200, answer.text
    return list(csv.reader(io.StringIO(answer.text)))


def cells(rows: list[list[Any]]) -> list[list[str]]:
    return [["" if cell is None else str(cell) for cell in row] for row in rows]


async def test_rows_of_many_devices_share_the_columns_of_their_channels(reader: httpx2.AsyncClient) -> None:
    content = await ask(reader, device="br-1,br-2")
    assert [(one["channel"], one["unit"], one["step"]) for one in content["columns"]] == [
        ("ph", "pH", False),
        ("ph_setpoint", "pH", True),
        ("feed_a_rate", "mL/h", False),
    ]
    rows = {(row[0], row[1]): row[2:] for row in content["rows"]}
    assert rows["br-1", text(30)] == [None, 7.0, None]
    assert rows["br-2", text(60)] == [-0.6, None, 36.0]
    assert len(rows) == 40 + 10
    assert content["devices"][0] == {"device": "br-1", "from": text(0), "to": text(600)}
    assert (content["mode"], content["truncated"], content["tz"]) == ("raw", False, "UTC")
    assert cells(content["rows"]) == (await table(reader, device="br-1,br-2"))[1:]


@pytest.mark.parametrize("limit", [1, 7, 40, 41, 50])
@pytest.mark.parametrize("bounds", ["inside", "outside"])
async def test_pages_over_devices_are_the_full_set(reader: httpx2.AsyncClient, limit: int, bounds: str) -> None:
    asked = {"device": "*", "bounds": bounds, "quality": "all"}
    whole = await ask(reader, **asked)
    rows, cursor = [], None
    while True:
        page = await ask(reader, **asked, limit=limit, **({"cursor": cursor} if cursor else {}))
        rows += page["rows"]
        assert len(page["rows"]) <= limit + (bounds == "outside") * 4
        cursor = page["next"]
        assert page["truncated"] == (cursor is not None)
        if cursor is None:
            break
    assert rows == whole["rows"]
    assert len(rows) == 50 + (bounds == "outside") * 2


async def test_a_cursor_of_a_body_belongs_to_that_body(reader: httpx2.AsyncClient) -> None:
    asked = {**RANGE, "device": ["br-1", "br-2"], "limit": 45}
    first = (await reader.post(URL, json=asked)).json()
    rest = (await reader.post(URL, json={**asked, "cursor": first["next"]})).json()
    assert len(first["rows"]) + len(rest["rows"]) == 50
    other = await reader.post(URL, json={**asked, "device": ["br-1"], "cursor": first["next"]})
    assert (other.status_code, other.json()["errors"][0]["parameter"]) == (422, "cursor")


async def test_bounds_outside_add_the_sample_before_and_after_of_each_channel(reader: httpx2.AsyncClient) -> None:
    asked = {"device": "br-1", "from": text(210), "to": text(390), "bounds": "outside"}
    content = await ask(reader, **asked)
    assert content["rows"] == [["br-1", text(190), 1.9, 7.0], ["br-1", text(400), 4.0, 8.0]]
    assert (await ask(reader, **asked, max_age="15s"))["rows"] == content["rows"][1:]
    assert (await ask(reader, **asked, max_age="20s"))["rows"] == [
        ["br-1", text(190), 1.9, 7.0],
        ["br-1", text(400), 4.0, 8.0],
    ]
    plot = await ask(reader, mode="plot", channel="ph", **asked)
    assert plot["series"][0]["points"] == [[text(190), 1.9], [text(295), None], [text(400), 4.0]]


async def test_a_phase_is_the_time(reader: httpx2.AsyncClient) -> None:
    content = await ask(reader, device="br-1", channel="ph", phase="batch")
    assert [row[1] for row in content["rows"]] == [text(second) for second in range(100, 150, 10)]
    assert content["devices"] == [{"device": "br-1", "from": text(100), "to": text(150)}]


async def test_buckets_are_absent_or_null_or_filled(reader: httpx2.AsyncClient) -> None:
    asked = {"device": "br-1", "channel": ["ph", "ph_setpoint"], "bucket": "1m", "aggregate": "first,count"}

    async def firsts(**more: Any) -> list[Any]:
        return [row[2] for row in (await ask(reader, **asked, **more))["rows"]]

    known = [0.0, 0.6, 1.2, 1.8], [4.0, 4.2, 4.8, 5.4]
    assert await firsts() == [*known[0], *known[1]]
    assert await firsts(empty="null") == [*known[0], None, None, *known[1]]
    assert await firsts(fill="last") == [*known[0], 1.8, 1.8, *known[1]]
    assert await firsts(fill="linear") == pytest.approx([*known[0], 1.8 + 2.2 / 3, 1.8 + 4.4 / 3, *known[1]])
    assert await firsts(fill="linear", fill_limit=1) == [*known[0], None, None, *known[1]]
    filled = await ask(reader, **asked, fill="linear")
    assert [row[4] for row in filled["rows"]] == [7.0] * 6 + [8.0] * 4, "a setpoint is held"
    assert [row[3] for row in filled["rows"]][3:6] == [2, 0, 0]
    assert filled["fill"] == "linear, at most 10 in a row"


async def test_max_points_chooses_a_width_and_names_it(reader: httpx2.AsyncClient) -> None:
    content = await ask(reader, device="br-2", channel="ph", mode="buckets", max_points=6, aggregate="count")
    assert content["bucket"] == "2m"
    assert [row[2] for row in content["rows"]] == [2] * 5


async def test_an_integral_over_hours_of_a_rate_per_hour_is_an_amount(reader: httpx2.AsyncClient) -> None:
    content = await ask(
        reader, device="br-2", channel="feed_a_rate", bucket="5m", aggregate="integral,twa,percent_good"
    )
    assert [(one["unit"], one["aggregate"]) for one in content["columns"]] == [
        ("mL", "integral"),
        ("mL/h", "twa"),
        ("%", "percent_good"),
    ]
    assert content["rows"][0][2:] == pytest.approx([3.0, 36.0, 100.0])


async def test_csv_of_buckets_equals_json_over_many_slices(
    reader: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"device": "*", "bucket": "10s", "aggregate": "avg,twa,count,percent_good", "gap": "15s"}
    content = await ask(reader, **asked)
    monkeypatch.setattr("api.queries.telemetry_buckets.SLICE_VALUES", 40)
    header, *rows = await table(reader, **asked)
    assert header[:4] == ["device", "time", "ph [pH] avg", "ph [pH] twa"]
    wanted = [["" if cell in {None, 0} else cell for cell in row] for row in content["rows"]]
    found = [["" if cell in {"", "0", "0.0"} else cell for cell in row] for row in rows]
    assert [row[:2] for row in found] == [row[:2] for row in wanted]
    for row, other in zip(found, wanted, strict=True):
        assert [float(cell or 0) for cell in row[2:]] == pytest.approx([float(cell or 0) for cell in other[2:]])


async def test_a_plot_ends_its_line_at_a_gap(reader: httpx2.AsyncClient) -> None:
    content = await ask(reader, mode="plot", device="br-1", channel="ph", max_points=80)
    [series] = content["series"]
    assert series["gap"] == "30s"
    assert [point for point in series["points"] if point[1] is None] == [[text(295), None]]
    assert series["bad"] == [[text(30), 1, 0.3]]
    header, *rows = await table(reader, mode="plot", device="br-1", channel="ph", max_points=80)
    assert header == ["device", "channel", "unit", "time", "value", "quality"]
    assert [row[3:5] for row in rows] == [*cells(series["points"]), [text(30), "0.3"]]


async def test_values_at_times_and_the_newest(reader: httpx2.AsyncClient) -> None:
    asked = {"device": "br-1", "channels": "ph,ph_setpoint", "at": f"{text(35)},{text(250)}"}
    assert (await ask(reader, **asked))["rows"] == [["br-1", text(35), 0.2, 7.0], ["br-1", text(250), 1.9, 7.0]]
    assert (await ask(reader, **asked, quality="all"))["qualities"] == [[1, 0], [0, 0]]
    assert (await ask(reader, **asked, max_age="20s"))["rows"][1] == ["br-1", text(250), None, None]
    linear = await ask(reader, **asked, method="linear")
    assert linear["method"] == "linear"
    assert [row[2:] for row in linear["rows"]] == [pytest.approx([0.35, 7.0]), pytest.approx([2.5, 7.0])]
    assert cells(linear["rows"]) == (await table(reader, **asked, method="linear"))[1:]
    latest = await ask(reader, mode="latest", device="*", channel="ph")
    assert [(one["device"], one["value"], one["time"]) for one in latest["latest"]] == [
        ("br-1", 6.1, text(610)),
        ("br-2", -5.4, text(540)),
    ]
    assert len(await table(reader, mode="latest", device="*")) == 1 + 4


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "device", "device=* means every device"),
    ({"device": "br-1", "chanel": "ph"}, "chanel", "did you mean channel?"),
    ({"device": "br-1", "tz": "Europe/Berlin"}, "tz", "is for mode buckets, not for raw"),
    ({"device": "br-1", "bucket": "1m", "tz": "Europe/Berlin"}, "tz", "buckets of day, week and month"),
    ({"device": "br-1", "bucket": "day", "tz": "Mars/Olympus"}, "tz", "IANA"),
    ({"device": "br-1", "bucket": "fortnight"}, "bucket", "day, week, month"),
    ({"device": "br-1", "bucket": "month", "origin": "2026-01-31Z"}, "origin", "28th"),
    ({"device": "br-1", "mode": "buckets"}, "bucket", "max_points"),
    ({"device": "br-1", "bucket": "1m", "max_points": 10}, "bucket", "either"),
    ({"device": "br-1", "bucket": "1m", "aggregate": "mean"}, "aggregate", "there is no mean"),
    ({"device": "br-1", "bucket": "1m", "limit": 10}, "limit", "is for mode raw"),
    ({"device": "br-1", "mode": "at"}, "at", "1 to 1000 instants"),
    ({"device": "br-1", "at": "noon"}, "at", "ISO 8601"),
    ({"device": "br-1", "mode": "median"}, "mode", "raw"),
    ({"device": "br-1", "mode": "latest", "from": text(0)}, "from", "is for mode"),
]


@pytest.mark.parametrize(("asked", "parameter", "words"), REFUSED, ids=[str(one[0]) for one in REFUSED])
async def test_what_cannot_be_asked_is_told(
    reader: httpx2.AsyncClient, asked: dict[str, Any], parameter: str, words: str
) -> None:
    listed = {name: [value] if name in LISTS else value for name, value in asked.items()}
    for answer in (await reader.get(URL, params=asked), await reader.post(URL, json=listed)):
        problem = answer.json()
        assert answer.status_code == 422, problem
        assert problem["errors"][0]["parameter"].removesuffix(".0") == parameter
        assert words in problem["detail"]


async def test_too_much_is_refused_and_what_is_named_fits(reader: httpx2.AsyncClient) -> None:
    year = {"from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z", "device": "*"}
    answer = await reader.get(URL, params={**year, "bucket": "1s"})
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "urn:biogate:problem:too-much")
    assert (await reader.get(URL, params={**year, "bucket": problem["bucket"]})).status_code == 200
    answer = await reader.get(URL, params={**year, "limit": 10**6})
    assert (await reader.get(URL, params={**year, "limit": answer.json()["limit"]})).status_code == 200
    many = ",".join(f"{second}" for second in range(1000))
    assert (await reader.get(URL, params={"device": "br-1", "at": many})).status_code == 422


async def test_who_reads_for_too_long_is_told(reader: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deadline.__init__, "__defaults__", (0.0,))
    for more in ({}, {"bucket": "1m"}, {"mode": "plot"}):
        answer = await reader.get(URL, params={**RANGE, "device": "br-1", **more})
        assert (answer.status_code, answer.json()["type"]) == (504, "urn:biogate:problem:too-long"), more


async def test_who_does_not_say_when_is_told_when_the_data_are(reader: httpx2.AsyncClient) -> None:
    told = [f"br-2 has sent from {text(0)} to {text(540)}", "br-3 has never sent"]
    for more in ({}, {"bucket": "1m"}, {"mode": "plot"}):
        content = (await reader.get(URL, params={"device": "br-2,br-3", **more})).json()
        assert content["warnings"][-2:] == told, more
        assert content["rows"] == []


async def test_a_device_without_data_has_no_rows(reader: httpx2.AsyncClient) -> None:
    for more in ({}, {"bucket": "1m"}, {"at": text(0)}, {"mode": "plot"}, {"mode": "latest"}):
        content = await ask(reader, device="br-3", **more)
        assert [row[2:] for row in content["rows"]] == ([[]] if "at" in more else [])
        assert (content["series"], content["latest"]) == ([], [])
