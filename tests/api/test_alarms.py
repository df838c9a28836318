"""Alarms over HTTP: the list, one, the history, and what people do to them."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.access.roles import Role, Scope
from schema import times
from schema.alarms.machine import Alarm, Condition
from tests.api.accounts import Served, api_key, bearer, serving
from tests.api.alarms import ACTIVE, become, evaluator, rule
from tests.api.operators import Operator
from tests.api.plant import Plant

NORMAL = Alarm()
ACKNOWLEDGED = replace(ACTIVE, acknowledged=True)
RETURNED = Alarm(acknowledged=False)


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Served]:
    """Of an API that waits as long as a slow machine may need."""
    async with serving(database_url, api_act_patience=60) as it:
        yield it


@pytest.fixture
async def operator(plant: Plant, client: Served) -> Operator:
    return Operator(client, await api_key(plant.sql, role=Role.OPERATOR))


async def plan(plant: Plant) -> dict[str, int]:
    """Alarms of two rules on three devices; ids by name."""
    ids = {name: await plant.device(name) for name in ("br-1", "br-2", "br-3")}
    await plant.sql.execute("update devices set tags = '{pilot,ecoli}' where name <> 'br-3'")
    ids["hot"] = await rule(plant.sql, "hot", priority="high", message="too warm", response="look")
    ids["wet"] = await rule(plant.sql, "wet", priority="low")
    for name, device, alarm in (
        *(("hot", "br-1", ACTIVE), ("hot", "br-2", ACKNOWLEDGED), ("hot", "br-3", NORMAL)),
        *(("wet", "br-1", RETURNED), ("wet", "br-3", replace(ACTIVE, condition=Condition.UNKNOWN))),
    ):
        await become(plant.sql, ids[name], ids[device], alarm)
    return ids


async def test_the_list_is_filtered_and_comes_in_pages(plant: Plant, operator: Operator) -> None:
    await plan(plant)
    every = "br-1/hot br-1/wet br-2/hot br-3/hot br-3/wet"
    for asked, names in (
        *(({}, every), ({"standing": True}, "br-1/hot br-1/wet br-2/hot br-3/wet"), ({"standing": False}, "br-3/hot")),
        *(({"unacknowledged": True}, "br-1/hot br-1/wet br-3/wet"), ({"unacknowledged": False}, "br-2/hot br-3/hot")),
        *(({"state": ["acknowledged", "normal"]}, "br-2/hot br-3/hot"), ({"priority": "low"}, "br-1/wet br-3/wet")),
        *(({"device": "br-1"}, "br-1/hot br-1/wet"), ({"rule": "wet"}, "br-1/wet br-3/wet"), ({"device": "br-9"}, "")),
        *(({"tag": ["pilot", "ecoli"]}, "br-1/hot br-1/wet br-2/hot"), ({"tag": "pilot", "rule": "wet"}, "br-1/wet")),
    ):
        page = await operator.get("/alarms", "Alarms", **asked)
        assert " ".join(f"{one['device']}/{one['rule']}" for one in page["alarms"]) == names, asked
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await operator.get("/alarms", limit=2, standing=True, **cursor)
        found += [f"{one['device']}/{one['rule']}" for one in page["alarms"]]
        if not page["truncated"]:
            break
        cursor = {"cursor": page["next"]}
    assert found == ["br-1/hot", "br-1/wet", "br-2/hot", "br-3/wet"]
    page = await operator.get("/devices/br-3/alarms", "Alarms", standing=True)
    assert [one["rule"] for one in page["alarms"]] == ["wet"]
    assert page["alarms"][0]["condition"] == "unknown"
    assert await operator.not_shown("/devices/br-9/alarms") == 404
    assert await operator.not_shown("/alarms", state="broken") == 422
    answer = await operator.client.get("/api/v1/alarms.csv", headers=operator.headers)
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[1][:6] == ["br-1", "hot", "Temperature high", "unacknowledged", "active", "high"]


async def test_one_alarm_has_its_rule_and_its_last_transitions(plant: Plant, operator: Operator) -> None:
    ids = await plan(plant)
    for n in range(30):
        await become(plant.sql, ids["hot"], ids["br-1"], NORMAL if n % 2 else ACTIVE)
    seen = await operator.get("/alarms/br-1/hot", "AlarmDetail")
    assert (seen["state"], seen["message"], seen["response"], seen["n"]) == ("normal", "too warm", "look", 31)
    assert seen["definition"]["when"]["limit"] == 38
    assert [one["n"] for one in seen["transitions"]] == list(range(31, 11, -1))
    assert await operator.not_shown("/alarms/br-2/wet") == 404
    await plant.sql.execute("update alarms set removed_at = now() where rule_id = $1", ids["hot"])
    assert await operator.not_shown("/alarms/br-1/hot") == 404
    assert len((await operator.get("/alarms"))["alarms"]) == 2


async def test_the_history_has_every_transition_newest_first(plant: Plant, operator: Operator) -> None:
    ids = await plan(plant)
    middle = times.text(datetime.now(UTC))
    await become(plant.sql, ids["hot"], ids["br-1"], ACKNOWLEDGED, cause="acknowledge", by=("eva", "seen"))
    await become(plant.sql, ids["hot"], ids["br-1"], NORMAL, cause="return")
    await plant.sql.execute("update alarm_rules set removed_at = now() where name = 'wet'")
    whole = (await operator.get("/alarms/history", "History"))["transitions"]
    assert [one["n"] for one in whole if one["device"] == "br-1" and one["rule"] == "hot"] == [3, 2, 1]
    assert [one["id"] for one in whole] == sorted((one["id"] for one in whole), reverse=True)
    assert len(whole) == 7
    for asked, wanted in (
        ({"from": middle}, whole[:2]),
        ({"to": middle}, whole[2:]),
        ({"device": "br-1", "rule": "hot"}, [whole[0], whole[1], whole[6]]),
        ({"cause": ["acknowledge", "return"]}, whole[:2]),
        ({"priority": "low"}, [one for one in whole if one["rule"] == "wet"]),
        ({"rule": "none"}, []),
    ):
        assert (await operator.get("/alarms/history", **asked))["transitions"] == wanted, asked
    assert (whole[1]["who"], whole[1]["why"], whole[1]["before"], whole[1]["after"]) == (
        *("eva", "seen", "unacknowledged", "acknowledged"),
    )
    first = await operator.get("/alarms/history", limit=4)
    await become(plant.sql, ids["hot"], ids["br-1"], ACTIVE)
    second = await operator.get("/alarms/history", limit=4, cursor=first["next"])
    assert first["transitions"] + second["transitions"] == whole
    assert not second["truncated"]
    assert await operator.not_shown("/alarms/history", **{"from": middle, "to": middle}) == 422


async def test_the_history_as_csv_is_all_of_it(plant: Plant, operator: Operator) -> None:
    ids = await plan(plant)
    await plant.sql.execute(
        """insert into alarm_transitions (rule_id, device_id, n, organization_id, at, cause, before, after, condition,
                                          priority, detail)
           select $1, $2, n, 1, now(), 'condition', 'normal', 'normal', 'normal', 'low', ''
             from generate_series(2, 2500) n""",
        *(ids["hot"], ids["br-1"]),
    )
    answer = await operator.client.get("/api/v1/alarms/history.csv", headers=operator.headers)
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == len({row["id"] for row in rows}) == 2504
    page = (await operator.get("/alarms/history", limit=1))["transitions"][0]
    assert rows[0] == {name: "" if value is None else str(value) for name, value in page.items()}


async def test_an_alarm_is_acknowledged_shelved_and_reset_with_a_reason(
    plant: Plant, operator: Operator, database_url: str
) -> None:
    ids = await plan(plant)
    await become(plant.sql, ids["wet"], ids["br-2"], replace(ACTIVE, active=False, latched=True))
    async with evaluator(database_url):
        seen = await operator.post("/alarms/br-1/hot/acknowledge", "AlarmDetail")
        assert seen["state"] == "acknowledged"
        [last, _] = seen["transitions"]
        assert (last["cause"], last["who"], last["why"]) == ("acknowledge", operator.who, "as the test says")
        status, detail = await operator.refused("/alarms/br-1/hot/acknowledge")
        assert (status, detail) == (409, "hot of br-1: the alarm is acknowledged: there is nothing to acknowledge")
        seen = await operator.post("/alarms/br-1/hot/shelve", "AlarmDetail", duration_s=3600, once=True)
        assert (seen["state"], seen["shelved_once"]) == ("shelved", True)
        left = times.parse_instant(seen["shelved_until"]) - datetime.now(UTC)
        assert timedelta(minutes=50) < left <= timedelta(hours=1)
        until = times.text(datetime.now(UTC) + timedelta(hours=20))
        assert (await operator.post("/alarms/br-1/hot/shelve", until=until))["shelved_until"] == until
        assert (await operator.post("/alarms/br-1/hot/unshelve"))["state"] == "unacknowledged"
        engineer = Operator(operator.client, await api_key(plant.sql, role=Role.ENGINEER))
        assert (await engineer.post("/alarms/br-1/hot/suppress"))["state"] == "suppressed"
        assert (await operator.post("/alarms/br-1/hot/unsuppress"))["state"] == "unacknowledged"
        assert (await operator.refused("/alarms/br-2/wet/reset"))[1].endswith("the alarm must be acknowledged first")
        assert (await operator.post("/alarms/br-2/wet/acknowledge"))["state"] == "latched"
        assert (await operator.post("/alarms/br-2/wet/reset"))["state"] == "normal"
        assert (await engineer.post("/alarms/br-3/hot/remove-from-service"))["state"] == "out-of-service"
        assert (await engineer.post("/alarms/br-3/hot/return-to-service"))["state"] == "normal"
    events = (await operator.get("/audit", subject="alarm/br-1/hot", order="asc"))["events"]
    assert [event["action"].removeprefix("alarm ") for event in events] == [
        *("acknowledge", "acknowledge refused", "shelve", "shelve", "unshelve", "suppress", "unsuppress"),
    ]
    assert (events[0]["old"], events[0]["new"]) == ("unacknowledged", {"state": "acknowledged"})


async def test_what_cannot_be_asked_for_is_refused(plant: Plant, operator: Operator) -> None:
    await plan(plant)
    now = datetime.now(UTC)
    late, past = times.text(now + timedelta(days=31)), times.text(now)
    for body in (
        *({}, {"duration_s": 0}, {"duration_s": 31 * 86400}, {"until": late}, {"until": past}),
        *({"until": times.text(now + timedelta(days=1)), "duration_s": 60}, {"duration_s": 60, "who": "eva"}),
    ):
        status, detail = await operator.refused("/alarms/br-1/hot/shelve", **body)
        assert (status, "query" in detail) == (422, False), (body, detail)
    assert (await operator.refused("/alarms/br-1/hot/acknowledge", why=" "))[0] == 422
    assert (await operator.refused("/alarms/br-1/none/acknowledge"))[0] == 404
    assert (await operator.refused("/alarms/br-9/hot/acknowledge"))[0] == 404
    for action in ("remove-from-service", "return-to-service", "suppress"):
        assert (await operator.refused(f"/alarms/br-1/hot/{action}"))[0] == 403
        assert (await operator.refused("/alarm-acts", **acts(action=action, filter={"device": "br-1"})))[0] == 403
    viewer = Operator(operator.client, await api_key(plant.sql, role=Role.VIEWER))
    assert (await viewer.refused("/alarms/br-1/hot/acknowledge"))[0] == 403
    assert await plant.sql.fetchval("select count(*) from alarm_acts") == 0


HOURS = {"low": 720, "medium": 168, "high": 24, "critical": 8}


@pytest.mark.parametrize(("priority", "hours"), HOURS.items())
async def test_an_alarm_is_shelved_for_so_long_at_most_however_often_that_is_prolonged(
    plant: Plant, operator: Operator, database_url: str, priority: str, hours: int
) -> None:
    device, number = await plant.device("br-1"), await rule(plant.sql, "hot", priority=priority)
    await become(plant.sql, number, device)
    shelve, longest = "/alarms/br-1/hot/shelve", hours * 3600
    refusal = f"hot of br-1: an alarm of the priority {priority} can be shelved for {hours} h, from the begin of its"
    async with evaluator(database_url):
        if hours < 720:  # 30 days are the most for all
            status, detail = await operator.refused(shelve, duration_s=longest + 1)
            assert (status, detail.startswith(refusal)) == (409, True), detail
            until = times.text(datetime.now(UTC) + timedelta(hours=hours, minutes=1))
            assert (await operator.refused(shelve, until=until))[0] == 409
        await operator.post(shelve, duration_s=longest)
        begun = await plant.sql.fetchval("select shelved_since from alarms")
        # Half of the time has gone.
        await plant.sql.execute(
            "update alarms set shelved_since = shelved_since - $1::interval", timedelta(hours=hours / 2)
        )
        assert (await operator.refused(shelve, duration_s=longest / 2 + 60))[0] == 409
        found = await operator.post("/alarm-acts", **acts("br-1/hot", action="shelve", duration_s=longest / 2 + 60))
        assert (found["refused"], found["acts"][0]["detail"].startswith(refusal[13:])) == (1, True)
        await operator.post(shelve, duration_s=longest / 2 - 60)
        assert await plant.sql.fetchval("select shelved_since from alarms") == begun - timedelta(hours=hours / 2)
        # It was announced again: a new shelving begins.
        await operator.post("/alarms/br-1/hot/unshelve")
        assert await plant.sql.fetchval("select shelved_since from alarms") is None
        await operator.post(shelve, duration_s=longest)
    refused = (await operator.get("/audit", subject="alarm/br-1/hot", order="asc"))["events"][0]
    if hours < 720:
        assert refused["action"] == "alarm shelve refused"


async def test_the_longest_shelving_is_a_setting(plant: Plant, database_url: str) -> None:
    await become(plant.sql, await rule(plant.sql, "hot", priority="high"), await plant.device("br-1"))
    async with (
        serving(database_url, api_act_patience=60, api_shelving_hours_high=0.5) as client,
        evaluator(database_url),
    ):
        operator = Operator(client, await api_key(plant.sql, role=Role.OPERATOR))
        status, detail = await operator.refused("/alarms/br-1/hot/shelve", duration_s=1801)
        assert (status, "0.5 h" in detail) == (409, True), detail
        await operator.post("/alarms/br-1/hot/shelve", duration_s=1800)


async def test_what_is_silenced_is_listed_with_the_person_and_the_reason(
    plant: Plant, operator: Operator, database_url: str
) -> None:
    ids = await plan(plant)
    engineer = Operator(operator.client, await api_key(plant.sql, role=Role.ENGINEER))
    out_of_phase = replace(NORMAL, suppressed=True)
    await become(plant.sql, ids["hot"], ids["br-3"], out_of_phase, cause="phase", detail="run phase: cip")
    async with evaluator(database_url):
        await operator.post("/alarms/br-1/hot/shelve", duration_s=60, why="first")
        await operator.post("/alarms/br-1/hot/shelve", duration_s=3600, why="longer")
        await operator.refused("/alarms/br-1/hot/shelve", duration_s=25 * 3600, why="too long")
        await engineer.post("/alarms/br-1/wet/suppress", why="no use for it")
        await operator.post("/alarms/br-2/hot/shelve", duration_s=60, why="over")
        await operator.post("/alarms/br-2/hot/unshelve", why="over")
        await engineer.post("/alarms/br-3/wet/suppress", why="weaker than out of service")
        await engineer.post("/alarms/br-3/wet/remove-from-service", why="calibration")
    rows = (await operator.get("/alarms/silenced", "Silenced"))["alarms"]
    assert [(f"{one['device']}/{one['rule']}", one["state"], one["who"], one["why"]) for one in rows] == [
        ("br-1/hot", "shelved", operator.who, "longer"),
        ("br-1/wet", "suppressed", engineer.who, "no use for it"),
        ("br-3/hot", "suppressed", None, None),
        ("br-3/wet", "out-of-service", engineer.who, "calibration"),
    ]
    assert [one["active"] for one in rows] == [True, False, False, True]
    assert [one["until"] is None for one in rows] == [False, True, True, True]
    for asked, number in (
        ({"state": "suppressed"}, 2),
        ({"priority": "high"}, 2),
        ({"device": "br-3", "state": ["shelved", "suppressed"]}, 1),
    ):
        assert len((await operator.get("/alarms/silenced", **asked))["alarms"]) == number, asked
    page = await operator.get("/alarms/silenced", limit=3)
    assert [one["rule"] for one in (await operator.get("/alarms/silenced", cursor=page["next"]))["alarms"]] == ["wet"]
    answer = await operator.client.get("/api/v1/alarms/silenced.csv", headers=operator.headers)
    assert len(answer.text.splitlines()) == 5


async def test_without_an_evaluator_what_is_asked_for_waits_and_can_be_asked_after(
    plant: Plant, database_url: str
) -> None:
    await plan(plant)
    async with serving(database_url, api_act_patience=0.1) as client:
        operator = Operator(client, await api_key(plant.sql, role=Role.OPERATOR))
        answer = await client.post("/api/v1/alarms/br-1/hot/acknowledge", json={"why": "x"}, headers=operator.headers)
        assert answer.status_code == 202, answer.text
        where = answer.headers["location"].removeprefix("/api/v1")
        act = await operator.get(where, "Act")
        assert act == answer.json()
        assert (act["state"], act["action"], act["who"]) == ("waiting", "acknowledge", operator.who)
        many = await client.post("/api/v1/alarm-acts", json=acts("br-1/hot"), headers=operator.headers)
        assert (many.status_code, many.json()["waiting"]) == (202, 1)
        async with evaluator(database_url):
            act = await settled(operator, where)
            other = await settled(operator, f"/alarm-acts/{many.json()['acts'][0]['act']}")
        assert (act["state"], act["n"]) == ("done", 2)
        assert (other["state"], other["refused"]) == (
            "refused",
            "the alarm is acknowledged: there is nothing to acknowledge",
        )
        assert await operator.not_shown("/alarm-acts/999") == 404


async def settled(it: Operator, where: str, seconds: float = 60) -> dict[str, Any]:
    """The act when it does not wait any more."""
    end = time.monotonic() + seconds
    while (found := await it.get(where, "Act"))["state"] == "waiting":
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    return dict(found)


def acts(*names: str, **more: Any) -> dict[str, Any]:
    """A body."""
    chosen = [dict(zip(("device", "rule"), name.split("/"), strict=True)) for name in names]
    return {"action": "acknowledge", "why": "x"} | ({"alarms": chosen} if chosen else {}) | more


async def test_many_are_acknowledged_at_once_each_for_itself(
    plant: Plant, operator: Operator, database_url: str
) -> None:
    await plan(plant)
    async with evaluator(database_url):
        found = await operator.post("/alarm-acts", "Outcomes", **acts("br-1/hot", "br-2/hot", "br-9/hot", "br-1/none"))
        assert [found[name] for name in ("done", "refused", "waiting", "unknown")] == [1, 1, 0, 2]
        assert [one["outcome"] for one in found["acts"]] == ["done", "refused", "unknown", "unknown"]
        assert found["acts"][1]["detail"] == "the alarm is acknowledged: there is nothing to acknowledge"
        found = await operator.post("/alarm-acts", **acts(filter={"unacknowledged": True}))
        assert [f"{one['device']}/{one['rule']}" for one in found["acts"]] == ["br-1/wet", "br-3/wet"]
        assert found["done"] == 2
        found = await operator.post("/alarm-acts", **acts(filter={"unacknowledged": True}))
        assert found == {"done": 0, "refused": 0, "waiting": 0, "unknown": 0, "acts": []}
        found = await operator.post("/alarm-acts", **acts("br-2/hot", action="shelve", duration_s=60))
        assert found["done"] == 1
    for body, status in (
        *((acts(), 422), (acts("br-1/hot", filter={}), 422), (acts("br-1/hot", "br-1/hot"), 422)),
        *((acts("br-1/hot", action="shelve"), 422), (acts("br-1/hot", duration_s=60), 422)),
        *((acts("br-1/hot", action="remove-from-service"), 403), (acts(filter={"colour": "red"}), 422)),
        (acts(*(f"br-{n}/hot" for n in range(501))), 422),
    ):
        assert (await operator.refused("/alarm-acts", **body))[0] == status, body


async def test_what_a_person_has_seen_goes_with_the_act(plant: Plant, operator: Operator, database_url: str) -> None:
    ids = await plan(plant)
    await become(plant.sql, ids["wet"], ids["br-1"], ACTIVE)
    async with evaluator(database_url):
        await operator.post("/alarms/br-1/hot/acknowledge", n=1)
        await operator.post("/alarms/br-1/hot/shelve", n=2, duration_s=60)
        await operator.post("/alarms/br-1/hot/unshelve")
        named = acts(alarms=[{"device": "br-1", "rule": "hot", "n": 4}, {"device": "br-3", "rule": "wet"}])
        await operator.post("/alarm-acts", **named)
        await operator.post("/alarm-acts", **acts(filter={"unacknowledged": True}))
    seen = await plant.sql.fetch("select action, seen_n from alarm_acts order by act_id")
    assert [tuple(row) for row in seen] == [
        *(("acknowledge", 1), ("shelve", 2), ("unshelve", None), ("acknowledge", 4), ("acknowledge", None)),
        ("acknowledge", 2),  # of those that a filter chooses, as they were found
    ]
    twice = [{"device": "br-1", "rule": "hot", "n": n} for n in (1, 2)]
    assert (await operator.refused("/alarm-acts", **acts(alarms=twice)))[0] == 422
    assert (await operator.refused("/alarms/br-1/hot/acknowledge", n=-1))[0] == 422


async def test_a_filter_for_more_than_500_alarms_does_nothing(plant: Plant, operator: Operator) -> None:
    number = await rule(plant.sql, "hot")
    await plant.sql.execute("insert into devices (name) select 'd-' || n from generate_series(1, 501) n")
    await become(plant.sql, number, await plant.device("br-1"))
    await plant.sql.execute(
        """insert into alarms (rule_id, device_id, n, rule_version, condition, active, acknowledged, latched,
                               shelved_once, suppressed, out_of_service, state, priority, since, detail)
           select rule_id, d.device_id, n, rule_version, condition, active, acknowledged, latched, shelved_once,
                  suppressed, out_of_service, a.state, priority, since, detail
             from alarms a, devices d where d.name like 'd-%'"""
    )
    status, detail = await operator.refused("/alarm-acts", **acts(filter={"standing": True}))
    assert (status, "more than 500" in detail) == (422, True)
    assert await plant.sql.fetchval("select count(*) from alarm_acts") == 0


async def test_a_key_needs_the_scope_of_alarms(plant: Plant, client: Served) -> None:
    await plan(plant)
    reader = bearer(await api_key(plant.sql, scopes=[Scope.ALARMS_READ]))
    other = bearer(await api_key(plant.sql, scopes=[Scope.TELEMETRY_READ]))
    assert (await client.get("/api/v1/alarms", headers=reader)).status_code == 200
    assert (await client.get("/api/v1/alarms", headers=other)).status_code == 403
    answer = await client.post("/api/v1/alarms/br-1/hot/acknowledge", json={"why": "x"}, headers=reader)
    assert answer.status_code == 403
