"""Raw samples and buckets, against a real database."""

from __future__ import annotations

import csv
import io
from datetime import timedelta, timezone
from typing import Any

import httpx2
import pytest

from api.shapes.telemetry import TelemetryAnswer
from schema import times
from tests.api.conform import conforms
from tests.api.plant import Plant, at, text

URL = "/api/v1/devices/br-1/telemetry"
RANGE = {"from": text(0), "to": text(3600)}


async def ask(client: httpx2.AsyncClient, **parameters: Any) -> dict[str, Any]:
    answer = await client.get(URL, params={**RANGE, **parameters})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    conforms(TelemetryAnswer, content)
    return content


async def table(client: httpx2.AsyncClient, **parameters: Any) -> list[list[str]]:
    answer = await client.get(f"{URL}.csv", params={**RANGE, **parameters})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.reader(io.StringIO(answer.text)))


def cells(content: dict[str, Any]) -> list[list[str]]:
    """JSON's rows as CSV writes them."""
    return [["" if cell is None else str(cell) for cell in row] for row in content["rows"]]


async def fill(plant: Plant) -> None:
    """Two layouts, of which the second shares `ph` with the first; nulls, bad and uncertain samples."""
    device = await plant.device("br-1")
    first = await plant.layout(device, "temperature", "ph", "agitation")
    second = await plant.layout(device, "ph", "Gas, in / out")
    await plant.frames(
        device,
        first,
        [
            (at(0), [37.0, 7.0, 500.0], None),
            (at(1), [37.1, None, 501.0], None),  # ph was not sent
            (at(2), [37.2, None, 502.0], [0, 1, 0]),  # ph was due and had no value
            (at(3), [37.3, 7.3, None], [0, 2, None]),  # uncertain; agitation was not sent
            (at(4), [None, 7.4, None], None),
        ],
    )
    await plant.frames(device, second, [(at(0), [6.0, 1.5], None), (at(5), [7.5, None], None)])


@pytest.fixture
async def mixed(plant: Plant) -> Plant:
    """For who changes them; the others share them, and have the `reader`."""
    await fill(plant)
    return plant


async def test_a_good_value_stands_in_its_column_and_anything_else_is_null(reader: httpx2.AsyncClient) -> None:
    content = await ask(reader, channels="ph,temperature")
    assert content["columns"] == [
        {"channel": "ph", "unit": "pH", "aggregate": None, "computed": False},
        {"channel": "temperature", "unit": "°C", "aggregate": None, "computed": False},
    ]
    assert content["rows"] == [
        [text(0), 7.0, 37.0],
        [text(0), 6.0, None],
        [text(1), None, 37.1],
        [text(2), None, 37.2],
        [text(3), None, 37.3],
        [text(4), 7.4, None],
        [text(5), 7.5, None],
    ]
    assert (content["quality"], content["qualities"], content["truncated"], content["next"]) == (
        "good",
        None,
        False,
        None,
    )


async def test_all_qualities_come_with_every_sample_that_was_sent(reader: httpx2.AsyncClient) -> None:
    content = await ask(reader, channels="ph,temperature", quality="all")
    assert content["rows"][3:5] == [[text(2), None, 37.2], [text(3), 7.3, 37.3]]
    assert content["qualities"] == [[0, 0], [0, None], [None, 0], [1, 0], [2, 0], [0, None], [0, None]]


async def test_one_channel_has_only_its_own_samples_from_all_layouts(reader: httpx2.AsyncClient) -> None:
    good = await ask(reader, channel="ph")
    assert good["rows"] == [[text(0), 7.0], [text(0), 6.0], [text(4), 7.4], [text(5), 7.5]]
    everything = await ask(reader, channel="ph", quality="all")
    assert everything["rows"] == [
        *([text(0), 7.0], [text(0), 6.0], [text(2), None], [text(3), 7.3], [text(4), 7.4], [text(5), 7.5]),
    ]
    assert everything["qualities"] == [[0], [0], [1], [2], [0], [0]]


async def test_without_channels_all_of_the_device_are_columns(reader: httpx2.AsyncClient) -> None:
    content = await ask(reader)
    names = [column["channel"] for column in content["columns"]]
    assert names == ["temperature", "ph", "agitation", "Gas, in / out"]
    assert content["rows"][1] == [text(0), None, 6.0, None, 1.5]


