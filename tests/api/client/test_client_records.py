"""Deviations and search by the client, and every example of docs/deviations.md in order."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.access.roles import Role
from tests.api.accounts import api_key, bearer, user
from tests.api.client.asker import Asker
from tests.api.live import listening
from tests.api.plant import Plant, at

DOCS = Path(__file__).parents[3] / "docs"
HTTP = re.compile(r"^```http\n(\w+) (.*)\n((?:.*\n)*?)```$", re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
YEAR = str(datetime.now(UTC).year)


async def test_deviations_and_texts_are_found(ask: Asker, plant: Plant) -> None:
    device = await plant.device("br-1")
    await plant.sql.execute(
        "insert into deviations (organization_id, year, n, title, severity, state, tags, members, opened_by, opened_at)"
        " select 1, 2026, n, 'Foam ' || n, 'minor', 'open', '{x}', '[{\"who\": \"eva\", \"role\": \"owner\"}]', 'eva',"
        " $1::timestamptz + n * interval '1 s' from generate_series(1, 3) n",
        at(0),
    )
    await plant.event(device, at(9), "antifoam", {"dose": "foam"})
    found = await ask("deviations", state=["open", "assessed"], tag="x", most=2)
    assert [one.deviation for one in found] == ["DEV-2026-0003", "DEV-2026-0002"]
    assert (found[0].opened_at, found[0].members, found[0].closed_at) == (at(3), (("eva", "owner"),), None)
    assert await ask("deviations", device="br-1") == []
    hits = await ask("search", "foa", kind=["deviation", "event"], from_=at(-1))
    assert [one.kind for one in hits] == ["event", "deviation", "deviation", "deviation"]
    assert (hits[0].device, hits[0].time, hits[1].excerpt) == ("br-1", at(9), "Foam 3 ")


async def test_samples_are_corrected_and_read_as_they_were(ask: Asker, plant: Plant) -> None:
    device = await plant.device("br-1")
    await plant.frames(device, await plant.layout(device, "ph"), [(at(n), [float(n)], None) for n in range(4)])
    made = await ask("correct", "br-1", "ph", at(1), at(3), "wrong buffer", offset=-0.5)
    assert (made.version, made.act, made.factor, made.offset, made.from_) == (1, "make", 1, -0.5, at(1))
    with pytest.raises(TypeError, match="offsett"):
        await ask("correct", "br-1", "ph", at(1), at(3), "wrong buffer", offsett=-0.5)
    time = {"from_": at(0), "to": at(4)}
    frame = (await ask("telemetry", "br-1", "ph", **time)).to_pandas()
    assert frame["ph"].tolist() == [0, 0.5, 1.5, 3]
    assert frame["ph.original"].dropna().tolist() == [1, 2]
    assert frame["ph.correction"].dropna().tolist() == [made.correction] * 2
    sent = (await ask("telemetry", "br-1", "ph", corrections="none", **time)).to_pandas()
    assert (sent["ph"].tolist(), list(sent)) == ([0, 1, 2, 3], ["ph"])
    assert "not applied" in sent.attrs["warnings"][0]
    means = (await ask("telemetry", "br-1", "ph", bucket="1m", aggregate="avg", **time)).to_pandas()
    assert means["ph"].tolist() == [1.25]
    assert (await ask("withdraw_correction", "br-1", made.correction, "it was right")).act == "withdraw"
    [newest] = await ask("corrections", "br-1", channel="ph")
    assert (newest.version, newest.why) == (2, "it was right")


async def test_every_example_of_the_page_runs_as_it_is_printed(
    plant: Plant, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (DOCS / "deviations.md").read_text().replace("DEV-YEAR", f"DEV-{YEAR}")
    await plant.device("sim-0001")
    await user(plant.sql, "eva@example.org", "main", Role.OPERATOR)
    key = tmp_path / "key"
    key.write_text(await api_key(plant.sql))
    asked = HTTP.findall(page)
    assert len(asked) == page.count("```http")
    async with listening(database_url) as (address, _):
        async with httpx2.AsyncClient(base_url=f"http://{address}", headers=bearer(key.read_text())) as client:
            for method, path, body in asked:
                answer = await client.request(method, path, content=body.encode() or None)
                assert answer.is_success, f"{method} {path}: {answer.text}"
        monkeypatch.setenv("BIOGATE_API_URL", f"http://{address}")
        monkeypatch.setenv("BIOGATE_API_KEY_FILE", str(key))
        known: dict[str, Any] = {}
        for code in PYTHON.findall(page):
            await asyncio.to_thread(exec, compile(code, "deviations.md", "exec"), known)
    assert [one.severity for one in known["found"]] == ["critical"]
    assert {one.kind for one in known["hits"]} == {"deviation", "comment"}
