"""What a deviation has to do with other things: links to each kind, seen from both ends; nobody else's things."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from api.access.roles import Role, Scope
from tests.api import alarms
from tests.api.accounts import api_key
from tests.api.operators import ORDER, Operator
from tests.api.plant import Plant, at
from tests.api.test_deviations import FIRST, events, opened, send
from tests.api.test_devices import north, operator

__all__ = ["north", "operator"]

LINKS = f"/deviations/{FIRST}/links"


async def things(plant: Plant, device: str = "br-1") -> dict[str, str]:
    """One of each kind, of a device, by kind."""
    device_id = await plant.device(device)
    sql = plant.sql
    rule = await alarms.rule(sql, "hot")
    await alarms.become(sql, rule, device_id)
    await sql.execute(
        "insert into device_streams (device_id, boot, received) values ($1, 7, '{[0,3),[5,9)}')", device_id
    )
    command = uuid4()
    await sql.execute(
        "insert into commands (command_id, organization_id, device_id, name, requested_by, why, expires_at)"
        " values ($1, 1, $2, 'setpoint', 'eva', 'x', now() + interval '1 h')",
        *(command, device_id),
    )
    await sql.execute("insert into runs (organization_id, name, material, created_by) values (1, 'B-1', 'mAb', 'eva')")
    await sql.execute(
        "insert into lab_samples (organization_id, sample, version, act, device_id, taken_at, status, source, who, why)"
        " values (1, 'S-1', 1, 'take', $1, $2, 'taken', 'person', 'eva', 'x')",
        *(device_id, at(0)),
    )
    return {
        "sample": "S-1",
        "run": "B-1",
        "device": device,
        "span": f"{device}/2026-03-01T10:00:00Z/2026-03-01T11:00:00Z",
        "hole": f"{device}/7/3/4",
        "alarm": str(await sql.fetchval("select max(transition_id) from alarm_transitions")),
        "command": str(command),
        "quarantine": str(await plant.quarantine(at(0), device, "too-old", b"abc")),
        "note": str(
            await sql.fetchval(
                "insert into annotations (device_id, begins, text, who) values ($1, now(), 'foam', 'eva')"
                " returning annotation_id",
                device_id,
            )
        ),
    }


WORDS = {
    "device": "br-1",
    "span": "br-1 from 2026-03-01 10:00 to 2026-03-01 11:00 UTC",
    "hole": "frames 3 to 4 of boot 7 of br-1",
    "command": "setpoint to br-1, waiting",
    "quarantine": "too old of br-1",
    "note": "foam",
    "run": "B-1, mAb, idle",
    "sample": "S-1 of br-1, taken",
}


async def test_links_to_each_kind_are_shown_with_words_from_both_ends(plant: Plant, operator: Operator) -> None:
    there = await things(plant)
    [(kind, reference), *more] = there.items()
    await opened(operator, link={"kind": kind, "reference": reference})
    for kind, reference in more:
        body = ORDER | {"type": "caused-by", "kind": kind, "reference": reference}
        assert (await send(operator, "POST", LINKS, body)).status_code == 201, kind
        assert (await send(operator, "POST", LINKS, body)).status_code == 409, kind
    found = {one["kind"]: one for one in (await operator.get(f"/deviations/{FIRST}"))["links"]}
    assert {kind: one["words"] for kind, one in found.items() if kind != "alarm"} == WORDS
    assert "br-1" in found["alarm"]["words"]
    assert {one["device"] for kind, one in found.items() if kind != "run"} == {"br-1"}
    for kind, reference in there.items():
        listed = await operator.get("/deviations", kind=kind, reference=reference)
        assert [one["deviation"] for one in listed["deviations"]] == [FIRST], kind
    assert len((await operator.get("/deviations", device="br-1"))["deviations"]) == 1
    second = await opened(operator, "Again", link={"kind": "deviation", "reference": FIRST, "type": "relates-to"})
    [back] = (await operator.get(f"/deviations/{FIRST}"))["linked_from"]
    assert (back["deviation"], back["type"]) == (second["deviation"], "relates-to")


async def test_a_withdrawn_link_is_gone_and_the_trail_has_it(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    made = await opened(operator, link={"kind": "device", "reference": "br-1"})
    number = made["links"][0]["id"]
    assert (await send(operator, "DELETE", f"{LINKS}/{number}", params=ORDER)).status_code == 204
    assert (await send(operator, "DELETE", f"{LINKS}/{number}", params=ORDER)).status_code == 404
    assert (await operator.get(f"/deviations/{FIRST}"))["links"] == []
    what = {"link": number, "type": "seen-in", "kind": "device", "reference": "br-1"}
    assert [event[:3] for event in await events(operator)][1:] == [
        ("deviation link", None, what),
        ("deviation unlink", what, None),
    ]
    again = ORDER | {"type": "seen-in", "kind": "device", "reference": "br-1"}
    assert (await send(operator, "POST", LINKS, again)).status_code == 201


NOWHERE = [
    *(("device", "br-9"), ("device", "br-1/x"), ("span", "br-1"), ("span", "br-1/now/infinity")),
    ("span", "br-1/2026-03-01T10:00:00Z/2026-03-01T10:00:00Z"),
    ("span", "br-1/2026-03-99T10:00:00Z/2027-03-01T10:00:00Z"),
    *(("hole", "br-1/7/3/9"), ("hole", "br-1/8/3/4"), ("hole", "br-1/7/4/3"), ("hole", "br-1/7/x/3")),
    *(("alarm", "999"), ("alarm", "x"), ("alarm", "9" * 40), ("command", "x"), ("command", str(uuid4()))),
    *(("quarantine", "0"), ("note", "-1"), ("run", "B-9"), ("sample", "S-9"), ("deviation", FIRST)),
]


async def test_what_is_not_there_cannot_be_linked_to(plant: Plant, operator: Operator) -> None:
    await things(plant)
    await opened(operator)
    for kind, reference in NOWHERE:
        body = ORDER | {"type": "seen-in", "kind": kind, "reference": reference}
        answer = await send(operator, "POST", LINKS, body)
        assert answer.status_code == 404, (kind, reference, answer.text)


async def test_nobody_links_to_another_organization_s_things(plant: Plant, operator: Operator, north: Operator) -> None:
    there = await things(plant)
    await opened(operator)
    theirs, second = await opened(north), await opened(operator)
    for kind, reference in (there | {"deviation": second["deviation"]}).items():
        body = ORDER | {"type": "seen-in", "kind": kind, "reference": reference}
        answer = await send(north, "POST", f"/deviations/{theirs['deviation']}/links", body)
        assert answer.status_code == 404, (kind, answer.text)
        new = {"title": "x", "severity": "minor", "link": {"kind": kind, "reference": reference}}
        assert (await send(north, "POST", "/deviations", new)).status_code == 404, kind
    assert len((await north.get("/deviations"))["deviations"]) == 1


async def test_of_a_device_that_was_given_away_the_link_stays_without_words(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    await opened(operator, link={"kind": "device", "reference": "br-1"})
    await plant.sql.execute("insert into organizations (name, title) values ('north', 'x') on conflict do nothing")
    await plant.sql.execute(
        "update devices set organization_id = (select organization_id from organizations where name = 'north')"
    )
    [link] = (await operator.get(f"/deviations/{FIRST}"))["links"]
    assert (link["reference"], link["words"], link["device"]) == ("br-1", None, None)


async def test_a_key_reads_no_words_of_what_it_may_not_read(plant: Plant, operator: Operator) -> None:
    there: dict[str, Any] = await things(plant)
    await opened(operator, link={"kind": "alarm", "reference": there["alarm"]})
    key = await api_key(plant.sql, role=Role.OPERATOR, scopes=[Scope.DEVICES_READ, Scope.DEVICES_WRITE])
    narrow = Operator(operator.client, key)
    [link] = (await narrow.get(f"/deviations/{FIRST}"))["links"]
    assert (link["words"], link["reference"]) == (None, there["alarm"])
    body = ORDER | {"type": "seen-in", "kind": "command", "reference": there["command"]}
    assert (await send(narrow, "POST", LINKS, body)).status_code == 403
