"""What the client gives is what is stored, from either client; and what it says when something is wrong."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import biogate
from api.access.roles import Role, Scope
from biogate import AsyncClient, Client, ClientError, TelemetryTable
from biogate.live import PATH, LiveFeed, _address, _arguments
from biogate.login import login
from tests.api.accounts import api_key, organization
from tests.api.alarms import become, rule
from tests.api.client.asker import Asker
from tests.api.live import listening
from tests.api.plant import Plant, at, text

RANGE = {"from_": text(0), "to": at(3600)}


async def telemetry(ask: Asker, *arguments: Any, **named: Any) -> TelemetryTable:
    found = await ask("telemetry", *arguments, **named)
    assert isinstance(found, TelemetryTable)
    return found


async def test_samples_of_one_device_are_a_frame_by_time_with_units(ask: Asker, two_devices: Plant) -> None:
    found = await telemetry(ask, "br-1", ["ph", "temperature"], **RANGE)
    frame = found.to_pandas()
    assert isinstance(frame.index, pd.DatetimeIndex)
    assert str(frame.index.tz) == "UTC"
    assert [one.to_pydatetime() for one in frame.index] == [at(n) for n in (0, 1, 2, 3, 4, 5, 606)]
    assert frame.attrs["units"] == {"ph": "pH", "temperature": "°C"}
    assert frame["ph"].tolist()[:5] == [7, 7.01, 7.02, 7.03, 7.04]
    assert (pd.isna(frame["ph"].iloc[5]), frame["temperature"].iloc[5]) == (True, 37.5)
    assert found.spans == {"br-1": (at(0), at(3600))}
    polars = found.to_polars()
    assert polars.schema == {"time": pl.Datetime("us", "UTC"), "ph": pl.Float64, "temperature": pl.Float64}
    assert polars["ph"].to_list() == [7, 7.01, 7.02, 7.03, 7.04, None, 7.25]
    assert found.to_arrow().schema.field("ph").metadata[b"unit"] == b"pH"


async def test_samples_of_several_devices_say_of_which_and_with_which_quality(ask: Asker, two_devices: Plant) -> None:
    found = await telemetry(ask, "br-*", quality="all", **RANGE)
    frame = found.to_pandas()
    assert frame.index.names == ["device", "time"]
    first = frame.loc["br-1"]
    assert first["ph"].tolist()[6] == 7.5
    assert first["ph.quality"].tolist() == [0, 0, 0, 0, 0, 1, 2, 0]
    assert first["temperature.quality"].isna().tolist() == [False] * 6 + [True, False]
    assert first["dissolved_oxygen"].isna().all()
    second = frame.loc["br-2"]
    assert second["dissolved_oxygen"].tolist() == [40, 40, 40]
    assert frame.attrs["units"] == {"ph": "pH", "temperature": "°C", "dissolved_oxygen": "%"}
    assert await telemetry(ask, ["br-1"], "ph", **RANGE) is not None
    nothing = await telemetry(ask, "br-2", "ph", from_=at(100), to=at(200))
    assert (len(nothing), nothing.to_pandas().attrs["units"]) == (0, {"ph": "pH"})


async def test_buckets_plots_and_instants_are_tables_too(ask: Asker, two_devices: Plant) -> None:
    means = (await telemetry(ask, "br-1", "ph", bucket=timedelta(minutes=1), aggregate="avg", **RANGE)).to_pandas()
    assert means["ph"].tolist() == [pytest.approx(7.02), 7.25]
    assert means.attrs["bucket"] == "1m"
    several = await telemetry(ask, "br-*", "ph", bucket="1h", aggregate=["max", "count"], **RANGE)
    assert several.columns == ["device", "time", "ph.max", "ph.count"]
    assert several.to_pandas()["ph.count"].tolist() == [6, 3]
    assert several.units == {"ph.max": "pH", "ph.count": "1"}
    chosen = await telemetry(ask, "br-1", "ph", max_points=100, **RANGE)
    assert (chosen.bucket, chosen.columns[1:]) == ("1m", ["ph.avg", "ph.min", "ph.max"])
    warm = await telemetry(ask, "br-1", "temp*", unit="degF", bucket="1h", aggregate="max", **RANGE)
    assert (warm.units, warm.to_pandas()["temperature"].tolist()) == ({"temperature": "°F"}, [pytest.approx(99.5)])
    samples = await telemetry(ask, "br-1", "temp*", unit="degF", **RANGE)
    assert (samples.units, samples.to_pandas()["temperature"].max()) == ({"temperature": "°F"}, pytest.approx(99.5))
    held = await telemetry(ask, "br-1", "ph", at=[text(2.5), at(606)])
    assert held.to_pandas()["ph"].tolist() == [7.02, 7.25]
    plot = (await telemetry(ask, "br-1", "ph", mode="plot", **RANGE)).to_pandas()
    assert plot.index.is_monotonic_increasing
    assert {7.0, 7.04, 7.25} <= set(plot["value"])
    assert plot["quality"].dropna().tolist().count(1) == 1
    many = await telemetry(ask, [f"br-{n}" for n in (1, 2)] * 400, "ph", bucket="1h", aggregate="count", **RANGE)
    assert many.to_pandas()["ph"].tolist() == [6, 3], "a long list goes into a body"


async def test_lists_are_whole_and_what_is_noted_is_there(
    ask: Asker, two_devices: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biogate.calls.PAGE", 2)
    await two_devices.device("br-3")
    await two_devices.sql.execute("update devices set tags = '{pilot}' where name = 'br-2'")
    assert [one.device for one in await ask("devices")] == ["br-1", "br-2", "br-3"]
    [pilot] = await ask("devices", tag="pilot")
    assert (pilot.device, pilot.online, pilot.last_frame_at) == ("br-2", None, at(2))
    assert [(one.channel, one.unit) for one in await ask("channels", "br-2")] == [
        ("ph", "pH"),
        ("dissolved_oxygen", "%"),
    ]
    newest = {(one.device, one.channel): one for one in await ask("latest")}
    assert newest["br-1", "ph"].value == 7.25
    assert newest["br-1", "ph"].time == at(606)
    assert (newest["br-2", "dissolved_oxygen"].unit, newest["br-2", "dissolved_oxygen"].quality) == ("%", 0)
    for n in range(3):
        await two_devices.event(1, at(n), "phase", {"phase": f"{n}"})
    assert [one.data["phase"] for one in await ask("events", "br-1", type="phase")] == ["2", "1", "0"]
    assert len(await ask("events", "br-1", most=2)) == 2
    made = await ask("annotate", "br-1", "Probe changed", at(3))
    assert (await ask("annotations", "br-1", from_=at(0)))[0] == made
    assert (made.begins, made.ends) == (at(3), None)
    await become(two_devices.sql, await rule(two_devices.sql, "temperature-high"), 1, detail="39 above 38")
    [alarm] = await ask("alarms", standing=True)
    assert (alarm.device, alarm.rule, alarm.detail) == ("br-1", "temperature-high", "39 above 38")
    assert (await ask("get", "/devices/br-1"))["device"] == "br-1"


async def test_an_error_says_what_to_change_and_never_the_key(ask: Asker, two_devices: Plant) -> None:
    async def refused(asker: Asker, method: str, *arguments: Any, **named: Any) -> ClientError:
        with pytest.raises(ClientError) as caught:
            await asker(method, *arguments, **named)
        assert asker.key not in f"{caught.value} {caught.value!r} {caught.value.problem}"
        return caught.value

    wrong = await refused(Asker(ask.kind, ask.url, f"{ask.key[:-1]}{'a' if ask.key[-1] != 'a' else 'b'}"), "devices")
    assert wrong.status == 401
    poor = await api_key(two_devices.sql, role=Role.VIEWER, scopes=[Scope.ALARMS_READ])
    assert (await refused(Asker(ask.kind, ask.url, poor), "telemetry", "br-1")).status == 403
    await organization(two_devices.sql, "other")
    stranger = Asker(ask.kind, ask.url, await api_key(two_devices.sql, "other"))
    for asker, device in ((ask, "br-9"), (stranger, "br-1")):
        missing = await refused(asker, "telemetry", device)
        assert (missing.status, device in missing.detail) == (404, True)
    typo = await refused(ask, "telemetry", "br-1", "pH", **RANGE)
    assert (typo.status, "did you mean ph?" in typo.detail) == (422, True)
    large = await refused(ask, "telemetry", "br-1", bucket="1s", from_="2020-01-01Z", to="2026-01-01Z")
    assert large.status == 422
    assert large.problem["bucket"]
    zone = await refused(ask, "telemetry", "br-1", from_=datetime(2026, 3, 1))  # noqa: DTZ001
    assert (zone.status, "zone is missing" in zone.detail) == (None, True)
    with pytest.raises(TypeError, match="tags"):
        await ask("telemetry", "br-1", tags="pilot")


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_request_that_is_turned_away_waits_as_long_as_it_is_told(
    kind: str, database_url: str, two_devices: Plant, key: str
) -> None:
    async with listening(database_url, api_rate=1) as (address, _):
        ask = Asker(kind, f"http://{address}", key)
        for _ in range(8):
            assert len(await ask("devices")) == 2
        impatient = Asker(kind, f"http://{address}", key, patience=0)
        with pytest.raises(ClientError) as caught:
            await asyncio.gather(*(impatient("devices") for _ in range(8)))
        assert caught.value.status == 429


# -- what needs no server


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(kind: type[Any]) -> dict[str, list[str]]:
        found = {name: one for name, one in vars(kind).items() if inspect.isfunction(one) and name[0] != "_"}
        return {name: [str(one) for one in inspect.signature(found[name]).parameters.values()] for name in found}

    assert methods(Client) == methods(AsyncClient)


def test_nothing_that_takes_long_is_imported_before_it_is_used() -> None:
    code = (
        "import json, sys, biogate\nfrom biogate import Client\n"
        "print(json.dumps([one.partition('.')[0] for one in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout))
    assert "biogate" in modules
    assert not modules & {"pyarrow", "pandas", "polars", "websockets", "numpy", "pydantic", "fastapi", "api", "schema"}


def test_every_name_of_the_package_is_there() -> None:
    for name in biogate.__all__:
        assert getattr(biogate, name).__name__ == name


def test_a_login_comes_from_arguments_or_the_environment_and_hides_its_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("bg_first\n")
    environment = {"BIOGATE_API_URL": "http://127.0.0.1:8000/", "BIOGATE_API_KEY_FILE": str(file)}
    found = login(None, None, None, None, environment)
    assert (found.url, found.authorization()) == ("http://127.0.0.1:8000", {"Authorization": "Bearer bg_first"})
    file.write_text("bg_second\n")
    assert found.authorization() == {"Authorization": "Bearer bg_second"}, "a new key needs no restart"
    given = login("https://plant.example", "bg_secret", None, None, environment)
    assert given.authorization() == {"Authorization": "Bearer bg_secret"}
    with Client("https://plant.example", key="bg_secret") as client:
        assert "bg_secret" not in f"{given!r} {client!r} {vars(client)!r}"


@pytest.mark.parametrize("url", ["HTTPS://Plant.example/at/", "HttpS://Plant.example/at", "https://Plant.example/at"])
def test_the_scheme_of_an_address_may_be_in_capitals(url: str) -> None:
    given = login(url, "bg_1", None, None, {})
    assert given.url == "https://Plant.example/at"
    assert _address(given, LiveFeed(())) == f"wss://Plant.example/at{PATH}"
    assert _arguments(given)["ssl"] is not None


@pytest.mark.parametrize(
    ("url", "key", "key_file", "words"),
    [
        (None, "bg_1", None, "BIOGATE_API_URL"),
        ("http://a", None, None, "BIOGATE_API_KEY_FILE"),
        ("http://a", None, "/nowhere/key", "No such file"),
        ("http://a", "bg_1", "key", "not both"),
        ("plant.example", "bg_1", None, "https://"),
        ("https://eva:secret@a", "bg_1", None, "the key goes into"),
        ("http://a", "bg_1 or\nso", None, "no key has"),
        ("http://a", "", None, "empty"),
    ],
)
def test_a_login_that_cannot_work_says_what_to_give(
    url: str | None, key: str | None, key_file: str | None, words: str
) -> None:
    with pytest.raises(ClientError, match=words) as caught:
        login(url, key, key_file, None, {})
    assert "bg_1" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_rows_of_two_units_and_odd_names_keep_their_columns_apart() -> None:
    from biogate.table import from_rows

    columns = [
        {"channel": "ph", "unit": "pH", "aggregate": "avg"},
        {"channel": "ph", "unit": "mV", "aggregate": "avg"},
        {"channel": "time", "unit": None, "aggregate": "avg"},
    ]
    answer = {
        "columns": columns,
        "rows": [["br-1", "2026-03-01T10:00:00.000000Z", 7.0, 1.0, None]],
        "qualities": None,
        "warnings": ["more may come"],
        "devices": [],
        "bucket": "1m",
    }
    found = from_rows(answer, of_one_device=True, one_aggregate=True)
    assert found.units == {"ph [pH]": "pH", "ph [mV]": "mV", "time (channel)": None}
    assert found.to_pandas().attrs["warnings"] == ["more may come"]
    assert found.arrow["time"].to_pylist() == [datetime(2026, 3, 1, 10, tzinfo=UTC)]
    assert isinstance(found.arrow, pa.Table)
