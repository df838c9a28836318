"""Samples joined to the telemetry of their time."""

from __future__ import annotations

import csv
import io
from typing import Any

from tests.api.operators import Operator
from tests.api.plant import Plant, at, text
from tests.api.test_devices import operator
from tests.api.test_lab_samples import GLUCOSE, add, send

__all__ = ["operator"]


async def test_each_sample_has_what_its_device_sent_at_its_time(plant: Plant, operator: Operator) -> None:
    first, second = await plant.device("br-1"), await plant.device("br-2")
    layout = await plant.layout(first, "temperature", "ph")
    await plant.frames(first, layout, [(at(n), [30.0 + n / 100, 7.0 + n / 1000], None) for n in range(0, 200, 10)])
    await plant.frames(second, await plant.layout(second, "ph"), [(at(0), [6.0], None)])
    await add(operator, 105, sample="a", analytes=[GLUCOSE, {"analyte": "ph", "value": 7.4, "unit": "pH"}])
    await add(operator, 1000, sample="b")
    await send(operator, "POST", "/samples", device="br-2", taken_at=text(3), sample="c")
    asked: dict[str, Any] = {"channel": ["ph", "temperature"], "max_age": "1m"}
    said = await operator.get("/sample-telemetry", "SampleTelemetry", **asked)
    names = [one["channel"] for one in said["columns"]]
    values = {one["sample"]: dict(zip(names, one["values"], strict=True)) for one in said["samples"]}
    assert values == {
        "a": {"ph": 7.1, "temperature": 31.0},
        "b": {"ph": None, "temperature": None},
        "c": {"ph": 6.0, "temperature": None},
    }
    between = await operator.get("/sample-telemetry", device="br-1", **asked, method="linear", limit=1)
    assert (between["samples"][0]["sample"], between["truncated"]) == ("b", True)
    [last] = (
        await operator.get(
            "/sample-telemetry", device="br-1", **asked, method="linear", limit=1, cursor=between["next"]
        )
    )["samples"]
    assert dict(zip(names, last["values"], strict=True))["ph"] == 7.105
    answer = await operator.client.get("/api/v1/sample-telemetry.csv", params=asked, headers=operator.headers)
    rows = {row["sample"]: row for row in csv.DictReader(io.StringIO(answer.text))}
    assert (rows["a"]["glucose [g/L]"], rows["a"]["ph [pH]"], rows["a"]["ph [pH] (telemetry)"]) == ("4.2", "7.4", "7.1")
    assert rows["c"]["temperature [°C]"] == ""
    assert await operator.not_shown("/sample-telemetry", channel="no-such") == 422
    assert await operator.not_shown("/sample-telemetry") == 422
    assert (await operator.get("/sample-telemetry", device="br-9", channel="ph"))["samples"] == []