async def test_a_channel_name_with_comma_and_slash_is_asked_for_by_channel(reader: httpx2.AsyncClient) -> None:
    content = await ask(reader, channel=["Gas, in / out", "ph"])
    assert [column["channel"] for column in content["columns"]] == ["Gas, in / out", "ph"]
    assert content["columns"][0]["unit"] is None
    assert content["rows"][1] == [text(0), 1.5, 6.0]


async def test_a_range_is_half_open_and_may_be_given_in_milliseconds(reader: httpx2.AsyncClient) -> None:
    milliseconds = {name: str(round(at(second).timestamp() * 1000)) for name, second in (("from", 1), ("to", 3))}
    content = await ask(reader, channel="temperature", **milliseconds)
    assert (content["from"], content["to"]) == (text(1), text(3))
    assert [row[0] for row in content["rows"]] == [text(1), text(2)]


async def test_an_empty_range_and_a_device_without_data_give_no_rows(plant: Plant, client: httpx2.AsyncClient) -> None:
    device = await plant.device("br-1")
    assert (await ask(client))["rows"] == []
    assert await table(client) == [["time"]]
    await plant.layout(device, "ph")
    for parameters in ({"channel": "ph"}, {"channel": "ph", "bucket": "1m"}):
        content = await ask(client, **parameters)
        assert (content["rows"], content["truncated"], content["next"]) == ([], False, None)
    assert await table(client, channel="ph", bucket="1m") == [["time", "ph [pH] avg", "ph [pH] min", "ph [pH] max"]]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 100])
@pytest.mark.parametrize("channels", [{}, {"channel": "ph"}, {"channels": "ph,temperature", "quality": "all"}])
async def test_pages_to_the_end_are_the_full_set(
    reader: httpx2.AsyncClient, limit: int, channels: dict[str, str]
) -> None:
    whole = await ask(reader, **channels)
    rows: list[Any] = []
    cursor = None
    while True:
        page = await ask(reader, **channels, limit=limit, **({"cursor": cursor} if cursor else {}))
        rows += page["rows"]
        cursor = page["next"]
        assert page["truncated"] == (cursor is not None)
        if cursor is None:
            break
        assert len(page["rows"]) == limit
    assert rows == whole["rows"]


async def test_what_arrives_between_pages_neither_repeats_nor_hides_a_row(
    mixed: Plant, client: httpx2.AsyncClient
) -> None:
    whole = await ask(client)
    first = await ask(client, limit=2)
    device = await mixed.sql.fetchval("select device_id from devices")
    layout = await mixed.layout(device, "temperature", "foam")
    await mixed.frames(device, layout, [(at(0.5), [1.0, 1.0], None), (at(-1), [1.0, 1.0], None)])
    rest = await ask(client, cursor=first["next"])
    # A new channel would shift the columns of a table that is half read: it is left out until the next query.
    assert rest["columns"] == whole["columns"]
    assert [row for row in first["rows"] + rest["rows"] if row in whole["rows"]] == whole["rows"]
    assert "foam" in [column["channel"] for column in (await ask(client))["columns"]]


async def test_csv_equals_json(reader: httpx2.AsyncClient) -> None:
    content = await ask(reader)
    header, *rows = await table(reader)
    assert header == ["time", "temperature [°C]", "ph [pH]", "agitation [rpm]", "Gas, in / out"]
    assert rows == cells(content)

    content = await ask(reader, channel="ph", quality="all")
    header, *rows = await table(reader, channel="ph", quality="all")
    assert header == ["time", "ph [pH]", "ph quality"]
    assert [row[:2] for row in rows] == cells(content)
    assert [[int(row[2])] for row in rows] == content["qualities"]

    aggregates = "avg,min,max,first,last,count"
    content = await ask(reader, bucket="2s", aggregate=aggregates)
    header, *rows = await table(reader, bucket="2s", aggregate=aggregates)
    assert header[1:3] == ["temperature [°C] avg", "temperature [°C] min"]
    assert rows == cells(content)


async def test_csv_pages_are_linked(reader: httpx2.AsyncClient) -> None:
    whole = await table(reader, channel="ph")
    rows: list[list[str]] = []
    address: str | None = f"{URL}.csv?channel=ph&limit=3&from={text(0)}&to={text(3600)}"
    while address is not None:
        answer = await reader.get(address)
        assert answer.status_code == 200
        rows += list(csv.reader(io.StringIO(answer.text)))[1:]
        address = answer.links["next"]["url"] if "next" in answer.links else None
    assert rows == whole[1:]


