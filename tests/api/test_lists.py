"""Devices, channels, latest values, events and the quarantine, against a real database."""

from __future__ import annotations

import base64
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from api.shapes import devices as shapes_devices
from api.shapes import latest as shapes_latest
from api.shapes import quarantine as shapes_quarantine
from tests.api.conform import conforms
from tests.api.operators import shape
from tests.api.plant import Plant, at, text
from tests.roles import forced

API = "/api/v1"


async def get(client: httpx2.AsyncClient, path: str, **parameters: Any) -> dict[str, Any]:
    answer = await client.get(API + path, params=parameters)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def table(client: httpx2.AsyncClient, path: str, **parameters: Any) -> list[dict[str, str]]:
    answer = await client.get(f"{API}{path}.csv", params=parameters)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


async def everything(client: httpx2.AsyncClient, path: str, name: str, **parameters: Any) -> list[Any]:
    """All items of a list, page by page."""
    items: list[Any] = []
    page: dict[str, Any] = {"next": None}
    while True:
        cursor = {} if page["next"] is None else {"cursor": page["next"]}
        page = await get(client, path, **parameters, **cursor)
        items += page[name]
        assert page["truncated"] == (page["next"] is not None)
        if page["next"] is None:
            return items


async def test_devices_come_by_name_and_all_of_them_over_the_pages(plant: Plant, client: httpx2.AsyncClient) -> None:
    for name in ("br-2", "br-10", "A.1"):
        await plant.device(name)
    for limit in [1, 2, 3, 4, 1000]:
        items = await everything(client, "/devices", "devices", limit=limit)
        names = [item["device"] for item in items]
        assert sorted(names) == sorted(["A.1", "br-10", "br-2"])
        assert len(set(names)) == 3


async def test_a_device_has_its_presence_and_the_time_of_its_newest_frame(
    plant: Plant, client: httpx2.AsyncClient
) -> None:
    device = await plant.device("br-1")
    content = await get(client, "/devices/br-1")
    conforms(shapes_devices.DeviceDetail, content)
    assert (content["state"], content["presence"], content["last_frame_at"]) == ("active", None, None)
    await plant.status(device, 7, at(0), True, "2.4.1")
    await plant.status(device, 6, at(50), False)  # the will of an older boot, late
    await plant.frames(device, await plant.layout(device, "ph"), [(at(n), [7.0], None) for n in (3, 1)])
    content = await get(client, "/devices/br-1")
    conforms(shapes_devices.DeviceDetail, content)
    assert content["presence"] == {"online": True, "since": text(0), "why": "newest", "boot": 7, "firmware": "2.4.1"}
    assert content["last_frame_at"] == text(3)
    listed = await get(client, "/devices")
    conforms(shape("Devices"), listed)
    assert [item | {"version": 1} for item in listed["devices"]] == [content]
    [row] = await table(client, "/devices")
    assert (row["device"], row["presence.online"], row["presence.boot"]) == ("br-1", "true", "7")
    assert row["last_frame_at"] == text(3)


async def test_channels_are_those_the_device_has_sent_with_units(plant: Plant, client: httpx2.AsyncClient) -> None:
    device = await plant.device("br-1")
    await plant.layout(device, "temperature", "ph")
    await plant.layout(device, "ph", "odd, name")
    content = await get(client, "/devices/br-1/channels")
    conforms(shape("Channels"), content)
    found = [(item["channel"], item["unit"]) for item in content["channels"]]
    assert found == [("temperature", "°C"), ("ph", "pH"), ("odd, name", None)]
    rows = await table(client, "/devices/br-1/channels")
    assert [(row["channel"], row["unit"] or None) for row in rows] == found


async def test_latest_is_the_newest_of_each_channel_over_all_layouts(plant: Plant, client: httpx2.AsyncClient) -> None:
    device = await plant.device("br-1")
    first = await plant.layout(device, "temperature", "ph")
    second = await plant.layout(device, "ph", "foam")
    await plant.frames(device, first, [(at(0), [37.0, 7.0], None), (at(10), [37.5, None], None)])
    await plant.frames(device, second, [(at(5), [7.5, 1.0], None), (at(6), [7.6, None], [0, 1])])
    content = await get(client, "/devices/br-1/latest")
    conforms(shapes_latest.OneLatest, content)
    assert content["time"] == text(10)
    assert content["values"] == [
        {"channel": "temperature", "unit": "°C", "value": 37.5, "quality": 0, "time": text(10)},
        {"channel": "ph", "unit": "pH", "value": 7.6, "quality": 0, "time": text(6)},
        {"channel": "foam", "unit": "%", "value": None, "quality": 1, "time": text(6)},
    ]
    good = await get(client, "/devices/br-1/latest", quality="good", channel="foam")
    assert good["values"] == [{"channel": "foam", "unit": "%", "value": 1.0, "quality": 0, "time": text(5)}]
    rows = await table(client, "/devices/br-1/latest")
    assert [row["value"] for row in rows] == ["37.5", "7.6", ""]


