"""The pages of alarm rules: a form that loses nothing, the file of all, and the trial."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from api.access.roles import Role
from schema.alarms import files
from schema.alarms.rules import Rule
from tests.api import alarms
from tests.api.accounts import organization
from tests.api.alarms import rule
from tests.api.pages.conftest import Visitor, visiting
from tests.api.pages.forms import Fields, forms
from tests.api.plant import Plant
from tests.in_turn import in_turn

[EXAMPLES] = re.findall(r"```yaml\n(.*?)```", (Path(__file__).parents[3] / "docs" / "alarms.md").read_text(), re.DOTALL)
EV = "eva@example.org"


@pytest.fixture
async def engineer(database_url: str, sql: asyncpg.Connection) -> AsyncIterator[Visitor]:
    async with visiting(database_url, sql, EV, Role.ENGINEER) as it:
        yield it


async def stored(sql: asyncpg.Connection, name: str) -> dict[str, Any]:
    definition: dict[str, Any] = json.loads(
        await sql.fetchval("select definition from alarm_rules where name = $1 and removed_at is null", name)
    )
    return definition


def form(page: str, address: str) -> Fields:
    [found] = forms(page, address)
    return found


LONG: dict[str, Any] = {
    "message": "too warm\nby far",
    "response": "first\n\nthen <b>",
    "on_delay": 12345.678901,
    "enabled": False,
    "scope": {"devices": ["br-1", "br-2"], "tags": ["a, b"], "phases": ["fed batch"]},
    "when": alarms.LIMIT | {"limit": -1234567.125},
}


SAVED = [*files.load(EXAMPLES.encode()), Rule(name="long", **(alarms.RULE | LONG))]


@in_turn("given", SAVED)
async def test_a_form_that_is_saved_as_it_is_changes_nothing(plant: Plant, engineer: Visitor, given: Rule) -> None:
    await rule(plant.sql, given.name, **given.model_dump(exclude={"name"}))
    before = await stored(plant.sql, given.name)
    fields = form(await engineer.shown(f"alarm-rules/{given.name}"), f"alarm-rules/{given.name}")
    done = await engineer.post(f"alarm-rules/{given.name}", **fields | {"why": "looked"})
    assert (done.status_code, done.headers["location"]) == (303, f"/app/main/alarm-rules/{given.name}")
    assert await stored(plant.sql, given.name) == before
    assert await plant.sql.fetchval("select version from alarm_rules where name = $1", given.name) == 1
    changed = await engineer.post(f"alarm-rules/{given.name}", **fields | {"why": "named", "title": "T2"})
    assert changed.status_code == 303
    assert await stored(plant.sql, given.name) == before | {"title": "T2"}


async def test_a_rule_is_made_changed_and_removed(plant: Plant, engineer: Visitor) -> None:
    assert "No rule is there yet" in await engineer.shown("alarms/rules")
    fields = form(await engineer.shown("alarm-rules"), "alarm-rules")
    typed = {
        "name": ["hot"],
        "title": ["Too hot"],
        "limit.channel": ["temperature"],
        "limit.limit": ["38"],
        "phases": ["batch\r\n fed batch \r\n"],
        "why": ["agreed"],
    }
    made = await engineer.post("alarm-rules", htmx=True, **fields | typed)
    assert (made.status_code, made.headers["hx-redirect"]) == (204, "/app/main/alarm-rules/hot")
    assert (await stored(plant.sql, "hot"))["scope"]["phases"] == ["batch", "fed batch"]
    again = await engineer.post("alarm-rules", htmx=True, **fields | typed)
    assert (again.status_code, "there is a rule hot already" in again.text.lower()) == (412, True)
    page = await engineer.shown("alarm-rules/hot")
    assert "no device is in its scope" in page, "warnings"
    mine = form(page, "alarm-rules/hot")
    await engineer.post("alarm-rules/hot", **mine | {"limit.limit": ["39"], "why": ["theirs"]})
    late = await engineer.post("alarm-rules/hot", htmx=True, **mine | {"limit.limit": ["40"], "why": ["mine"]})
    assert (late.status_code, late.headers["hx-retarget"]) == (412, "#problem")
    assert "rule hot was changed meanwhile" in late.text.lower()
    assert (await stored(plant.sql, "hot"))["when"]["limit"] == 39
    assert "Temperature above 39" in await engineer.shown("alarms/rules?channel=temperature&tag=")
    assert (await engineer.post("alarm-rules/hot/remove", htmx=True, version="1", why="x")).status_code == 412
    gone = await engineer.post("alarm-rules/hot/remove", version="2", why="not used")
    assert gone.headers["location"] == "/app/main/alarms/rules"
    assert (await engineer.get("alarm-rules/hot")).status_code == 404
    rows = await plant.sql.fetch("select why, who from audit where subject = 'alarm-rule/hot' order by n")
    assert [row["why"] for row in rows] == ["agreed", "theirs", "not used"]
    assert {row["who"] for row in rows} == {EV}


@in_turn(
    ("typed", "told"),
    [
        ({"limit.limit": ["warm"]}, "when.limit"),
        ({"title": [""]}, "title"),
        ({"kind": ["formula"], "formula.expression": ["ph <"]}, "when.expression"),
        ({"kind": ["smell"]}, "when"),
        ({"on_delay": ["-1"]}, "on_delay"),
        ({"limit.deadband": ["1"], "clear": ["ph > 3"]}, "both say when the alarm returns"),
        ({"why": [""]}, "why"),
        ({"name": ["Hot Rule"]}, "name"),
    ],
)
async def test_what_cannot_be_a_rule_is_refused_with_its_field(
    plant: Plant, engineer: Visitor, typed: Fields, told: str
) -> None:
    fields = form(await engineer.shown("alarm-rules"), "alarm-rules")
    whole = {"name": ["hot"], "title": ["H"], "limit.channel": ["ph"], "limit.limit": ["3"], "why": ["x"]}
    refused = await engineer.post("alarm-rules", htmx=True, **fields | whole | typed)
    assert (refused.status_code, refused.headers["hx-retarget"]) == (422, "#problem"), refused.text
    assert told in refused.text.lower()
    assert await plant.sql.fetchval("select count(*) from alarm_rules") == 0


async def test_a_file_says_first_what_would_change(plant: Plant, engineer: Visitor) -> None:
    await rule(plant.sql, "hot")
    await rule(plant.sql, "old")
    text = (await engineer.get("alarm-rules.yaml")).text.replace("38.0", "37.0")
    text = text.replace("name: old", "name: new").replace("\n", "\r\n")
    tried = await engineer.post("alarm-rules.yaml", htmx=True, yaml=text, remove="true", why="x", dry_run="true")
    assert tried.status_code == 200, tried.text
    for told in ("This would change", "changed: hot (when.limit)", "new: new", "removed: old"):
        assert told in tried.text
    assert "hx-trigger" not in tried.headers
    assert (await stored(plant.sql, "hot"))["when"]["limit"] == 38
    done = await engineer.post("alarm-rules.yaml", yaml=text, remove="true", why="agreed")
    assert "Imported" in done.text
    assert (await stored(plant.sql, "hot"))["when"]["limit"] == 37
    bad = await engineer.post("alarm-rules.yaml", htmx=True, yaml=text + "  - name: [", why="x")
    assert (bad.status_code, "line" in bad.text.lower()) == (422, True), bad.text
    many = files.dump([Rule(name=f"r{n}", **(alarms.RULE | {"response": "é" * 300})) for n in range(300)])
    assert (await engineer.post("alarm-rules.yaml", yaml=many, why="all")).status_code == 200, "200 kB and more"


async def test_a_trial_says_how_often_the_rule_would_have_raised(plant: Plant, engineer: Visitor) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "temperature")
    begin = datetime.now(UTC) - timedelta(hours=1)
    rows: list[tuple[datetime, list[float | None], None]] = [
        (begin + timedelta(seconds=n), [39.0 if n % 600 >= 540 else 37.0], None) for n in range(1800)
    ]
    await plant.frames(device, layout, rows)
    fields = form(await engineer.shown("alarm-rules"), "alarm-rules")
    typed = {"title": ["H"], "limit.channel": ["temperature"], "limit.limit": ["38"]}
    found = await engineer.post("alarm-trials", htmx=True, **fields | typed)
    assert "It would have raised 3 times in the last 24 h</b>, on 1 of 1 vessel." in found.text
    [drawn] = re.findall(r'data-drawn="([^"]+)"', found.text)
    told = json.loads(drawn.replace("&#34;", '"'))
    assert (told["device"], told["channels"], told["high"], len(told["spans"])) == ("br-1", ["temperature"], 38, 3)
    whole = await engineer.post("alarm-trials", **fields | typed | {"hours": ["744"]})
    assert "3 times in the last 31 days" in whole.text
    assert "<html" in whole.text
    wrong = await engineer.post("alarm-trials", htmx=True, **fields | typed | {"limit.limit": ["warm"]})
    assert (wrong.status_code, wrong.headers["hx-retarget"]) == (422, "#problem")
    assert await plant.sql.fetchval("select count(*) from alarm_rules") == 0


async def test_who_may_not_change_rules_sees_them_all_the_same(plant: Plant, viewer: Visitor) -> None:
    await rule(plant.sql, "hot")
    page = await viewer.shown("alarm-rules/hot")
    assert "disabled" in page
    assert "<button" not in page.replace('<button class="plain">Log out', "")
    assert "New rule" not in await viewer.shown("alarms/rules")
    assert (await viewer.get("alarm-rules")).status_code == 403
    assert (await viewer.get("alarm-rules.yaml")).status_code == 200
    for path in ("alarm-rules", "alarm-rules/hot", "alarm-rules/hot/remove", "alarm-rules.yaml", "alarm-trials"):
        assert (await viewer.post(path, htmx=True, why="x", version="1")).status_code == 403, path


async def test_rules_of_another_organization_are_none(plant: Plant, engineer: Visitor) -> None:
    await rule(plant.sql, "theirs", await organization(plant.sql, "north"))
    assert "theirs" not in await engineer.shown("alarms/rules") + (await engineer.get("alarm-rules.yaml")).text
    assert (await engineer.get("alarm-rules/theirs")).status_code == 404
    assert (await engineer.get("alarm-rules?like=theirs")).status_code == 404
    assert (await engineer.post("alarm-rules/theirs/remove", version="1", why="x")).status_code == 404
