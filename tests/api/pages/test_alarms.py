"""The alarm list: what it shows and in which order, and what people do about alarms."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from api.access.roles import Role
from schema.alarms.machine import Action, Alarm, Condition
from tests.api.accounts import organization
from tests.api.alarms import ACTIVE, become, evaluator, rule
from tests.api.pages.conftest import Visitor, visiting
from tests.api.pages.forms import Fields, forms
from tests.api.plant import Plant

SEEN = replace(ACTIVE, acknowledged=True)
RETURNED = replace(ACTIVE, condition=Condition.NORMAL, active=False)
TITLES = re.compile(r'<td class="title"><a id="[^"]+" href="/app/main/alarms/([^"]+)">')
OE = "oscar@example.org"


@pytest.fixture
async def operator(database_url: str, sql: asyncpg.Connection) -> AsyncIterator[Visitor]:
    async with visiting(database_url, sql, OE, Role.OPERATOR) as it:
        yield it


@pytest.fixture
async def engineer(database_url: str, sql: asyncpg.Connection) -> AsyncIterator[Visitor]:
    async with visiting(database_url, sql, "eva@example.org", Role.ENGINEER) as it:
        yield it


def named(page: str) -> list[str]:
    """The alarms of a page in their order."""
    return TITLES.findall(page)


def offered(page: str) -> set[str]:
    return set(re.findall(r'name="action" value="([^"]+)"', page))


async def hot(plant: Plant, name: str = "br-1", alarm: Alarm = ACTIVE) -> tuple[int, int]:
    """A rule and a device whose alarm is in that state."""
    known = await plant.sql.fetchval("select rule_id from alarm_rules where name = 'hot'")
    pair = known or await rule(plant.sql, "hot", priority="high"), await plant.device(name)
    await become(plant.sql, *pair, alarm)
    return pair


async def test_who_waits_for_an_acknowledgement_comes_first_then_priority_then_the_newest(
    plant: Plant, viewer: Visitor
) -> None:
    assert "No alarm stands" in await viewer.shown("alarms")
    now = datetime.now(UTC)
    rules = {name: await rule(plant.sql, name, priority=name) for name in ("low", "high", "critical")}
    devices = {name: await plant.device(name) for name in ("br-1", "br-2", "br-3")}
    for name, device, alarm, minutes in (
        ("critical", "br-1", SEEN, 1),
        ("high", "br-1", ACTIVE, 30),
        ("high", "br-2", RETURNED, 3),
        ("low", "br-1", ACTIVE, 2),
        ("low", "br-2", Alarm(), 2),
        ("critical", "br-2", replace(ACTIVE, shelved_until=now + timedelta(hours=1)), 2),
        ("critical", "br-3", replace(Alarm(), condition=Condition.UNKNOWN), 2),
    ):
        at = now - timedelta(minutes=minutes)
        await become(plant.sql, rules[name], devices[device], alarm, at=at, detail="no value has come")
    await plant.sql.execute("update devices set tags = '{pilot}' where name = 'br-3'")
    page = await viewer.shown("alarms")
    standing = ["br-2/high", "br-1/high", "br-1/low", "br-1/critical"]
    assert named(page) == [*standing, "br-3/critical", "br-2/critical"], "then not evaluated, then silenced"
    alone = page.index("<h2>Not evaluated</h2>") < page.index("no value has come</td><td>")
    assert alone
    assert "<b>active</b>" in page[page.index("<h2>Silenced</h2>") :]
    part = await viewer.get("alarms", headers={"HX-Request": "true", "HX-Request-Type": "partial"})
    assert named(part.text) == named(page)
    assert "<html" not in part.text
    for query, expected in (
        ("device=br-2&priority=&state=", ["br-2/high", "br-2/critical"]),
        ("priority=critical", ["br-1/critical", "br-3/critical", "br-2/critical"]),
        ("state=acknowledged", ["br-1/critical"]),
        ("state=normal", ["br-3/critical", "br-2/low"]),
        ("state=shelved", ["br-2/critical"]),
        ("state=not-evaluated", ["br-3/critical"]),
        ("tag=pilot", ["br-3/critical"]),
    ):
        assert named(await viewer.shown(f"alarms?{query}")) == expected, query
    assert "No alarm fits" in await viewer.shown("alarms?device=br-9")
    assert (await viewer.get("alarms?state=loud")).status_code == 422


async def test_what_is_acknowledged_is_the_occurrence_that_was_seen(
    plant: Plant, operator: Visitor, database_url: str
) -> None:
    await hot(plant)
    form = forms(await operator.shown("alarms"), "alarms/acts")[0]
    async with evaluator(database_url):
        done = await operator.post("alarms/acts", **form | {"why": "seen"})
        assert (done.status_code, done.headers["location"]) == (303, "/app/main/alarms")
        again = await operator.post("alarms/acts", htmx=True, **form | {"why": "seen"})
    assert (again.status_code, again.headers["hx-retarget"]) == (409, "#problem")
    assert "there is nothing to acknowledge" in again.text
    asked = await plant.sql.fetchrow("select action, seen_n, who, why from alarm_acts order by act_id limit 1")
    assert tuple(asked) == ("acknowledge", 1, OE, "seen")
    assert await plant.sql.fetchval("select state from alarms") == "acknowledged"
    assert "alarm acknowledge" in {row["action"] for row in await plant.sql.fetch("select action from audit")}


async def test_several_are_acknowledged_at_once_and_it_is_told_what_was_not(
    plant: Plant, operator: Visitor, database_url: str
) -> None:
    for name in ("br-1", "br-2", "br-3"):
        await hot(plant, name)
    page = await operator.shown("alarms")
    marks = re.findall(r'name="alarm" form="marked" value="([^"]+)"', page)
    assert marks == ["br-3/hot/1", "br-2/hot/1", "br-1/hot/1"]
    await become(plant.sql, await plant.sql.fetchval("select rule_id from alarm_rules"), 2, SEEN, cause="acknowledge")
    async with evaluator(database_url):
        done = await operator.post("alarms/acts", htmx=True, action="acknowledge", alarm=marks, why="power failure")
    said = done.headers["hx-trigger"]
    assert (done.status_code, "done for 2 alarms" in said, "1 refused: hot of br-2" in said) == (204, True, True), said
    rows = await plant.sql.fetch("select state, count(*) from alarms group by 1")
    assert [tuple(row) for row in rows] == [("acknowledged", 3)]


async def test_a_shelving_has_an_end_that_the_priority_allows(
    plant: Plant, operator: Visitor, database_url: str
) -> None:
    await hot(plant)
    page = await operator.shown("alarms/br-1/hot")
    assert re.findall(r'<option value="(\d+)"', page) == ["900", "3600", "14400", "28800", "43200", "86400"]
    fields: Fields = {"action": "shelve", "alarm": "br-1/hot/1", "why": "probe is cleaned", "back": "alarms/br-1/hot"}
    async with evaluator(database_url):
        endless = await operator.post("alarms/acts", htmx=True, **fields)
        assert (endless.status_code, "shelving has an end" in endless.text) == (422, True)
        done = await operator.post("alarms/acts", **fields, seconds="3600", once="true")
    assert done.headers["location"] == "/app/main/alarms/br-1/hot"
    row = await plant.sql.fetchrow("select state, shelved_once, shelved_until - now() > '59 min' as long from alarms")
    assert tuple(row) == ("shelved", True, True)
    page = await operator.shown("alarms")
    assert f'<td data-label="by">{OE}</td><td data-label="why">probe is cleaned</td>' in page
    assert offered(page) == {"unshelve"}


async def test_acts_are_offered_as_state_and_role_allow(
    plant: Plant, viewer: Visitor, operator: Visitor, engineer: Visitor
) -> None:
    pair = await hot(plant)
    aside = {"shelve", "suppress", "remove-from-service"}
    for alarm, acts in (
        (ACTIVE, {"acknowledge", *aside}),
        (SEEN, aside),
        (RETURNED, {"acknowledge", *aside}),
        (replace(RETURNED, acknowledged=True, latched=True), {"reset", *aside}),
        (replace(ACTIVE, shelved_until=datetime.now(UTC) + timedelta(hours=1)), {"unshelve", *aside}),
        (replace(ACTIVE, suppressed=True), {"unsuppress", "remove-from-service"}),
        (replace(ACTIVE, out_of_service=True), {"return-to-service"}),
        (Alarm(), aside),
    ):
        await become(plant.sql, *pair, alarm)
        assert offered(await engineer.shown("alarms/br-1/hot")) == acts, alarm
        least = acts - {"suppress", "remove-from-service", "return-to-service"}
        assert offered(await operator.shown("alarms/br-1/hot")) == least, alarm
        assert offered(await viewer.shown("alarms/br-1/hot")) == set()
        assert offered(await viewer.shown("alarms")) == set()
    order: Fields = {"alarm": "br-1/hot/1", "why": "x"}
    assert (await viewer.post("alarms/acts", action="acknowledge", **order)).status_code == 403
    for action in ("suppress", "remove-from-service", "return-to-service"):
        refused = await operator.post("alarms/acts", htmx=True, action=action, **order)
        assert (refused.status_code, "role engineer" in refused.text) == (403, True)
    assert await plant.sql.fetchval("select count(*) from alarm_acts") == 0


async def test_a_control_room_acknowledges_and_does_nothing_else(
    plant: Plant, database_url: str, operator: Visitor
) -> None:
    await hot(plant)
    await hot(plant, "br-2")
    async with visiting(database_url, plant.sql, "room@example.org", Role.CONTROL_ROOM) as room:
        for path in ("alarms", "alarms/br-1/hot", "shell"):
            assert offered(await room.shown(path)) == {"acknowledge"}, path
        for action in set(Action) - {Action.ACKNOWLEDGE}:
            fields = {"seconds": "900"} if action is Action.SHELVE else {}
            status, said = await room.refused("alarms/acts", action=action, alarm="br-1/hot/1", why="x", **fields)
            assert (status, "or higher; you are control-room" in said) == (403, True), said
        async with evaluator(database_url):
            await room.act("alarms/acts", action="acknowledge", alarm=["br-1/hot/1", "br-2/hot/1"], why="seen")
        vessel = await room.shown("vessels/br-1")
        assert forms(vessel, "vessels/br-1/notes") == forms(vessel, "vessels/br-1/commands") == []
    rows = await plant.sql.fetch("select action, who, state from alarm_acts join alarms using (rule_id, device_id)")
    assert {tuple(row) for row in rows} == {("acknowledge", "room@example.org", "acknowledged")}
    assert forms(await operator.shown("vessels/br-1"), "vessels/br-1/notes")


async def test_nobody_sees_or_acts_on_alarms_of_another_organization(
    plant: Plant, operator: Visitor, database_url: str
) -> None:
    north = await organization(plant.sql, "north")
    device = await plant.device("br-n")
    await plant.sql.execute("update devices set organization_id = $1 where device_id = $2", north, device)
    await become(plant.sql, await rule(plant.sql, "hot", north), device)
    assert "br-n" not in await operator.shown("alarms") + await operator.shown("alarms/history")
    assert (await operator.get("alarms/br-n/hot")).status_code == 404
    assert (await operator.client.get("/app/north/alarms")).status_code == 404
    async with evaluator(database_url):
        refused = await operator.post("alarms/acts", htmx=True, action="acknowledge", alarm="br-n/hot/1", why="x")
    assert (refused.status_code, "there is no such alarm" in refused.text) == (409, True)
    assert await plant.sql.fetchval("select count(*) from alarm_acts") == 0


async def test_one_alarm_says_what_to_do_and_what_happened(plant: Plant, viewer: Visitor) -> None:
    rule_id = await rule(plant.sql, "hot", message="too warm", response="Open <b>V7</b>", on_delay=90.0)
    device = await plant.device("br-1")
    await become(plant.sql, rule_id, device)
    await become(plant.sql, rule_id, device, SEEN, cause="acknowledge", by=("eva", "I am on it"), detail="")
    page = await viewer.shown("alarms/br-1/hot")
    assert "Open &lt;b&gt;V7&lt;/b&gt;" in page
    assert "Temperature above 38, for 1 min" in page
    assert "<td>acknowledged</td><td>acknowledged</td><td>39</td><td>eva</td><td>I am on it</td>" in page
    assert (await viewer.get("alarms/br-1/cold")).status_code == 404


async def test_the_history_has_pages_filters_and_a_file(plant: Plant, viewer: Visitor) -> None:
    pair = await hot(plant)
    for n in range(11):
        await become(plant.sql, *pair, SEEN if n % 2 else ACTIVE, cause="acknowledge" if n % 2 else "condition")
    rows = re.compile(r"<td>(raised|acknowledged|returned)</td><td>")
    seen, path = [], "alarms/history?limit=5&device="
    for _ in range(3):
        page = await viewer.shown(path)
        seen.append(len(rows.findall(page)))
        found = re.search(r'rel="next" href="/app/main/([^"]+)"', page)
        path = found[1].replace("&amp;", "&") if found else ""
    assert (seen, path) == ([5, 5, 2], "")
    assert len(rows.findall(await viewer.shown("alarms/history?cause=acknowledge&from=-1h&to=&rule=hot"))) == 5
    assert "Nothing fits" in await viewer.shown("alarms/history?device=br-9")
    file = await viewer.get("alarms/history.csv?cause=acknowledge&device=")
    assert file.headers["content-disposition"] == 'attachment; filename="alarms-history.csv"'
    header, *lines = (line.split(",") for line in file.text.splitlines())
    assert [line[header.index("cause")] for line in lines] == ["acknowledge"] * 5
    assert (await viewer.get("alarms/history?from=yesterday")).status_code == 422


async def test_the_figures_stand_beside_what_is_wanted(plant: Plant, viewer: Visitor) -> None:
    pair = await hot(plant)
    for _ in range(11):
        await become(plant.sql, *pair, Alarm(), cause="return")
        await become(plant.sql, *pair)
    page = await viewer.shown("alarms/figures?days=7&device=br-1")
    row = re.search(
        r"Raised in the worst ten minutes</th><td class=.number.>(.*?)</td><td>(.*?)</td><td>(.*?)</td>", page
    )
    assert row is not None
    assert row.groups() == ("<b>12</b>", "10 or fewer", '<span class="off-target">off</span>')
    assert "Raised each hour" not in page, "of a day alone"
    assert "Raised each hour" in await viewer.shown("alarms/figures?device=")
    assert (await viewer.get("alarms/figures?device=br-9")).status_code == 404