async def test_a_long_csv_is_complete_over_many_pages_and_chunks(plant: Plant, client: httpx2.AsyncClient) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "ph", "temperature")
    count = 25_000  # 5 days at 0.06 Hz; frames of two layouts at the same instants
    other = await plant.layout(device, "ph")
    times = [at(number * 17) for number in range(count)]
    await plant.frames(device, layout, [(time, [None, float(n)], None) for n, time in enumerate(times)])
    await plant.frames(device, other, [(time, [float(-n)], None) for n, time in enumerate(times)])
    far = {"from": text(0), "to": text(17 * count)}
    rows = (await table(client, channel="ph", **far))[1:]
    assert len(rows) == 2 * count
    assert [float(row[1]) for row in rows[::2]] == [float(n) for n in range(count)]
    assert rows[-1] == [text(17 * (count - 1)), str(float(1 - count))]
    buckets = (await table(client, channel="ph", bucket="1h", aggregate="count", **far))[1:]
    assert sum(int(row[1]) for row in buckets) == 2 * count
    assert len({row[0] for row in buckets}) == len(buckets)


async def test_buckets_have_the_aggregates_asked_for(reader: httpx2.AsyncClient) -> None:
    content = await ask(reader, channel=["temperature", "agitation"], bucket="2s", aggregate="last,first,count")
    assert content["bucket"] == "2s"
    assert [(c["channel"], c["unit"], c["aggregate"]) for c in content["columns"]] == [
        ("temperature", "°C", "last"),
        ("temperature", "°C", "first"),
        ("temperature", "1", "count"),
        ("agitation", "rpm", "last"),
        ("agitation", "rpm", "first"),
        ("agitation", "1", "count"),
    ]
    assert content["rows"] == [
        [text(0), 37.1, 37.0, 2, 501.0, 500.0, 2],
        [text(2), 37.3, 37.2, 2, 502.0, 502.0, 1],
    ]


async def test_buckets_count_only_good_samples_unless_all_are_wanted(reader: httpx2.AsyncClient) -> None:
    good = await ask(reader, channel="ph", bucket="1m", aggregate=["avg", "count"])
    assert good["rows"] == [[text(0), pytest.approx((7.0 + 6.0 + 7.4 + 7.5) / 4), 4]]
    everything = await ask(reader, channel="ph", bucket="1m", aggregate=["max", "count"], quality="all")
    assert everything["rows"] == [[text(0), 7.5, 5]]


async def test_a_bucket_without_a_sample_is_absent_and_a_channel_without_one_is_null(
    plant: Plant, client: httpx2.AsyncClient
) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "temperature", "ph")
    await plant.frames(device, layout, [(at(0), [1.0, None], None), (at(180), [None, 2.0], None)])
    content = await ask(client, bucket="1m", aggregate="avg,count")
    assert content["rows"] == [[text(0), 1.0, 1, None, 0], [text(180), None, 0, 2.0, 1]]


BEGINS = [
    ("1s", "2026-03-04T10:30:01"),
    ("10s", "2026-03-04T10:30:00"),
    ("1m", "2026-03-04T10:30:00"),
    ("5m", "2026-03-04T10:30:00"),
    ("1h", "2026-03-04T10:00:00"),
    ("1d", "2026-03-04T00:00:00"),
    ("1w", "2026-03-02T00:00:00"),
]


@pytest.mark.parametrize("absurd", [1e308, -1e308, 1e160])
async def test_an_absurd_value_has_no_average_and_harms_no_other_bucket(
    plant: Plant, client: httpx2.AsyncClient, absurd: float
) -> None:
    device = await plant.device("br-1")
    ph = await plant.layout(device, "ph")
    values = [absurd, absurd, 7.0, absurd, 6.0, 8.0]
    await plant.frames(device, ph, [(at(30 * n), [value], None) for n, value in enumerate(values)])
    content = await ask(client, channel="ph", bucket="1m", aggregate="avg,min,max,count")
    low, high = min(absurd, 7.0), max(absurd, 7.0)
    assert [row[1:] for row in content["rows"]] == [
        [None, absurd, absurd, 2],
        [7.0, low, high, 2],
        [7.0, 6.0, 8.0, 2],
    ]
    raw = await ask(client, channel="ph")
    assert [row[1] for row in raw["rows"]] == values


