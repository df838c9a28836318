"""Computed channels over HTTP and by command: definitions, constants, units, closed forms, and whose they are."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from api.access.roles import Role
from api.shapes.computed import ComputedDefinition
from api.shapes.standard_computed import STANDARD_COMPUTED
from schema.migrate import OPERATOR
from tests.api.accounts import api_key
from tests.api.conform import conforms
from tests.api.operators import ORDER, Operator, shape
from tests.api.plant import Plant, at, text
from tests.api.test_devices import north, operator
from tests.forked import Talking
from tests.in_turn import in_turn
from tests.roles import as_role

__all__ = ["north", "operator"]
WHY = {"why": "as the test says"}
SUM: dict[str, Any] = {
    "formula": "ph + pressure * k",
    "inputs": {"ph": "pH", "pressure": "mbar"},
    "constants": {"k": 2},
}
TIME = {"from": text(0), "to": text(100_000)}
STANDARD = {it.name: it.definition for it in STANDARD_COMPUTED}


async def define(caller: Operator, name: str, definition: Any, **headers: str) -> httpx2.Response:
    url = f"/api/v1/computed-channels/{name}"
    return await caller.client.put(url, params=WHY, json=definition, headers=caller.headers | headers)


async def say(caller: Operator, device: str, if_match: str | None = None, **constants: Any) -> httpx2.Response:
    headers = caller.headers | ({} if if_match is None else {"If-Match": if_match})
    url = f"/api/v1/devices/{device}/constants"
    return await caller.client.patch(url, json=ORDER | {"constants": constants}, headers=headers)


async def sender(plant: Plant, name: str, organization: str = "main", **channels: list[float | None]) -> int:
    """A device that has sent these channels, a frame each ten seconds."""
    device = int(
        await plant.sql.fetchval(
            "insert into devices (name, organization_id) values ($1, organization_number($2)) returning device_id",
            *(name, organization),
        )
    )
    layout = await plant.layout(device, *channels)
    rows = await plant.sql.fetch("select name from channels where name = any ($1) order by channel_id", list(channels))
    columns = [channels[row["name"]] for row in rows]
    frames = [(at(10 * n), list(values), None) for n, values in enumerate(zip(*columns, strict=True))]
    await plant.frames(device, layout, frames)
    return device


async def values(caller: Operator, name: str, device: str = "br-1", **asked: Any) -> list[float | None]:
    parameters = TIME | {"device": device, "channel": name, "quality": "all"} | asked
    return [row[2] for row in (await caller.get("/telemetry", **parameters))["rows"]]


async def test_a_definition_is_made_shown_changed_and_removed_with_an_audit_trail(
    plant: Plant, operator: Operator
) -> None:
    await sender(plant, "br-1", ph=[7, 8], pressure=[1, 2])
    made = await define(operator, "sum", SUM | {"unit": "1", "title": "Sum", "decimals": 1, "source": "me"})
    assert (made.status_code, made.headers["ETag"]) == (201, '"1"'), made.text
    conforms(shape("ComputedDetail"), made.json())
    assert made.json()["warnings"] == []
    url = "/api/v1/computed-channels/sum"
    assert (await operator.client.get(url, headers=operator.headers)).json() == made.json()
    assert await values(operator, "sum") == [2007, 4008]  # bar is converted to mbar
    listed = (await operator.get("/devices/br-1/channels"))["channels"]
    wanted = {"channel": "sum", "unit": "1", "title": "Sum", "decimals": 1, "step": False, "computed": True}
    assert wanted.items() <= listed[-1].items()
    assert (listed[-1]["formula"], listed[-1]["source"]) == (SUM["formula"], "me")
    assert [one["computed"] for one in listed] == [False, False, True]
    assert listed[-1] in (await operator.get("/channels"))["channels"]
    again = await define(operator, "sum", made.json()["definition"])
    assert (again.status_code, again.headers["ETag"]) == (200, '"1"')
    assert (await define(operator, "sum", SUM, **{"If-None-Match": "*"})).status_code == 412
    changed = await define(operator, "sum", SUM | {"constants": {"k": 3}}, **{"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    assert (await define(operator, "sum", SUM, **{"If-Match": '"1"'})).status_code == 412
    assert await values(operator, "sum") == [3007, 6008]
    for if_match, status in (('"1"', 412), ('"2"', 200)):
        removed = await operator.client.delete(url, params=WHY, headers=operator.headers | {"If-Match": if_match})
        assert removed.status_code == status, removed.text
    assert await operator.not_shown("/computed-channels/sum") == 404
    rows = await plant.sql.fetch(
        "select who, action, subject, old ->> 'formula' as old, new ->> 'formula' as new, why from audit"
        " where subject = 'computed-channel/sum' order by n"
    )
    said = (operator.who, "computed-channel/sum", SUM["formula"], "as the test says")
    assert [tuple(row) for row in rows] == [
        (said[0], "computed channel create", said[1], None, said[2], said[3]),
        (said[0], "computed channel change", said[1], said[2], said[2], said[3]),
        (said[0], "computed channel remove", said[1], said[2], None, said[3]),
    ]


@in_turn(
    ("change", "parameter", "why"),
    [
        ({"formula": "ph +"}, "formula", "column 5"),
        ({"formula": "ph > pressure"}, "formula", "a number is required"),
        ({"formula": "ph + pressure * k + rate(ph)"}, "formula", "a window, as in"),
        ({"formula": "ph"}, "inputs", "does not read pressure: leave it out"),
        ({"formula": "ph + pressure"}, "constants", "does not read k: leave it out"),
        ({"formula": "ph + pressure * k * temperature"}, "inputs", "the formula reads temperature: give its unit here"),
        ({"constants": {"k": 2, "ph": 1}}, "constants", "ph is among the inputs"),
        ({"constants": {"k": "2026-11-20Z"}}, "constants", "an instant, which can only be where a total begins"),
        ({"constants": {"k": "soon"}}, "constants", "ISO 8601"),
        ({"formula": "ph + pressure + total(ph, k)"}, "constants", "it is an instant, and no number"),
        ({"formula": "ph + pressure * k + total(ph, start)"}, "constants", "a total begins at start"),
        ({"formula": "ph + pressure * k + rate(k, '1h')"}, "formula", "needs a channel within it"),
        ({"formula": "ph + pressure * k" + " + 1" * 400}, "formula", "1000"),
        ({"max_age": "2d"}, "max_age", "at most 1d"),
        ({"inputs": {}}, "inputs", "at least 1"),
        ({"colour": "red"}, "colour", ""),
    ],
)
async def test_a_bad_definition_is_refused_with_what_to_change(
    operator: Operator, change: dict[str, Any], parameter: str, why: str
) -> None:
    answer = await define(operator, "sum", SUM | change)
    assert answer.status_code == 422, answer.text
    assert why in answer.json()["detail"], answer.text
    assert answer.json()["errors"][0]["parameter"].startswith(parameter), answer.text


async def test_names_are_those_of_no_device_and_inputs_are_sent(plant: Plant, operator: Operator) -> None:
    await sender(plant, "br-1", ph=[7.0], pressure=[1.0])
    answer = await define(operator, "pressure", {"formula": "ph", "inputs": {"ph": None}})
    assert (answer.status_code, "br-1 sends a channel of the name pressure" in answer.text) == (409, True)
    assert (await define(operator, "sum", SUM)).status_code == 201
    answer = await define(operator, "twice", {"formula": "sum * 2", "inputs": {"sum": None}})
    assert (answer.status_code, "sum is computed" in answer.text) == (409, True)
    answer = await define(operator, "own", {"formula": "own * 2", "inputs": {"own": None}})
    assert (answer.status_code, answer.json()["warnings"]) == (201, ["no device has sent own so far"])
    assert (await define(operator, "a%20", SUM)).status_code == 422


async def test_what_a_device_sends_later_wins_and_the_answer_says_so(plant: Plant, operator: Operator) -> None:
    await sender(plant, "br-1", ph=[7.0], pressure=[1.0])
    await define(operator, "sum", SUM)
    await sender(plant, "br-2", ph=[7.0], pressure=[1.0], sum=[5.0])
    found = await operator.get("/telemetry", device="*", channel="sum", **TIME)
    assert [row[2:] for row in found["rows"]] == [[2007.0, None], [None, 5.0]]
    assert [one["computed"] for one in found["columns"]] == [True, False]
    assert found["warnings"] == ["br-2 sends a channel named sum: that is shown, and not computed"]
    assert "br-2 sends a channel of this name" in (await operator.get("/computed-channels/sum"))["warnings"][0]


async def test_only_named_and_matched_channels_are_computed(plant: Plant, operator: Operator) -> None:
    await sender(plant, "br-1", ph=[7.0], pressure=[1.0])
    await define(operator, "sum", SUM)

    async def columns(**asked: str) -> list[str]:
        found = await operator.get("/telemetry", device="br-1", **TIME, **asked)
        return [one["channel"] for one in found["columns"]]

    assert await columns() == ["ph", "pressure"]
    assert await columns(channel="*") == ["ph", "pressure", "sum"]
    assert await columns(channel="s*m") == ["sum"]


async def test_a_device_without_an_input_does_not_have_it(plant: Plant, operator: Operator) -> None:
    await sender(plant, "br-1", ph=[7.0])
    await define(operator, "sum", SUM)
    for url in ("/telemetry?device=br-1&", "/devices/br-1/telemetry?"):
        answer = await operator.client.get(f"/api/v1{url}channel=sum", headers=operator.headers)
        assert answer.status_code == 422
        assert "sum is computed of pressure, which br-1 has never sent" in answer.json()["detail"]
    await sender(plant, "br-2", ph=[7.0], pressure=[1.0])
    found = await operator.get("/telemetry", device="*", channel="sum", **TIME)
    assert found["warnings"] == ["sum is computed of pressure, which br-1 has never sent"]
    assert "sum" not in [one["channel"] for one in (await operator.get("/devices/br-1/channels"))["channels"]]


async def test_constants_of_a_device_count_before_those_of_the_definition(plant: Plant, operator: Operator) -> None:
    for name in ("br-1", "br-2"):
        await sender(plant, name, ph=[7.0], pressure=[1.0])
    await define(operator, "sum", SUM | {"constants": {"k": None}})
    missing = await operator.get("/devices/br-1/constants", "DeviceConstants")
    assert (missing["constants"], missing["missing"], missing["version"]) == ({}, ["k"], 1)
    found = await operator.get("/telemetry", device="br-1", channel="sum", quality="all", **TIME)
    assert (found["rows"][0][2], found["qualities"]) == (None, [[1]])
    assert "nobody has said k; PATCH /api/v1/devices/br-1/constants" in found["warnings"][0]
    answer = await say(operator, "br-1", '"1"', k=5)
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"'), answer.text
    assert (answer.json()["constants"], answer.json()["missing"]) == ({"k": 5.0}, [])
    assert (await say(operator, "br-1", '"1"', k=6)).status_code == 412
    assert (await values(operator, "sum"), await values(operator, "sum", "br-2")) == ([5007], [None])
    assert (await say(operator, "br-1", k=None)).json()["constants"] == {}
    assert (await say(operator, "br-9", k=1)).status_code == 404
    many: dict[str, Any] = {f"c{n}": 1 for n in range(101)}
    assert (await say(operator, "br-1", **many)).status_code == 422
    events = await plant.sql.fetch(
        "select old::text, new::text from audit where action = 'device constants' order by n"
    )
    assert [(json.loads(row["old"]), json.loads(row["new"])) for row in events] == [({}, {"k": 5.0}), ({"k": 5.0}, {})]


async def test_inputs_are_converted_and_what_cannot_be_is_null_with_a_warning(plant: Plant, operator: Operator) -> None:
    await sender(plant, "br-1", ph=[7, 7, 7, 7], pressure=[1, 1, 1, 1])
    await define(operator, "sum", SUM | {"unit": "mbar"})
    change = {"unit": "kPa", "unit_since": text(20)} | ORDER
    await operator.client.patch("/api/v1/channels/pressure", json=change, headers=operator.headers)
    assert await values(operator, "sum") == [2007, 2007, 27, 27]
    assert await values(operator, "sum", unit="bar") == pytest.approx([2.007, 2.007, 0.027, 0.027])
    change = {"unit": "furlong", "unit_since": text(10)} | ORDER
    await operator.client.patch("/api/v1/devices/br-1/channels/pressure", json=change, headers=operator.headers)
    found = await operator.get("/telemetry", device="br-1", channel="sum", quality="all", **TIME)
    assert found["rows"][0][2] == 2007
    assert found["warnings"] == ["sum of br-1: pressure in furlong cannot be in mbar: what is computed of it is null"]


async def test_buckets_of_a_long_time_are_of_the_computed_series(plant: Plant, operator: Operator) -> None:
    """Continuous aggregates of an input are no help."""
    await sender(plant, "br-1", ph=[float(n) for n in range(100)], pressure=[0.0] * 100)
    await define(operator, "square", {"formula": "ph * ph", "inputs": {"ph": None}})
    for name in ("telemetry_1h", "telemetry_1m"):  # as the community edition has them
        if not await plant.sql.fetchval("select to_regclass($1) is not null", f"api.{name}"):
            await plant.sql.execute(f"create materialized view api.{name} as select * from public.{name}")
            await plant.sql.execute(f"grant select on api.{name} to biogate_api")
    asked = {"from": text(-86400 * 3), "to": text(86400), "bucket": "1d", "aggregate": "avg", "quality": "good"}
    assert await values(operator, "square", **asked) == [sum(n * n for n in range(100)) / 100]


async def test_the_gas_balance_closes(plant: Plant, operator: Operator) -> None:
    """Of a gas flow whose inert part leaves as it came: what was taken up and given off is found again."""
    flow, volume, molar, o2, co2, our, cer = 60.0, 2.0, 22.414, 20.95, 0.04, 35.0, 31.5
    gas_in = flow / molar * 1000  # mmol/h
    out = {"o2": gas_in * o2 / 100 - our * volume, "co2": gas_in * co2 / 100 + cer * volume}
    total = out["o2"] + out["co2"] + gas_in * (100 - o2 - co2) / 100
    exhaust: dict[str, Any] = {f"exhaust_{name}": [100 * amount / total] for name, amount in out.items()}
    await sender(plant, "br-1", gas_flow=[flow], dissolved_oxygen=[40.0], **exhaust)
    for name in ("our", "cer", "respiratory_quotient", "kla"):
        assert (await define(operator, name, STANDARD[name].model_dump())).status_code == 201
    await say(operator, "br-1", working_volume=volume)
    assert await values(operator, "our") == pytest.approx([our], rel=1e-9)
    assert await values(operator, "cer") == pytest.approx([cer], rel=1e-9)
    assert await values(operator, "respiratory_quotient") == pytest.approx([cer / our], rel=1e-9)
    driving = 0.21 * (exhaust["exhaust_o2"][0] / o2 - 0.4)
    assert await values(operator, "kla") == pytest.approx([our / driving], rel=1e-9)


async def test_growth_and_feed_are_those_of_their_closed_forms(plant: Plant, operator: Operator) -> None:
    hours = [n / 360 for n in range(720)]
    od = [0.2 * math.exp(0.4 * hour) for hour in hours]
    feed: list[float | None] = [3.0 + 2.0 * hour for hour in hours]
    await sender(plant, "br-1", optical_density=list(od), feed_a_rate=feed)
    for name in ("growth_rate", "feed_a_since_start"):
        assert (await define(operator, name, STANDARD[name].model_dump())).status_code == 201
    await say(operator, "br-1", start=text(1800))
    found = await values(operator, "growth_rate")
    early = found.count(None)
    assert (found[:early], 180 <= early < 188) == ([None] * early, True)
    assert [one for one in found if one is not None] == pytest.approx([0.4] * (720 - early), rel=1e-9)
    totals = await values(operator, "feed_a_since_start")
    assert totals[:180] == [None] * 180
    wanted = [3 * (hour - 0.5) + hour**2 - 0.25 for hour in hours[180:]]
    assert [one for one in totals[180:] if one is not None] == pytest.approx(wanted, abs=1e-9)
    in_parts = await values(operator, "feed_a_since_start", **{"from": text(5000)})
    assert in_parts == totals[500:]


async def test_the_standard_list_can_be_taken_over_as_it_is(plant: Plant, operator: Operator) -> None:
    listed = (await operator.get("/standard-computed-channels", "StandardComputedChannels"))["channels"]
    assert [one["channel"] for one in listed] == list(STANDARD)
    for one in listed:
        assert (await define(operator, one["channel"], one["definition"])).status_code == 201, one
        assert one["assumptions"]
        assert one["source"]


async def test_who_may_change_and_what_others_see(
    plant: Plant, operator: Operator, north: Operator, client: httpx2.AsyncClient
) -> None:
    await sender(plant, "br-1", ph=[7.0], pressure=[1.0])
    await sender(plant, "north-1", "north", ph=[7.0], pressure=[1.0])
    await define(operator, "sum", SUM)
    viewer = Operator(operator.client, await api_key(plant.sql, role=Role.OPERATOR))
    assert (await define(viewer, "sum", SUM)).status_code == 403
    assert (await say(viewer, "br-1", k=1)).status_code == 403
    assert await north.not_shown("/computed-channels/sum") == 404
    found = await north.get("/telemetry", device="*", channel="*", **TIME)
    assert [one["channel"] for one in found["columns"]] == ["ph", "pressure"]
    assert (await define(north, "sum", {"formula": "ph * 0", "inputs": {"ph": None}})).status_code == 201
    assert (await values(north, "sum", "north-1"), await values(operator, "sum")) == ([0], [2007])
    assert (await say(north, "br-1", k=1)).status_code == 404


async def test_there_are_at_most_a_hundred(plant: Plant, operator: Operator) -> None:
    await plant.sql.execute(
        "insert into computed_channels select 1, 'c' || n, $1 from generate_series(1, 99) n", json.dumps(SUM)
    )
    assert (await define(operator, "one", SUM)).status_code == 201
    answer = await define(operator, "more", SUM)
    assert (answer.status_code, "there are 100 computed channels" in answer.text) == (409, True)
    assert (await define(operator, "one", SUM | {"unit": "1"})).status_code == 200


async def test_a_definition_that_cannot_be_read_hides_no_other(plant: Plant, operator: Operator) -> None:
    await sender(plant, "br-1", ph=[7.0], pressure=[1.0])
    await plant.sql.execute("""insert into computed_channels values (1, 'odd', '{"formula": "?"}')""")
    await define(operator, "sum", SUM)
    found = await operator.get("/telemetry", device="br-1", channel="*", **TIME)
    assert [one["channel"] for one in found["columns"]] == ["ph", "pressure", "sum"]


def test_a_definition_reads_back_as_it_is_saved() -> None:
    for one in STANDARD.values():
        assert ComputedDefinition.model_validate_json(one.model_dump_json()) == one


async def test_the_command_does_the_same(
    plant: Plant, operator: Operator, database_url: str, tmp_path: Path, database: asyncpg.Connection
) -> None:
    await sender(plant, "br-1", ph=[7.0], pressure=[1.0])
    environment = os.environ | {"BIOGATE_DATABASE_URL": as_role(database_url, OPERATOR)}

    def command(*arguments: str, status: int = 0) -> str:
        child = Talking("deploy.command", "channels", *arguments, environment=environment)
        said = child.finish()
        assert child.wait() == status, said
        return said

    why, file = ("--why", "agreed", "--who", "eva"), tmp_path / "sum.json"
    file.write_text(json.dumps(SUM))
    assert command("define", "sum", "--file", str(file), *why) == "sum: version 1\n"
    assert command("define", "our", "--standard", "our", *why) == "our: version 1\n"
    assert command("constants", "br-1", "k=3", "start=2026-11-20T07:45:00Z", *why) == "constants of br-1: version 2\n"
    assert command("constants", "br-1", "start=", *why) == "constants of br-1: version 3\n"
    assert await values(operator, "sum") == [3007]
    assert [line.split()[0] for line in command("computed").splitlines()[1:]] == ["our", "sum"]
    assert command("standard-computed").splitlines()[1].split()[:2] == ["our", "mmol/L/h"]
    assert command("undefine", "our", *why) == "our is removed\n"
    command("undefine", "our", *why, status=1)
    command("define", "sum", *why, status=2)
    command("define", "sum", "--standard", "sum", *why, status=2)
    file.write_text(json.dumps(SUM | {"formula": "ph > 1"}))
    command("define", "sum", "--file", str(file), *why, status=2)
    command("constants", "br-1", "k", *why, status=2)
    command("constants", "br-9", "k=1", *why, status=1)


async def test_the_newest_values_have_a_computed_channel_that_is_named(
    plant: Plant, operator: Operator, north: Operator
) -> None:
    await sender(plant, "br-1", ph=[7, 8], pressure=[1, 2])
    await sender(plant, "br-2", ph=[7])  # which lacks an input
    await sender(plant, "br-3", pressure=[1, 3, None], ph=[5, 6, 7])
    await sender(plant, "br-4", "north", ph=[7, 8], pressure=[1, 2])
    await define(operator, "sum", SUM)
    [one] = (await operator.get("/devices/br-1/latest", channel="sum"))["values"]
    assert (one["channel"], one["value"], one["time"], one["quality"]) == ("sum", 4008, text(10), 0)
    questions: list[dict[str, Any]] = [
        {"channel": "sum"},
        {"channel": ["ph", "sum"]},
        {"channel": "sum", "quality": "good"},
    ]
    for asked in questions:
        found = (await operator.get("/latest", **asked))["devices"]
        shown = {
            (one["device"], it["channel"]): (it["time"], it["value"], it["unit"])
            for one in found
            for it in one["values"]
        }
        usual: dict[str, Any] = {"mode": "latest", "max_age": "1h", "device": ["br-1", "br-2", "br-3"]}
        telemetry = (await operator.get("/telemetry", **({"quality": "all"} | usual | asked)))["latest"]
        said = {(it["device"], it["channel"]): (it["time"], it["value"], it["unit"]) for it in telemetry}
        assert shown == said
        assert ("br-3", "sum") in shown
        assert ("br-2", "sum") not in shown
    assert "sum" not in {it["channel"] for it in (await operator.get("/devices/br-1/latest"))["values"]}
    assert (await north.get("/devices/br-4/latest", channel="sum"))["values"] == []
