"""Imported history raises no alarm, whatever its times are, and hides no alarm of what devices send."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from gateway.intake.registry import Registry
from gateway.runtime.database import Pool
from tests.gateway.alarms.plant import Plant, evaluated, moment, now
from tests.gateway.cell import eventually
from tests.gateway.history.exports import Import
from tests.gateway.material import frames, make_writer


def history(path: Path, times: list[float]) -> Path:
    """Values far above the limit."""
    path.write_text("time,x\n" + "".join(f"{moment(time).isoformat()},99\n" for time in times))
    return path


async def evaluated_until(plant: Plant, device: str, time: float) -> None:
    async def so() -> bool:
        until = await plant.database.fetchval(
            "select evaluated_until from alarm_devices join devices using (device_id) where name = $1", device
        )
        return bool(until == moment(time))

    await eventually(so, 20)


async def test_a_standing_rule_evaluates_what_devices_send_and_nothing_else(
    imported: Import, database: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    plant = Plant(database)
    await plant.know()
    await plant.rule(stale_after=86_400)
    t = now() - 60
    await plant.commit("r1", [(t - 600, {"x": 1.0})])
    async with evaluated(database_url):
        await evaluated_until(plant, "r1", t - 600)
        for device in ("r1", "r2"):  # older and newer than what was sent; of a device that has sent nothing
            path = history(tmp_path / f"{device}.csv", [t - 86_400, t - 900, t - 600.5, t - 300, t - 1])
            assert (await imported(path, device=device))["stored"] == 5
        for device in ("r1", "r2"):
            await plant.commit(device, [(t, {"x": 1.0})], first=1)
            await evaluated_until(plant, device, t)
            assert await plant.transitions(device) == []
        await plant.commit("r2", [(t + 1, {"x": 11.0})], first=2)
        await plant.becomes("r2", ("condition", "unacknowledged"))
    assert (await plant.alarm("r2"))["value"] == 11


async def test_an_evaluator_that_begins_after_an_import_takes_it_for_nothing(
    imported: Import, database: asyncpg.Connection, database_url: str, pool: Pool, tmp_path: Path
) -> None:
    plant = Plant(database)
    await plant.know()
    t = now() - 6
    path = history(tmp_path / "a.csv", [t - 3, t])
    for device in ("r1", "r2"):
        await imported(path, device=device)
    await plant.rule(stale_after=86_400)
    # a live frame that is older than the newest imported one, by a gateway that begins now
    registry = Registry(pool, max_channels=256, max_layouts=64)
    await registry.load()
    (frame,) = await frames(registry, "r1", ((t - 2) * 1000, {"x": 11.0}))
    frame.received_ms = now() * 1000
    await make_writer(pool, registry).write([frame])
    assert [row["newest_time"] for row in await database.fetch("select newest_time from late_arrivals")] == [None]
    async with evaluated(database_url):
        await plant.becomes("r1", ("condition", "unacknowledged"))
        assert (await plant.alarm("r1"))["value"] == 11
        assert await plant.transitions("r2") == []
