"""Which devices, channels and times a request for telemetry means."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.database import Database, Server
from api.problems import ApiError, BadParameter, NotFound
from api.queries import selection
from api.queries.devices import Channel
from api.queries.selection import Selected, expression, matching, resolve
from api.settings import ApiSettings
from api.shapes.selection import SelectionParameters
from schema import times
from schema.channels import ChannelTerms
from tests.api.plant import Plant, at, text
from tests.in_turn import in_turn


@pytest.fixture
async def database(plant: Plant, database_url: str) -> AsyncIterator[Database]:
    """br-1 and br-2 in hall 1, br-3 in hall 2; each with channels and phases of its own."""
    for name, location, tags, channels in (
        ("br-1", "Hall 1/Bay 1", ["pilot"], ("ph", "feed_a_rate", "feed_b_rate")),
        ("br-2", "Hall 1/Bay 2", ["pilot", "ecoli"], ("ph", "what? *")),
        ("br-3", "Hall 2/Bay 1", ["ecoli"], ("temperature",)),
    ):
        device = await plant.device(name)
        await plant.layout(device, *channels)
        await plant.sql.execute("update devices set location = $2, tags = $3 where name = $1", name, location, tags)
    async with Server(ApiSettings(database_url=database_url)) as server:
        yield server.of(1)


def asked(**parameters: Any) -> SelectionParameters:
    return SelectionParameters.model_validate({"from": text(0), "to": text(3600)} | parameters)


def meant(found: Selected) -> dict[str, list[str]]:
    """Device → channels."""
    return {one.device.name: [channel.name for channel in one.channels] for one in found.selections}


@in_turn(
    ("parameters", "names"),
    [
        ({"device": ["br-2", "br-1"]}, ["br-1", "br-2"]),
        ({"device": ["br-2,br-1"]}, ["br-1", "br-2"]),
        ({"device": ["*"]}, ["br-1", "br-2", "br-3"]),
        ({"device": ["b?-3", "br-1"]}, ["br-1", "br-3"]),
        ({"tag": ["ecoli"]}, ["br-2", "br-3"]),
        ({"tag": ["ecoli", "pilot"]}, ["br-2"]),
        ({"location": "Hall 1/"}, ["br-1", "br-2"]),
        ({"location": "Hall 1/", "tag": ["ecoli"], "device": ["br*"]}, ["br-2"]),
    ],
)
async def test_devices_are_named_or_found_by_pattern_tag_and_location(
    database: Database, parameters: dict[str, Any], names: list[str]
) -> None:
    assert list(meant(await resolve(database, asked(**parameters)))) == names


@in_turn(
    ("parameters", "kind", "words"),
    [
        ({}, BadParameter, "device=* means every device"),
        ({"device": ["br-9", "br-1"]}, NotFound, "br-9"),
        ({"device": ["x*"]}, NotFound, "no device fits"),
        ({"tag": ["other"]}, NotFound, "no device fits"),
        ({"device": ["br-1"], "channel": ["pH"]}, BadParameter, "did you mean ph?"),
        ({"device": ["*"], "channel": ["temp?"]}, BadParameter, "none of these 3 devices"),
        ({"device": ["*"], "phase": "feed"}, NotFound, "phase feed"),
        ({"device": ["*"], "phase": "feed", "from": text(3600)}, BadParameter, "before `to`"),
    ],
)
async def test_what_cannot_be_meant_is_told(
    database: Database, parameters: dict[str, Any], kind: type[ApiError], words: str
) -> None:
    with pytest.raises(kind) as caught:
        await resolve(database, asked(**parameters))
    assert words in caught.value.detail


async def test_too_many_devices_are_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "MOST_DEVICES", 2)
    assert len((await resolve(database, asked(device=["br-1", "br-2"]))).selections) == 2
    with pytest.raises(ApiError, match="more than 2 devices"):
        await resolve(database, asked(device=["*"]))


async def test_channels_are_those_of_each_device_and_who_has_none_is_told(database: Database) -> None:
    found = await resolve(database, asked(device=["*"], channel=["feed_*", "ph"]))
    assert meant(found) == {"br-1": ["feed_a_rate", "feed_b_rate", "ph"], "br-2": ["ph"]}
    assert found.warnings == ("br-3 has never sent such a channel",)
    assert meant(await resolve(database, asked(device=["br-2"], channel=["what? *"]))) == {"br-2": ["what? *"]}
    found = await resolve(database, asked(device=["br-1", "br-3"], tag=["ecoli"]))
    assert (list(meant(found)), found.warnings) == (
        ["br-3"],
        ("br-1 does not fit tag and location, or is not registered",),
    )


async def test_a_phase_lasts_from_the_first_event_that_names_it_to_the_next_that_names_another(
    plant: Plant, database: Database
) -> None:
    rows = await plant.sql.fetch("select name, device_id from devices")
    ids = {row["name"]: row["device_id"] for row in rows}
    for seconds, phase in ((100, "batch"), (200, "feed"), (300, "batch"), (310, "batch"), (400, "feed")):
        await plant.event(ids["br-1"], at(seconds), "phase", {"phase": phase})
    await plant.event(ids["br-1"], at(320), "dosing", {"phase": "feed"})
    await plant.event(ids["br-2"], at(50), "phase", {"phase": "batch"})

    async def spans(**parameters: Any) -> dict[str, tuple[str, str]]:
        found = await resolve(database, SelectionParameters.model_validate({"device": ["br*"]} | parameters))
        return {one.device.name: (times.text(one.begin), times.text(one.end)) for one in found.selections}

    assert await spans(phase="batch", to=text(1000)) == {"br-1": (text(300), text(400)), "br-2": (text(50), text(1000))}
    assert (await spans(phase="batch", **{"from": text(350), "to": text(380)}))["br-1"] == (text(350), text(380))
    assert (await spans(phase="batch", to=text(250)))["br-1"] == (text(100), text(200))
    assert "br-1" not in await spans(phase="batch", **{"from": text(400), "to": text(500)})
    assert await spans(phase="feed", to=text(1000)) == {"br-1": (text(400), text(1000))}
    found = await resolve(database, asked(device=["*"], phase="batch"))
    assert found.warnings == ("br-3 was not in phase batch in that time",)


def channel(number: int, name: str) -> Channel:
    return Channel(number, name, ChannelTerms(None, None, None, None, None, None, None, False), 1, {1: number})


def test_a_name_that_there_is_comes_before_its_meaning_as_a_pattern() -> None:
    some = [channel(n, name) for n, name in enumerate(("a*", "ab", "a.b", "ac", "x\ny"), 1)]
    assert [one.name for one in matching(some, ["a*"])] == ["a*"]
    assert [one.name for one in matching(some, ["a?"])] == ["a*", "ab", "ac"]
    assert [one.name for one in matching(some, ["ac", "a.?", "ac"])] == ["ac", "a.b"]
    assert [one.name for one in matching(some, ["x?y"])] == ["x\ny"]
    assert [one.name for one in matching(some, [])] == [one.name for one in some]
    assert [one.name for one in matching([channel(1, "[ab]"), channel(2, "a")], ["[ab]*"])] == ["[ab]"]
    assert matching([channel(1, "a" * 64)], ["*a" * 60 + "*b"]) == (), "and that in no time"


def test_a_pattern_is_an_expression_with_nothing_else_special() -> None:
    assert re.match(expression("a.(b|c)[d]+*"), "a.(b|c)[d]+ and more")
    assert not re.match(expression("a.c"), "abc")
