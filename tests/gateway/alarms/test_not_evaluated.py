"""Alarms never go blind in silence: each says whether it is evaluated, by what is newest, and why not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY

from gateway.alarms.coverage import StoredRule, WatchedDevice
from gateway.alarms.watch import BEHIND_S, Blind, DeviceWatch
from schema.alarms.rules import Rule
from tests.gateway.alarms.plant import HIGH, Plant, evaluated, moment, now
from tests.gateway.cell import eventually

WITHOUT_A_PROCESS = "update alarm_beat set at = at - interval '2 minutes'"


async def shown(plant: Plant, device: str, rule: str = "high") -> asyncpg.Record | None:
    """As the API has it."""
    await plant.database.execute("select set_config('biogate.organization', '1', false)")
    return await plant.database.fetchrow("select * from api.alarms where device = $1 and rule = $2", device, rule)


async def says(plant: Plant, device: str, why: str | None, rule: str = "high", within: float = 20) -> None:
    async def so() -> bool:
        row = await shown(plant, device, rule)
        return row is not None and (row["not_evaluated"] == why or bool(why and why in (row["not_evaluated"] or "")))

    await eventually(so, within, lambda: shown(plant, device, rule))


def counted(why: str) -> Callable[[], Any]:
    async def count() -> float | None:
        return REGISTRY.get_sample_value("biogate_alarms_not_evaluated", {"why": why})

    return count


async def test_a_device_that_has_never_sent_says_so_until_it_does(plant: Plant, database_url: str) -> None:
    await plant.devices("r1", "r2")
    await plant.rule()
    await plant.rule("silent", {"kind": "silent", "after": 86_400})
    t = now() - 5
    async with evaluated(database_url):
        await plant.commit("r2", [(t, {"x": 1.0})])
        await says(plant, "r1", "the device has not sent anything yet")
        await says(plant, "r1", None, "silent")
        await says(plant, "r2", None)
        assert await counted("never-sent")() == 1
        await plant.commit("r1", [(t, {"x": 1.0})])
        await says(plant, "r1", None)
        row = await shown(plant, "r1")
        assert row is not None
        assert (row["n"], row["state"], row["removed_at"]) == (0, "normal", None)


async def test_it_says_by_what_it_is_evaluated(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule()
    t = now() - 5
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 11.0})], received=t + 2)
        await plant.becomes("r1", ("condition", "unacknowledged"))
    row = await shown(plant, "r1")
    assert row is not None
    assert (row["evaluated_until"], row["received_until"]) == (moment(t), moment(t + 2))
    assert (row["clock_set_back_at"], row["numbers_back_at"]) == (None, None)


async def test_a_clock_that_is_set_back_and_numbers_that_go_back_are_told(plant: Plant, database_url: str) -> None:
    await plant.devices("r1", "r2")
    await plant.rule(stale_after=86_400)
    t, names = now() - 5, ("biogate_alarm_clocks_set_back_total", "biogate_alarm_numbers_back_total")
    before = [REGISTRY.get_sample_value(name) or 0 for name in names]
    async with evaluated(database_url):
        for device in ("r1", "r2"):
            await plant.commit(device, [(t, {"x": 1.0})], boot=5, first=10)
            await says(plant, device, None)
        await plant.commit("r1", [(t - 3600, {"x": 11.0})], boot=5, first=11, received=t + 1)
        await plant.commit("r2", [(t + 1, {"x": 11.0})], boot=1)
        for device in ("r1", "r2"):
            await plant.becomes(device, ("condition", "unacknowledged"))
    one, two = await shown(plant, "r1"), await shown(plant, "r2")
    assert one is not None
    assert two is not None
    assert (one["clock_set_back_at"], one["numbers_back_at"]) == (moment(t + 1), None)
    assert (two["clock_set_back_at"], two["numbers_back_at"]) == (None, moment(t + 1))
    assert [(REGISTRY.get_sample_value(name) or 0) for name in names] == [before[0] + 1, before[1] + 1]


async def test_a_channel_that_does_not_come_is_told_and_counted(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule("misspelt", HIGH | {"channel": "temprature"})
    await plant.rule()
    async with evaluated(database_url):
        await plant.commit("r1", [(now(), {"x": 1.0})])
        await says(plant, "r1", "temprature has not come since the rule is evaluated", "misspelt")
        await says(plant, "r1", None)
        assert await counted("unknown")() == 1


CELL = "insert into cells (cell, client_id) values ($1, $1) on conflict do nothing"
BEAT = """
insert into intake_beats (cell, settled_until, well_since, beat_at)
values ($1, to_timestamp($2), to_timestamp($3), to_timestamp($4))
on conflict (cell) do update
   set settled_until = excluded.settled_until, beat_at = excluded.beat_at, well_since = excluded.well_since"""
LOGIN = """
insert into credentials (username, device_id, cell, generation, kind)
select name || '.' || $2::int, device_id, $1, $2::int, 'certificate' from devices"""


async def test_silence_is_judged_by_the_intake_of_the_cell_in_which_the_device_is_by_now(
    plant: Plant, database_url: str
) -> None:
    await plant.devices("r1")
    await plant.rule("silent", {"kind": "silent", "after": 3})
    t = now()
    for cell in ("main", "other"):
        await plant.database.execute(CELL, cell)
    await plant.database.execute(BEAT, "main", t + 3600, t - 1000, t + 3600)
    await plant.database.execute(BEAT, "other", t - 30, t - 1000, t - 30)
    await plant.database.execute(LOGIN, "main", 1)
    await plant.commit("r1", [(t - 31, {"x": 1.0})])
    async with evaluated(database_url):
        await plant.becomes("r1", ("condition", "unacknowledged"), rule="silent")
        await plant.database.execute(LOGIN, "other", 2)
        await says(plant, "r1", "the intake stores nothing", "silent")


async def test_silence_is_not_judged_while_the_intake_is_stopped(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule("silent", {"kind": "silent", "after": 3})
    t = now()
    await plant.database.execute(CELL, "main")
    await plant.database.execute(BEAT, "main", t - 30, t - 1000, t - 30)
    await plant.commit("r1", [(t - 31, {"x": 1.0})])
    async with evaluated(database_url):
        await says(plant, "r1", "the intake stores nothing", "silent")
        await plant.becomes("r1", ("unknown", "normal"), rule="silent")
        await plant.database.execute(BEAT, "main", t + 3600, time.time(), t + 3600)
        raised = ("known", "normal"), ("condition", "unacknowledged")
        await plant.becomes("r1", ("unknown", "normal"), *raised, rule="silent")


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Devices whose frames cannot be evaluated, by a defect; the evaluator tries again after 3 s."""
    names, frame = set[str](), DeviceWatch.frame
    monkeypatch.setattr("gateway.alarms.evaluator.DEFECT_S", 3.0)
    monkeypatch.setattr("gateway.alarms.evaluator.BEAT_S", 0.1)

    def failing(watch: DeviceWatch, *args: Any) -> None:
        if watch.device.name in names:
            raise ZeroDivisionError
        frame(watch, *args)

    monkeypatch.setattr(DeviceWatch, "frame", failing)
    return names


