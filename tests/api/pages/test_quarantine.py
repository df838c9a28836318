"""The quarantine on pages: messages with their bytes, taken in again or thrown away, one or many."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from api.pages import payload
from tests.api.pages.conftest import Visitor, trail
from tests.api.plant import Plant, at
from tests.roles import forced

ADMIN = "olga@example.org"
PATH = "delivery/quarantine"


async def test_messages_are_listed_with_their_reason_and_found_by_filters(viewer: Visitor, plant: Plant) -> None:
    assert "Nothing is in quarantine" in await viewer.words(PATH)
    await plant.device("br-1")
    await plant.quarantine(at(0), "br-1", "too-old", b"abc")
    await plant.quarantine(at(1), "br-9", "unknown-device", b"de")
    words = await viewer.words(f"{PATH}?device=&reason=&state=open&from=")
    assert words.index("br-9 unknown device because 2") < words.index("br-1 too old because 3")
    assert "br-9 unknown device" not in await viewer.words(f"{PATH}?device=br-1")
    assert "br-1 too old" not in await viewer.words(f"{PATH}?reason=unknown-device")
    assert "No message fits." in await viewer.words(f"{PATH}?state=replayed")
    assert "No message fits." in await viewer.words(f"{PATH}?from={at(86400).date()}")
    assert "br-1 too old" in await viewer.words(f"{PATH}?from={at(0).date()}")
    assert 'type="checkbox"' not in await viewer.shown(PATH)


async def test_the_bytes_of_a_message_are_readable(viewer: Visitor, plant: Plant) -> None:
    number = await plant.quarantine(at(0), "br-1", "malformed", msgpack.packb({"t": 0, "v": {"<b>": 7.5}}))
    words, page = await viewer.words(f"{PATH}/{number}"), await viewer.shown(f"{PATH}/{number}")
    assert "MessagePack, written as JSON" in words
    assert '"<b>": 7.5' in words
    assert "<b>&#34;" not in page
    assert "000000 82 a1 74 00 a1 76" in words
    assert (await viewer.get(f"{PATH}/{number + 1}")).status_code == 404


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"ph":7}', ("JSON", '{\n  "ph": 7\n}')),
        (b"not JSON\n", ("text", "not JSON\n")),
        (msgpack.packb([1, b"\xff"]), ("MessagePack, written as JSON", '[\n  1,\n  "/w=="\n]')),
        (msgpack.packb({1.5: 2}), ("MessagePack, written as JSON", '{\n  "1.5": 2\n}')),
        (b"\xff\xfe", None),
        (b"", None),
        (b"[" * 100_000, ("text", "[" * payload.MOST_TEXT + " …")),
    ],
)
def test_a_payload_is_shown_as_what_it_is(content: bytes, said: tuple[str, str] | None) -> None:
    assert payload.text(content) == said


def test_bytes_stand_beside_their_signs() -> None:
    assert payload.hexadecimal(b"AB\x00\xff") == f"000000  41 42 00 ff{' ' * 36}  AB.."
    assert len(payload.hexadecimal(bytes(10_000)).splitlines()) == payload.SHOWN // payload.WIDTH


async def test_many_are_discarded_with_a_reason_or_none(admin: Visitor, plant: Plant) -> None:
    await plant.device("br-1")
    numbers = [await plant.quarantine(at(n), name, "too-old", b"abc") for n, name in enumerate(("br-1", "br-9", None))]
    await forced(plant.sql, "update quarantine set state = 'replayed', settled_at = now() where quarantine_id = $1", 3)
    page = await admin.shown(PATH)
    assert (f'value="{numbers[0]}"' in page, f'value="{numbers[2]}"' in page) == (True, False)
    status, told = await admin.refused(PATH, act="discard", messages=numbers, why="noise")
    assert (status, f"message {numbers[2]} is settled already: it is replayed" in told.lower()) == (409, True)
    wrong: tuple[dict[str, Any], ...] = ({"messages": []}, {"messages": numbers[:2], "why": ""}, {"messages": ["x"]})
    for fields in wrong:
        assert (await admin.refused(PATH, **{"act": "discard", "why": "noise", **fields}))[0] == 422
    assert await plant.sql.fetchval("select count(*) from quarantine where state = 'open'") == 2
    assert await admin.act(PATH, act="discard", messages=numbers[:2], why="noise") == f"/app/main/{PATH}"
    rows = await plant.sql.fetch("select state, payload, bytes from quarantine where quarantine_id < 3")
    assert [tuple(row) for row in rows] == [("discarded", None, 3)] * 2
    assert await trail(plant.sql) == [
        (ADMIN, "quarantine.discard", f"quarantine/{number}", "noise") for number in numbers[:2]
    ]
    assert "Its bytes are gone" in await admin.words(f"{PATH}/{numbers[0]}")
    assert "br-9 too old" in await admin.words(f"{PATH}?state=discarded")


async def test_a_replay_is_a_job_whose_end_the_page_tells(admin: Visitor, plant: Plant) -> None:
    await plant.device("br-1")
    numbers = [await plant.quarantine(at(n), "br-1", "too-old", b"abc") for n in range(2)]
    said = await admin.post(PATH, htmx=True, act="replay", messages=numbers, why="registered since")
    assert (said.status_code, "takes 2 messages in again" in said.headers["hx-trigger"]) == (204, True)
    assert [event[1] for event in await trail(plant.sql)] == ["replay"]
    assert "olga@example.org queued –" in await admin.words(PATH)
    await plant.sql.execute(
        """update jobs set state = 'done', finished_at = now(), result =
           '{"stored": 1, "rejected": 1, "not_open": 0, "reasons": ["too-old: a frame of 1970"]}'"""
    )
    assert "done 1 stored, 1 rejected again (too-old: a frame of 1970)" in await admin.words(PATH)


async def test_messages_of_others_are_not_there(admin: Visitor, stranger: Visitor, plant: Plant) -> None:
    await plant.device("br-1")
    await plant.sql.execute(
        "insert into devices (name, organization_id)"
        " select 'theirs', organization_id from organizations where name = 'other'"
    )
    numbers = [await plant.quarantine(at(0), name, "too-old", b"abc") for name in ("br-1", "theirs")]
    shown = await stranger.shown(PATH)
    assert [f'{PATH}/{number}"' in shown for number in numbers] == [False, True]
    for act in ("discard", "replay"):
        status, told = await stranger.refused(PATH, act=act, messages=[*numbers], why="x")
        assert (status, f"number {numbers[0]}" in told) == (404, True)
        assert (await admin.refused(PATH, act=act, messages=numbers[1], why="x"))[0] == 404
    assert (await stranger.get(f"{PATH}/{numbers[0]}")).status_code == 404
    await stranger.act(PATH, act="discard", messages=numbers[1], why="noise")
    assert [event[1] for event in await trail(plant.sql, "other")] == ["quarantine.discard"]
    assert await trail(plant.sql) == []
