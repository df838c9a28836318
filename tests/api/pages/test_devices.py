"""Devices on pages: the list with its filters, the card of one, and what people do with it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.api.operators import login_of
from tests.api.pages.conftest import Visitor, trail
from tests.api.plant import Plant
from tests.in_turn import in_turn

ADMIN = "olga@example.org"


@pytest.fixture
async def floor(plant: Plant) -> dict[str, int]:
    """Three devices: one that is there, one that has gone, one that never came."""
    ids = {name: await plant.device(name) for name in ("br-1", "br-2", "br-3")}
    await plant.sql.execute(
        "update devices set title = 'Fermenter <3>', location = 'Hall 2/Bay 4', tags = '{pilot}' where name = 'br-1'"
    )
    await plant.sql.execute("update devices set state = 'suspended' where name = 'br-3'")
    now = datetime.now(UTC)
    await plant.status(ids["br-1"], 7, now, True, "2.4.1")
    await plant.status(ids["br-2"], 1, now - timedelta(hours=1), False, "2.4.0")
    layout = await plant.layout(ids["br-1"], "ph")
    await plant.frames(ids["br-1"], layout, [(now, [7.0], None)])
    await plant.sql.execute(
        "insert into device_streams (device_id, boot, received, lost) values ($1, 6, '{[0,100)}', '{}'),"
        " ($1, 7, '{[0,3),[5,20)}', '{[3,4)}')",
        ids["br-1"],
    )
    return ids


async def test_the_list_says_how_each_device_is_doing(viewer: Visitor, floor: dict[str, int]) -> None:
    words = await viewer.words("devices")
    assert "br-1 Fermenter <3> online active 2.4.1" in words
    assert "18 frames, 1 missing , 1 lost Hall 2/Bay 4 pilot" in words
    assert "br-2 silent" not in words
    assert "offline since" in words
    assert "br-3 never seen suspended" in words
    part = await viewer.part("devices")
    assert part.lstrip().startswith('<div class="scroll"')


@in_turn(
    ("asked", "found"),
    [
        ("q=&tag=&location=&state=&online=", {"br-1", "br-2", "br-3"}),
        ("q=FERM", {"br-1"}),
        ("tag=pilot", {"br-1"}),
        ("location=Hall+2", {"br-1"}),
        ("state=suspended", {"br-3"}),
        ("online=true", {"br-1"}),
        ("online=false", {"br-2", "br-3"}),
        ("online=false&state=active", {"br-2"}),
        ("q=nothing", set()),
    ],
)
async def test_filters_choose_devices(viewer: Visitor, floor: dict[str, int], asked: str, found: set[str]) -> None:
    page = await viewer.shown(f"devices?{asked}")
    assert {name for name in floor if f'devices/{name}"' in page} == found
    assert ("No device fits." in page) == (not found)


async def test_the_card_has_presence_delivery_and_holes_by_boot_and_number(
    viewer: Visitor, floor: dict[str, int]
) -> None:
    words = await viewer.words("devices/br-1")
    for told in (
        "Fermenter <3>",
        "online since",
        "The last 1 change",
        "7 19 18 1 1",
        "6 99 100 0 0",
        "7 4 1 missing: the device is asked for them",
        "7 3 1 lost: the device has them no more",
        "No message of it is open in quarantine.",
        "Nobody has asked it for anything.",
    ):
        assert told in words, told
    assert 'href="/app/main/vessels/br-1"' in await viewer.shown("devices/br-1")
    assert "It has not sent any frame with a number yet." in await viewer.words("devices/br-3")
    assert (await viewer.get("devices/br-9")).status_code == 404


async def test_title_place_and_tags_are_changed_unless_somebody_was_faster(
    admin: Visitor, floor: dict[str, int], plant: Plant
) -> None:
    version = await plant.sql.fetchval("select version from devices where name = 'br-1'")
    fields = {"title": "Kettle", "location": "", "tags": "b, a ,b", "version": version, "why": "moved"}
    assert await admin.act("devices/br-1", **fields) == "/app/main/devices/br-1"
    row = await plant.sql.fetchrow("select title, location, tags, version from devices where name = 'br-1'")
    assert (row["title"], row["location"], row["tags"]) == ("Kettle", None, ["a", "b"])
    assert await trail(plant.sql) == [(ADMIN, "device change", "device/br-1", "moved")]
    assert (await admin.refused("devices/br-1", **fields | {"title": "Late"}))[0] == 412
    assert (await admin.refused("devices/br-1", **fields | {"version": row["version"], "title": "x" * 101}))[0] == 422
    assert await plant.sql.fetchval("select title from devices where name = 'br-1'") == "Kettle"


async def test_a_device_is_suspended_resumed_and_retired_with_a_reason(
    admin: Visitor, engineer: Visitor, floor: dict[str, int], plant: Plant
) -> None:
    await login_of(plant.sql, "br-1")
    page = await engineer.shown("devices/br-1")
    assert ("Suspend br-1" in page, "Retire br-1" in page, "br-1.1" in page) == (True, False, True)
    await engineer.act("devices/br-1/suspend", why="a probe is changed")
    page = await engineer.shown("devices/br-1")
    assert ("Suspend br-1" in page, "Resume br-1" in page) == (False, True)
    assert (await engineer.refused("devices/br-1/suspend", why="x"))[0] == 409
    assert (await engineer.refused("devices/br-1/retire", why="x"))[0] == 403
    assert (await engineer.refused("devices/br-1/resume"))[0] == 422
    await engineer.act("devices/br-1/resume", why="done")
    said = await admin.post("devices/br-1/retire", htmx=True, why="sold")
    assert "br-1 is retired" in said.headers["hx-trigger"]
    assert await plant.sql.fetchval("select state from devices where name = 'br-1'") == "retired"
    assert [event[1:] for event in await trail(plant.sql)] == [
        ("device suspend", "device/br-1", "a probe is changed"),
        ("device resume", "device/br-1", "done"),
        ("device retire", "device/br-1", "sold"),
    ]


async def test_a_viewer_sees_neither_buttons_nor_logins(
    viewer: Visitor, operator: Visitor, floor: dict[str, int], plant: Plant
) -> None:
    await login_of(plant.sql, "br-1")
    page = await viewer.shown("devices/br-1")
    assert ("Reason <input" in page, "br-1.1" in page) == (False, False)
    assert "br-1.1" in await operator.shown("devices/br-1")
    for act in ("", "/suspend", "/retire"):
        assert (await viewer.refused(f"devices/br-1{act}", why="x", version=1))[0] == 403


async def test_a_device_says_how_far_its_clock_is_off(viewer: Visitor, floor: dict[str, int], plant: Plant) -> None:
    assert "Clock" not in await viewer.words("devices/br-1")
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for ago, least in ((2, 0.25), (3, -2.5), (4, 0.5), (30, -99.0)):
        await plant.sql.execute(
            "insert into device_clocks values ($1, $2, 3600, $3, '3 s')",
            *(floor["br-1"], hour - timedelta(hours=ago), timedelta(seconds=least)),
        )
    words = await viewer.words("devices/br-1")
    assert "Clock behind by at most 0.25 s in the hour from 20" in words
    assert "; at worst within 24 h ahead by at least 2.5 s, from 20" in words
    [link] = re.findall(r'href="([^"]*/clock.csv)"', await viewer.shown("devices/br-1"))
    assert (await viewer.client.get(link)).text.count("\n") == 5


async def test_a_command_that_waits_is_cancelled(admin: Visitor, floor: dict[str, int], plant: Plant) -> None:
    await plant.sql.execute(
        """insert into commands (command_id, organization_id, device_id, name, parameters, requested_by, why,
                                 expires_at)
           values (gen_random_uuid(), 1, $1, 'feed', '{"ml": 7}', 'eva', 'hungry', now() + '1 hour')""",
        floor["br-1"],
    )
    command = await plant.sql.fetchval("select command_id from commands")
    assert 'feed {"ml": 7} waiting eva hungry' in (await admin.words("devices/br-1")).replace('{"ml":7}', '{"ml": 7}')
    await admin.act(f"devices/br-1/commands/{command}/cancel", why="a mistake")
    assert await plant.sql.fetchval("select state from commands") == "cancelled"
    assert "Cancel feed" not in await admin.shown("devices/br-1")


async def test_devices_of_another_organization_are_not_there(
    stranger: Visitor, floor: dict[str, int], plant: Plant
) -> None:
    assert "br-1" not in await stranger.shown("devices")
    assert (await stranger.get("devices/br-1")).status_code == 404
    for act, fields in (("", {"version": 1}), ("/suspend", {}), ("/retire", {})):
        status, told = await stranger.refused(f"devices/br-1{act}", why="x", **fields)
        assert (status, "There is no device" in told) == (404, True), told
    assert await trail(plant.sql) == []
