"""Enrollment on a page: who waits is approved or denied, and the switch; and the serials that enroll by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from api.pages.serials import MOST_FORM_BYTES
from schema.enrollment import fingerprint
from tests.api.operators import handshake
from tests.api.pages.conftest import Visitor, trail
from tests.api.plant import Plant

ADMIN = "olga@example.org"


async def state(plant: Plant, txn: str) -> str:
    return str(await plant.sql.fetchval("select state from enrollments where txn = $1", txn))


async def test_who_waits_is_shown_as_people_compare_it_and_approved_under_a_new_name(
    admin: Visitor, plant: Plant
) -> None:
    assert "No controller waits." in await admin.words("enrollment")
    await plant.sql.execute("insert into serials (serial, device) values ('S-2', 'br-2')")
    txn, _ = await handshake(plant.sql, "S-1"), await handshake(plant.sql, "S-2", 1)
    key = fingerprint(await plant.sql.fetchval("select identity_key from enrollments where txn = $1", txn))
    mark = f"{key[:4]} {key[4:8]} {key[8:]}"
    words = await admin.words("enrollment")
    assert f"S-1 {mark} rev C 2 channels no" in words
    assert "cell main nobody has imported its serial" in words
    assert "S-2 device br-2" in words
    assert await admin.act(f"enrollment/{txn}/approve", device="br-1", fingerprint=mark.lower(), why="same") == (
        "/app/main/enrollment"
    )
    assert await state(plant, txn) == "approved"
    assert await plant.sql.fetchval("select device from serials where serial = 'S-1'") == "br-1"
    assert await trail(plant.sql) == [(ADMIN, "enrollment approved", "serial/S-1", "same")]
    assert "S-1" not in await admin.part("enrollment")
    assert "S-1" in await admin.part("enrollment?show=past")
    assert "S-2" not in await admin.shown("enrollment?show=past&serial=S-1")


async def test_an_existing_device_gets_a_controller_and_the_wrong_display_none(admin: Visitor, plant: Plant) -> None:
    await plant.device("old-1")
    txn = await handshake(plant.sql, "S-1")
    assert '<option value="old-1">' in await admin.shown("enrollment")
    path = f"enrollment/{txn}/approve"
    status, words = await admin.refused(path, fingerprint="AAAA BBBB CCCC", why="x")
    assert (status, "nothing was approved" in words) == (409, True)
    assert (await admin.refused(path, device="br/1", why="x"))[0] == 422
    status, words = await admin.refused(path, device="old-1")
    assert (status, "why: field required" in words.lower()) == (422, True)
    assert await state(plant, txn) == "awaiting"
    assert (await admin.post(path, htmx=True, device="old-1", why="a new controller")).status_code == 204
    assert await plant.sql.fetchval("select device from serials where serial = 'S-1'") == "old-1"
    assert (await admin.refused(path, why="again"))[0] == 409


async def test_who_waits_is_denied(admin: Visitor, plant: Plant) -> None:
    txn = await handshake(plant.sql, "S-1")
    said = await admin.post(f"enrollment/{txn}/deny", htmx=True, why="nobody knows it")
    assert (said.status_code, "S-1 was denied" in said.headers["hx-trigger"]) == (204, True)
    assert await state(plant, txn) == "rejected"
    assert await trail(plant.sql) == [(ADMIN, "enrollment rejected", "serial/S-1", "nobody knows it")]


async def test_who_may_not_decide_sees_the_queue_and_no_button(
    operator: Visitor, viewer: Visitor, plant: Plant
) -> None:
    txn = await handshake(plant.sql, "S-1")
    page = await operator.shown("enrollment")
    assert ("S-1" in page, "<summary>" in page, "an engineer decides" in page) == (True, False, True)
    for act in (f"{txn}/approve", f"{txn}/deny", "switch"):
        assert (await operator.refused(f"enrollment/{act}", why="x", state="closed"))[0] == 403
    assert (await viewer.get("enrollment")).status_code == 403
    assert "/enrollment" not in await viewer.shown("devices")
    assert await trail(plant.sql) == []


async def test_only_an_admin_closes_and_opens_enrollment(admin: Visitor, engineer: Visitor, plant: Plant) -> None:
    await handshake(plant.sql, "S-1")
    assert "Close enrollment" not in await engineer.shown("enrollment")
    assert "Enrollment is open" in await admin.words("enrollment")
    await admin.act("enrollment/switch", state="closed", cell="main", why="a key was stolen")
    assert "Enrollment is closed" in await engineer.words("enrollment")
    assert await plant.sql.fetchval("select enrollment_open from cells") is False
    await admin.act("enrollment/switch", state="open", why="found again")
    assert [event[1:] for event in await trail(plant.sql)] == [
        ("enrollment close", "cell/main", "a key was stolen"),
        ("enrollment open", "cells", "found again"),
    ]
    assert (await admin.refused("enrollment/switch", state="ajar", why="x"))[0] == 422


async def test_serials_are_added_found_and_blocked(admin: Visitor, plant: Plant) -> None:
    assert "Import the list" in await admin.words("enrollment/serials")
    await admin.act("enrollment/serials/add", serial="S-1", device="br-1", why="delivered")
    await admin.act("enrollment/serials/add", serial="S-1", device="br-1", why="again")
    status, words = await admin.refused("enrollment/serials/add", serial="S-1", device="br-2", why="x")
    assert (status, "S-1 is known already, as device br-1" in words) == (422, True)
    assert (await admin.refused("enrollment/serials/add", serial="S-2", claim_key="00" * 32, why="x"))[0] == 422
    assert "S-1 br-1 not enrolled – by hand" in await admin.words("enrollment/serials?q=BR-1&import=")
    assert "No serial fits." in await admin.words("enrollment/serials?q=br-2")
    await admin.act("enrollment/serials/S-1/block", why="lost")
    assert "refused" in await admin.words("enrollment/serials")
    await admin.act("enrollment/serials/S-1/unblock", why="found")
    assert await plant.sql.fetchval("select blocked from serials") is False
    assert [event[1] for event in await trail(plant.sql)] == [
        *("serials import", "serials import", "serial block", "serial unblock")
    ]


async def test_an_import_names_each_bad_row_and_takes_none_of_them(admin: Visitor, plant: Plant) -> None:
    bad = "serial,device,version\r\nS-1,br-1,1\r\nS 2,,1\r\nS-3,br-1,\r\nS-4,,99999\r\n"
    path = "enrollment/serials/import"
    fields: dict[str, Any] = {"name": "lot 7", "why": "delivered"}
    status, words = await admin.refused(path, rows=bad, **fields)
    assert status == 422
    for row in ("line 3: serial 'S 2'", "line 4: the same device as in line 2", "line 5: version is a number"):
        assert row in words
    page = await admin.post(path, rows=bad, **fields)
    assert "line 5: version is a number" in page.text
    assert "what you typed is still there" in page.text
    assert await plant.sql.fetchval("select count(*) from serials") == 0
    assert (await admin.refused(path, rows="no,header\r\n1,2", **fields))[0] == 422
    await admin.act(path, rows="serial,device\r\nS-1,br-1\r\nS-2,\r\n", quota="5", **fields)
    assert [tuple(row) for row in await plant.sql.fetch("select serial, device from serials order by 1")] == [
        ("S-1", "br-1"),
        ("S-2", "S-2"),
    ]
    assert await trail(plant.sql) == [(ADMIN, "serials import", "import/lot 7", "delivered")]


async def test_an_import_may_be_as_large_as_one_by_the_api(admin: Visitor, plant: Plant) -> None:
    rows = "serial,device,claim_key,version\r\n" + "".join(f"S-{n:05},br-{n:05},,1\r\n" for n in range(20_000))
    assert len(rows) > 400_000
    await admin.act("enrollment/serials/import", name="lot", rows=rows, why="delivered")
    assert await plant.sql.fetchval("select count(*) from serials") == 20_000
    status, said = await admin.refused("enrollment/serials/import", name="x", rows="x" * MOST_FORM_BYTES, why="x")
    assert (status, f"more than {MOST_FORM_BYTES} bytes" in said) == (413, True)
    assert "At most 100,000 rows and 16 MB at a time." in await admin.words("enrollment/serials")


async def test_serials_of_another_organization_are_not_there(admin: Visitor, stranger: Visitor, plant: Plant) -> None:
    await admin.act("enrollment/serials/add", serial="S-1", why="ours")
    await admin.act("enrollment/serials/add", serial="S-2", organization="other", why="theirs")
    words = await stranger.words("enrollment/serials")
    assert ("S-1" in words, "S-2" in words) == (False, True)
    assert (await stranger.refused("enrollment/serials/S-1/block", why="x"))[0] == 404
    assert (await stranger.refused("enrollment/serials/add", serial="S-3", why="x"))[0] == 403
    assert "for the organization that runs the installation" in await stranger.words("enrollment")


@pytest.mark.parametrize("number", [50, 51, 120])
async def test_a_long_list_of_serials_is_read_page_by_page(admin: Visitor, plant: Plant, number: int) -> None:
    rows = "\n".join(f"S-{n:03}" for n in range(number))
    await admin.act("enrollment/serials/import", name="lot", rows=f"serial\n{rows}", why="many")
    found, path = [], "enrollment/serials?q=s-"
    while path:
        page = await admin.shown(path)
        found += [f"S-{n:03}" for n in range(number) if f">S-{n:03}<" in page]
        path = page.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert found == [f"S-{n:03}" for n in range(number)]
