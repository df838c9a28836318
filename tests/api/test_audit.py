"""The audit trail over HTTP: each organization its own, in pages and whole, and what was done behind it is found."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from typing import Any

import asyncpg
import httpx2
import pytest

from api.access.roles import Role, Scope
from tests.api.accounts import api_key, organization
from tests.api.operators import Operator
from tests.api.plant import Plant
from tests.api.test_devices import north, operator
from tests.api.test_lists import everything

__all__ = ["north", "operator"]

INSERT = "insert into audit (organization_id, who, action, subject, old, new, why) values ($1, $2, $3, $4, $5, $6, 'x')"


async def written(sql: asyncpg.Connection, organization_id: int, count: int) -> None:
    for n in range(count):
        await sql.execute(
            INSERT,
            *(organization_id, "eva" if n % 2 else "adam", "device change" if n % 3 else "serial block"),
            *(f"device/br-{n % 4}", None, json.dumps({"n": n, "é": [None, 1.50]})),
        )


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_events_come_in_both_orders_and_by_each_filter(plant: Plant, operator: Operator, limit: int) -> None:
    await written(plant.sql, 1, 10)

    async def found(**asked: Any) -> list[int]:
        return [event["n"] for event in await everything(operator.client, "/audit", "events", limit=limit, **asked)]

    assert await found() == list(range(10, 0, -1))
    assert await found(order="asc") == list(range(1, 11))
    assert await found(subject="device/br-0") == [9, 5, 1]
    assert await found(action="serial") == [10, 7, 4, 1]
    assert await found(action="serial block", who="eva") == [10, 4]
    assert await found(action="%") == []
    times = [row["at"].isoformat() for row in await plant.sql.fetch("select at from audit order by n")]
    assert await found(**{"from": times[3], "to": times[6]}) == [6, 5, 4]
    page = await operator.get("/audit", "Audit", limit=1)
    row = await plant.sql.fetchrow("select hash from audit where n = 10")
    assert page["events"][0]["hash"] == row["hash"].hex()
    assert page["events"][0]["new"] == {"n": 9, "é": [None, 1.5]}


async def test_all_of_it_is_exported_as_csv_and_as_json_lines(plant: Plant, operator: Operator) -> None:
    await plant.sql.execute(
        "insert into audit (organization_id, who, action, subject, new, why)"
        " select 1, 'eva', 'device change', 'device/br-1', to_jsonb(n), 'a, \"b\"' from generate_series(1, 2500) n"
    )
    answer = await operator.client.get("/api/v1/audit.csv?order=asc", headers=operator.headers)
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert rows.pop()["action"] == "export"  # itself
    assert [int(row["n"]) for row in rows] == list(range(1, 2501))
    assert (rows[7]["new"], rows[7]["old"], rows[7]["why"]) == ("8", "", 'a, "b"')
    answer = await operator.client.get("/api/v1/audit.jsonl", headers=operator.headers)
    assert answer.headers["content-type"] == "application/jsonl"
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [event["n"] for event in events] == list(range(2501, 0, -1))
    assert events[0] == (await operator.get("/audit", limit=2))["events"][1]
    answer = await operator.client.get("/api/v1/audit.csv?limit=2", headers=operator.headers)
    assert len(answer.text.splitlines()) == 3
    assert 'rel="next"' in answer.headers["link"]


async def test_each_organization_has_a_chain_of_its_own_and_sees_no_other(
    plant: Plant, operator: Operator, north: Operator, database_url: str
) -> None:
    other = await organization(plant.sql, "north")

    async def write(organization_id: int) -> None:
        sql = await asyncpg.connect(database_url)
        await written(sql, organization_id, 40)
        await sql.close()

    await asyncio.gather(*(write(number) for number in (1, other, 1, other)))
    for caller, name in ((operator, "main"), (north, "north")):
        found = await caller.get("/audit/verify", "Verification")
        assert (found["organization"], found["events"], found["last_n"]) == (name, 80, 80)
        assert (found["faults"], found["whole"]) == ([], True)
        newest = (await caller.get("/audit", limit=1))["events"][0]
        assert (newest["hash"], newest["at"]) == (found["last_hash"], found["last_at"])
    hashes = [{event["hash"] for event in await everything(one.client, "/audit", "events")} for one in (operator,)]
    theirs = (await north.get("/audit", limit=1000))["events"]
    assert not hashes[0] & {event["hash"] for event in theirs}
    assert [event["n"] for event in theirs] == list(range(80, 0, -1))


async def test_of_an_empty_trail_nothing_is_wrong(north: Operator) -> None:
    found = await north.get("/audit/verify", "Verification")
    assert found == {"organization": "north", "events": 0, "faults": [], "whole": True} | dict.fromkeys(
        ("first_at", "last_at", "last_n", "last_hash")
    )


async def test_what_is_changed_behind_the_trail_is_named(plant: Plant, operator: Operator, north: Operator) -> None:
    other = await organization(plant.sql, "north")
    await written(plant.sql, 1, 10)
    await written(plant.sql, other, 10)
    await plant.sql.execute("alter table audit disable trigger all")
    for change, fault in (
        ("update audit set why = 'y' where organization_id = 1 and n = 3", 3),
        ("update audit set at = at + interval '1 us' where organization_id = 1 and n = 5", 5),
        ("delete from audit where organization_id = 1 and n = 7", 8),
        ("update audit set hash = sha256(hash) where organization_id = 1 and n = 10", 10),
    ):
        await plant.sql.execute(change)
        found = await operator.get("/audit/verify", "Verification")
        assert fault in found["faults"], change
        assert not found["whole"]
    assert found["faults"] == [3, 5, 8, 10]
    assert (found["events"], found["last_n"]) == (9, 10)
    assert (await north.get("/audit/verify"))["whole"]
    await plant.sql.execute("update audit set organization_id = $1, n = 11 where n = 1 and organization_id = 1", other)
    assert (await north.get("/audit/verify"))["faults"] == [11]
    assert (await operator.get("/audit/verify"))["faults"][0] == 2


async def test_the_end_cut_off_is_seen_by_who_kept_the_last_hash(plant: Plant, operator: Operator) -> None:
    await written(plant.sql, 1, 5)
    kept = await operator.get("/audit/verify")
    await plant.sql.execute("alter table audit disable trigger all")
    await plant.sql.execute("delete from audit where n > 3")
    found = await operator.get("/audit/verify")
    assert found["whole"]
    assert (found["last_n"], found["last_hash"]) != (kept["last_n"], kept["last_hash"])


async def test_neither_the_role_of_the_api_nor_a_sql_login_can_change_the_trail(plant: Plant) -> None:
    await written(plant.sql, 1, 3)
    before = await plant.sql.fetch("select * from audit order by n")
    for role in ("biogate_api", "biogate_sql"):
        for table in ("audit", "public.audit", "api.audit", "org.audit"):
            for statement in (
                f"update {table} set why = 'y'",
                f"delete from {table}",
                f"truncate {table}",
                f"insert into {table} (who, action, subject, why) values ('eva', 'a', 's', 'w')",
                f"alter table {table} disable trigger all",
                f"drop table {table} cascade",
            ):
                transaction = plant.sql.transaction()
                await transaction.start()
                await plant.sql.execute(f"set local role {role}")
                await plant.sql.execute("set local search_path = api, public")
                await plant.sql.execute("select set_config('biogate.organization', '1', true)")
                with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.WrongObjectTypeError)) as caught:
                    await plant.sql.execute(statement)
                await transaction.rollback()
                assert re.search("audit|schema (api|org)", str(caught.value)), statement
    assert await plant.sql.fetch("select * from audit order by n") == before
    assert await plant.sql.fetch("select audit_faults()") == []


async def test_the_trail_is_for_operators_with_the_scope(plant: Plant, client: httpx2.AsyncClient) -> None:
    paths = ("/audit", "/audit.csv", "/audit.jsonl", "/audit/verify")
    others = [scope for scope in Scope if scope is not Scope.AUDIT_READ]
    for key, status in (
        (await api_key(plant.sql, role=Role.OPERATOR, scopes=[Scope.AUDIT_READ]), 200),
        (await api_key(plant.sql, role=Role.VIEWER), 403),
        (await api_key(plant.sql, scopes=others), 403),
    ):
        caller = Operator(client, key)
        for path in paths:
            answer = await client.get(f"/api/v1{path}", headers=caller.headers)
            assert answer.status_code == status, (path, answer.text)