async def test_a_cell_left_out_is_looked_for_in_older_frames_as_far_as_asked(
    plant: Plant, client: httpx2.AsyncClient
) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "temperature", "optical_density")
    await plant.frames(
        device,
        layout,
        [(at(0), [30.0, 0.5], None), *((at(10 * n), [37.0, None], None) for n in range(1, 200))],
    )
    [_, density] = (await get(client, "/devices/br-1/latest"))["values"]
    assert (density["value"], density["time"]) == (0.5, text(0))
    [_, density] = (await get(client, "/devices/br-1/latest", within="5m"))["values"]
    assert (density["value"], density["quality"], density["time"]) == (None, None, None)


async def test_a_layout_out_of_use_still_shows_its_channels(plant: Plant, client: httpx2.AsyncClient) -> None:
    device = await plant.device("br-1")
    old, new = await plant.layout(device, "redox"), await plant.layout(device, "ph")
    await plant.frames(device, old, [(at(-86400), [5.0], None)])
    await plant.frames(device, new, [(at(0), [7.0], None)])
    content = await get(client, "/devices/br-1/latest")
    assert {item["channel"]: item["value"] for item in content["values"]} == {"ph": 7.0, "redox": None}
    content = await get(client, "/devices/br-1/latest", within="2d")
    assert {item["channel"]: item["value"] for item in content["values"]} == {"ph": 7.0, "redox": 5.0}


async def test_latest_of_all_devices_includes_the_silent_ones(plant: Plant, client: httpx2.AsyncClient) -> None:
    for number in range(5):
        device = await plant.device(f"br-{number}")
        layout = await plant.layout(device, "ph")
        if number != 3:
            await plant.frames(device, layout, [(at(number), [float(number)], None)])
    conforms(shapes_latest.AllLatest, await get(client, "/latest"))
    items = await everything(client, "/latest", "devices", limit=2, channels="ph")
    assert [(item["device"], item["time"]) for item in items] == [
        *(("br-0", text(0)), ("br-1", text(1)), ("br-2", text(2)), ("br-3", None), ("br-4", text(4))),
    ]
    assert items[4]["values"][0]["value"] == 4.0
    assert items[3]["values"] == []
    assert [row["device"] for row in await table(client, "/latest")] == ["br-0", "br-1", "br-2", "br-4"]


async def test_latest_of_one_and_of_all_are_the_same_whether_devices_send_or_are_silent(
    plant: Plant, client: httpx2.AsyncClient
) -> None:
    """The newest frame is looked for in the last hour first: both ways of finding it, in one answer."""
    now = datetime.now(UTC)
    for number, newest in enumerate([now, now - timedelta(minutes=59), now - timedelta(minutes=61), at(0), now]):
        device = await plant.device(f"br-{number}")
        first, second = await plant.layout(device, "temperature", "ph"), await plant.layout(device, "ph", "foam")
        older = newest - timedelta(minutes=30)
        await plant.frames(device, first, [(newest, [37.0, None], None), (older, [36.0, 7.0], [0, 2])])
        await plant.frames(device, second, [(older - timedelta(minutes=1), [6.0, 0.5], None)])
    await plant.layout(await plant.device("br-9"), "ph")
    for quality, ph in (("all", 7.0), ("good", 6.0)):
        items = await everything(client, "/latest", "devices", quality=quality)
        for item in items[:5]:
            assert [(value["channel"], value["value"]) for value in item["values"]] == [
                *(("temperature", 37.0), ("ph", ph), ("foam", 0.5)),
            ]
            assert item["time"] == item["values"][0]["time"]
        assert items[5] == {"device": "br-9", "time": None, "values": []}
        for item in items:
            alone = await get(client, f"/devices/{item['device']}/latest", quality=quality)
            assert alone == item | {"within": "1h", "quality": quality}


