"""What is said of channels: over HTTP, by the command and by firmware; what one organization says is its alone."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx2
import pyarrow as pa
import pytest

from api.access.roles import Role
from api.queries.devices import terms
from api.queries.units import Units
from schema.channels import STANDARD
from schema.migrate import OPERATOR
from tests.api.accounts import api_key
from tests.api.conform import conforms
from tests.api.operators import ORDER, Operator, shape
from tests.api.plant import Plant, at, text
from tests.api.test_devices import north, operator
from tests.forked import Talking
from tests.roles import as_role

__all__ = ["north", "operator"]


async def say(caller: Operator, path: str, if_match: str | None = None, **said: Any) -> httpx2.Response:
    headers = caller.headers | ({} if if_match is None else {"If-Match": if_match})
    return await caller.client.patch(f"/api/v1{path}", json=ORDER | said, headers=headers)


async def vessel(plant: Plant, name: str = "br-1", organization: str = "main") -> int:
    """A device with a frame of pressure and ph every ten seconds, ten of them."""
    device = await plant.sql.fetchval(
        "insert into devices (name, organization_id) values ($1, organization_number($2)) returning device_id",
        *(name, organization),
    )
    layout = await plant.layout(device, "pressure", "ph")
    await plant.frames(device, layout, [(at(10 * n), [7.0, 1.0 + n], None) for n in range(10)])
    return int(device)


async def units(caller: Operator, device: str = "br-1", **parameters: Any) -> dict[str, str | None]:
    found = await caller.get(f"/devices/{device}/latest", **parameters)
    return {it["channel"]: it["unit"] for it in found["values"]}


async def test_a_channel_may_have_slashes_in_its_name(plant: Plant, operator: Operator) -> None:
    device = await plant.device("br-1")
    await plant.frames(device, await plant.layout(device, "off-gas/CO2"), [(at(0), [0.04], None)])
    for path in ("/channels/off-gas%2FCO2", "/channels/off-gas/CO2"):
        said = await say(operator, path, title=f"by {path}", unit="%")
        assert (said.status_code, said.json()["channel"]) == (200, "off-gas/CO2"), said.text
        assert (await operator.get(path))["title"] == f"by {path}"
    own = await say(operator, "/devices/br-1/channels/off-gas%2FCO2", unit="ppm")
    assert own.status_code == 200, own.text
    assert (await operator.get("/devices/br-1/channels/off-gas/CO2"))["unit"] == "ppm"
    nothing = await operator.client.get("/api/v1/channels/", headers=operator.headers)
    assert nothing.status_code == 404


async def test_a_change_for_a_model_is_done_for_each_of_its_devices_or_for_none(
    plant: Plant, operator: Operator, north: Operator
) -> None:
    for name, model in (("br-1", "rev C"), ("br-2", "rev C"), ("br-3", "rev D"), ("br-4", None)):
        await vessel(plant, name)
        await plant.sql.execute("update devices set model = $2 where name = $1", name, model)
    other = await plant.device("br-5")
    await plant.sql.execute("update devices set model = 'rev C' where device_id = $1", other)  # which sends nothing
    change = ORDER | {"channel": "pressure", "model": "rev C", "unit": "mbar", "low": 0, "high": 500}
    done = await operator.client.post("/api/v1/channel-changes", json=change, headers=operator.headers)
    assert done.json() == {"channel": "pressure", "model": "rev C", "devices": ["br-1", "br-2"]}, done.text
    for name, unit in (("br-1", "mbar"), ("br-2", "mbar"), ("br-3", "bar"), ("br-4", "bar")):
        assert (await operator.get(f"/devices/{name}/channels/pressure"))["unit"] == unit, name
    assert await plant.sql.fetchval("select count(*) from audit where action = 'channel change'") == 2
    for caller, wrong, status in (
        (operator, {"model": "rev E"}, 404),
        (operator, {"channel": "pressur"}, 404),
        (operator, {"low": 900}, 422),
        (north, {}, 404),
    ):
        answer = await caller.client.post("/api/v1/channel-changes", json=change | wrong, headers=caller.headers)
        assert answer.status_code == status, answer.text
    nothing = ORDER | {"channel": "pressure", "model": "rev C"}
    assert (
        await operator.client.post("/api/v1/channel-changes", json=nothing, headers=operator.headers)
    ).status_code == 422


async def test_the_standard_list_is_a_route_and_is_what_the_database_has(
    plant: Plant, operator: Operator, database: asyncpg.Connection
) -> None:
    listed = (await operator.get("/standard-channels"))["channels"]
    names = ("channel", "unit", "description", "kind", "low", "high", "decimals", "step")
    rows = await database.fetch(
        "select name as channel, unit, description, kind, low, high, decimals, step from channels order by channel_id"
    )
    assert [{name: one[name] for name in names} for one in listed] == [dict(row) for row in rows]
    assert [one["channel"] for one in listed] == [it.name for it in STANDARD]


async def test_what_is_said_is_shown_everywhere_audited_and_bound_to_a_version(
    plant: Plant, operator: Operator
) -> None:
    await vessel(plant)
    before = await operator.client.get("/api/v1/channels/pressure", headers=operator.headers)
    assert (before.headers["ETag"], before.json()["unit"], before.json()["units"]) == (
        *('"1"', "bar"),
        [{"unit": "bar", "since": None}],
    )
    answer = await say(
        operator, "/channels/pressure", '"1"', unit="mbar", unit_since=text(50), title="Head", decimals=0
    )
    conforms(shape("ChannelDetail"), answer.json())
    assert answer.json() == before.json() | {
        **{"unit": "mbar", "title": "Head", "decimals": 0, "low": None, "high": None, "version": 2},
        "units": [{"unit": "bar", "since": None}, {"unit": "mbar", "since": text(50)}],
    }, "the range was said in another unit: it says nothing now"
    assert answer.headers["ETag"] == '"2"'
    assert (await say(operator, "/channels/pressure", '"1"', title="x")).status_code == 412
    again = await say(operator, "/channels/pressure", title="Head")
    assert (again.status_code, again.json()["version"]) == (200, 2), "what changes nothing is no version"

    assert [(one["channel"], one["unit"], one["title"]) for one in (await operator.get("/channels"))["channels"]] == [
        ("ph", "pH", None),
        ("pressure", "mbar", "Head"),
    ]
    shown = (await operator.get("/devices/br-1/channels"))["channels"]
    assert {one["channel"]: (one["unit"], one["decimals"]) for one in shown}["pressure"] == ("mbar", 0)
    [event] = await plant.sql.fetch("select who, old, new, why from audit where subject = 'channel/pressure'")
    assert (event["who"], event["why"]) == (operator.who, ORDER["why"])
    assert json.loads(event["old"]) == {"channel": "pressure", "unit": "bar"}
    new = json.loads(event["new"])
    assert datetime.fromisoformat(new.pop("since")) == at(50)
    assert new == {"channel": "pressure", "unit": "mbar", "title": "Head", "decimals": 0}

    back = await say(operator, "/channels/pressure", title=None, decimals=None)
    assert (back.json()["title"], back.json()["decimals"]) == (None, 3)


async def test_a_change_of_unit_never_relabels_what_is_stored(
    plant: Plant, operator: Operator, database: asyncpg.Connection
) -> None:
    device = await vessel(plant)
    assert (await units(operator))["pressure"] == "bar"
    await say(operator, "/channels/pressure", unit="mbar")
    assert (await units(operator))["pressure"] == "bar", "the newest sample is older than the change"
    await say(operator, "/channels/pressure", unit="mbar", unit_since=text(50))
    assert await units(operator) == {"pressure": "mbar", "ph": "pH"}
    everywhere = await operator.get("/latest")
    assert {it["channel"]: it["unit"] for it in everywhere["devices"][0]["values"]} == await units(operator)

    stored = await database.fetch(
        "select time, unit from telemetry where device_id = $1 and channel = 'pressure' order by time", device
    )
    assert [row["unit"] for row in stored] == ["bar"] * 5 + ["mbar"] * 5
    asked = {"channel": "pressure", "from": text(0), "to": text(50)}
    before = await operator.get("/devices/br-1/telemetry", **asked)
    assert ([one["unit"] for one in before["columns"]], before["warnings"]) == (["bar"], [])
    after = await operator.get("/devices/br-1/telemetry", **asked | {"from": text(50), "to": text(100)})
    assert [one["unit"] for one in after["columns"]] == ["mbar"]


async def test_answers_that_span_a_change_are_in_the_newer_unit_and_say_so(plant: Plant, operator: Operator) -> None:
    """In every mode: raw, buckets that hold the change, at, plot. Values are 1 to 10, the first five in bar."""
    await vessel(plant)
    await say(operator, "/channels/pressure", unit="mbar", unit_since=text(50))
    in_mbar = [1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6.0, 7.0, 8.0, 9.0, 10.0]
    asked = {"device": "br-1", "channel": "pressure", "from": text(0), "to": text(100)}
    said = (f"pressure is stored in bar before {text(50)} and in mbar from then on: all is converted to mbar",)

    raw = await operator.get("/telemetry", **asked)
    assert [one["unit"] for one in raw["columns"]] == ["mbar"]
    assert [row[-1] for row in raw["rows"]] == pytest.approx(in_mbar)
    assert set(said) <= set(raw["warnings"])
    for path in ("/telemetry", "/devices/br-1/telemetry"):
        where = asked if path == "/telemetry" else {name: asked[name] for name in ("channel", "from", "to")}
        found = await operator.get(path, **where, bucket="40s", aggregate="avg,max,count,sum", unit="kPa")
        cells = [row[-4:] for row in found["rows"]]
        buckets = [[value / 10 for value in in_mbar[first : first + 4]] for first in (0, 4, 8)]
        for got, some in zip(cells, buckets, strict=True):
            assert got == pytest.approx([sum(some) / len(some), max(some), len(some), sum(some)])
        assert [one["unit"] for one in found["columns"]] == ["kPa", "kPa", "1", "kPa"]
    at_ = await operator.get("/telemetry", device="br-1", channel="pressure", at=f"{text(41)},{text(61)}", unit="bar")
    assert [row[-1] for row in at_["rows"]] == pytest.approx([5.0, 0.007])
    plot = await operator.get("/telemetry", **asked, mode="plot", unit="bar")
    assert [value for _, value in plot["series"][0]["points"]] == pytest.approx([value / 1000 for value in in_mbar])
    newest = await operator.get("/telemetry", device="br-1", channel="pressure", mode="latest", unit="bar")
    assert [(it["value"], it["unit"]) for it in newest["latest"]] == [(pytest.approx(0.01), "bar")]


@pytest.mark.parametrize("quality", ["good", "all"])
async def test_files_have_the_units_that_answers_have(plant: Plant, operator: Operator, quality: str) -> None:
    """Of units that convert and of those that do not; as columns, and sample by sample."""
    await vessel(plant)
    await say(operator, "/channels/pressure", unit="mbar", unit_since=text(30))
    await say(operator, "/channels/pressure", unit="V", unit_since=text(60))
    asked = {
        "device": "br-1",
        "channel": "pressure",
        "from": text(0),
        "to": text(100),
        "unit": "kPa",
        "quality": quality,
    }
    raw = await operator.get("/telemetry", **asked)
    assert [one["unit"] for one in raw["columns"]] == ["V", "kPa"]

    async def rows(shape: str) -> list[dict[str, Any]]:
        answer = await operator.client.get(
            "/api/v1/telemetry.arrow", params=asked | {"shape": shape}, headers=operator.headers
        )
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = pa.ipc.open_stream(answer.content).read_all().to_pylist()
        return found

    wide = [[row["pressure [V]"], row["pressure [kPa]"]] for row in await rows("wide")]
    assert wide == [pytest.approx(row[-2:]) for row in raw["rows"]]
    long = sorted((row["time"], row["unit"], row["value"]) for row in await rows("long"))
    assert [unit for _, unit, _ in long] == ["kPa"] * 6 + ["V"] * 4
    assert [value for *_, value in long] == pytest.approx([100, 200, 300, 0.4, 0.5, 0.6, 7, 8, 9, 10])


async def test_units_that_do_not_convert_are_columns_of_their_own(plant: Plant, operator: Operator) -> None:
    await vessel(plant)
    await say(operator, "/channels/pressure", unit="V", unit_since=text(50))
    await say(operator, "/channels/pressure", unit="kPa", unit_since=text(80))
    asked = {"device": "br-1", "channel": "pressure", "from": text(0), "to": text(100)}
    raw = await operator.get("/telemetry", **asked)
    assert [one["unit"] for one in raw["columns"]] == ["kPa", "V"]
    assert [row[-2:] for row in raw["rows"]] == [
        *([100.0 * n, None] for n in range(1, 6)),
        *([None, float(n)] for n in range(6, 9)),
        *([float(n), None] for n in (9, 10)),
    ]
    assert len([one for one in raw["warnings"] if "a column for each" in one]) == 2
    found = await operator.get("/telemetry", **asked, bucket="1h", aggregate="min,count")
    assert [row[2:] for row in found["rows"]] == [[9.0, 7, 6.0, 3]]
    for quality in ("good", "all"):
        path = "/api/v1/telemetry.arrow"
        table = await operator.client.get(path, params=asked | {"quality": quality}, headers=operator.headers)
        columns = pa.ipc.open_stream(table.content).read_all()
        assert columns["pressure [kPa]"].to_pylist() == [row[-2] for row in raw["rows"]]
        assert columns["pressure [V]"].to_pylist() == [row[-1] for row in raw["rows"]]


async def test_a_unit_is_converted_on_request_or_refused_with_what_is_possible(
    plant: Plant, operator: Operator
) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "temperature", "dissolved_oxygen", "dissolved_oxygen_output", "feed_a_rate")
    await plant.frames(device, layout, [(at(0), [37.0, 100.0, 50.0, 1500.0], None)])
    asked = {"device": "br-1", "from": text(0), "to": text(10)}
    found = await operator.get("/telemetry", **asked, unit=["degF", "L/h", "mg/L"])
    assert {
        one["channel"]: (one["unit"], value) for one, value in zip(found["columns"], found["rows"][0][2:], strict=True)
    } == {
        "temperature": ("°F", pytest.approx(98.6)),
        "dissolved_oxygen": ("mg/L", pytest.approx(6.727, abs=0.002)),
        "dissolved_oxygen_output": ("%", 50.0),
        "feed_a_rate": ("L/h", 1.5),
    }
    assert any("37 °C, salinity 0, 1 atm" in one for one in found["warnings"]), found["warnings"]
    refused = await operator.client.get(
        "/api/v1/telemetry", params=asked | {"channel": "temperature", "unit": "bar"}, headers=operator.headers
    )
    assert refused.status_code == 422
    assert "values in °C cannot be in bar: they can be in K, °F" in refused.json()["detail"]


async def test_a_device_has_a_unit_of_its_own_and_takes_it_along(
    plant: Plant, operator: Operator, north: Operator
) -> None:
    await vessel(plant)
    await vessel(plant, "br-2")
    await say(operator, "/channels/pressure", unit="psi", unit_since=text(20))
    said = await say(operator, "/devices/br-2/channels/pressure", unit="kPa", unit_since=text(40), kind="PV")
    assert said.json()["units"] == [
        {"unit": "bar", "since": None},
        {"unit": "psi", "since": text(20)},
        {"unit": "kPa", "since": text(40)},
    ]
    await say(operator, "/channels/pressure", unit="mbar", unit_since=text(60))
    assert [(await units(operator, name))["pressure"] for name in ("br-1", "br-2")] == ["mbar", "kPa"]

    await say(north, "/channels/pressure", unit="hPa", unit_since=text(0))
    assert [(await units(operator, name))["pressure"] for name in ("br-1", "br-2")] == ["mbar", "kPa"]
    for name in ("br-1", "br-2"):
        given = await operator.client.post(
            f"/api/v1/devices/{name}/give", json=ORDER | {"organization": "north"}, headers=operator.headers
        )
        assert given.status_code in {200, 204}, given.text
    assert [(await units(north, name))["pressure"] for name in ("br-1", "br-2")] == ["mbar", "kPa"]
    await vessel(plant, "br-3", "north")
    assert (await units(north, "br-3"))["pressure"] == "hPa"
    assert (await north.get("/devices/br-1/channels/pressure"))["units"][1] == {"unit": "psi", "since": text(20)}


async def test_a_unit_that_is_said_of_a_device_stays_its_own_also_if_it_is_the_usual_one(
    plant: Plant, operator: Operator
) -> None:
    await vessel(plant)
    said = await say(operator, "/devices/br-1/channels/pressure", unit="bar")
    assert (said.status_code, said.json()["version"]) == (200, 1)
    await say(operator, "/channels/pressure", unit="psi", unit_since=text(20))
    assert (await units(operator))["pressure"] == "bar"


async def test_the_view_and_the_api_name_the_same_units(plant: Plant, operator: Operator) -> None:
    """`Units` is the view `unit_spans` for many devices at once."""
    devices = {name: await vessel(plant, name) for name in ("br-1", "br-2")}
    for path, unit, since in (
        ("/channels/pressure", "mbar", 30),
        ("/devices/br-2/channels/pressure", "kPa", 45),
        ("/channels/pressure", "psi", 70),
        ("/channels/ph", "mV", 10),
        ("/devices/br-2/channels/pressure", None, 80),
    ):
        assert (await say(operator, path, unit=unit, unit_since=text(since))).status_code == 200
    said = await plant.sql.fetchval(
        "select json_agg(json_build_array(channel_id, device_id, since, unit) order by since) from channel_units"
    )
    found = Units.of(said)
    rows = await plant.sql.fetch(
        "select t.device_id, c.channel_id, c.unit as standard, t.time, t.unit"
        " from telemetry t join channels c on c.name = t.channel"
    )
    assert len(rows) == 40
    for row in rows:
        time = row["time"].astimezone(UTC).isoformat()
        assert found.at(row["device_id"], row["channel_id"], row["standard"], time) == row["unit"], dict(row)
    for path, what in (
        ("/channels/ph", {"title": "all", "low": -500, "high": 500, "decimals": 0}),
        ("/devices/br-2/channels/pressure", {"title": "two", "kind": "SP", "low": 0, "high": 9}),
        ("/devices/br-1/channels/ph", {"step": True}),
    ):
        assert (await say(operator, path, **what)).status_code == 200
    for name, device in devices.items():
        of_view = await plant.sql.fetch("select * from channel_terms where device_id = $1", device)
        wanted = {row["channel"]: terms(row) for row in of_view}
        listed = (await operator.get(f"/devices/{name}/channels"))["channels"]
        for one in listed:
            view = wanted[one["channel"]]
            sent = {"channel": one["channel"], "computed": False, "formula": None, "source": None}
            assert {key: getattr(view, key) for key in one if key not in sent} | sent == one
    assert {row["unit"] for row in rows if row["device_id"] == devices["br-2"]} == {
        "pH",
        "mV",
        "bar",
        "mbar",
        "kPa",
        "psi",
    }


async def test_mistakes_are_told(plant: Plant, operator: Operator) -> None:
    await vessel(plant)
    for said, words in (
        ({}, "changes nothing"),
        ({"unit": ""}, "unit"),
        ({"low": 3, "high": 1}, "must be below `high`"),
        ({"low": 3}, "go together"),
        ({"kind": "pv"}, "kind"),
        ({"decimals": 10}, "decimals"),
        ({"title": "x", "unit_since": text(0)}, "goes with `unit`"),
        ({"unti": "bar"}, "unti"),
    ):
        answer = await say(operator, "/channels/pressure", **said)
        assert answer.status_code == 422, (said, answer.text)
        assert words in answer.text, answer.text
    later = await say(operator, "/channels/pressure", unit="mbar", unit_since="2999-01-01Z")
    assert (later.status_code, "in the future" in later.text) == (409, True)
    assert (await say(operator, "/channels/%20pressure", unit="mbar")).status_code == 422
    assert (await say(operator, "/devices/br-9/channels/ph", unit="mbar")).status_code == 404
    assert await operator.not_shown("/channels/presure") == 404
    strange = await say(operator, "/channels/presure", title="Head")
    assert strange.json()["warnings"] == ["no device has sent it so far; did you mean pressure?"]
    viewer = Operator(operator.client, await api_key(plant.sql, role=Role.OPERATOR))
    assert (await say(viewer, "/channels/pressure", unit="mbar")).status_code == 403


async def test_the_command_says_it_too(plant: Plant, operator: Operator, database_url: str) -> None:
    await vessel(plant)
    environment = os.environ | {"BIOGATE_DATABASE_URL": as_role(database_url, OPERATOR)}

    def command(*arguments: str, status: int = 0) -> str:
        child = Talking("deploy.command", "channels", *arguments, environment=environment)
        said = child.finish()
        assert child.wait() == status, said
        return said

    why = ("--why", "new sensor", "--who", "eva")
    assert command("set", "pressure", "--unit", "mbar", "--low", "0", "--high", "900", *why) == "pressure: version 2\n"
    assert command("set", "pressure", "--device", "br-1", "--title", "Head", "--step", *why) == "pressure: version 2\n"
    assert [line.split()[:3] for line in command("list").splitlines()[1:]] == [
        ["ph", "pH", "-"],
        ["pressure", "mbar", "-"],
    ]
    assert command("list", "--device", "br-1").splitlines()[2].split() == [
        *("pressure", "mbar", "Head", "PV", "0", "900", "3", "yes")
    ]
    assert command("standard").splitlines()[1].split()[:2] == ["temperature", "°C"]
    command("set", "pressure", *why, status=2)
    command("set", "pressure", "--low", "1", *why, status=2)
    command("list", "--device", "br-9", status=1)
    assert (await operator.get("/devices/br-1/channels/pressure"))["title"] == "Head"
    rows = await plant.sql.fetch("select who, subject, why from audit where action = 'channel change' order by n")
    assert [tuple(row) for row in rows] == [
        ("eva", "channel/pressure", "new sensor"),
        ("eva", "device/br-1", "new sensor"),
    ]


async def test_of_how_many_channels_something_can_be_said_is_bounded(plant: Plant, operator: Operator) -> None:
    """Of a device firmware says it, too, and its enrollment goes on."""
    device = await vessel(plant)
    await plant.sql.execute(
        "select channel_describe(1, $1, 'x' || n, $2, null, null, 'eva', 'many') from generate_series(1, 256) n",
        *(device, json.dumps({"step": True})),
    )
    answer = await say(operator, "/devices/br-1/channels/ph", title="x")
    assert (answer.status_code, "no more can be" in answer.text) == (409, True)
    await plant.sql.execute("select channels_claim($1, $2, 'enrollment')", device, json.dumps({"ph": {"decimals": 1}}))
    [event] = await plant.sql.fetch("select new from audit where action = 'channel change refused'")
    assert "no more can be" in json.loads(event["new"])["refused"]
    for n in range(99):
        await plant.sql.execute(
            "select channel_describe(1, null, 'ph', $1, $2, null, 'eva', 'x')", json.dumps({"unit": f"u{n}"}), at(n)
        )
    answer = await say(operator, "/channels/ph", unit="pH")
    assert (answer.status_code, "a hundred times" in answer.text) == (409, True)
