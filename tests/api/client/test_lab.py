"""Samples and material by the client: as tables, with telemetry beside them."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import polars as pl
import pytest

from biogate import ClientError, LabTable
from tests.api.client.asker import Asker
from tests.api.plant import Plant, at, text


async def table(ask: Asker, *arguments: Any, **named: Any) -> LabTable:
    found = await ask(*arguments, **named)
    assert isinstance(found, LabTable)
    return found


async def test_samples_are_added_and_come_as_a_table_with_units_and_telemetry(ask: Asker, two_devices: Plant) -> None:
    assert await ask("add_sample", "br-1", at(3), {"glucose": (4.2, "g/L"), "lactate": ("< 0.1", "g/L")}) == "br-1-s1"
    later = {"glucose": {"value": 420, "unit": "mg/L"}, "ph": (7.4, "pH"), "lactate": None}
    assert await ask("add_sample", "br-1", text(4), later, sample="S-2", location="port 2") == "S-2"
    found = await table(ask, "samples", device="br-1")
    frame = found.to_pandas()
    assert frame["sample"].tolist() == ["S-2", "br-1-s1"]
    assert frame["taken_at"].tolist() == [pd.Timestamp(at(4)), pd.Timestamp(at(3))]
    assert frame["glucose [g/L]"].tolist()[1] == 4.2
    assert frame.attrs["units"] == {"glucose [g/L]": "g/L", "glucose [mg/L]": "mg/L", "lactate": "g/L", "ph": "pH"}
    assert pd.isna(frame["lactate"].iloc[0])
    assert frame["lactate"].iloc[1] == "< 0.1"
    beside = await table(ask, "samples", device="br-1", channels=["ph", "temperature"], max_age="10s")
    assert beside.rows[1]["ph (telemetry)"] == 7.03
    assert beside.units["temperature"] == "°C"
    assert (await table(ask, "samples", analyte="ph")).to_polars()["sample"].to_list() == ["S-2"]
    assert (await table(ask, "samples", status="approved")).to_pandas().empty
    with pytest.raises(ClientError, match="there is a sample S-2 already"):
        await ask("add_sample", "br-1", at(0), sample="S-2")


async def test_material_comes_as_a_table(ask: Asker, two_devices: Plant) -> None:
    said = {"kind": "feed", "material": "glucose", "quantity": "120", "unit": "mL", "begins": text(0)}
    await two_devices.sql.execute(
        "select material_put(1, device_id, null, 0, 'add', $1, 'person', null, 'eva', 'x') from devices"
        " where name = 'br-1'",
        json.dumps(said),
    )
    found = await table(ask, "materials", device="br-1", kind=["feed", "base"])
    frame = found.to_pandas()
    assert frame[["kind", "quantity", "unit"]].to_numpy().tolist() == [["feed", 120.0, "mL"]]
    assert frame["begins"].tolist() == [pd.Timestamp(at(0))]
    assert found.to_polars().schema["begins"] == pl.Datetime("us", "UTC")
    assert len(await table(ask, "materials", kind="base")) == 0