async def test_columns_of_csv_are_told_apart(plant: Plant, client: httpx2.AsyncClient) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "time", "x", "x quality")
    await plant.frames(device, layout, [(at(0), [1.0, 2.0, 3.0], None)])
    channels = {"channel": ["time", "x", "x quality"]}
    raw = await table(client, **channels, quality="all")
    assert raw[0] == [
        *("time", "time (2)", "time quality", "x", "x quality"),
        *("x quality (2)", "x quality quality"),
    ]
    assert (await table(client, **channels))[0] == ["time", "time (2)", "x", "x quality"]
    buckets = await table(client, **channels, bucket="1m", aggregate="avg")
    assert len(set(buckets[0])) == len(buckets[0]) == len(buckets[1]) == 4


async def test_buckets_begin_at_whole_utc_times(plant: Plant, client: httpx2.AsyncClient) -> None:
    device = await plant.device("br-1")
    await plant.frames(device, await plant.layout(device, "ph"), [(at(3 * 86400 + 1801), [7.0], None)])
    for bucket, begins in BEGINS:
        parameters = {"from": "2026-03-04T05:30:01-05:00", "to": "2026-03-05T00:00:00Z", "bucket": bucket}
        content = await ask(client, aggregate="avg", **parameters)
        assert content["rows"] == [[f"{begins}.000000Z", 7.0]], bucket
        assert bool(content["warnings"]) == (bucket != "1s"), bucket


async def test_not_a_number_is_null_in_json_and_empty_in_csv(plant: Plant, client: httpx2.AsyncClient) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "ph")
    bad = [float("nan"), float("inf"), float("-inf"), 7.0]
    await plant.frames(device, layout, [(at(n), [value], None) for n, value in enumerate(bad)])
    assert [row[1] for row in (await ask(client))["rows"]] == [None, None, None, 7.0]
    assert [row[1] for row in (await table(client))[1:]] == ["", "", "", "7.0"]


async def test_too_many_buckets_are_refused_and_the_width_that_is_named_fits(reader: httpx2.AsyncClient) -> None:
    year = {"from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z"}
    answer = await reader.get(URL, params={**year, "bucket": "1s"})
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "urn:biogate:problem:too-much")
    assert problem["bucket"] in problem["detail"]
    answer = await reader.get(URL, params={**year, "bucket": problem["bucket"]})
    assert answer.status_code == 200
    answer = await reader.get(URL, params={**year, "limit": 1_000_000})
    problem = answer.json()
    assert answer.status_code == 422
    assert (await reader.get(URL, params={**year, "limit": problem["limit"]})).status_code == 200
    assert (await reader.get(URL, params={**year, "bucket": problem["bucket"]})).status_code == 200


async def test_the_format_follows_accept_and_parameter(reader: httpx2.AsyncClient) -> None:
    for accept, type_ in (
        ("text/csv", "text/csv"),
        ("application/json", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        ("text/csv;q=0.9, application/json;q=0.1", "text/csv"),
    ):
        answer = await reader.get(URL, params=RANGE, headers={"accept": accept})
        assert answer.headers["content-type"].split(";")[0] == type_
    answer = await reader.get(URL, params={**RANGE, "format": "csv"}, headers={"accept": "application/json"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="devices-br-1-telemetry.csv"'


def test_a_time_is_text_in_utc_with_six_digits() -> None:
    for instant in (at(0), at(0.1), at(1e-6), at(0.123456), times.FIRST, times.LAST, times.EPOCH - times.MICROSECOND):
        said = instant.isoformat(timespec="microseconds").replace("+00:00", "Z")
        assert times.text(instant) == times.text(instant.astimezone(timezone(timedelta(hours=-5)))) == said


async def test_the_default_range_is_the_last_hour_and_is_said(reader: httpx2.AsyncClient) -> None:
    answer = await reader.get(URL)
    content = answer.json()
    assert content["rows"] == []
    assert content["from"] < content["to"]
    content = (await reader.get(URL, params={"to": text(10)})).json()
    assert (content["from"], content["to"]) == (text(-3590), text(10))
