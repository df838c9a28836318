"""Acts that wait for a second person: nothing is done before another one has confirmed it by a signature."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import httpx2
import pytest

from api.access.roles import Role
from tests.api import alarms
from tests.api.accounts import PASSWORD, Served, api_key, bearer, log_in, user
from tests.api.people import ADA, EVA, IDA, ada, api
from tests.api.plant import Plant, at

__all__ = ["ada", "api"]
ALL = ["rules", "deviations", "samples", "setpoints"]
RULE = alarms.RULE | {"title": "Hotter"}


@pytest.fixture
async def eva(api: Served, database: asyncpg.Connection) -> dict[str, str]:
    """The headers of an engineer."""
    await user(database, EVA, "main", Role.ENGINEER)
    headers: dict[str, str] = (await log_in(api, EVA))["headers"]
    return headers


@pytest.fixture
async def plant(api: Served, database: asyncpg.Connection, ada: dict[str, str]) -> Plant:
    """A device with a measured sample, an assessed deviation and a rule; a second person is demanded for everything."""
    plant = Plant(database)
    device = await plant.device("br-1")
    analyte = {"analyte": "glucose", "value": 4.2, "status": "measured", "measured_by": ADA}
    await database.execute(
        "select lab_sample_put(1, $1, 's-1', 0, 'take', $2, $3, 'person', null, $4, 'taken')",
        *(device, json.dumps({"taken_at": at(0).isoformat()}), json.dumps([analyte]), ADA),
    )
    await database.execute(
        "insert into deviations (organization_id, year, n, title, severity, opened_by, state)"
        " values (1, 2026, 1, 'Too hot', 'major', $1, 'assessed')",
        ADA,
    )
    await alarms.rule(database, "hot")
    body = {"second_person": ALL, "why": "QA"}
    assert (await api.put("/api/v1/organization/policy", json=body, headers=ada)).status_code == 200
    return plant


async def ask(api: Served, headers: dict[str, str], kind: str, **more: Any) -> httpx2.Response:
    """Ask for an act of that kind."""
    if kind == "rules":
        return await api.put("/api/v1/alarm-rules/hot?why=asked", json=RULE, headers=headers)
    if kind == "deviations":
        return await api.post("/api/v1/deviations/DEV-2026-0001/close", json={"why": "asked"}, headers=headers)
    if kind == "samples":
        return await api.post("/api/v1/samples/s-1/approve", json={"why": "asked"}, headers=headers)
    body = {"name": "setpoint", "parameters": {"channel": "ph", "value": 7.1}, "why": "asked"} | more
    key = {"Idempotency-Key": "k-1"}
    return await api.post("/api/v1/devices/br-1/commands", json=body, headers=headers | key)


async def confirm(api: Served, headers: dict[str, str], email: str, number: int, **more: Any) -> httpx2.Response:
    digest = (await api.get(f"/api/v1/pending-acts/{number}", headers=headers)).json()["digest"]
    body = {"digest": digest, "email": email, "password": PASSWORD, "why": "checked"} | more
    return await api.post(f"/api/v1/pending-acts/{number}/confirm", json=body, headers=headers)


DONE = {
    "rules": "select version = 2 and definition ->> 'title' = 'Hotter' from alarm_rules",
    "deviations": "select state = 'closed' from deviations",
    "samples": "select s.status = 'approved' and a.approved_at is not null from lab_samples s"
    " join lab_analytes a using (lab_sample_id) where s.superseded_at is null",
    "setpoints": "select count(*) = 1 from commands",
}


@pytest.mark.parametrize("kind", ALL)
async def test_it_is_done_when_another_person_has_signed_it(
    api: Served, ada: dict[str, str], eva: dict[str, str], plant: Plant, kind: str
) -> None:
    answer = await ask(api, ada, kind)
    assert (answer.status_code, answer.json()["state"]) == (202, "waiting"), answer.text
    assert answer.headers["location"] == "/api/v1/pending-acts/1"
    again = await ask(api, ada, kind)
    assert again.status_code == (202 if kind == "setpoints" else 409), again.text  # the same key: the same act
    assert not await plant.sql.fetchval(DONE[kind])
    own = await confirm(api, ada, ADA, 1)
    assert (own.status_code, "another person" in own.text) == (403, True)
    assert (await confirm(api, eva, EVA, 1, password="not this one")).status_code == 422
    assert (await confirm(api, eva, EVA, 1, digest="0" * 64)).status_code == 412
    key = bearer(await api_key(plant.sql))
    assert (await confirm(api, key, EVA, 1)).status_code == 403
    assert not await plant.sql.fetchval(DONE[kind])
    assert await plant.sql.fetchval("select count(*) from signatures") == 0

    done = await confirm(api, eva, EVA, 1)
    assert (done.status_code, done.json()["state"], done.json()["decided_by"]) == (200, "done", EVA), done.text
    assert await plant.sql.fetchval(DONE[kind])
    assert (await confirm(api, eva, EVA, 1)).status_code == 409
    events = await plant.sql.fetch("select who, action, why from audit where action not like 'log%' order by n")
    assert (EVA, "signature", "approved") in [tuple(row) for row in events]
    assert (EVA, "asked (act 1, asked for by ada@example.org)") in {(row["who"], row["why"]) for row in events}
    assert tuple(events[-1]) == (EVA, "second person confirm", "checked")
    shown = (await api.get("/api/v1/signatures?record=act/1", headers=ada)).json()
    assert [(one["who"], one["intact"]) for one in shown["signatures"]] == [(EVA, True)]
    if kind == "setpoints":
        repeated = await ask(api, ada, kind)
        assert (repeated.status_code, repeated.json()) == (202, done.json())
        command = (await api.get(f"/api/v1/commands/{done.json()['result']['command']}", headers=ada)).json()
        assert (command["requested_by"], command["parameters"]["value"]) == (EVA, 7.1)


async def test_what_was_changed_meanwhile_is_not_done(
    api: Served, ada: dict[str, str], eva: dict[str, str], plant: Plant
) -> None:
    for kind in ("rules", "samples"):
        assert (await ask(api, ada, kind)).status_code == 202
    await plant.sql.execute("update alarm_rules set version = 9")
    change = {"note": "changed", "why": "x"}
    assert (await api.patch("/api/v1/samples/s-1", json=change, headers=ada)).status_code == 200
    for number in (1, 2):
        answer = await confirm(api, eva, EVA, number)
        assert (answer.status_code, "meanwhile" in answer.text) == (412, True), answer.text
    assert await plant.sql.fetchval("select count(*) from signatures") == 0
    states = (await api.get("/api/v1/pending-acts?state=waiting", headers=ada)).json()["acts"]
    assert [one["id"] for one in states] == [2, 1]


async def test_the_precondition_of_a_setpoint_holds_when_it_is_sent(
    api: Served, ada: dict[str, str], eva: dict[str, str], plant: Plant
) -> None:
    device = await plant.sql.fetchval("select device_id from devices")
    await plant.status(device, 1, at(0), True, "here")
    answer = await ask(api, ada, "setpoints", precondition={"online": True})
    assert answer.status_code == 202, answer.text
    await plant.status(device, 1, at(1), False, "gone")
    gone = await confirm(api, eva, EVA, 1)
    assert (gone.status_code, "not online" in gone.text) == (412, True), gone.text
    assert not await plant.sql.fetchval(DONE["setpoints"])


async def test_to_demand_less_takes_another_admin_where_there_is_one(
    api: Served, ada: dict[str, str], eva: dict[str, str], plant: Plant
) -> None:
    async def demand(kinds: list[str]) -> httpx2.Response:
        body = {"second_person": kinds, "why": "asked"}
        return await api.put("/api/v1/organization/policy", json=body, headers=ada)

    demanded = "select second_person from policies"
    assert (await demand(["rules", "samples"])).status_code == 200, "ada is the only admin"
    await plant.sql.execute("update memberships set role = 'admin'")
    api.identities.forget()
    assert (await demand(["rules", "samples", "setpoints"])).status_code == 200, "it demands more"
    less = await demand(["rules"])
    assert (less.status_code, less.json()["kind"], less.json()["subject"]) == (202, "policy", "organization/main")
    assert len(await plant.sql.fetchval(demanded)) == 3
    assert (await confirm(api, ada, ADA, 1)).status_code == 403
    await plant.sql.execute("update memberships set role = 'engineer' where user_id <> 1")
    api.identities.forget()
    mere = await confirm(api, eva, EVA, 1)
    assert (mere.status_code, "another admin" in mere.text) == (403, True)
    await plant.sql.execute("update memberships set role = 'admin'")
    api.identities.forget()
    assert (await confirm(api, eva, EVA, 1)).status_code == 200
    assert await plant.sql.fetchval(demanded) == ["rules"]
    why = await plant.sql.fetchval("select why from audit where action = 'policy change' order by n desc limit 1")
    assert why == "asked (act 1, asked for by ada@example.org)"
    assert (await demand([])).status_code == 202
    await plant.sql.execute("update policies set waiting_hours = 7")
    assert (await confirm(api, eva, EVA, 2)).status_code == 412, "another policy than that to which it was asked"


async def test_it_is_refused_withdrawn_or_expires(
    api: Served, ada: dict[str, str], eva: dict[str, str], plant: Plant
) -> None:
    for kind in ("rules", "deviations", "samples"):
        assert (await ask(api, ada, kind)).status_code == 202
    for number, headers in ((1, eva), (2, ada)):
        path = f"/api/v1/pending-acts/{number}/refuse"
        assert (await api.post(path, json={"why": "no"}, headers=headers)).status_code == 200
        assert (await confirm(api, eva, EVA, number)).status_code == 409
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await plant.sql.execute("update pending_acts set expires_at = now()")
    await plant.sql.execute(
        "alter table pending_acts disable trigger all; update pending_acts set expires_at = now() where act_id = 3;"
        "alter table pending_acts enable trigger all"
    )
    late = await confirm(api, eva, EVA, 3)
    assert (late.status_code, "expired" in late.text) == (409, True)
    acts = (await api.get("/api/v1/pending-acts", headers=ada)).json()["acts"]
    assert [one["state"] for one in acts] == ["expired", "withdrawn", "refused"]
    assert (await ask(api, ada, "samples")).status_code == 202  # what has expired does not stand in the way
    for kind in ("rules", "deviations", "samples"):
        assert not await plant.sql.fetchval(DONE[kind])


async def test_a_key_asks_and_its_maker_does_not_confirm(
    api: Served, ada: dict[str, str], eva: dict[str, str], plant: Plant
) -> None:
    body = {"name": "robot", "role": "engineer", "scopes": ["devices:write"]}
    key = (await api.post("/api/v1/organization/keys", json=body, headers=ada)).json()["key"]
    assert (await ask(api, bearer(key), "samples")).status_code == 202
    assert (await confirm(api, ada, ADA, 1)).status_code == 403
    assert (await confirm(api, eva, EVA, 1)).status_code == 200
    await user(plant.sql, IDA, "main", Role.OPERATOR)
    ida = (await log_in(api, IDA))["headers"]
    assert (await confirm(api, ida, IDA, 1)).status_code == 403


async def test_the_database_itself_refuses_what_was_not_confirmed(
    api: Served, ada: dict[str, str], plant: Plant, database: asyncpg.Connection
) -> None:
    approved = json.dumps([{"analyte": "glucose", "value": 4.2, "status": "approved", "approved_by": ADA}])
    said = json.dumps({"taken_at": at(0).isoformat()})
    await user(database, EVA, "main", Role.ADMIN)
    async with database.transaction():
        await database.execute("set local role biogate_api; select set_config('biogate.organization', '1', true)")
        for call, arguments in (
            ("policy_put('{\"second_person\": []}', 'x', 'x')", ()),
            ("alarm_rule_put('hot', '{}', null, 'x', 'x')", ()),
            ("alarm_rule_remove('hot', null, 'x', 'x')", ()),
            ("deviation_move('DEV-2026-0001', 'closed', false, null, 'x', 'x')", ()),
            ("lab_sample_put('br-1', 's-1', 1, 'correct', $1, $2, 'person', 'x', 'x')", (said, approved)),
            ("command_request('br-1', 'setpoint', '{}', null, null, now() + '1 h', 'x', 'x', 'k', '')", ()),
        ):
            with pytest.raises(asyncpg.PostgresError) as error:
                async with database.transaction():
                    await database.execute(f"select api.{call}", *arguments)
            assert error.value.sqlstate == "BG202", call
            function = call.partition("(")[0]
            if function != "lab_sample_put":
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    async with database.transaction():
                        await database.execute(f"select public.{call}", *arguments)


async def test_a_file_of_rules_waits_as_a_whole_and_a_removal_too(
    api: Served, ada: dict[str, str], eva: dict[str, str], plant: Plant
) -> None:
    content = json.dumps({"rules": [{"name": "hot", **RULE}, {"name": "cold", **RULE}]})
    for path, status in (("?why=x&dry_run=true", 200), ("?why=x", 202)):
        answer = await api.post(f"/api/v1/alarm-rules.yaml{path}", content=content, headers=ada)
        assert answer.status_code == status, answer.text
    assert await plant.sql.fetchval("select count(*) from alarm_rules") == 1
    assert (await confirm(api, eva, EVA, 1)).status_code == 200
    assert await plant.sql.fetchval("select array_agg(name || version order by name) from alarm_rules") == [
        "cold1",
        "hot2",
    ]
    assert (await api.delete("/api/v1/alarm-rules/cold?why=x", headers=eva)).status_code == 202
    assert (await confirm(api, ada, ADA, 2)).status_code == 200
    assert await plant.sql.fetchval("select removed_at is not null from alarm_rules where name = 'cold'")
