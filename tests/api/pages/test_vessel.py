"""The page of a vessel: what it shows, and what people do there."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from api.access.roles import Role, Scope
from api.queries.vessel import PhaseBegin, charts, inoculated
from schema.channels import ChannelTerms
from tests.api import alarms
from tests.api.accounts import api_key, bearer, organization, user
from tests.api.live import Floor
from tests.api.pages.conftest import Visitor, visiting
from tests.api.plant import LivePlant, Plant
from tests.in_turn import in_turn
from tests.roles import forced

OF_DEVICE = "from channel_descriptions where device_id is not null"
SETPOINT: dict[str, Any] = {
    "channel": "temperature_setpoint",
    "value": "36.5",
    "expires_in": "5m",
    "why": "feeding begins",
}


@pytest.fixture
async def live(sql: asyncpg.Connection) -> LivePlant:
    """A vessel `br-1` that has just sent, in its batch phase."""
    plant = LivePlant(sql)
    device = await plant.device("br-1")
    plant.devices["br-1"] = device, await plant.layout(device, "temperature", "temperature_setpoint", "ph", "x")
    await plant.status(device, 7, datetime.now(UTC), True, "2.4.1")
    for hours, phase in ((30, "batch"), (14, "inoculation"), (13, "batch")):
        await plant.event(device, datetime.now(UTC) - timedelta(hours=hours), "phase", {"phase": phase})
    await plant.commit("br-1", 1, 37.123, 37.0, 7.02, None)
    return plant


@pytest.fixture
async def engineer(database_url: str, sql: asyncpg.Connection, live: LivePlant) -> AsyncIterator[Visitor]:
    async with visiting(database_url, sql, "eva@example.org", Role.ENGINEER) as it:
        yield it


def facts(page: str) -> dict[str, Any]:
    """What the page tells its charts."""
    [found] = re.findall(r'data-facts="([^"]*)"', page)
    return dict(json.loads(unescape(found)))


def links(page: str, pattern: str) -> list[str]:
    return [unescape(one) for one in re.findall(rf'href="({pattern}[^"]*)"', page)]


async def audited(sql: asyncpg.Connection) -> list[tuple[str, str]]:
    rows = await sql.fetch("select action, why from audit where action <> 'log in' order by at, n")
    return [(row["action"], row["why"]) for row in rows]


# What it shows


async def test_without_javascript_values_alarms_and_happenings_are_there(
    engineer: Visitor, live: LivePlant, sql: asyncpg.Connection
) -> None:
    device, _ = live.devices["br-1"]
    await Floor(sql, await alarms.rule(sql, "hot", priority="critical"), device).raised()
    page = await engineer.shown("vessels/br-1")
    row = re.search(r'<tr data-now="temperature".*?</tr>', page, re.DOTALL)
    assert row is not None
    words = re.sub(r"<[^>]*>|\s+", " ", row[0]).split()
    assert words[:4] == ["Temperature", "37.12", "°C", "37.00"]
    assert words[-1] == "good"
    assert "priority 1, critical" in page
    assert "/app/main/alarms/br-1/hot" in page
    assert "Look at the cooling" in page or "39 above 38" in page
    assert "<b>14 h 00 min</b> since inoculation" in page
    assert page.count('<th scope="row">Temperature setpoint') == 0, "it stands beside its process value"
    assert "firmware 2.4.1" in page


async def test_a_bad_value_is_said_to_be_bad(engineer: Visitor, live: LivePlant) -> None:
    await live.frames(*live.devices["br-1"], [(live.now + timedelta(seconds=2), [39.0, 37.0, 7.0, None], [1, 0, 2, 1])])
    page = await engineer.shown("vessels/br-1/now")
    said = dict(re.findall(r'data-now="(\w+)".*?data-quality>(\w+)<', page, re.DOTALL))
    assert said == {"temperature": "bad", "ph": "uncertain", "x": "bad"}


async def test_the_charts_know_their_channels_phases_and_limits(
    engineer: Visitor, live: LivePlant, sql: asyncpg.Connection
) -> None:
    await sql.execute("update devices set tags = array['pilot'] where name = 'br-1'")

    async def rule(name: str, **given: Any) -> None:
        when = {"kind": "limit", "channel": "ph", "level": "high", "limit": 7.5}
        await alarms.rule(sql, name, **({"title": name, "when": when} | given))

    await rule("all", priority="high")
    await rule("pilot", scope={"tags": ["pilot"], "phases": ["batch"]})
    await rule("other", scope={"tags": ["pilot", "big"]})
    await rule("elsewhere", scope={"devices": ["br-2"]})
    await rule("off", enabled=False)
    found = facts(
        await engineer.shown("vessels/br-1?channel=ph&channel=temperature&with=temperature&span=2h&axis=hours")
    )
    assert [[line["channel"] for line in chart] for chart in found["charts"]] == [["ph", "temperature"]]
    assert found["charts"][0][1]["setpoint"] == "temperature_setpoint"
    assert [(one["rule"], one["limit"], one["level"], one["phases"]) for one in found["rules"]] == [
        ("all", 7.5, "high", []),
        ("pilot", 7.5, "high", ["batch"]),
    ]
    assert [name for name, _ in found["phases"]] == ["batch", "inoculation", "batch"]
    assert found["inoculated"] == found["phases"][1][1]
    assert (found["span"], found["axis"]) == ("2h", "hours")
    assert found["to"] - found["from"] == 7200


async def test_a_link_opens_exactly_what_one_sees(engineer: Visitor) -> None:
    page = await engineer.shown("vessels/br-1?channel=ph&from=2026-11-20T07:00:00Z&to=2026-11-20T07:30:00Z&axis=hours")
    found = facts(page)
    assert (found["span"], found["to"] - found["from"]) == (None, 1800)
    [own] = re.findall(r'<a data-self href="([^"]*)"', page)
    assert facts(await engineer.shown(unescape(own).removeprefix("/app/main/"))) | {"now": 0} == found | {"now": 0}
    files = links(page, "/api/v1/telemetry")
    assert [urlsplit(one).path for one in files] == [f"/api/v1/telemetry.{end}" for end in ("csv", "arrow", "parquet")]
    asked = parse_qs(urlsplit(files[0]).query)
    assert asked == {
        **{
            "device": ["br-1"],
            "channel": ["ph"],
            "quality": ["all"],
            "corrections": ["applied"],
            "organization": ["main"],
        },
        **{"from": ["2026-11-20T07:00:00.000000Z"], "to": ["2026-11-20T07:30:00.000000Z"]},
    }


@in_turn("query", ["span=3h", "from=2026-11-20T07:00:00Z", "from=now&to=-1h", "span=2h&from=-2h&to=-1h", "shoe=7"])
async def test_a_time_that_cannot_be_is_refused(engineer: Visitor, query: str) -> None:
    assert (await engineer.get(f"vessels/br-1?{query}")).status_code == 422


async def test_a_vessel_of_another_organization_is_not_there(
    database_url: str, sql: asyncpg.Connection, live: LivePlant
) -> None:
    await live.event(live.devices["br-1"][0], datetime.now(UTC), "dose", {})
    async with visiting(database_url, sql, "nora@example.org", organization="north") as nora:
        for path in ("", "/now", "/commands", "/channels", "/channels/ph"):
            assert (await nora.get(f"vessels/br-1{path}")).status_code == 404, path
        acts: dict[str, dict[str, Any]] = {"setpoint": SETPOINT | {"key": "k"}, "notes": {"begins": "now", "text": "x"}}
        acts |= {"channels/ph": {"version": "0", "title": "x", "why": "y"}}
        for path, fields in acts.items():
            assert (await nora.post(f"vessels/br-1/{path}", **fields)).status_code == 404, path
    assert await sql.fetchval("select count(*) from commands") == 0


# Files by a link


@pytest.mark.parametrize("end", ["csv", "arrow", "parquet"])
async def test_a_link_to_a_file_names_the_organization(
    database_url: str, sql: asyncpg.Connection, live: LivePlant, end: str
) -> None:
    await organization(sql, "north")
    await user(sql, "eva@example.org", "north")
    async with visiting(database_url, sql, "eva@example.org") as eva:
        page = await eva.shown("vessels/br-1")
        [address] = [one for one in links(page, "/api/v1/telemetry") if urlsplit(one).path.endswith(end)]
        answer = await eva.client.get(address)
        assert answer.status_code == 200, answer.text
        if end == "csv":
            assert "37.123" in answer.text
        without = await eva.client.get(address.replace("&organization=main", ""))
        assert without.status_code == 404, "the first organization of this person is north"
        for name in ("north", "south", "Not A Name"):
            other = await eva.client.get(address.replace("organization=main", f"organization={name}"))
            assert other.status_code == 404, name
        two = await eva.client.get(address, headers={"Biogate-Organization": "north"})
        assert two.status_code == 404, "two names are none"
        same = await eva.client.get(address, headers={"Biogate-Organization": "main"})
        assert same.status_code == 200
        key = bearer(await api_key(sql, "north"))
        eva.client.cookies.clear()
        assert (await eva.client.get(address, headers=key)).status_code == 404, "a key is of its organization alone"


# Acts


async def test_a_setpoint_goes_out_once(engineer: Visitor, sql: asyncpg.Connection) -> None:
    page = await engineer.shown("vessels/br-1")
    key = re.findall(r'name="key" value="([^"]+)"', page)[0]
    for _ in range(2):
        done = await engineer.post("vessels/br-1/setpoint", **SETPOINT, key=key)
        assert (done.status_code, done.headers["location"]) == (303, "/app/main/vessels/br-1")
    [row] = await sql.fetch(
        "select name, parameters, expires_at - requested_at as life, why, requested_by from commands"
    )
    assert json.loads(row["parameters"]) == {"channel": "temperature_setpoint", "value": 36.5}
    assert (row["name"], row["why"], row["requested_by"]) == ("setpoint", "feeding begins", "eva@example.org")
    assert row["life"] == timedelta(minutes=5)
    assert await audited(sql) == [("command request", "feeding begins")]
    shown = await engineer.shown("vessels/br-1/commands")
    assert "waits for a gateway" in shown
    assert "every 1s" in shown, "its answer is shown as it comes"
    another = await engineer.post("vessels/br-1/setpoint", htmx=True, **(SETPOINT | {"value": "30"}), key=key)
    assert another.status_code == 409, "the key was of another order"
    await sql.execute("update commands set state = 'done', ended_at = now(), result = '{\"before\": 37}'")
    shown = await engineer.shown("vessels/br-1/commands")
    assert "before 37" in shown
    assert "every 1s" not in shown


async def test_a_command_is_refused_with_what_to_change(engineer: Visitor, sql: asyncpg.Connection) -> None:
    order: dict[str, Any] = {
        "key": "k1",
        "name": "control",
        "parameters": '{"channel": "ph", "mode": "auto"}',
        "why": "by hand",
    }
    for wrong, told in (
        ({"parameters": "{"}, "JSON"),
        ({"parameters": "[1]"}, "no object"),
        ({"parameters": '{"a": 1, "a": 2}'}, "twice"),
        ({"parameters": '{"a": NaN}'}, "JSON"),
        ({"parameters": "[" * 20_000}, "JSON"),
        ({"name": "Not a name"}, "name"),
        ({"expires_in": "2d"}, "1d"),
        ({"why": ""}, "why"),
        ({"shoe": "7"}, "shoe"),
    ):
        refused = await engineer.post("vessels/br-1/commands", htmx=True, **(order | wrong))
        assert (refused.status_code, refused.headers["hx-retarget"]) == (422, "#problem"), wrong
        assert told.lower() in refused.text.lower(), refused.text
    assert await sql.fetchval("select count(*) from commands") == 0
    await forced(sql, "update statuses set online = false")
    refused = await engineer.post("vessels/br-1/commands", htmx=True, **order, online="true")
    assert (refused.status_code, "not online" in refused.text) == (412, True)
    done = await engineer.post("vessels/br-1/commands", htmx=True, **order)
    assert (done.status_code, json.loads(done.headers["hx-trigger"])) == (
        204,
        {"changed": {"said": "br-1 is asked to control."}},
    )
    number = await sql.fetchval("select command_id from commands")
    await live_device(sql, "br-2")
    elsewhere = await engineer.post(f"vessels/br-2/commands/{number}/cancel", why="a mistake")
    assert elsewhere.status_code == 404
    await engineer.post(f"vessels/br-1/commands/{number}/cancel", why="a mistake")
    assert await sql.fetchval("select state from commands") == "cancelled"


async def live_device(sql: asyncpg.Connection, name: str) -> None:
    await LivePlant(sql).device(name)


async def test_a_note_is_of_an_instant_or_a_range_until_it_is_withdrawn(
    engineer: Visitor, sql: asyncpg.Connection
) -> None:
    note: dict[str, Any] = {"begins": "2026-11-20T07:45:00Z", "text": "Probe changed\r\nand calibrated"}
    await engineer.post("vessels/br-1/notes", **note)
    await engineer.post("vessels/br-1/notes", **(note | {"ends": "2026-11-20T08:00:00Z", "text": "Foam"}))
    page = await engineer.shown("vessels/br-1")
    assert "Probe changed\nand calibrated" in page
    assert '<time datetime="2026-11-20T08:00:00.000000Z"' in page
    wrong = await engineer.post("vessels/br-1/notes", htmx=True, **(note | {"ends": "2026-11-20T07:00:00Z"}))
    assert (wrong.status_code, "must not be before" in wrong.text) == (422, True)
    number = await sql.fetchval("select annotation_id from annotations where text = 'Foam'")
    await engineer.post(f"vessels/br-1/notes/{number}/withdraw", why="of another vessel")
    assert ">Foam<" not in await engineer.shown("vessels/br-1/now")
    assert [action for action, _ in await audited(sql)] == ["annotation", "annotation", "annotation withdraw"]


async def test_a_stretch_is_corrected_and_the_correction_withdrawn(
    engineer: Visitor, sql: asyncpg.Connection, database_url: str
) -> None:
    given: dict[str, Any] = {
        "channel": "ph",
        "from": "-1h",
        "to": "now",
        "offset": "-0.5",
        "why": "wrong <buffer>",
        "factor": "",
    }
    answer = await engineer.post("vessels/br-1/corrections", htmx=True, **given)
    assert json.loads(answer.headers["HX-Trigger"])["changed"]["said"] == "Correction 1 is made."
    page = unescape(await engineer.shown("vessels/br-1/now"))
    assert "− 0.5 pH" in page
    assert "wrong <buffer>" in page
    wrong = await engineer.post("vessels/br-1/corrections", htmx=True, **(given | {"value": "7"}))
    assert (wrong.status_code, "Value: give a value, or factor and offset." in wrong.text) == (422, True)
    plain = await engineer.post("vessels/br-1/corrections/1/withdraw", why="it was right")  # without JavaScript
    assert plain.status_code == 303
    assert "Corrections" not in await engineer.shown("vessels/br-1/now")
    assert [action for action, _ in await audited(sql)] == ["correction make", "correction withdraw"]
    async with visiting(database_url, sql, "olga@example.org", Role.OPERATOR) as olga:
        assert "vessels/br-1/corrections" not in await olga.shown("vessels/br-1")
        assert (await olga.post("vessels/br-1/corrections", **given)).status_code == 403


async def test_what_is_said_of_a_channel_is_what_was_changed(engineer: Visitor, sql: asyncpg.Connection) -> None:
    async def fields() -> dict[str, Any]:
        page = await engineer.shown("vessels/br-1/channels/temperature")
        found = dict(re.findall(r'<input(?: type="hidden")? name="(\w+)"[^>]*?value="([^"]*)"', page))
        found |= dict(re.findall(r'<input name="(low|high|decimals)"[^>]*value="([^"]*)"', page))
        found["kind"] = re.findall(r'<option value="(\w+)" selected>', page)[0]
        return {name: unescape(value) for name, value in found.items()} | {"step": "false", "why": "new sensor"}

    as_it_is = await fields()
    assert (as_it_is["unit"], as_it_is["kind"], float(as_it_is["high"])) == ("°C", "PV", 60)
    nothing = await engineer.post("vessels/br-1/channels/temperature", htmx=True, **as_it_is)
    assert (nothing.status_code, "changes nothing" in nothing.text) == (422, True)
    changed = as_it_is | {"title": "Broth", "low": "20", "high": "45"}
    done = await engineer.post("vessels/br-1/channels/temperature", **changed)
    assert (done.status_code, done.headers["location"]) == (303, "/app/main/vessels/br-1/channels")
    [row] = await sql.fetch(
        "select title, low, high, kind, decimals from channel_descriptions where device_id is not null"
    )
    assert tuple(row) == ("Broth", 20, 45, None, None), "what is left as it is is not said anew"
    assert "<b>Broth</b>" in await engineer.shown("vessels/br-1")
    stale = await engineer.post("vessels/br-1/channels/temperature", htmx=True, **(changed | {"title": "Other"}))
    assert stale.status_code == 412, "somebody has changed it meanwhile"
    back = await fields() | {"title": ""}
    await engineer.post("vessels/br-1/channels/temperature", **back)
    assert await sql.fetchval(f"select title {OF_DEVICE}") is None
    since = await fields() | {"unit": "K", "unit_since": "2026-11-20T07:45:00Z"}
    await engineer.post("vessels/br-1/channels/temperature", **since)
    assert "K since" in await engineer.shown("vessels/br-1/channels/temperature")
    assert [why for _, why in await audited(sql)] == ["new sensor"] * 3


# Who may what


async def test_who_may_not_act_sees_no_act_and_is_refused(
    viewer: Visitor, live: LivePlant, sql: asyncpg.Connection, database_url: str
) -> None:
    page = await viewer.shown("vessels/br-1") + await viewer.shown("vessels/br-1/channels")
    for words in ("Set point…", "Command…", "Note…", "Change…", "Withdraw…"):
        assert words not in page
    assert "Export…" in page
    acts: dict[str, dict[str, Any]] = {
        "setpoint": SETPOINT | {"key": "k"},
        "commands": {"name": "control", "why": "x", "key": "k"},
        "channels/ph": {"version": "0", "title": "x", "why": "y"},
    }
    notes: dict[str, Any] = {"begins": "now", "text": "x"}
    for path, fields in (acts | {"notes": notes}).items():
        assert (await viewer.post(f"vessels/br-1/{path}", **fields)).status_code == 403, path
    async with visiting(database_url, sql, "otto@example.org", Role.OPERATOR) as operator:
        page = await operator.shown("vessels/br-1")
        assert "Note…" in page
        assert "Set point…" not in page
        assert (await operator.post("vessels/br-1/notes", **notes)).status_code == 303
        for path, fields in acts.items():
            assert (await operator.post(f"vessels/br-1/{path}", **fields)).status_code == 403, path
    assert await sql.fetchval("select count(*) from commands") == 0


async def test_a_key_needs_all_that_the_page_shows(viewer: Visitor, live: LivePlant, sql: asyncpg.Connection) -> None:
    viewer.client.cookies.clear()
    for scopes, status in ((tuple(Scope), 200), ((Scope.TELEMETRY_READ, Scope.DEVICES_READ), 403)):
        key = await api_key(sql, role=Role.VIEWER, scopes=scopes)
        assert (await viewer.get("vessels/br-1", headers=bearer(key))).status_code == status


# Pure


def _terms(**kinds: Any) -> dict[str, ChannelTerms]:
    return {name: ChannelTerms(None, None, None, kind, None, None, None, False) for name, kind in kinds.items()}


def test_charts_are_those_that_are_chosen_or_the_main_ones() -> None:
    terms = _terms(weight="PV", ph="PV", ph_setpoint="SP", temperature="PV", stir_output="output", other=None)
    assert charts(terms, [], []) == [["temperature"], ["ph"], ["weight"], ["other"]]
    assert charts(terms, ["ph", "weight", "nothing", "ph"], ["weight"]) == [["ph", "weight"]]
    assert charts(terms, ["ph", "weight"], ["ph"]) == [["ph"], ["weight"]]


@pytest.mark.parametrize(
    ("phases", "hour"),
    [
        ("", None),
        ("setup inoculation batch", 1),
        ("inoculation batch inoculation batch feed batch", 2),
        ("growth production cleaning growth production", 3),
        ("growth production", 0),
    ],
)
def test_hours_count_from_the_newest_inoculation_or_the_begin_of_the_run(phases: str, hour: int | None) -> None:
    begin = datetime(2026, 11, 20, tzinfo=UTC)
    found = inoculated([PhaseBegin(name, begin + timedelta(hours=n)) for n, name in enumerate(phases.split())])
    assert found == (None if hour is None else begin + timedelta(hours=hour))


async def test_who_asks_for_no_time_sees_a_short_run_whole(viewer: Visitor, sql: asyncpg.Connection) -> None:
    plant = Plant(sql)
    for name, hours in (("young", 1), ("old", 20)):
        device = await plant.device(name)
        await plant.layout(device, "ph")
        await plant.event(device, datetime.now(UTC) - timedelta(hours=hours), "phase", {"phase": "inoculation"})
    for name, shown in (("young", "Run"), ("old", "8 h")):
        page = await viewer.shown(f"vessels/{name}")
        assert re.search(rf"aria-current[^>]*>{shown}<", page), name
