"""Runs by the client: what they are, laid over each other, and scored."""

from __future__ import annotations

import pandas as pd
import pytest

from biogate import ClientError
from tests.api.client.asker import Asker
from tests.api.plant import Plant, at, text

DAY = 86_400
CREATE = "select run_create(1, $1, array[$2::integer], $3, $4, 'eva', 'inoculated')"


@pytest.fixture
async def campaign(plant: Plant) -> Plant:
    """Four runs of 1000 s, each in a device of its own, a day apart: of ph 7.0, 7.1, 7.2, and 7.1 but for the time from
    300 s to 400 s, in which it is 9."""
    for number, level in enumerate((7.0, 7.1, 7.2, 7.1)):
        device, begin = await plant.device(f"br-{number}"), number * DAY
        layout = await plant.layout(device, "ph")
        frames = [(at(begin + n), [9.0 if number == 3 and 300 <= n < 400 else level], None) for n in range(0, 1000, 10)]
        await plant.frames(device, layout, [(time, [*values], None) for time, values, _ in frames])
        await plant.sql.execute(CREATE, f"B-{number}", device, at(begin), '{"strain": "CHO"}')
        phases = f'[{{"name": "feed", "begins": "{text(begin + 200)}", "origin": "person"}}]'
        await plant.sql.execute("select run_phases_put(1, $1, $2, null, 'eva', 'x')", f"B-{number}", phases)
        end = at(begin + 1000)
        await plant.sql.execute("select run_step(1, $1, 'complete', $2, null, 'eva', 'x')", f"B-{number}", end)
    return plant


async def test_runs_are_listed_and_read(ask: Asker, campaign: Plant) -> None:
    assert [one.run for one in await ask("runs")] == ["B-3", "B-2", "B-1", "B-0"]
    assert [one.run for one in await ask("runs", state="complete", strain="CHO", most=2)] == ["B-3", "B-2"]
    run = await ask("run", "B-1")
    assert (run.begins, run.ends, run.devices, run.strain) == (at(DAY), at(DAY + 1000), ("br-1",), "CHO")
    assert [(one.phase, one.begins, one.status) for one in run.phases] == [("feed", at(DAY + 200), "confirmed")]
    assert list(run.phases) == await ask("phases", "B-1")
    with pytest.raises(ClientError, match="there is no run B-9"):
        await ask("run", "B-9")
    table = await ask("telemetry", run="B-1", phase="feed", from_="start+10s", to="start+30s")
    assert list(table.spans.values()) == [(at(DAY + 210), at(DAY + 230))]
    assert len(table) == 2


async def test_runs_are_aligned_compared_and_scored(ask: Asker, campaign: Plant) -> None:
    frame = (await ask("align", ["B-0", "B-2"], "ph", max_points=100)).to_pandas()
    assert frame.columns.tolist() == [("B-0", "br-0"), ("B-2", "br-2")]
    assert (frame.index.name, len(frame), frame.attrs["units"]) == ("hours", 100, {"ph": "pH"})
    assert frame["B-2"].squeeze().tolist() == [7.2] * 100
    feed = (await ask("align", "B-3", "ph", phase="feed", max_points=100)).to_pandas()
    assert feed.iloc[:, 0].tolist() == [7.1] * 10 + [9.0] * 10 + [7.1] * 60
    figures = await ask("compare", ["B-0", "B-3"], "ph")
    assert isinstance(figures, pd.DataFrame)
    assert figures.loc["ph", "feed", "B-3"]["avg"] == pytest.approx((70 * 7.1 + 10 * 9) / 80)
    assert figures.loc["ph", "whole run", "B-0"]["hours"] == pytest.approx(1000 / 3600, abs=1e-6)
    band = (await ask("envelope", ["B-0", "B-1", "B-2"], "ph", k=2, max_points=100)).to_pandas()
    assert band.columns.tolist() == ["middle", "low", "high"]
    assert band.iloc[0].tolist() == pytest.approx([7.1, 6.9, 7.3])
    score = await ask("score", "B-3", ["B-0", "B-1", "B-2"], "ph", k=2, max_points=100)
    assert (score.score, score.channels) == (90.0, {"ph": 90.0})
    left = score.to_pandas().iloc[0]
    assert (left["begin"], left["duration"], left["distance"]) == pytest.approx((300 / 3600, 100 / 3600, 1.7), abs=1e-5)
