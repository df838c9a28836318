"""Signatures: who may sign what, with what, and how a signature breaks."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import asyncpg
import httpx2
import pytest

from api.access.roles import Role
from schema.migrate import MIGRATIONS
from tests.api import alarms
from tests.api.accounts import PASSWORD, Served, api_key, bearer, log_in, serving, user
from tests.api.people import ADA, EVA, IDA, ada, api, attempt
from tests.api.plant import Plant, at

__all__ = ["ada", "api"]

SAMPLE = "sample/s-1"
WRONG = "not the password"


@pytest.fixture
async def plant(database: asyncpg.Connection, ada: dict[str, str]) -> Plant:
    """A device with a sample, a deviation, a rule and a report."""
    plant = Plant(database)
    device = await plant.device("br-1")
    said = json.dumps({"taken_at": at(0).isoformat(), "note": 'ä "quoted" \\ \u2028'})
    analyte = {"analyte": "glucose", "value": 1e-7, "status": "measured", "measured_by": ADA}
    await database.execute(
        "select lab_sample_put(1, $1, 's-1', 0, 'take', $2, $3, 'person', null, $4, 'taken')",
        *(device, said, json.dumps([analyte]), ADA),
    )
    await database.execute(
        "insert into deviations (organization_id, year, n, title, severity, opened_by)"
        " values (1, 2026, 1, 'Too hot', 'major', $1)",
        ADA,
    )
    await alarms.rule(database, "hot")
    return plant


async def signed_record(client: httpx2.AsyncClient, headers: dict[str, str], name: str = SAMPLE) -> dict[str, Any]:
    answer = await client.get("/api/v1/signatures", params={"record": name}, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def sign(
    client: httpx2.AsyncClient, headers: dict[str, str], name: str = SAMPLE, digest: str | None = None, **more: Any
) -> httpx2.Response:
    """Sign what the record is now, if no digest is given."""
    digest = digest or (await signed_record(client, headers, name))["digest"]
    body = {"record": name, "digest": digest, "meaning": "reviewed", "password": PASSWORD, "email": ADA} | more
    body = {key: value for key, value in body.items() if value is not None}
    return await client.post("/api/v1/signatures", json=body, headers=headers)


async def signed(client: httpx2.AsyncClient, headers: dict[str, str], name: str) -> dict[str, Any]:
    """The only signature of a record."""
    [one] = (await signed_record(client, headers, name))["signatures"]
    found: dict[str, Any] = one
    return found


async def done(client: httpx2.AsyncClient, headers: dict[str, str], path: str, **body: Any) -> None:
    answer = await client.post(f"/api/v1/{path}", json=body, headers=headers)
    assert answer.status_code < 300, answer.text


async def change_sample(client: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.patch("/api/v1/samples/s-1", json={"note": "changed", "why": "x"}, headers=headers)
    assert answer.status_code == 200, answer.text


async def test_a_signature_has_name_time_and_meaning_and_is_bound_to_the_record(
    api: Served, ada: dict[str, str], plant: Plant
) -> None:
    seen = await signed_record(api, ada)
    content = json.loads(seen["form"])
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert (canonical, hashlib.sha256(canonical.encode()).hexdigest()) == (seen["form"], seen["digest"])
    assert (content["record"], content["version"], content["analytes"][0]["value"]) == (SAMPLE, 1, "1e-07")

    answer = await sign(api, ada, digest=seen["digest"])
    assert answer.status_code == 201, answer.text
    made = answer.json()
    text = json.loads(made["text"])
    assert json.dumps(text, sort_keys=True, separators=(",", ":"), ensure_ascii=False) == made["text"]
    assert text == {
        **{"kind": "biogate signature 1", "record": SAMPLE, "digest": seen["digest"], "meaning": "reviewed"},
        **{"name": "ada", "who": ADA, "organization": 1, "at": made["at"]},
    }
    assert (made["intact"], made["version"], made["changed_at"]) == (True, 1, None)
    stored = await plant.sql.fetchrow(
        "select who, action, new, why from audit where subject = $1 order by n desc", SAMPLE
    )
    assert (*stored,) == (ADA, "signature", stored["new"], "reviewed")
    assert json.loads(stored["new"]) == text
    for change in ("update signatures set meaning = 'x'", "delete from signatures", "truncate signatures"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await plant.sql.execute(change)


async def test_a_signature_stays_that_of_its_version_when_the_record_goes_on(
    api: Served, ada: dict[str, str], plant: Plant
) -> None:
    names = [SAMPLE, "deviation/DEV-2026-0001", "rule/hot"]
    link = {"type": "relates-to", "kind": "device", "reference": "br-1", "why": "x"}
    await done(api, ada, "deviations/DEV-2026-0001/links", **link)
    await done(api, ada, "deviations/DEV-2026-0001/comments", text="first")
    for name in names:
        assert (await sign(api, ada, name)).status_code == 201
        one = await signed(api, ada, name)
        assert (one["intact"], one["newest"], one["version_now"], one["changed_at"]) == (True, True, 1, None), name
    await done(api, ada, "deviations/DEV-2026-0001/comments", text="second")
    one = await signed(api, ada, names[1])
    assert (one["intact"], one["newest"], one["version_now"], one["state_now"]) == (True, False, 1, "open")
    assert one["at"] < one["changed_at"]

    await done(api, ada, "samples/s-1/approve", why="x")
    link_id = await plant.sql.fetchval("select link_id from deviation_links")
    withdrawn = await api.delete(f"/api/v1/deviations/DEV-2026-0001/links/{link_id}?why=x", headers=ada)
    assert withdrawn.status_code == 204, withdrawn.text
    await done(api, ada, "deviations/DEV-2026-0001/assess", why="x")
    await done(api, ada, "deviations/DEV-2026-0001/close", why="x")
    rule = alarms.RULE | {"title": "Hotter"}
    assert (await api.put("/api/v1/alarm-rules/hot?why=x", json=rule, headers=ada)).status_code == 200
    for name, version, state in zip(names, (2, 3, 2), ("approved", "closed", None), strict=True):
        one = await signed(api, ada, name)
        assert (one["intact"], one["newest"], one["version"]) == (True, False, 1), name
        assert (one["version_now"], one["state_now"]) == (version, state), name
    assert (await api.delete("/api/v1/alarm-rules/hot?why=x", headers=ada)).status_code == 200
    one = await signed(api, ada, "rule/hot")
    assert (one["intact"], one["version_now"]) == (True, None)


@pytest.mark.parametrize(
    ("name", "table", "tamper"),
    [
        (SAMPLE, "lab_analytes", "update lab_analytes set value = 2e-7 where approved_by is null"),
        (
            "deviation/DEV-2026-0001",
            "record_versions",
            'update record_versions set content = content || \'{"title": "No"}\'',
        ),
        ("deviation/DEV-2026-0001", "record_versions", "delete from record_versions"),
        ("deviation/DEV-2026-0001", "deviation_comments", "update deviation_comments set text = 'never mind'"),
        ("deviation/DEV-2026-0001", "deviation_links", "delete from deviation_links"),
        ("rule/hot", "record_versions", "update record_versions set content = '{\"definition\": {}}'"),
    ],
)
async def test_a_former_version_that_was_tampered_with_breaks_its_signature(
    api: Served, ada: dict[str, str], plant: Plant, name: str, table: str, tamper: str
) -> None:
    link = {"type": "relates-to", "kind": "device", "reference": "br-1", "why": "x"}
    await done(api, ada, "deviations/DEV-2026-0001/links", **link)
    await done(api, ada, "deviations/DEV-2026-0001/comments", text="first")
    assert (await sign(api, ada, name)).status_code == 201
    await done(api, ada, "samples/s-1/approve", why="x")
    await done(api, ada, "deviations/DEV-2026-0001/assess", why="x")
    rule = alarms.RULE | {"title": "Hotter"}
    assert (await api.put("/api/v1/alarm-rules/hot?why=x", json=rule, headers=ada)).status_code == 200
    assert (await signed(api, ada, name))["intact"]
    await plant.sql.execute(f"alter table {table} disable trigger all; {tamper}")
    one = await signed(api, ada, name)
    assert (one["intact"], one["newest"], one["version_now"]) == (False, False, 2)


async def test_an_upgrade_keeps_the_versions_that_were_signed_before_it(
    api: Served, ada: dict[str, str], plant: Plant
) -> None:
    for name in ("deviation/DEV-2026-0001", "rule/hot"):
        assert (await sign(api, ada, name)).status_code == 201
    await done(api, ada, "deviations/DEV-2026-0001/assess", why="x")
    rule = alarms.RULE | {"title": "Hotter"}
    assert (await api.put("/api/v1/alarm-rules/hot?why=x", json=rule, headers=ada)).status_code == 200
    await plant.sql.execute("alter table record_versions disable trigger all; delete from record_versions")
    apply = (MIGRATIONS / "0041_signed_versions.sql").read_text()
    for statement in re.findall(r"^insert into record_versions.*?;\n", apply, re.M | re.S):
        await plant.sql.execute(statement)
    for name in ("deviation/DEV-2026-0001", "rule/hot"):
        one = await signed(api, ada, name)
        assert (one["intact"], one["version_now"]) == (True, 2), name


async def test_a_row_that_was_tampered_with_breaks_the_signature_and_no_change_explains_it(
    api: Served, ada: dict[str, str], plant: Plant
) -> None:
    assert (await sign(api, ada)).status_code == 201
    await plant.sql.execute("alter table lab_analytes disable trigger all; update lab_analytes set value = 2e-7")
    [one] = (await signed_record(api, ada))["signatures"]
    assert (one["intact"], one["changed_at"]) == (False, None)


async def test_both_components_at_the_first_and_the_password_at_each(
    api: Served, ada: dict[str, str], plant: Plant
) -> None:
    assert (await sign(api, ada, email=None)).status_code == 422
    assert (await sign(api, ada, email=EVA)).status_code == 422
    assert (await sign(api, ada, password=WRONG)).status_code == 422
    assert (await sign(api, ada, email=ADA.upper())).status_code == 201
    assert (await sign(api, ada, email=None, meaning="approved")).status_code == 201
    assert (await sign(api, ada, email=None, password=None)).status_code == 422
    again = (await log_in(api, ADA))["headers"]
    assert (await sign(api, again, email=None, meaning="authored")).status_code == 422  # the first one of this session
    failed = await plant.sql.fetch("select new ->> 'times' from audit where action = 'signature failed'")
    assert [row[0] for row in failed] == ["1"]  # two, in a sum
    assert len((await signed_record(api, ada))["signatures"]) == 2


async def test_forged_signatures_are_refused(api: Served, ada: dict[str, str], plant: Plant) -> None:
    digest = (await signed_record(api, ada))["digest"]
    key = bearer(await api_key(plant.sql))
    refused = await sign(api, key, digest=digest)
    assert (refused.status_code, "people" in refused.text) == (403, True)
    await user(plant.sql, EVA, "main", Role.OPERATOR)
    eva = (await log_in(api, EVA))["headers"]
    assert (await sign(api, eva, digest=digest)).status_code == 422  # ada's components in another one's session
    assert (await sign(api, ada, digest="0" * 64)).status_code == 412
    await change_sample(api, ada)
    stale = await sign(api, ada, digest=digest)  # changed between reading and signing
    assert (stale.status_code, "changed since you read it" in stale.text) == (412, True)
    assert (await sign(api, ada)).status_code == 201
    assert (await sign(api, ada)).status_code == 409  # the same form once more
    assert (await sign(api, ada, "sample/none", digest)).status_code == 404
    assert (await sign(api, ada, "magic/none", digest)).status_code == 404
    assert (await sign(api, ada, meaning="blessed")).status_code == 409
    assert [row[0] for row in await plant.sql.fetch("select who from signatures")] == [ADA]


async def test_roles_and_unverified_addresses(api: Served, ada: dict[str, str], plant: Plant) -> None:
    await user(plant.sql, EVA, "main", Role.OPERATOR)
    await user(plant.sql, IDA, "main", Role.VIEWER)
    eva, ida = [(await log_in(api, email))["headers"] for email in (EVA, IDA)]
    assert (await sign(api, ida, email=IDA)).status_code == 403
    assert (await sign(api, eva, email=EVA, meaning="approved")).status_code == 403
    await plant.sql.execute("update users set verified = false where email = $1", EVA)
    api.identities.forget()
    assert "verified" in (await sign(api, eva, email=EVA)).text
    await plant.sql.execute("update users set verified = true where email = $1", EVA)
    api.identities.forget()
    assert (await sign(api, eva, email=EVA)).status_code == 201


async def test_a_meaning_of_the_organization_s_own(api: Served, ada: dict[str, str], plant: Plant) -> None:
    await plant.sql.execute("insert into policies (organization_id, meanings) values (1, '{witnessed}')")
    assert (await sign(api, ada, meaning="witnessed")).status_code == 201


async def test_wrong_passwords_count_to_the_budget_of_log_ins_and_no_stranger_uses_it_up(
    database_url: str, database: asyncpg.Connection, plant: Plant
) -> None:
    async with serving(database_url, address="198.51.100.7") as client:
        ada = (await log_in(client, ADA))["headers"]
        digest = (await signed_record(client, ada))["digest"]
        client.move("203.0.113.9")
        for n in range(10):
            assert await attempt(client, ADA) == 401, n
        assert await attempt(client, ADA) == 429
        assert (await sign(client, ada, digest=digest)).status_code == 201  # from there too: the session is known
        client.move("198.51.100.7")
        assert (await sign(client, ada, digest=digest, email=None, meaning="approved")).status_code == 201
        for n in range(10):
            assert (await sign(client, ada, digest=digest, password=WRONG)).status_code == 422, n
        limited = await sign(client, ada, digest=digest, meaning="authored")
        assert (limited.status_code, int(limited.headers["retry-after"]) > 0) == (429, True)
        assert await attempt(client, ADA, PASSWORD) == 429
        client.move("192.0.2.1")  # who has stolen the session does not guess on from elsewhere
        assert (await sign(client, ada, digest=digest, password=WRONG)).status_code == 429
    assert tuple(
        row[0]
        for row in await database.fetch("select distinct action from audit where action like '% failed' order by 1")
    ) == ("log-in failed", "signature failed")


async def test_the_database_itself_takes_no_signature_of_who_shows_too_little(
    api: Served, ada: dict[str, str], plant: Plant, database: asyncpg.Connection
) -> None:
    digest = (await signed_record(api, ada))["digest"]
    session, right = await database.fetchrow(
        "select session_id, password_hash from sessions join users using (user_id)"
    )
    other = await database.fetchval(
        "insert into organizations (name, title) values ('o', 'O') returning organization_id"
    )
    call = f"select api.signature_put($1, $2, $3, '{SAMPLE}', '{digest}', 'reviewed')"
    for organization, given, refusal in (
        (1, (session, right, None), "BG403"),  # the first signature of the session
        (1, (session, right, EVA), "BG403"),
        (1, (session, "another hash", ADA), "55000"),
        (1, (session + 1, right, ADA), "55000"),
        (other, (session, right, ADA), "BG403"),
    ):
        async with database.transaction():
            await database.execute("select set_config('biogate.organization', $1, true)", str(organization))
            await database.execute("set local role biogate_api")
            await database.execute("savepoint before")
            with pytest.raises(asyncpg.PostgresError) as error:
                await database.execute(call, *given)
            await database.execute("rollback to before")
        assert error.value.sqlstate == refusal, (given, error.value)
    for change in (
        "update sessions set expires_at = now()",
        "update sessions set ended_at = now()",
        "update users set disabled = true",
    ):
        over = database.transaction()
        await over.start()
        await database.execute(f"{change}; select set_config('biogate.organization', '1', true)")
        await database.execute("set local role biogate_api")
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await database.execute(call, session, right, ADA)
        await over.rollback()
    assert await database.fetchval("select count(*) from signatures") == 0
