"""The pages of deviations: opened from other pages, decided, linked, discussed, with files; who may do what."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import asyncpg
import pytest

from api.http.multipart import parsed
from api.problems import BadParameter
from tests.api import alarms
from tests.api.accounts import OWN_PAGE
from tests.api.pages.conftest import PART, Visitor, trail
from tests.api.pages.forms import forms
from tests.api.plant import Plant, at

FIRST = f"DEV-{datetime.now(UTC).year}-0001"
PATH, SUBJECT = f"deviations/{FIRST}", f"deviation/{FIRST}"
PNG = b"\x89PNG\r\n\x1a\n\r\n--x\r\n" + bytes(range(256))


@pytest.fixture
async def plant(sql: asyncpg.Connection) -> Plant:
    return Plant(sql)


async def opened(visitor: Visitor, **more: str) -> None:
    where = await visitor.act("deviations", **{"title": "Too hot", "severity": "major"} | more)
    assert where.endswith("DEV-" + where[-9:]), where


async def attach(visitor: Visitor, content: bytes, *, htmx: bool = True) -> str:
    answer = await visitor.client.post(
        visitor.address("deviation-attachments"),
        data={"deviation": FIRST, "why": "shows it"},
        files={"file": ('tr"end.png', content, "text/html")},
        headers=PART if htmx else OWN_PAGE,
    )
    return answer.text if answer.status_code >= 400 else str(answer.status_code)


async def test_it_is_opened_from_an_alarm_a_message_a_hole_a_vessel_and_a_device(admin: Visitor, plant: Plant) -> None:
    device = await plant.device("br-1")
    await plant.layout(device, "ph")
    await alarms.become(plant.sql, await alarms.rule(plant.sql, "hot"), device)
    await plant.sql.execute(
        "insert into device_streams (device_id, boot, received) values ($1, 7, '{[0,3),[5,9)}')", device
    )
    number = await plant.quarantine(at(0), "br-1", "too-old", b"abc")
    for n, (path, words) in enumerate(
        {
            "alarms/br-1/hot": "Alarm",
            f"delivery/quarantine/{number}": "Message in quarantine too old of br-1",
            "delivery": "Hole in the delivery frames 3 to 4 of boot 7 of br-1",
            "vessels/br-1": "Time of a device br-1 from",
            "devices/br-1": "Device br-1",
        }.items(),
        1,
    ):
        sent = next(one for one in forms(await admin.shown(path), "/deviations") if "kind" in one)
        address = f"deviations/{FIRST[:-1]}{n}"
        assert (await admin.act("deviations", **sent | {"title": f"From {path}"})).endswith(address)
        assert words in await admin.words(address), path
        if path != "delivery":
            assert f"{FIRST[:-1]}{n} minor From {path}" in await admin.words(path)
    assert [event[1] for event in await trail(plant.sql)] == ["deviation open", "deviation link"] * 5


async def test_its_life_on_its_page(admin: Visitor, sql: asyncpg.Connection) -> None:
    await opened(admin, tags="cooling, pump", description="It was\r\nhot.")
    [sent] = forms(await admin.shown(PATH), FIRST)
    await admin.act(PATH, **sent | {"severity": "critical", "why": "two vessels"})
    status, told = await admin.refused(PATH, **sent | {"title": "late", "why": "x"})
    assert (status, "changed meanwhile" in told) == (412, True)
    assert "Close" not in await admin.part(PATH)
    await admin.act(f"{PATH}/assess", why="no effect")
    await admin.act(f"{PATH}/close", why="pump replaced")
    assert (await admin.refused(PATH, **sent | {"version": "4", "why": "x"}))[0] == 409
    await admin.act(f"{PATH}/reopen", why="again")
    assert await trail(sql) == [
        ("olga@example.org", f"deviation {act}", SUBJECT, why)
        for act, why in (
            *(("open", "Too hot"), ("change", "two vessels"), ("assess", "no effect"), ("close", "pump replaced")),
            ("reopen", "again"),
        )
    ]
    assert "Severity critical State open" in await admin.words(PATH)


async def test_members_links_and_comments(admin: Visitor, stranger: Visitor, sql: asyncpg.Connection) -> None:
    await opened(admin)
    await opened(admin, title="Second")
    member = {"who": admin.email, "role": "owner", "why": "hers", "act": "add"}
    await admin.act(f"{PATH}/members", **member)
    assert "Second" not in await admin.words("deviations?mine=true&state=closed")
    assert (await admin.refused(f"{PATH}/members", **member | {"who": stranger.email}))[0] == 422
    await admin.act(f"{PATH}/members", **member | {"act": "remove"})
    second = FIRST[:-1] + "2"
    link = {"type": "caused-by", "kind": "deviation", "reference": second, "why": "same pump"}
    await admin.act(f"{PATH}/links", **link)
    assert "Caused by Deviation Second" in await admin.words(PATH)
    assert f"Caused Deviation {FIRST}: Too hot" in await admin.words(f"deviations/{second}")
    assert (await admin.refused(f"{PATH}/links", **link))[0] == 409
    [gone] = forms(await admin.shown(PATH), "/withdraw")
    assert list(gone) == ["why"]
    await admin.act(f"{PATH}/links/1/withdraw", why="another pump")
    await admin.act(f"{PATH}/comments", text="it was of")
    await admin.act(f"{PATH}/comments/1", text="it was off", why="misspelt")
    assert "it was off Versions before" in await admin.words(PATH)
    assert (await admin.refused(f"{PATH}/comments", text=" "))[0] == 422
    assert [event[1] for event in await trail(sql)][2:] == [
        *["deviation change"] * 2,
        *("deviation link", "deviation unlink", "deviation comment", "deviation comment edit"),
    ]


async def test_a_file_is_attached_with_and_without_javascript(admin: Visitor, sql: asyncpg.Connection) -> None:
    await opened(admin)
    assert await attach(admin, PNG) == "204"
    assert await attach(admin, b"a,b\n1,2\n", htmx=False) == "303"
    assert "no PNG, JPEG" in await attach(admin, b"MZ\0\0")
    assert "choose a file" in await attach(admin, b"")
    words = await admin.words(PATH)
    assert f'tr"end.png image/png {len(PNG)} {hashlib.sha256(PNG).hexdigest()[:12]}…' in words
    assert 'tr"end.png text/csv' in words
    answer = await admin.get(f"{PATH}/attachments/1")
    assert (answer.content, answer.headers["content-disposition"][:11]) == (PNG, "attachment;")
    assert "sandbox; default-src 'none'" in answer.headers.get_list("content-security-policy")
    assert [event[1] for event in await trail(sql)][1:] == ["deviation attach"] * 2


async def test_a_hold_is_made_and_ended_on_closing(admin: Visitor, plant: Plant) -> None:
    await plant.device("br-1")
    await opened(admin)
    await admin.act(f"{PATH}/hold", device="br-1", begins="2026-03-01Z")
    assert "Hold number 1 : these data are not dropped" in (await admin.words(PATH)).replace("1:", "1 :")
    await admin.act(f"{PATH}/assess", why="x")
    await admin.act(f"{PATH}/close", why="x", end_hold="true")
    assert await plant.sql.fetchval("select ended_at is not null from retention_holds")


async def test_who_may_not_sees_no_button(
    viewer: Visitor, operator: Visitor, stranger: Visitor, sql: asyncpg.Connection
) -> None:
    await opened(operator)
    shown = await viewer.shown(PATH)
    assert (
        forms(shown, FIRST) == forms(shown, "/comments") == forms(await viewer.shown("deviations"), "/deviations")[1:]
    )
    assert forms(await operator.shown(PATH), "/assess") == []
    assert (await operator.refused(f"{PATH}/assess", why="x"))[0] == 403
    assert (await viewer.refused(f"{PATH}/comments", text="x"))[0] == 403
    assert (await stranger.get(PATH)).status_code == 404
    assert (await stranger.refused(f"{PATH}/comments", text="x"))[0] == 404
    assert "No deviation was opened yet" in await stranger.words("deviations")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("text/plain", b""),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="why"\r\n\r\n\xff\r\n--b--'),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n\r\n--b--'),
    ],
)
def test_a_form_that_is_none_is_refused(kind: str, content: bytes) -> None:
    with pytest.raises(BadParameter):
        parsed(kind, content, "file", 100)