async def test_a_defect_and_its_end_are_told(plant: Plant, database_url: str, fails: set[str]) -> None:
    await plant.devices("r1", "r2")
    await plant.rule()
    t = now() - 5
    async with evaluated(database_url):
        for device in ("r1", "r2"):
            await plant.commit(device, [(t, {"x": 1.0})])
            await says(plant, device, None)
        fails.add("r1")
        await plant.commit("r1", [(t + 1, {"x": 1.0})], first=1)
        await says(plant, "r1", "failed by a defect")
        assert await counted("defect")() == 1
        fails.clear()
        await says(plant, "r1", None, within=40)
        await says(plant, "r2", None)


async def test_an_act_on_a_device_with_a_defect_waits_for_its_end(
    plant: Plant, database_url: str, fails: set[str]
) -> None:
    await plant.devices("r1", "r2")
    await plant.rule()
    t = now() - 5
    async with evaluated(database_url):
        for device in ("r1", "r2"):
            await plant.commit(device, [(t, {"x": 11.0})])
            await plant.becomes(device, ("condition", "unacknowledged"))
        fails.add("r1")
        await plant.commit("r1", [(t + 1, {"x": 11.0})], first=1)
        await says(plant, "r1", "failed by a defect")
        asked = "insert into alarm_acts (rule_id, device_id, organization_id, action, who, why)"
        asked += (
            " select rule_id, device_id, 1, 'acknowledge', 'eva', 'tests' from alarms join devices using (device_id)"
        )
        await plant.database.execute(asked + " where name = 'r1'")
        assert (await plant.act("r2", "acknowledge"))["refused"] is None  # and so was the other one looked at
        assert await plant.database.fetchval("select count(*) from alarm_acts where done_at is null") == 1
        fails.clear()
        await plant.becomes("r1", ("condition", "unacknowledged"), ("acknowledge", "acknowledged"))


