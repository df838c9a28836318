"""A short seeded selection of `make faults`: small plants, short faults, the same comparison afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.load import Load
from tests.faults.run import Conditions, run
from tests.faults.scenarios import ALL
from tests.faults.servers import Site

CONDITIONS = Conditions(
    Load(devices=10, rate=20),
    scale=0.1,
    strikes=1,
    settings={"reorder_window_s": 1, "receipt_interval_s": 0.2, "backfill_retry_s": 1},
    patience_s=20,
)
SELECTION = ("gateway-kills", "postgres-kill", "broker-lost", "broker-cut", "database-hang", "device-faults", "poison")


@pytest.mark.parametrize("name", SELECTION)
async def test_every_frame_is_accounted_for_after(name: str, ground: Site, tmp_path: Path) -> None:
    scenario = next(scenario for scenario in ALL if scenario.name == name)
    result = await run(ground, scenario, CONDITIONS, f"test {name}", tmp_path)
    assert result.verdict.complaints == []
    assert result.verdict.produced > 200
    assert result.strikes == 1
