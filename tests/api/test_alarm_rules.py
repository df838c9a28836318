"""Rules of alarms over HTTP: made, changed, removed, and taken in and out as a file."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from api.access.roles import Role
from schema.alarms import files
from tests.api import alarms
from tests.api.accounts import Served, api_key
from tests.api.conform import conforms
from tests.api.operators import Operator, shape
from tests.api.plant import Plant, at

WHY = {"why": "as the test says"}
NEW = {"If-None-Match": "*"}


@pytest.fixture
async def engineer(plant: Plant, client: Served) -> Operator:
    return Operator(client, await api_key(plant.sql, role=Role.ENGINEER))


async def put(it: Operator, name: str, headers: dict[str, str] | None = None, /, **changes: Any) -> httpx2.Response:
    path, body = f"/api/v1/alarm-rules/{name}", alarms.RULE | changes
    return await it.client.put(path, json=body, params=WHY, headers=it.headers | (headers or {}))


async def import_(it: Operator, content: str, **asked: str) -> httpx2.Response:
    headers = it.headers | {"Content-Type": "application/yaml"}
    path = "/api/v1/alarm-rules.yaml"
    return await it.client.post(path, content=content.encode(), params=WHY | asked, headers=headers)


async def export(it: Operator) -> str:
    answer = await it.client.get("/api/v1/alarm-rules.yaml", headers=it.headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/yaml"
    return answer.text


async def test_a_rule_is_made_changed_and_removed_and_the_audit_trail_has_it(plant: Plant, engineer: Operator) -> None:
    made = await put(engineer, "hot", priority="high")
    assert (made.status_code, made.headers["etag"]) == (201, '"1"'), made.text
    conforms(shape("RuleDetail"), made.json())
    again = await put(engineer, "hot", priority="high")
    assert (again.status_code, again.headers["etag"]) == (200, '"1"'), "the same again is no change"
    changed = await put(engineer, "hot", priority="low")
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    seen = await engineer.get("/alarm-rules/hot", "RuleDetail")
    assert seen == changed.json()
    assert (seen["priority"], seen["enabled"], seen["definition"]["when"]["limit"]) == ("low", True, 38.0)
    gone = await engineer.client.delete("/api/v1/alarm-rules/hot", params=WHY, headers=engineer.headers)
    assert gone.status_code == 200
    conforms(shape("SavedRule"), gone.json())
    assert await engineer.not_shown("/alarm-rules/hot") == 404
    assert (await engineer.get("/alarm-rules", "Rules"))["rules"] == []
    events = (await engineer.get("/audit", subject="alarm-rule/hot", order="asc"))["events"]
    assert [(event["action"], event["who"], event["why"]) for event in events] == [
        (f"alarm rule {action}", engineer.who, "as the test says") for action in ("create", "change", "remove")
    ]
    assert [event["new"] and event["new"]["priority"] for event in events] == ["high", "low", None]


async def test_a_change_that_expects_something_else_is_refused(plant: Plant, engineer: Operator) -> None:
    for headers, status in (
        *(({"If-Match": '"1"'}, 412), ({"If-Match": "*"}, 412), (NEW, 201), (NEW, 412), ({"If-Match": '"2"'}, 412)),
        *(({"If-Match": "1"}, 422), ({"If-None-Match": '"1"'}, 422), (NEW | {"If-Match": "*"}, 422)),
        *(({"If-Match": "*"}, 200), ({"If-Match": '"1"'}, 200)),
    ):
        answer = await put(engineer, "hot", headers)
        assert answer.status_code == status, (headers, answer.text)
    raced = await asyncio.gather(*(put(engineer, "hot", {"If-Match": '"1"'}, title=f"t{n}") for n in range(4)))
    assert sorted(answer.status_code for answer in raced) == [200, 412, 412, 412]
    for tag, status in (('"1"', 412), ('"2"', 200), ('"2"', 404)):
        headers = engineer.headers | {"If-Match": tag}
        answer = await engineer.client.delete("/api/v1/alarm-rules/hot", params=WHY, headers=headers)
        assert answer.status_code == status, answer.text


FAULTS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"when": alarms.LIMIT | {"limit": "38"}}, {"parameter": "when.limit"}),
    (
        {"when": {"kind": "formula", "expression": "temperature > 38 and (ph < 6.5"}},
        {"parameter": "when.expression", "column": 22},
    ),
    (
        {"clear": "temperature <"},
        {"parameter": "clear", "column": 14, "detail": "column 14: the formula cannot be read: it ends too early"},
    ),
    ({"scope": {"devices": ["br-1", "-"]}}, {"parameter": "scope.devices.1"}),
    ({"extra": 1}, {"parameter": "extra"}),
    ({"name": "hot"}, {"parameter": "name"}),
    ({"when": alarms.LIMIT | {"deadband": 50}}, {"parameter": "when"}),
    ({"when": alarms.LIMIT | {"limit": 10**400}}, {"parameter": "when.limit"}),
)


async def test_a_rule_that_contradicts_itself_is_refused_with_the_place(engineer: Operator) -> None:
    for changes, fault in FAULTS:
        answer = await put(engineer, "hot", **changes)
        assert answer.status_code == 422, answer.text
        [found] = answer.json()["errors"]
        assert found | fault == found, answer.text
    assert await engineer.not_shown("/alarm-rules/hot") == 404


async def test_the_list_is_filtered_and_comes_in_pages(plant: Plant, engineer: Operator) -> None:
    formula = {"kind": "formula", "expression": 'temperature > 38 and ch("ph 2") < 7'}
    await put(engineer, "a", scope={"tags": ["pilot", "ecoli"]})
    await put(engineer, "b", enabled=False, priority="critical")
    await put(engineer, "c", when=formula, scope={"tags": ["pilot"]})
    await put(engineer, "d", when={"kind": "deviation", "channel": "ph", "limit": 1})
    await put(engineer, "e", when={"kind": "silent", "after": 30})
    for asked, names in (
        *(({}, "abcde"), ({"enabled": False}, "b"), ({"tag": "pilot"}, "ac"), ({"tag": ["pilot", "ecoli"]}, "a")),
        *(({"priority": ["critical", "high"]}, "b"), ({"channel": "temperature"}, "abc"), ({"channel": "ph 2"}, "c")),
        *(({"channel": "ph"}, "d"), ({"channel": "ph_setpoint"}, "d"), ({"channel": "temp"}, "")),
    ):
        page = await engineer.get("/alarm-rules", "Rules", **asked)
        assert "".join(one["rule"] for one in page["rules"]) == names, asked
        found, cursor = "", dict[str, str]()
        while True:
            page = await engineer.get("/alarm-rules", "Rules", limit=1, **asked, **cursor)
            found += "".join(one["rule"] for one in page["rules"])
            if not page["truncated"]:
                break
            cursor = {"cursor": page["next"]}
        assert found == names
    answer = await engineer.client.get("/api/v1/alarm-rules.csv", headers=engineer.headers)
    assert answer.text.splitlines()[1].startswith("a,1,Temperature high,medium,true,")


LIMIT = alarms.LIMIT
NEVER = "no device in its scope has ever sent"
NOT_LATELY = "no device in its scope was in the phase"
SUSPECTS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({}, LIMIT, []),
    ({}, {"kind": "silent", "after": 30}, []),
    ({"phases": ["batch", "exponential feed"]}, LIMIT, []),
    # Devices.
    ({"devices": ["br-1", "br-9"]}, LIMIT, ["in its scope, but not registered: br-9"]),
    ({"tags": ["pilot"]}, LIMIT, ["no device is in its scope"]),
    ({"devices": ["br-3"]}, LIMIT, ["no device is in its scope"]),  # that is retired
    # Channels: of another device, misspelled, of a setpoint, in formulas.
    ({"devices": ["br-2"]}, LIMIT, [f"{NEVER} 'temperature'"]),
    ({}, LIMIT | {"channel": "temprature"}, [f"{NEVER} 'temprature'; did you mean 'temperature'?"]),
    ({}, LIMIT | {"channel": "Temperature"}, [f"{NEVER} 'Temperature'; did you mean 'temperature'?"]),
    (
        {"devices": ["br-1"]},
        {"kind": "deviation", "channel": "temperature", "limit": 1},
        [f"{NEVER} 'temperature_setpoint'; did you mean 'temperature'?"],
    ),
    (
        {"devices": ["br-1"]},
        {"kind": "formula", "expression": "temperature > 1 or ph > 1 or x > 1"},
        [f"{NEVER} 'ph'", f"{NEVER} 'x'"],
    ),
    # Phases: with another name, of another device, misspelled.
    ({"phases": ["batch", "feed"]}, LIMIT, [f"{NOT_LATELY} 'feed' lately; did you mean 'exponential feed'?"]),
    ({"devices": ["br-2"], "phases": ["batch"]}, {"kind": "silent", "after": 9}, [f"{NOT_LATELY} 'batch' lately"]),
    ({"phases": ["Batch"]}, LIMIT, [f"{NOT_LATELY} 'Batch' lately; did you mean 'batch'?"]),
]


async def test_what_no_device_has_sent_is_a_warning_on_saving_trying_and_importing(
    plant: Plant, engineer: Operator
) -> None:
    device = await plant.device("br-1")
    await plant.layout(device, "temperature")
    for n, phase in enumerate(("batch", "exponential feed", None)):
        await plant.event(device, at(n), "phase", {"phase": phase})
    await plant.layout(await plant.device("br-2"), "ph")
    retired = await plant.device("br-3")
    await plant.layout(retired, "temperature", "temprature")
    await plant.sql.execute("update devices set state = 'retired' where device_id = $1", retired)
    rules = [alarms.RULE | {"scope": scope, "when": when} for scope, when, _ in SUSPECTS]
    content = alarms.file(*({"name": f"r-{n}", **rule} for n, rule in enumerate(rules)))
    wanted = [{"rule": f"r-{n}", "warnings": found} for n, (*_, found) in enumerate(SUSPECTS) if found]
    for dry_run in ("true", "false", "true"):
        imported = await import_(engineer, content, dry_run=dry_run)
        assert imported.json()["warnings"] == wanted, imported.text
    conforms(shape("Imported"), imported.json())
    for rule, (*_, found) in zip(rules, SUSPECTS, strict=True):
        answer = await put(engineer, "r", **rule)
        assert answer.status_code in {200, 201}, answer.text
        assert answer.json()["warnings"] == found
        assert (await engineer.get("/alarm-rules/r", "RuleDetail"))["warnings"] == found
    for rule, (*_, found) in list(zip(rules, SUSPECTS, strict=True))[::4]:  # of each kind: a trial starts a process
        tried = await engineer.client.post("/api/v1/alarm-trials", json={"definition": rule}, headers=engineer.headers)
        assert tried.json()["warnings"] == found


async def test_a_file_is_imported_as_a_whole_and_an_export_of_it_changes_nothing(
    plant: Plant, engineer: Operator
) -> None:
    await put(engineer, "old")
    await put(engineer, "same", title="Größe > 5 %: warm")
    cold = {"name": "cold", "title": "Cold", "when": alarms.LIMIT | {"level": "low", "limit": 20.0}}
    changed = {"name": "same", **alarms.RULE, "title": "Größe", "when": alarms.LIMIT | {"limit": 39}}
    wanted = {
        "created": ["cold"],
        "changed": [{"rule": "same", "fields": ["title", "when.limit"]}],
        "removed": ["old"],
        "unchanged": 0,
        "warnings": [{"rule": name, "warnings": ["no device is in its scope"]} for name in ("cold", "same")],
    }
    before = await export(engineer)
    answer = await import_(engineer, alarms.file(cold, changed), remove="true", dry_run="true")
    assert answer.json() == {"dry_run": True, **wanted}, answer.text
    assert await export(engineer) == before
    answer = await import_(engineer, alarms.file(cold, changed), remove="true")
    assert answer.json() == {"dry_run": False, **wanted}
    conforms(shape("Imported"), answer.json())
    assert [one.name for one in files.load(await export(engineer))] == ["cold", "same"]
    events = await plant.sql.fetchval("select count(*) from audit")
    answer = await import_(engineer, await export(engineer), remove="true")
    unchanged = {"created": [], "changed": [], "removed": [], "unchanged": 2}
    assert answer.json() == {"dry_run": False, **unchanged, "warnings": wanted["warnings"]}
    assert await plant.sql.fetchval("select count(*) from audit") == events
    page = (await engineer.get("/alarm-rules"))["rules"]
    assert [(one["rule"], one["version"]) for one in page] == [("cold", 1), ("same", 2)]


async def test_of_a_bad_file_nothing_is_taken_and_each_fault_has_its_line(engineer: Operator) -> None:
    bad = """rules:
