"""Committed frames in, alarms out."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY

from gateway.alarms.alarm_store import AlarmStore
from gateway.alarms.coverage import Coverage
from gateway.alarms.feed import FrameFeed
from gateway.alarms.lead import AlarmLead
from gateway.alarms.watch import DeviceWatch
from gateway.errors import LeadLost
from gateway.runtime.database import Troubles, create_pool
from tests.gateway.alarms.plant import HIGH, RAISED, RETURNED, Plant, evaluated, moment, now
from tests.gateway.cell import eventually
from tests.gateway.material import settings

SKIPPED = "biogate_alarm_frames_skipped_total"


async def test_an_alarm_is_raised_acknowledged_and_returns(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule(priority="critical")
    t = now() - 10
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 9.0}), (t + 1, {"x": 11.0})])
        await plant.becomes("r1", RAISED)
        alarm = await plant.alarm("r1")
        assert (alarm["raised_at"], alarm["value"], alarm["priority"]) == (moment(t + 1), 11.0, "critical")
        act = await plant.act("r1", "acknowledge")
        assert (act["refused"], act["n"]) == (None, 2)
        assert (await plant.alarm("r1"))["detail"] == alarm["detail"] != ""  # why it was raised, still
        again = await plant.act("r1", "acknowledge")
        assert "nothing to acknowledge" in again["refused"]
        await plant.commit("r1", [(t + 2, {"x": 9.0})], first=2)
        await plant.becomes("r1", RAISED, ("acknowledge", "acknowledged"), ("return", "normal"))
    row = await plant.database.fetchrow("select who, why from alarm_transitions where n = 2")
    assert tuple(row) == ("eva", "because")


async def test_noise_around_a_limit_makes_one_alarm_with_deadband_and_delay_and_many_without(
    plant: Plant, database_url: str
) -> None:
    await plant.devices("r1")
    await plant.rule("bare", stale_after=86_400)
    await plant.rule("calm", HIGH | {"deadband": 2.0}, on_delay=1, off_delay=2, stale_after=86_400)
    t = now() - 36
    values = [*[11.5, 8.5, 11.5] * 20, *[11.5] * 10, *[11.5, 8.5] * 40, *[5.0] * 20]
    noise = [(t + n / 5, {"x": value}) for n, value in enumerate(values)]
    async with evaluated(database_url):
        await plant.commit("r1", noise[:1])
        await plant.becomes("r1", RAISED, rule="bare")
        for first in range(1, len(noise), 17):
            await plant.commit("r1", noise[first : first + 17], first=first)
        await plant.becomes("r1", RAISED, RETURNED, rule="calm")
        assert len(await plant.transitions("r1", "bare")) == 2 * (20 + 1 + 39)


async def test_phases_suppress_by_design(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule(scope={"phases": ["batch"]})
    t = now() - 10
    await plant.phase("r1", "cleaning", t)
    async with evaluated(database_url):
        await plant.commit("r1", [(t + 1, {"x": 11.0})])
        await plant.becomes("r1", ("phase", "suppressed"), ("condition", "suppressed"))
        await plant.phase("r1", "batch", t + 2)
        await plant.becomes("r1", ("phase", "suppressed"), ("condition", "suppressed"), ("phase", "normal"), RAISED)


async def test_a_phase_that_is_stored_after_a_newer_frame_is_evaluated_at_once(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule(scope={"phases": ["batch"]})
    t = now() - 10
    async with evaluated(database_url):
        await plant.commit("r1", [(t + 3, {"x": 11.0})])
        await plant.becomes("r1", ("phase", "suppressed"), ("condition", "suppressed"))
        await plant.phase("r1", "batch", t + 2)
        await plant.becomes("r1", ("phase", "suppressed"), ("condition", "suppressed"), ("phase", "normal"), RAISED)


async def test_value_and_setpoint_of_one_instant_in_two_frames_raise_no_deviation(
    plant: Plant, database_url: str
) -> None:
    await plant.devices("r1", "r2")
    await plant.rule("off", {"kind": "deviation", "channel": "x", "setpoint": "y", "limit": 2})
    t, steps = now() - 10, [30.0, 39.0, 35.0, 39.0]
    async with evaluated(database_url):
        for device, order in (("r1", "xy"), ("r2", "yx")):
            await plant.commit(device, [(t, {"x": 30.0, "y": 30.0})])
            await eventually(lambda device=device: _evaluated(plant, device, "off"), 20)  # type: ignore[misc]
            for n, value in enumerate(steps, 1):
                async with plant.database.transaction():  # or their device has been silent for seconds in between
                    for m, channel in enumerate(order):
                        await plant.commit(device, [(t + n, {channel: value})], first=2 * n + m)
            await plant.commit(device, [(t + 5, {"x": 50.0})], first=20)  # and no setpoint
            await plant.becomes(device, RAISED, rule="off")


async def test_an_excursion_that_is_known_late_is_in_the_history_and_not_announced(
    plant: Plant, database_url: str
) -> None:
    """A device was away for three minutes, and brings what it has kept."""
    await plant.devices("r1")
    await plant.rule(stale_after=86_400)
    t = now()
    late = [("late", "normal"), ("late-return", "normal")]
    async with evaluated(database_url):
        await plant.commit("r1", [(t - 181, {"x": 9.0})])
        await eventually(lambda: _evaluated(plant, "r1", "high"), 20)
        kept = [9.0] * 20 + [45.0] * 40 + [9.0] * 60
        await plant.commit("r1", [(t - 180 + n, {"x": x}) for n, x in enumerate(kept)], first=1, received=t)
        await plant.becomes("r1", *late)
        await plant.commit("r1", [(t + 1, {"x": 9.0})], first=121)
        await plant.commit("r1", [(t + 2, {"x": 11.0})], first=122)
        await plant.becomes("r1", *late, RAISED)
    found = await plant.database.fetchrow("select at, value, detail from alarm_transitions where cause = 'late'")
    assert tuple(found) == (moment(t - 160), 45.0, "45 above 10, known 160 s later")
    assert await plant.database.fetchval("select count(*) from alarm_notifications") == 0


async def test_a_silent_device_is_told_also_when_it_fell_silent_before_anybody_looked(
    plant: Plant, database_url: str
) -> None:
    await plant.devices("r1")
    await plant.rule()
    await plant.rule("silent", {"kind": "silent", "after": 5})
    await plant.commit("r1", [(now() - 9000, {"x": 11.0})])
    async with evaluated(database_url):
        await plant.becomes("r1", RAISED, rule="silent")
        await plant.becomes("r1", ("unknown", "normal"))  # what it measured then says nothing of now
        await plant.commit("r1", [(now(), {"x": 9.0})], first=1)
        await plant.becomes("r1", RAISED, RETURNED, rule="silent")


async def test_a_device_begins_with_its_newest_frame(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule(stale_after=86_400)
    t = now() - 100
    await plant.commit("r1", [(t + n, {"x": 11.0 if n < 50 else 9.0}) for n in range(60)])
    async with evaluated(database_url):
        await plant.commit("r1", [(t + 60, {"x": 12.0})], first=60)
        await plant.becomes("r1", RAISED)


async def test_after_an_absence_it_goes_on_where_it_was_but_not_from_too_long_ago(
    plant: Plant, database_url: str
) -> None:
    await plant.devices("r1", "r2")
    await plant.rule(stale_after=86_400)
    t = now() - 3000
    for device in ("r1", "r2"):
        await plant.commit(device, [(t, {"x": 9.0})])
    async with evaluated(database_url):
        await plant.commit("r1", [(t + 1, {"x": 11.0})], first=1)
        await plant.commit("r2", [(t + 1, {"x": 11.0})], first=1)
        await plant.becomes("r1", RAISED)
        await plant.becomes("r2", RAISED)
    await plant.commit("r1", [(t + 2 + n, {"x": 9.0 + 2 * (n % 2)}) for n in range(50)], first=2)
    async with evaluated(database_url):
        await plant.becomes("r1", RAISED, *[RETURNED, RAISED] * 25)
    # as if it had been evaluated last long ago, and sent all the time: one frame is too old
    before = REGISTRY.get_sample_value(SKIPPED) or 0.0
    await plant.commit("r2", [(t + 2, {"x": 9.0}), (t + 2980, {"x": 11.0}), (t + 2990, {"x": 9.0})], first=2)
    async with evaluated(database_url, alarms_catch_up_s=60):
        await plant.becomes("r2", RAISED, RETURNED)
        await eventually(lambda: counted(SKIPPED, before + 1), 10)


async def counted(metric: str, count: float) -> bool:
    return REGISTRY.get_sample_value(metric) == count


async def test_who_has_lost_the_lead_writes_nothing(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule()
    await plant.commit("r1", [(now(), {"x": 11.0})])
    chosen = settings(database_url)
    async with create_pool(chosen) as pool:
        troubles: Troubles = {}
        leader = AlarmLead(chosen, troubles)
        task = asyncio.create_task(leader.hold())
        await leader.leading.wait()
        store = AlarmStore(pool, leader.epoch)
        at = (await store.now()).now.timestamp()
        covered, *_ = Coverage().of(await store.rules(), await store.devices()).values()
        watch = DeviceWatch(covered[0])
        watch.begin(*covered, at)
        feed = FrameFeed(pool, 3600)
        async with feed.snapshot() as snapshot:
            reading = await feed.read(snapshot, [watch], {}, at)
        watch.first_frame(reading.first[0], feed.layouts[reading.first[0]["layout_id"]], is_old=False)
        assert len(watch.made) == 1
        await plant.database.execute("update alarm_lead set epoch = epoch + 1")
        with pytest.raises(LeadLost):
            await store.write([watch])
        with pytest.raises(LeadLost):
            await store.now()
        assert await plant.transitions("r1") == []
        await eventually(lambda: leads_again(leader, store), 10)  # it notices, and takes the lead anew
        await AlarmStore(pool, leader.epoch).write([watch])
        assert await plant.transitions("r1") == [RAISED]
        task.cancel()
        await asyncio.wait([task])


async def leads_again(leader: AlarmLead, store: AlarmStore) -> bool:
    return leader.leading.is_set() and leader.epoch > store.epoch


async def test_a_memory_that_is_of_no_use_is_begun_anew(plant: Plant, database_url: str) -> None:
    await plant.devices("r1", "r2")
    await plant.rule()
    t = now() - 9
    async with evaluated(database_url):
        for device in ("r1", "r2"):
            await plant.commit(device, [(t, {"x": 11.0})])
            await plant.becomes(device, RAISED)
    odd = """update alarm_devices set memory = '{"seen": {"moon": 1}, "rules": [1]}'
              where device_id = (select device_id from devices where name = 'r1')"""
    await plant.database.execute(odd)
    await plant.commit("r1", [(t + 1, {"x": 9.0})], first=1)
    await plant.commit("r2", [(t + 1, {"x": 9.0})], first=1)
    async with evaluated(database_url):
        await plant.becomes("r1", RAISED, RETURNED)
        await plant.becomes("r2", RAISED, RETURNED)


async def test_a_defect_in_one_rule_stops_no_other(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule("odd")
    await plant.rule()
    async with evaluated(database_url):
        await plant.commit("r1", [(now() - 9, {"x": 11.0})])
        await plant.becomes("r1", RAISED, rule="odd")
        await plant.becomes("r1", RAISED)
        unreadable = """update alarm_rules set definition = definition || '{"when": {"kind": "moon"}}', version = 2
                         where name = 'odd'"""
        await plant.database.execute(unreadable)
        await eventually(lambda: counted("biogate_alarm_rules_unreadable", 1), 20)  # till then it is under the old one
        await plant.commit("r1", [(now() - 8, {"x": 9.0})], first=1)
        await plant.becomes("r1", RAISED, RETURNED)
        assert await plant.transitions("r1", "odd") == [RAISED]  # nothing new is known of it
        await plant.remove_rule("odd")
        await plant.becomes("r1", RAISED, ("removed", "normal"), rule="odd")


async def test_alarms_follow_their_rules(plant: Plant, database_url: str) -> None:
    await plant.devices("r1", "r2", "r3")
    await plant.rule(priority="low")
    async with evaluated(database_url):
        t = now() - 20
        for device in ("r1", "r2", "r3"):
            await plant.commit(device, [(t, {"x": 11.0})])
            await plant.becomes(device, RAISED)
        await plant.act("r1", "acknowledge")
        # changed: it looks anew, and what was acknowledged is so
        await plant.rule(priority="high", when=HIGH | {"limit": 10.5})
        so_far = [RAISED, ("acknowledge", "acknowledged"), ("rule-changed", "acknowledged")]
        await plant.becomes("r1", *so_far)
        assert (await plant.alarm("r1"))["priority"] == "high"
        await plant.commit("r1", [(t + 1, {"x": 11.0}), (t + 2, {"x": 10.2})], first=1)
        await plant.becomes("r1", *so_far, ("return", "normal"))
        # a device that is retired, given away, or not in the scope any more has no alarms
        changed = [RAISED, ("rule-changed", "unacknowledged")]
        await plant.becomes("r2", *changed)
        await plant.database.execute("update devices set state = 'retired' where name = 'r2'")
        await plant.becomes("r2", *changed, ("removed", "normal"))
        await plant.rule(priority="high", when=HIGH | {"limit": 10.5}, scope={"tags": ["pilot"]})
        await plant.becomes("r3", *changed, ("removed", "normal"))
        assert (await plant.alarm("r3"))["removed_at"] is not None
        # back in it, its alarm is one again, and its transitions are counted on
        await plant.database.execute("update devices set tags = '{pilot}' where name = 'r3'")
        await eventually(lambda: _watched(plant, "r3"), 15)
        await plant.commit("r3", [(t + 3, {"x": 11.0})], first=1)
        await plant.becomes("r3", *changed, ("removed", "normal"), RAISED)
        assert (await plant.alarm("r3"))["removed_at"] is None


async def test_alarms_end_whose_rules_went_while_nobody_evaluated(plant: Plant, database_url: str) -> None:
    """Also those of a device that is under no rule any more."""
    rules, t = ("removed", "off", "elsewhere", "high"), now() - 5
    await plant.devices("r1", "r2", "r3")
    for rule in rules:
        await plant.rule(rule)
    async with evaluated(database_url):
        for device in ("r1", "r2", "r3"):
            await plant.commit(device, [(t, {"x": 11.0})])
            for rule in rules:
                await plant.becomes(device, RAISED, rule=rule)
    await plant.remove_rule("removed")
    await plant.rule("off", enabled=False)
    await plant.rule("elsewhere", scope={"devices": ["r9"]})
    await plant.rule("high", scope={"devices": ["r1", "r3"]})
    await plant.database.execute("update devices set state = 'revoked' where name = 'r3'")
    async with evaluated(database_url):
        ended = RAISED, ("removed", "normal")
        for device in ("r1", "r2", "r3"):
            for rule in ("removed", "off", "elsewhere"):
                await plant.becomes(device, *ended, rule=rule)
        await plant.becomes("r1", RAISED, ("rule-changed", "unacknowledged"))
        await plant.becomes("r2", *ended)
        await plant.becomes("r3", *ended)


async def _evaluated(plant: Plant, device: str, rule: str) -> bool:
    alarm = await plant.alarm(device, rule)
    return alarm is not None and alarm["not_evaluated"] is None


async def _watched(plant: Plant, device: str) -> bool:
    query = "select count(*) from alarm_devices join devices using (device_id) where name = $1"
    return bool(await plant.database.fetchval(query, device))


async def test_what_is_remembered_is_written_now_and_then(plant: Plant, database_url: str) -> None:
    """Else a restart would have to read everything since the last transition."""
    await plant.devices("r1")
    await plant.rule()
    t = now() - 10
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 1.0})])
        await eventually(lambda: _until(plant, t), 40)


async def _until(plant: Plant, t: float) -> bool:
    return bool(await plant.database.fetchval("select evaluated_until = $1 from alarm_devices", moment(t)))


async def test_an_alarm_that_goes_on_under_a_changed_rule_stands_since_it_was_raised_and_is_not_raised_again(
    plant: Plant, database_url: str
) -> None:
    def raised() -> float:
        return REGISTRY.get_sample_value("biogate_alarms_raised_total", {"priority": "medium"}) or 0

    await plant.devices("r1")
    await plant.rule(stale_after=86_400)
    t, before = now() - 9, raised()
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 11.0})])
        await plant.becomes("r1", RAISED)
        await plant.rule(stale_after=86_400, title="another")
        await plant.becomes("r1", RAISED, ("rule-changed", "unacknowledged"))
        row = await plant.database.fetchrow("select since, raised_at, raised_n from alarms")
        assert tuple(row) == (moment(t), moment(t), 1)
    assert raised() == before + 1
