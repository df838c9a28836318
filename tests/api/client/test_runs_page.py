"""The worked example of docs/runs.md does what the page says, in its order."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from schema import times
from tests.api.accounts import api_key, bearer
from tests.api.client.test_tutorials import DOCS, examples
from tests.api.live import listening
from tests.api.plant import Plant

ASKED = re.compile(r"^    get (?:-X (\w+) )?\"\$URL([^\"]+)\"(?: -d '(.*)')?$", re.MULTILINE)
BEGIN = datetime.fromisoformat("2026-03-01T08:00:00+00:00")
HOUR = timedelta(hours=1)


async def campaign(plant: Plant) -> None:
    """br-1 runs four hours from BEGIN, and three runs before it were as they should be: 37 °C, 33 in the feed."""
    device = await plant.device("br-1")
    layout = await plant.layout(device, "temperature")
    for number in range(4):
        begin = BEGIN - (3 - number) * timedelta(days=1)
        frames: list[tuple[datetime, list[float | None], list[int | None] | None]] = [
            (begin + minute * HOUR / 60, [(37.0 if minute < 120 else 33.0) + number / 10], None)
            for minute in range(240)
        ]
        await plant.frames(device, layout, frames)
        if number == 3:
            continue
        name, phases = (
            f"B-{38 + number:03}",
            [{"name": "feed", "begins": times.text(begin + 2 * HOUR), "origin": "event"}],
        )
        await plant.sql.execute(
            "select run_create(1, $1, array[$2::integer], $3, '{}', 'eva', 'x')", name, device, begin
        )
        await plant.sql.execute("select run_step(1, $1, 'complete', $2, null, 'eva', 'x')", name, begin + 4 * HOUR)
        await plant.sql.execute("select run_phases_put(1, $1, $2, null, 'eva', 'x')", name, json.dumps(phases))


async def test_the_worked_example(
    plant: Plant, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await campaign(plant)
    key = await api_key(plant.sql)
    asked = ASKED.findall((DOCS / "runs.md").read_text())
    assert len(asked) == 10
    (tmp_path / "key").write_text(key)
    async with listening(database_url) as (address, _):
        answers: dict[str, Any] = {}
        async with httpx2.AsyncClient(base_url=f"http://{address}") as client:
            for method, path, body in asked:
                content = body.encode() or None
                answer = await client.request(method or "GET", path, content=content, headers=bearer(key))
                assert answer.status_code in {200, 201}, f"{method} {path}: {answer.text}"
                answers[path.partition("?")[0].rpartition("/")[2]] = answer.json()
        assert answers["states"]["hours"] == 4.0
        assert [one["phase"] for one in answers["phases"]["phases"]] == ["batch", "feed"]
        assert answers["plan"]["deviations"][0]["deviation"] == pytest.approx(0.3)
        assert answers["telemetry"]["hours"][0] == 0.5
        assert len(answers["compare"]["series"]) == 3
        assert answers["envelope"]["scores"][0]["score"] == 100.0
        monkeypatch.setenv("BIOGATE_API_URL", f"http://{address}")
        monkeypatch.setenv("BIOGATE_API_KEY_FILE", str(tmp_path / "key"))
        known: dict[str, Any] = {}
        [code] = examples("runs.md")
        await asyncio.to_thread(exec, compile(code, "runs.md", "exec"), known)
    assert len(known["feed"]) == 90
    assert known["curves"].columns.tolist() == ["B-038", "B-039", "B-040", "B-041"]
    assert known["score"].score == 100.0
    assert known["band"]["middle"].iloc[0] == pytest.approx(33.1)