async def test_a_rule_that_this_version_cannot_read_says_so_until_it_can(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule("odd")
    await plant.rule()
    define = "update alarm_rules set definition = definition || $1, version = version + 1 where name = 'odd'"
    async with evaluated(database_url):
        await plant.commit("r1", [(now() - 5, {"x": 1.0})])
        await says(plant, "r1", None, "odd")
        await plant.database.execute(define, '{"when": {"kind": "moon"}}')
        await says(plant, "r1", "this version cannot read the rule", "odd")
        await says(plant, "r1", None)
        await eventually(counted("unreadable"), 20)
        assert await counted("unreadable")() == 1
        await plant.database.execute(define, json.dumps({"when": HIGH}))
        await plant.commit("r1", [(now() - 4, {"x": 1.0})], first=1)
        await says(plant, "r1", None, "odd")
        await eventually(lambda: is_counted("unreadable", 0), 20)


async def is_counted(why: str, number: float) -> bool:
    return bool(await counted(why)() == number)


async def test_a_device_whose_frames_wait_says_so_until_they_are_evaluated(
    plant: Plant, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its frames are committed faster than the evaluator, which takes one of them a turn, can read them."""
    monkeypatch.setattr("gateway.alarms.feed.PIECE", 1)
    monkeypatch.setattr("gateway.alarms.watch.BEHIND_S", 0.2)
    await plant.devices("r1", "r2")
    await plant.rule(stale_after=86_400)
    t, sent = now() - 600, 1

    async def is_told() -> bool:
        nonlocal sent
        await plant.commit("r1", [(t + (sent + n) / 100, {"x": 1.0}) for n in range(50)], first=sent)
        sent += 50
        row = await shown(plant, "r1")
        return row is not None and row["not_evaluated"] == "frames of the device wait for their evaluation"

    async with evaluated(database_url):
        for device in ("r1", "r2"):
            await plant.commit(device, [(t, {"x": 1.0})])
            await says(plant, device, None)
        await eventually(is_told, 40, lambda: shown(plant, "r1"))
        assert await counted("behind")() == 1
        await says(plant, "r2", None)
        await says(plant, "r1", None, within=60)
        await eventually(lambda: is_counted("behind", 0), 20)


def test_only_frames_that_wait_for_longer_than_a_minute_are_told() -> None:
    device = WatchedDevice(1, "r1", 1, frozenset())
    rule = StoredRule(1, 1, 1, Rule.model_validate({"name": "high", "title": "high", "when": HIGH}))
    watch = DeviceWatch(device)
    watch.begin(device, [rule], 1000.0)
    watch.first_frame(
        {"layout_id": 1, "time": moment(1000), "received_at": moment(1000), "boot": 1, "seq": 0}
        | {"values": [1.0], "quality": None},
        ["x"],
        is_old=False,
    )
    assert [*watch.look(1001.0)] == []
    watch.behind_since = 1001.0
    assert [*watch.look(1001.0 + BEHIND_S)] == []
    assert [*watch.look(1001.1 + BEHIND_S)] == [Blind.BEHIND]
    watch.behind_since = None
    assert [*watch.look(1001.2 + BEHIND_S)] == []
    assert watch.standing[1].not_evaluated is None


async def test_without_a_process_no_alarm_is_evaluated_and_all_stand(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule()
    async with evaluated(database_url):
        await plant.commit("r1", [(now(), {"x": 1.0})])
        await says(plant, "r1", None)
    await plant.database.execute(WITHOUT_A_PROCESS)
    await says(plant, "r1", "no process has evaluated alarms since")
    async with evaluated(database_url):
        await says(plant, "r1", None)


async def test_a_rule_that_ends_leaves_no_alarm_and_no_transition(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule()
    async with evaluated(database_url):
        await plant.commit("r1", [(now(), {"x": 1.0})])
        await says(plant, "r1", None)
        await plant.remove_rule("high")
        await eventually(lambda: _gone(plant), 20)
    assert await plant.transitions("r1") == []


async def _gone(plant: Plant) -> bool:
    return await shown(plant, "r1") is None and (await plant.alarm("r1"))["removed_at"] is not None
