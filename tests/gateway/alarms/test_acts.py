"""What people do to alarms: they shelve and reset them, and hold them back also when their rule comes again."""

from __future__ import annotations

import pytest

from tests.api.accounts import organization
from tests.gateway.alarms.plant import RAISED, RETURNED, Plant, evaluated, moment, now
from tests.gateway.material import until


async def test_why_a_latched_alarm_returned_is_to_be_seen_until_the_reset(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule(latch=True)
    t = now() - 10
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 11.0})])
        await plant.becomes("r1", RAISED)
        await plant.commit("r1", [(t + 1, {"x": 9.0})], first=1)
        await plant.becomes("r1", RAISED, RETURNED)
        await plant.act("r1", "acknowledge")
        alarm = await plant.alarm("r1")
        assert (alarm["state"], alarm["value"], alarm["detail"]) == ("latched", 9.0, "9 not above 10")


async def test_shelving_ends_by_itself_and_what_covers_nothing_is_refused(plant: Plant, database_url: str) -> None:
    await plant.devices("r1", "r2")
    await plant.rule(scope={"devices": ["r1"]})
    t = now()
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 11.0})])
        await plant.becomes("r1", RAISED)
        await plant.act("r1", "shelve", until=moment(now() + 3))
        await plant.becomes("r1", RAISED, ("shelve", "shelved"), ("shelving-ended", "unacknowledged"))
        assert "does not cover" in (await plant.act("r2", "shelve", until=moment(now() + 9)))["refused"]


async def test_an_act_that_names_what_was_seen_is_not_done_to_a_newer_raise(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule(stale_after=86_400)
    t = now() - 100
    refused = "the alarm was raised again since (its n is {}): look at it first"
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 9.0}), (t + 1, {"x": 11.0})])
        await plant.becomes("r1", RAISED)
        assert (await plant.act("r1", "acknowledge", seen=0))["refused"] == refused.format(
            1
        )  # seen before it was raised
        await plant.commit("r1", [(t + 2, {"x": 9.0}), (t + 3, {"x": 11.0})], first=2)
        await plant.becomes("r1", RAISED, RETURNED, RAISED)
        for seen in (1, 2):
            for action, until in (("acknowledge", None), ("shelve", moment(now() + 60)), ("suppress", None)):
                act = await plant.act("r1", action, until=until, seen=seen)
                assert (act["refused"], act["n"]) == (refused.format(3), None)
        assert (await plant.act("r1", "acknowledge", seen=3))["n"] == 4
        # What has happened besides is no hindrance.
        assert (await plant.act("r1", "suppress", seen=3))["refused"] is None
        assert (await plant.act("r1", "unsuppress"))["refused"] is None  # which announces it again
        assert (await plant.act("r1", "acknowledge", seen=4))["refused"] == refused.format(6)
        assert (await plant.act("r1", "acknowledge"))["refused"] is None


async def gone(plant: Plant) -> bool:
    return (await plant.alarm("r1"))["removed_at"] is not None


@pytest.mark.parametrize("how", ["rule", "device"])
@pytest.mark.parametrize(
    ("action", "state", "ends"),
    [
        ("shelve", "shelved", "unshelve"),
        ("suppress", "suppressed", "unsuppress"),
        ("remove-from-service", "out-of-service", "return-to-service"),
    ],
)
async def test_what_people_hold_back_stays_so_when_the_rule_comes_again(
    plant: Plant, database_url: str, how: str, action: str, state: str, ends: str
) -> None:
    """The rule is switched off and on, or the device leaves its scope and comes back; once while nobody evaluates."""

    async def covered(covers: bool) -> None:
        if how == "rule":
            await plant.rule(stale_after=86_400, enabled=covers, scope={"tags": ["pilot"]})
        else:
            await plant.database.execute("update devices set tags = $1", ["pilot"] if covers else [])

    await plant.devices("r1")
    await plant.rule(stale_after=86_400, scope={"tags": ["pilot"]})
    await covered(True)
    await plant.database.execute("update devices set tags = '{pilot}'")
    t = now() - 9
    until = moment(now() + 3600) if action == "shelve" else None
    held = [RAISED, (action, state)]
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 11.0})])
        await plant.becomes("r1", RAISED)
        await plant.act("r1", action, until=until)
        await covered(False)
        await plant.becomes("r1", *held, ("removed", "normal"))
        assert await gone(plant)
        assert (await plant.alarm("r1"))["state"] == "normal"
        await covered(True)  # the newest frame is evaluated anew, and announces nothing
        again = [*held, ("removed", "normal"), ("rule-changed", state), ("condition", state)]
        await plant.becomes("r1", *again)
        assert (await plant.alarm("r1"))["shelved_until"] == until
        await covered(False)
        await plant.becomes("r1", *again, ("removed", "normal"))
    await covered(True)
    again += [("removed", "normal"), ("rule-changed", state), ("condition", state)]
    async with evaluated(database_url):
        await plant.becomes("r1", *again)
        await plant.act("r1", ends)
        await plant.becomes("r1", *again, (ends, "unacknowledged"))


async def test_what_the_phase_held_back_does_not_stay_so(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule(scope={"phases": ["batch"]}, stale_after=86_400)
    t = now() - 9
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 11.0})])
        await plant.phase("r1", "cip", t)
        held = [("phase", "suppressed"), ("condition", "suppressed")]
        await plant.becomes("r1", *held)
        await plant.rule(scope={"phases": ["batch"]}, stale_after=86_400, enabled=False)
        await plant.becomes("r1", *held, ("removed", "normal"))
        await plant.rule(stale_after=86_400)
        await plant.commit("r1", [(t + 1, {"x": 11.0})], first=1)
        await plant.becomes("r1", *held, ("removed", "normal"), RAISED)


async def test_an_act_of_another_organization_is_refused(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule()
    other = await organization(plant.database, "north")
    async with evaluated(database_url):
        await plant.commit("r1", [(now() - 9, {"x": 11.0})])
        await plant.becomes("r1", RAISED)
        act = await plant.database.fetchval(
            "insert into alarm_acts (rule_id, device_id, organization_id, action, who, why)"
            " select rule_id, device_id, $1, 'acknowledge', 'eva', 'x' from alarms returning act_id",
            other,
        )
        refused = "select refused from alarm_acts where act_id = $1 and done_at is not null"
        await until(lambda: plant.database.fetchval(refused, act))
        assert "does not cover" in await plant.database.fetchval(refused, act)
        assert await plant.transitions("r1") == [RAISED]
