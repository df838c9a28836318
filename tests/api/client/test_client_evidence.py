"""Bundles and reviews by the Python client."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from biogate import ClientError
from tests.api.client.asker import Asker
from tests.api.plant import Plant


async def test_a_bundle_becomes_a_file(ask: Asker, plant: Plant, tmp_path: Path) -> None:
    await plant.device("br-1")
    await plant.device("br-2")
    path = tmp_path / "trail.evidence.jsonl"
    assert await ask("evidence", path, devices=["br-1", "br-2"], from_="-1h", frames=True) == path
    [head] = [json.loads(line) for line in path.read_text().splitlines()][:1]
    assert [one["device"] for one in head["frames"]] == ["br-1", "br-2"]
    with pytest.raises(ClientError, match="exists"):
        await ask("evidence", path)
    with pytest.raises(ClientError, match="there is no run"):
        await ask("evidence", tmp_path / "other.evidence.jsonl", run="B-9")


async def test_a_review_is_gathered_and_listed(ask: Asker, plant: Plant) -> None:
    await plant.device("br-1")
    now = datetime.now(UTC)
    await plant.quarantine(now, "br-1", "malformed", b"x")
    made = await ask("review", devices="br-1", from_=now - timedelta(hours=1))
    assert [one["kind"] for one in made["exceptions"]] == ["quarantine"]
    [one] = await ask("reviews")
    assert (one.review, one.devices, one.exceptions, one.open) == (made["review"], ("br-1",), 1, 1)
    assert await ask("reviews", device="br-9") == []
