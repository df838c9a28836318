"""What the evaluator counts: each frame, transition, raise and act once, under its own name."""

from __future__ import annotations

import asyncpg
from prometheus_client import REGISTRY

from tests.gateway.alarms.plant import RAISED, RETURNED, Plant, evaluated, moment, now
from tests.gateway.material import until
from tests.gateway.samples import counted, more

NAMES = ("biogate_alarm_transitions", "biogate_alarms_raised", "biogate_alarm_acts", "biogate_alarm_frames_evaluated")
LAG = "biogate_alarm_lag_seconds"


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_each_thing_is_counted_once_under_its_own_name(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule(priority="high")
    t = now() - 20
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 9.0})])
        await until(lambda: plant.evaluated_until("r1", t))
        before, lag = counted(), value(f"{LAG}_sum") or 0.0
        await plant.commit("r1", [(t + n, {"x": x}) for n, x in enumerate([9.0, 11.0, 11.0, 9.0], 1)], first=1)
        await plant.becomes("r1", RAISED, RETURNED)
        assert (await plant.act("r1", "acknowledge"))["refused"] is None
        assert (await plant.act("r1", "acknowledge"))["refused"] is not None
        assert (await plant.act("r1", "shelve", until=moment(now() + 999)))["refused"] is None
        expected = {
            "biogate_alarm_frames_evaluated_total": 4,
            "biogate_alarm_transitions_total{cause=condition}": 1,
            "biogate_alarm_transitions_total{cause=return}": 1,
            "biogate_alarm_transitions_total{cause=acknowledge}": 1,
            "biogate_alarm_transitions_total{cause=shelve}": 1,
            "biogate_alarms_raised_total{priority=high}": 1,
            "biogate_alarm_acts_total{outcome=done}": 2,
            "biogate_alarm_acts_total{outcome=refused}": 1,
        }
        await until(lambda: more(before, *NAMES) == expected)
        assert more(before, LAG) == {f"{LAG}_count": 2}, "one for each frame that made a transition"
        assert 2 * 16 <= (value(f"{LAG}_sum") or 0) - lag < 2 * 300
        assert more(before, "biogate_alarm_turn_seconds")
        await until(lambda: value("biogate_alarms", state="shelved", priority="high") == 1)
        await until(lambda: value("biogate_alarm_devices_behind") == 0)


async def test_the_newest_frame_is_as_old_as_its_receipt(plant: Plant, database_url: str) -> None:
    """However late its own clock says that it is."""
    await plant.devices("r1")
    await plant.rule()
    await plant.commit("r1", [(now() - 900, {"x": 9.0})], received=now() - 3)
    async with evaluated(database_url):
        await until(lambda: value("biogate_alarm_newest_frame_age_seconds") is not None)
        assert 2 <= (value("biogate_alarm_newest_frame_age_seconds") or 0) < 300


async def test_an_evaluation_that_fails_is_counted_by_its_error(
    plant: Plant, database_url: str, database: asyncpg.Connection
) -> None:
    await plant.devices("r1")
    await plant.rule()
    await plant.commit("r1", [(now() - 3, {"x": 9.0})])
    async with evaluated(database_url):
        await until(lambda: value("biogate_alarm_devices") == 1)
        before = counted()
        await database.execute("alter table alarm_rules rename to away")
        await until(lambda: "biogate_alarm_failures_total{sqlstate=42P01}" in more(before, "biogate_alarm_failures"))
        await database.execute("alter table away rename to alarm_rules")
        await until(lambda: value("biogate_alarm_devices") == 1)
