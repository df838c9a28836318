"""Lines of many channels, which are read together, are those that each channel has when it is read alone."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from api.queries import exports, samples
from tests.api.plant import Plant, at, text

CHANNELS = "a", "b", "c", "d", "e", "temperature"
SECONDS = 360


async def fill(plant: Plant, client: httpx2.AsyncClient) -> None:
    """Three layouts in turn and at once, with values that are missing, doubtful or both, a gap, and another unit."""
    chance = random.Random(7)
    device = await plant.device("br-1")
    layouts = [(await plant.layout(device, *some), len(some)) for some in (CHANNELS, CHANNELS[:3], ("a", "f"))]
    for number, (layout, count) in enumerate(layouts):
        rows = []
        for second in range(number, SECONDS, 1 + number):
            if 200 < second < 260:
                continue
            values = [chance.choice([None, chance.random(), chance.random()]) for _ in range(count)]
            marks = [chance.choice([None, 0, 0, 1, 2]) for _ in range(count)] if chance.random() < 0.4 else None
            rows.append((at(second), values, marks))
        await plant.frames(device, layout, rows)
    change = {"unit": "K", "unit_since": text(300), "why": "another probe"}
    answer = await client.patch("/api/v1/devices/br-1/channels/temperature", json=change)
    assert answer.status_code == 200, answer.text


async def plotted(client: httpx2.AsyncClient, *channels: str, **asked: Any) -> list[dict[str, Any]]:
    span = {"from": text(-10), "to": text(SECONDS + 10)}
    query: dict[str, Any] = {"mode": "plot", "device": "br-1", "channel": channels, "max_points": 400} | span | asked
    answer = await client.get("/api/v1/telemetry", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["series"])


@pytest.mark.parametrize("asked", [{}, {"quality": "all", "bounds": "outside"}, {"from": text(100), "to": text(300)}])
async def test_lines_that_are_read_together_are_those_that_are_read_alone(
    plant: Plant, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
) -> None:
    await fill(plant, client)
    alone = [line for channel in (*CHANNELS, "f") for line in await plotted(client, channel, **asked)]
    monkeypatch.setattr(samples, "MOST_TIME", timedelta(seconds=150))
    reads = []
    read = exports.page

    async def counted(*arguments: Any) -> bytearray:
        reads.append(arguments)
        return await read(*arguments)

    monkeypatch.setattr(exports, "page", counted)
    for rows in (None, 7, 1):
        if rows is not None:
            monkeypatch.setattr(samples, "TOGETHER_AT_ONCE", rows * len(CHANNELS))
        reads.clear()
        together = await plotted(client, *CHANNELS, "f", **asked)
        assert reads, "they are read together"
        assert together == alone, f"{rows} rows at once"
        assert all(line["points"] for line in together)
        assert any(line["bad"] for line in together)


async def test_few_channels_of_a_wide_layout_are_read_alone(
    plant: Plant, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await plant.device("br-1")
    names = [f"c{number:03}" for number in range(100)]
    layout = await plant.layout(device, *names)
    await plant.frames(device, layout, [(at(second), [float(second)] * 100, None) for second in range(10)])
    monkeypatch.setattr(exports, "page", None)
    lines = await plotted(client, "c000", "c050", "c099")
    assert [line["points"][-1] for line in lines] == [[text(9), 9.0]] * 3
