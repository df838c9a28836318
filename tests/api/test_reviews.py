"""A review lists what stands out in a scope, is looked at, and says what has changed since."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from api.queries.review_kinds import classified
from tests.api.accounts import Served
from tests.api.alarms import RULE
from tests.api.people import ada, api
from tests.api.plant import Plant
from tests.api.test_reports import WHY, asked, done, worker_environment
from tests.api.test_signatures import sign
from tests.in_turn import in_turn
from tests.schema.audit_steps import STEPS

__all__ = ["ada", "api", "worker_environment"]

INSERT = (
    "insert into audit (organization_id, who, action, subject, old, new, why) values ($1, 'eva', $2, $3, $4, $5, 'x')"
)


async def answered(client: Served, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    answer = await client.request(method, f"/api/v1{path}", json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


async def said(sql: asyncpg.Connection, action: str, subject: str, new: str | None = None) -> None:
    await sql.execute(INSERT, 1, action, subject, None, new)


async def a_run(plant: Plant, client: Served) -> None:
    """A run that began an hour ago, with frames without numbers, and one message in quarantine."""
    await plant.device("br-1")
    await plant.device("br-2")
    now = datetime.now(UTC)
    await asked(client, "/runs", run="B-1", devices=["br-1"], begins=(now - timedelta(hours=1)).isoformat())
    await plant.quarantine(now - timedelta(minutes=1), "br-1", "malformed", b"x")


async def test_what_stands_out_in_a_run_is_listed_and_the_rest_is_counted(plant: Plant, client: Served) -> None:
    await a_run(plant, client)
    await said(plant.sql, "command request", "device/br-1", '{"name": "setpoint", "parameters": {"ph": 7}}')
    await said(plant.sql, "command request", "device/br-1", '{"name": "mode", "parameters": {"loop": "ph"}}')
    await said(plant.sql, "command done", "device/br-1")
    await said(plant.sql, "alarm shelve", "alarm/br-1/hot")
    await said(plant.sql, "alarm acknowledge", "alarm/br-1/hot")
    await said(plant.sql, "alarm shelve", "alarm/br-2/hot")  # another device's
    await said(plant.sql, "command request", "device/br-2", '{"name": "setpoint"}')
    await answered(client, "PUT", "/alarm-rules/hot?why=x", RULE)
    await said(plant.sql, "something new", "run/B-1")
    made = await answered(client, "POST", "/reviews", {"run": "B-1"})
    found = [(one["kind"], one["what"], one["subject"]) for one in made["exceptions"]]
    assert found == [
        ("setpoint", "command request", "device/br-1"),
        ("command", "command request", "device/br-1"),
        ("silenced", "alarm shelve", "alarm/br-1/hot"),
        ("rule", "alarm rule create", "alarm-rule/hot"),
        ("other", "something new", "run/B-1"),
        ("quarantine", "messages came into quarantine", None),
    ]
    assert made["routine"] == {"alarm acknowledge": 1, "command done": 1, "run create": 1}
    assert made["exceptions"][-1]["after"] == {"reason": "malformed", "messages": 1, "open": 1}
    assert made["exceptions"][-1]["device"] == "br-1"
    assert (made["run"], made["devices"], made["stale"]) == ("B-1", ["br-1"], [])
    newest = await plant.sql.fetchrow("select n, encode(hash, 'hex') as hash from audit where n = $1", made["n"])
    assert (made["hash"], newest["n"]) == (newest["hash"], made["n"])


async def test_what_comes_later_makes_a_review_stale_until_it_is_gathered_anew(plant: Plant, client: Served) -> None:
    await a_run(plant, client)
    sample = {"sample": "S-1", "device": "br-1", "taken_at": datetime.now(UTC).isoformat()}
    await answered(client, "POST", "/samples", sample)
    await said(plant.sql, "alarm suppress", "alarm/br-1/hot")
    made = await answered(client, "POST", "/reviews", {"run": "B-1"})
    key = made["exceptions"][0]["key"]
    for number, note in ((made["review"], "agreed"), (made["review"], "and in the log")):
        await answered(client, "POST", f"/reviews/{number}/looks", {"key": key, "note": note})
    [listed] = (await answered(client, "GET", "/reviews?run=B-1"))["reviews"]
    assert (listed["exceptions"], listed["open"]) == (2, 1)
    again = await answered(client, "POST", f"/reviews/{made['review']}/again")
    assert again["version"] == 1, "nothing is new"
    await answered(
        client, "PATCH", "/samples/S-1", {**WHY, "note": "the label was wrong"}
    )  # after the time of the review
    one = await answered(client, "GET", f"/reviews/{made['review']}")
    assert [(each["kind"], each["subject"]) for each in one["stale"]] == [("sample", "sample/S-1")]
    again = await answered(client, "POST", f"/reviews/{made['review']}/again")
    assert (again["version"], again["stale"], len(again["exceptions"])) == (2, [], 3)
    assert [look["note"] for look in again["looks"]] == ["agreed", "and in the log"]
    trail = await plant.sql.fetch("select action, subject from audit where subject like 'review/%' order by n")
    assert [row["action"] for row in trail] == ["review gather", "review look", "review look", "review gather"]


async def test_a_review_of_a_time_is_of_all_devices_or_of_some(plant: Plant, client: Served) -> None:
    await a_run(plant, client)
    await said(plant.sql, "alarm shelve", "alarm/br-1/hot")
    await said(plant.sql, "alarm shelve", "alarm/br-2/hot")
    await said(plant.sql, "member role", "user/ida@example.com")
    whole = await answered(client, "POST", "/reviews", {"from": "-1h"})
    assert [one["kind"] for one in whole["exceptions"]] == ["silenced", "silenced", "access", "quarantine"]
    some = await answered(client, "POST", "/reviews", {"from": "-1h", "device": ["br-2"]})
    assert [(one["kind"], one["device"]) for one in some["exceptions"]] == [("silenced", "br-2")]


@in_turn(
    ("body", "status", "says"),
    [
        ({}, 422, "give `run`, or `from`"),
        ({"run": "B-1", "from": "-1h"}, 422, "give `run`, or `from`"),
        ({"run": "B-1", "device": ["br-1"]}, 422, "a run has its devices"),
        ({"run": "B-9"}, 404, "there is no run B-9"),
        ({"from": "-1h", "device": ["br-9"]}, 404, "there is no device br-9"),
        ({"from": "2026-03-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}, 422, "must be before"),
        ({"from": "2020-03-01T00:00:00Z"}, 422, "at most 400 days"),
    ],
)
async def test_a_scope_that_is_none_is_refused(client: Served, body: dict[str, Any], status: int, says: str) -> None:
    answer = await client.post("/api/v1/reviews", json=body)
    assert (answer.status_code, says in answer.text) == (status, True), answer.text


async def test_only_what_is_in_the_review_can_be_looked_at_and_nothing_is_overwritten(
    plant: Plant, client: Served
) -> None:
    await said(plant.sql, "alarm shelve", "alarm/br-1/hot")
    made = await answered(client, "POST", "/reviews", {"from": "-1h"})
    answer = await client.post(f"/api/v1/reviews/{made['review']}/looks", json={"key": "0" * 16, "note": "x"})
    assert (answer.status_code, "has no exception" in answer.text) == (404, True)
    for statement in ("update reviews set n = 0", "delete from reviews", "delete from review_looks"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="stays as it was made"):
            await plant.sql.execute(statement)


def test_every_action_that_the_trail_knows_is_sorted_in() -> None:
    unknown = {action for _, events in STEPS for _, action, *_ in events if classified(action, None) == "other"}
    assert not unknown, "list them in api/queries/review_kinds.py"
    assert classified("alarm shelve refused", None) is None
    assert classified("retention hold", None) is None
    assert classified("retention hold end", None) == "data"


async def test_a_review_is_signed_and_a_note_that_comes_later_shows_beside_the_signature(
    plant: Plant, client: Served, ada: dict[str, str], api: Served
) -> None:
    await a_run(plant, client)
    await said(plant.sql, "alarm shelve", "alarm/br-1/hot")
    made = await answered(client, "POST", "/reviews", {"run": "B-1"})
    key, path = made["exceptions"][0]["key"], f"/reviews/{made['review']}"
    seen = await answered(client, "POST", f"{path}/looks", {"key": key, "note": "agreed"})
    answer = await sign(api, ada, f"review/{made['review']}", seen["digest"])
    assert answer.status_code == 201, answer.text
    seen = await answered(client, "GET", path)
    assert [(one["meaning"], one["intact"]) for one in seen["signatures"]] == [("reviewed", True)]
    assert seen["stale"] == []
    await answered(client, "POST", f"{path}/looks", {"key": key, "note": "and in the log"})
    seen = await answered(client, "GET", path)
    assert [(one["intact"], one["newest"]) for one in seen["signatures"]] == [(True, False)]
    await plant.sql.execute(
        "alter table review_looks disable trigger all; update review_looks set note = 'x' where note = 'agreed'"
    )
    seen = await answered(client, "GET", path)
    assert [one["intact"] for one in seen["signatures"]] == [False]
    report = await done(plant, client, kind="batch", run="B-1")
    document = (await client.get(f"/api/v1/reports/{report}/report.json")).json()
    assert f"review/{made['review']}" in str(document["sections"])


async def test_what_a_device_says_of_its_channels_first_is_routine(plant: Plant, client: Served) -> None:
    await a_run(plant, client)
    number = await plant.sql.fetchval("select device_id from devices where name = 'br-1'")
    claim = "select channels_claim($1, $2::jsonb, $3)"
    first, then = '{"ph_2": {"title": "second"}, "pressure": {"unit": "mbar"}}', '{"pressure": {"unit": "kPa"}}'
    await plant.sql.execute(claim, number, first, "enrollment 1")
    made = await answered(client, "POST", "/reviews", {"run": "B-1"})
    assert "channel" not in {one["kind"] for one in made["exceptions"]}
    assert made["routine"]["channel change"] == 2
    await plant.sql.execute(claim, number, then, "enrollment 2")
    await plant.sql.execute(
        "select channel_describe(1, $1, 'ph_2', $2, null, null, 'eva', 'named')", number, '{"title": "Probe 2"}'
    )
    made = await answered(client, "POST", "/reviews", {"run": "B-1"})
    found = [(one["who"], one["after"]["channel"]) for one in made["exceptions"] if one["kind"] == "channel"]
    assert found == [("device br-1", "pressure"), ("eva", "ph_2")]


async def test_a_broken_signature_and_a_wrong_clock_stand_out(
    plant: Plant, client: Served, ada: dict[str, str], api: Served
) -> None:
    await a_run(plant, client)
    now = datetime.now(UTC)
    await answered(client, "POST", "/samples", {"sample": "s-1", "device": "br-1", "taken_at": now.isoformat()})
    assert (await sign(api, ada)).status_code == 201
    await answered(client, "PATCH", "/samples/s-1", {**WHY, "note": "the label was wrong"})
    made = await answered(client, "POST", "/reviews", {"from": "-2h", "device": ["br-1"]})
    assert "signature" not in {one["kind"] for one in made["exceptions"]}, "what was signed is as it was"
    await plant.sql.execute(
        "alter table lab_samples disable trigger all; update lab_samples set note = 'x' where version = 1"
    )
    await plant.sql.execute(
        "insert into device_clocks select device_id, date_trunc('hour', now()), 10, interval '-9 s', interval '1 s'"
        " from devices where name = 'br-1'"
    )
    made = await answered(client, "POST", "/reviews", {"from": "-2h", "device": ["br-1"]})
    found = {one["kind"]: one for one in made["exceptions"]}
    assert found["signature"]["subject"] == "sample/s-1"
    assert found["clock"]["after"] == {"hours": 1, "ahead_s": 9.0, "behind_s": 0.0}
    backlog = """insert into device_clocks
        select device_id, date_trunc('hour', now()) - $1 * interval '1 hour', 10, $2 * interval '1 s',
               interval '3 hours' from devices where name = 'br-2'"""
    for hours_ago, least_s, clocks in ((0, 2, []), (1, 70, [{"hours": 1, "ahead_s": 0.0, "behind_s": 70.0}])):
        await plant.sql.execute(backlog, hours_ago, least_s)  # what came late says nothing, but all that came does
        of_it = await answered(client, "POST", "/reviews", {"from": "-2h", "device": ["br-2"]})
        assert [one["after"] for one in of_it["exceptions"] if one["kind"] == "clock"] == clocks
    assert found["sample"]["what"] == "sample correct"