async def test_of_two_samples_of_one_instant_the_one_of_the_newer_layout_is_the_latest(
    plant: Plant, client: httpx2.AsyncClient
) -> None:
    device = await plant.device("br-1")
    first, second = await plant.layout(device, "ph", "foam"), await plant.layout(device, "ph")
    await plant.frames(device, second, [(at(0), [7.2], None)])
    await plant.frames(device, first, [(at(0), [7.1, 1.0], None)])
    for path in ("/devices/br-1/latest", "/latest"):
        content = await get(client, path)
        [ph, foam] = content["devices"][0]["values"] if path == "/latest" else content["values"]
        assert (ph["value"], foam["value"]) == (7.2, 1.0)


async def test_a_device_without_the_channel_asked_for_still_says_when_it_sent(
    plant: Plant, client: httpx2.AsyncClient
) -> None:
    device = await plant.device("br-1")
    await plant.frames(device, await plant.layout(device, "ph"), [(at(0), [7.0], None)])
    assert (await get(client, "/latest", channel="foam"))["devices"] == [
        {"device": "br-1", "time": text(0), "values": []}
    ]
    content = await get(client, "/devices/br-1/latest", channel="foam")
    assert (content["time"], content["values"]) == (text(0), [])


async def test_events_come_newest_first_also_those_of_one_instant(plant: Plant, client: httpx2.AsyncClient) -> None:
    device = await plant.device("br-1")
    for number in range(7):
        await plant.event(device, at(number // 3), "phase" if number % 2 else "dosing", {"n": number, "é": [None, 1.5]})
    for limit in (1, 3, 1000):
        items = await everything(client, "/devices/br-1/events", "events", limit=limit)
        assert [item["time"] for item in items] == [text(2), *[text(1)] * 3, *[text(0)] * 3]
        assert sorted(item["data"]["n"] for item in items) == list(range(7))
        phases = await everything(client, "/devices/br-1/events", "events", limit=limit, type="phase")
        assert sorted(item["data"]["n"] for item in phases) == [1, 3, 5]
        window = {"from": text(1), "to": text(2)}
        assert len(await everything(client, "/devices/br-1/events", "events", limit=limit, **window)) == 3
    page = await get(client, "/devices/br-1/events")
    conforms(shape("Events"), page)
    rows = await table(client, "/devices/br-1/events")
    assert [json.loads(row["data"]) for row in rows] == [item["data"] for item in page["events"]]


async def test_quarantine_comes_newest_first_by_reason_and_device(plant: Plant, client: httpx2.AsyncClient) -> None:
    reasons = ["too-old", "malformed", "empty"]
    numbers = [
        await plant.quarantine(at(number // 2), f"br-{number % 2}", reasons[number % 3], b"\xff\x00%d" % number)
        for number in range(12)
    ]

    async def found(limit: int, **parameters: Any) -> list[int]:
        items = await everything(client, "/quarantine", "quarantine", limit=limit, **parameters)
        return [numbers.index(item["id"]) for item in items]

    for limit in (1, 3, 200):
        assert await found(limit) == list(range(11, -1, -1))
        assert await found(limit, reason="malformed") == [10, 7, 4, 1]
        assert await found(limit, reason=["malformed", "empty"]) == [11, 10, 8, 7, 5, 4, 2, 1]
        assert await found(limit, device="br-1") == [11, 9, 7, 5, 3, 1]
        assert await found(limit, device="br-1", reason="too-old") == [9, 3]
        assert await found(limit, **{"from": text(1), "to": text(2)}) == [3, 2]
        assert await found(limit, device="not/registered") == []


async def test_what_was_settled_is_listed_when_asked_for(plant: Plant, client: httpx2.AsyncClient) -> None:
    numbers = [await plant.quarantine(at(n), "br-1", "empty", b"%d" % n) for n in range(6)]
    for state, chosen in (("replayed", numbers[:2]), ("discarded", numbers[4:])):
        await forced(
            plant.sql,
            """update quarantine set state = $1, settled_at = $2, bytes = octet_length(payload),
                      payload = case $1 when 'replayed' then payload end where quarantine_id = any ($3)""",
            state,
            at(9),
            chosen,
        )

    async def found(**parameters: Any) -> list[tuple[int, str, str | None, bool]]:
        items = await everything(client, "/quarantine", "quarantine", limit=2, **parameters)
        return [
            (numbers.index(item["id"]), item["state"], item["settled_at"], item["payload"] is None) for item in items
        ]

    opened = [(n, "open", None, False) for n in (3, 2)]
    replayed = [(n, "replayed", text(9), False) for n in (1, 0)]
    discarded = [(n, "discarded", text(9), True) for n in (5, 4)]
    for device in ({}, {"device": "br-1"}):
        assert await found(**device) == opened
        assert await found(state="replayed", **device) == replayed
        assert await found(state=["discarded", "replayed", "open"], **device) == discarded + opened + replayed
    item = await get(client, f"/quarantine/{numbers[5]}")
    conforms(shapes_quarantine.Quarantined, item)
    assert (item["bytes"], item["payload"]) == (1, None)


async def test_a_payload_is_base64_and_a_large_one_only_with_its_item(plant: Plant, client: httpx2.AsyncClient) -> None:
    payloads = [b"\xff\x00 small", b"x" * 40_000]
    numbers = [await plant.quarantine(at(n), None, "malformed", payload) for n, payload in enumerate(payloads)]
    page = await get(client, "/quarantine")
    conforms(shape("Quarantine"), page)
    large, small = page["quarantine"]
    assert base64.b64decode(small["payload"]) == payloads[0]
    assert (large["payload"], large["bytes"]) == (None, 40_000)
    for number, payload in zip(numbers, payloads, strict=True):
        item = await get(client, f"/quarantine/{number}")
        conforms(shapes_quarantine.Quarantined, item)
        assert base64.b64decode(item["payload"]) == payload
    rows = await table(client, "/quarantine")
    assert [int(row["bytes"]) for row in rows] == [40_000, len(payloads[0])]


async def test_what_arrives_between_pages_does_not_repeat_an_item(plant: Plant, client: httpx2.AsyncClient) -> None:
    for number in range(4):
        await plant.quarantine(at(number), "br-1", "empty", b"%d" % number)
    first = await get(client, "/quarantine", limit=2)
    await plant.quarantine(at(100), "br-1", "empty", b"new")
    second = await get(client, "/quarantine", limit=2, cursor=first["next"])
    times = [item["received_at"] for item in first["quarantine"] + second["quarantine"]]
    assert times == [text(3), text(2), text(1), text(0)]


@pytest.mark.parametrize("back", [timedelta(minutes=10), timedelta(hours=5)])
async def test_latest_and_lag_are_of_what_came_last_after_a_clock_was_set_back(
    plant: Plant, client: httpx2.AsyncClient, back: timedelta
) -> None:
    """For a minute nothing newer came: until then it may be history."""
    device, now = await plant.device("br-1"), datetime.now(UTC)
    layout, other = await plant.layout(device, "temperature"), await plant.layout(device, "ph")
    before, minute = now - timedelta(minutes=2), timedelta(minutes=1)

    async def comes(time: datetime, received: datetime, value: float) -> None:
        for one in (layout, other):
            await plant.sql.execute(
                "insert into frames (time, device_id, layout_id, received_at, values) values ($1, $2, $3, $4, $5)",
                *(time, device, one, received, [value]),
            )
        if received != time:
            await plant.sql.execute(
                """insert into late_arrivals (device_id, begins, ends, first_received, last_received, last_time,
                                              newest_time, newest_received)
                   values ($1, $2, $2, $3, $3, $2, $4, $4)""",
                *(device, time, received, before),
            )

    async def shown() -> tuple[object, object, float, object]:
        latest = await get(client, "/devices/br-1/latest")
        assert (await get(client, "/latest"))["devices"][0]["values"] == latest["values"]
        status = await get(client, "/devices/br-1/status")
        [temperature, ph] = latest["values"]
        return temperature["value"], ph["value"], status["lag_ms"] / 1000, status["clock_set_back"]

    await comes(before, before, 37.0)
    await comes(before - back, before + minute / 2, 50.0)
    assert await shown() == (37.0, 37.0, 0.0, False)
    await comes(before + 1.5 * minute - back, before + 1.5 * minute, 50.0)
    assert await shown() == (50.0, 50.0, back.total_seconds(), True)
    await comes(now, now, 51.0)  # right again
    assert await shown() == (51.0, 51.0, 0.0, False)