- name: fine
  title: Fine
  when: {kind: silent, after: 30}
- name: bad
  title: Bad
  when:
    kind: formula
    expression: temperature >
"""
    answer = await import_(engineer, bad)
    assert answer.status_code == 422
    [fault] = answer.json()["errors"]
    assert (fault["line"], fault["rule"], fault["parameter"]) == (9, "bad", "when.expression")
    assert fault["detail"].startswith("column 14: ")
    assert (await engineer.get("/alarm-rules"))["rules"] == []
    for content, status in (("", 422), ("rules: [", 422), ("x" * (files.MAX_BYTES + 1), 413), ("rules: []", 200)):
        assert (await import_(engineer, content)).status_code == status


async def test_there_are_at_most_as_many_rules_as_a_file_can_hold(plant: Plant, engineer: Operator) -> None:
    await alarms.rule(plant.sql, "first")
    await plant.sql.execute(
        "insert into alarm_rules (organization_id, name, definition)"
        " select 1, 'r-' || n, definition from alarm_rules, generate_series(1, $1) n",
        files.MAX_RULES - 1,
    )
    assert (await put(engineer, "one-more")).status_code == 409
    assert (await put(engineer, "first", title="Changed")).status_code == 200
    answer = await import_(engineer, alarms.file({"name": "one-more", **alarms.RULE}))
    assert answer.status_code == 409, answer.text
    exported = await export(engineer)
    answer = await import_(engineer, exported, dry_run="true")
    assert answer.json()["unchanged"] == files.MAX_RULES


async def test_a_rule_of_another_version_is_shown_and_can_be_changed_but_not_exported(
    plant: Plant, engineer: Operator
) -> None:
    number = await alarms.rule(plant.sql, "old")
    await plant.sql.execute(
        "update alarm_rules set definition = definition || '{\"was\": 1}' where rule_id = $1", number
    )
    seen = await engineer.get("/alarm-rules/old")
    assert seen["warnings"] == ["rule old was saved by another version and cannot be read: change it"]
    assert await engineer.not_shown("/alarm-rules.yaml") == 409
    assert (await put(engineer, "old")).status_code == 200
    assert "old" in await export(engineer)


async def test_only_engineers_change_rules(plant: Plant, engineer: Operator) -> None:
    operator = Operator(engineer.client, await api_key(plant.sql, role=Role.OPERATOR))
    viewer = Operator(engineer.client, await api_key(plant.sql, role=Role.VIEWER))
    assert (await put(operator, "hot")).status_code == 403
    assert (await import_(operator, alarms.file(), dry_run="true")).status_code == 403
    await put(engineer, "hot")
    assert (await viewer.get("/alarm-rules/hot"))["rule"] == "hot"
    assert (await put(engineer, "Hot")).status_code == 422
