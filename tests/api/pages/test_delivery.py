"""Delivery on pages: is anything missing, of all, of a device, of yesterday; and what became of all that came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.api.pages.conftest import Visitor
from tests.api.plant import Plant
from tests.in_turn import in_turn

DAY = timedelta(days=1)


def midnight() -> datetime:
    """Of the day that runs."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


async def send(plant: Plant, device: int, frames: list[tuple[datetime, int | None, int | None]]) -> None:
    """Store frames with their time, boot and number."""
    layout = await plant.layout(device, "ph")
    await plant.sql.executemany(
        "insert into frames (time, device_id, layout_id, boot, seq, received_at, values)"
        " values ($1, $2, $3, $4, $5, $1, '{7}')",
        [(time, device, layout, boot, seq) for time, boot, seq in frames],
    )


async def arrive(plant: Plant, device: int, boot: int, received: str, lost: str = "{}") -> None:
    await plant.sql.execute(
        "insert into device_streams (device_id, boot, received, lost)"
        " values ($1, $2, $3::text::int8multirange, $4::text::int8multirange)",
        *(device, boot, received, lost),
    )


async def test_nothing_is_missing_is_said_in_words(viewer: Visitor, plant: Plant) -> None:
    assert "No device has sent a frame with a number yet." in await viewer.words("delivery")
    device = await plant.device("br-1")
    await arrive(plant, device, 1, "{[0,1200)}")
    words = await viewer.words("delivery")
    assert "Nothing is missing: 1,200 frames were sent, and 1,200 have arrived." in words
    assert "Nothing is missing: each number up to the newest has arrived." in words


async def test_holes_of_all_devices_are_listed_those_that_may_still_be_filled_first(
    viewer: Visitor, plant: Plant
) -> None:
    first, second = await plant.device("br-1"), await plant.device("br-2")
    await arrive(plant, first, 3, "{[0,10),[20,30)}", "{[12,14)}")
    await arrive(plant, second, 1, "{[5,6)}")
    words = await viewer.words("delivery")
    missing = "missing: the device is asked for them"
    for told in (f"br-1 3 10 to 11 2 {missing}", f"br-1 3 14 to 19 6 {missing}", f"br-2 1 0 to 4 5 {missing}"):
        assert told in words, told
    assert words.index("br-2 1 0 to 4") < words.index("br-1 3 12 to 13 2 lost")
    assert (await viewer.part("delivery")).startswith("<section")


async def test_who_runs_the_installation_sees_what_became_of_all(
    viewer: Visitor, stranger: Visitor, plant: Plant
) -> None:
    await plant.sql.execute(
        "insert into cells (cell, client_id) values ('north', 'n'), ('south', 's'), ('replay', 'r')"
    )
    await plant.sql.execute(
        """insert into intake_totals (cell, kind, committed, duplicate, quarantined, discarded) values
           ('north', 'frame', 1000, 20, 3, 4), ('south', 'frame', 1, 1, 1, 1), ('north', 'status', 7, 0, 0, 0),
           ('replay', 'frame', 2, 0, 0, 0)"""
    )
    words = await viewer.words("delivery")
    assert "frames 1,031 1,001 21 4 5" in words  # the sum of the four
    assert "statuses 7 7 0 0 0" in words
    assert "taken in again from quarantine 2 2 0 0 0" in words
    assert "In flight is not known: no gateway has noted yet" in words
    await plant.sql.execute(
        "insert into intake_beats (cell, settled_until, well_since) values"
        " ('north', '2026-03-01 10:00Z', '2026-03-01Z'), ('south', '2026-03-01 09:00Z', '2026-03-01Z')"
    )
    assert "nothing of what was received until 2026-03-01 09:00:00 UTC" in await viewer.words("delivery")
    assert "Everything that was ever received" not in await stranger.words("delivery")


async def test_yesterday_is_answered_one_click_from_delivery(viewer: Visitor, plant: Plant) -> None:
    """A hole over midnight, a new power-up, what is lost; and what lies outside of the day is not counted."""
    device, begin = await plant.device("br-1"), midnight() - DAY
    await send(
        plant,
        device,
        [
            (begin - timedelta(hours=1), 1, 10),
            (begin + timedelta(hours=1), 1, 15),  # 11 to 14 are missing, and may be of that day
            (begin + timedelta(hours=2), 1, 19),  # 17 is missing, 16 and 18 are in quarantine
            (begin + timedelta(hours=3), 2, 2),  # 1 is lost
            (begin + timedelta(hours=4), 2, 3),
            (begin + DAY + timedelta(minutes=1), 2, 6),  # 5 is missing
            (begin + DAY + timedelta(minutes=2), 2, 9),  # so are 7 and 8, of another day
        ],
    )
    await arrive(plant, device, 1, "{[0,3),[5,11),[15,17),[18,20)}")
    await arrive(plant, device, 2, "{[0,1),[2,5),[6,7),[9,10)}", "{[1,2)}")
    other = await plant.device("br-2")
    await send(plant, other, [(begin + timedelta(hours=1), None, None)])
    await plant.device("br-3")
    await plant.quarantine(begin + timedelta(hours=1), "br-1", "too-old", b"x")
    await plant.quarantine(begin + DAY, "br-1", "too-old", b"y")

    page = await viewer.shown("delivery")
    link = page.partition(">Yesterday</a>")[0].rpartition('href="')[2].partition('"')[0]
    words = await viewer.words(link)
    assert "6 of 15 frames are missing." in words
    assert "1 more are lost" in words
    assert "boot 1: 11 to 14, 17; boot 2: 1, 5" in words
    assert "Of br-2 nobody can say: the frames have no numbers." in words
    assert "Nothing is stored of br-3." in words
    assert "1 message that came in this time is in quarantine" in words
    assert "br-1 too old 1" in words
    assert "2 of" not in await viewer.words(f"delivery/time?day={(begin - DAY).date()}")


async def test_a_day_is_one_of_the_readers_zone(viewer: Visitor, plant: Plant) -> None:
    device, day = await plant.device("br-1"), datetime(2026, 3, 29, tzinfo=UTC)  # of 23 hours in Berlin
    hours = (-1, 0, 21, 22)
    days = ("UTC", "00:00:00", 2), ("Europe/Berlin", "23:00:00", 3), ("Asia/Tokyo", "15:00:00", 2)
    await send(plant, device, [(day + timedelta(hours=at, minutes=-1), 1, n) for n, at in enumerate(hours)])
    await arrive(plant, device, 1, "{[0,4)}")
    for tz, first, expected in days:
        words = await viewer.words(f"delivery/time?day=2026-03-29&tz={tz}")
        assert f"{first} UTC to" in words, words
        assert f"{expected} frames of 1 device" in words
        assert f"Day, in {tz}" in words
    assert (await viewer.get("delivery/time?tz=Mars/Phobos")).status_code == 422


async def test_what_is_stored_and_not_yet_noted_is_not_missing(viewer: Visitor, plant: Plant) -> None:
    device, now = await plant.device("br-1"), datetime.now(UTC)
    await send(plant, device, [(now - timedelta(minutes=5 - n), 1, n) for n in range(4)])
    await arrive(plant, device, 1, "{[0,3)}")
    assert "Nothing is missing: 3 frames of 1 device have all arrived." in await viewer.words("delivery/time?last=24h")


@in_turn("asked", ["day=yesterday", "last=1h", "day=2026-13-01", "nothing=1"])
async def test_a_time_that_is_none_is_refused(viewer: Visitor, asked: str) -> None:
    assert (await viewer.get(f"delivery/time?{asked}")).status_code == 422


async def test_devices_of_others_are_in_no_answer(viewer: Visitor, stranger: Visitor, plant: Plant) -> None:
    device, begin = await plant.device("kettle-7"), midnight() - DAY
    await send(plant, device, [(begin, 1, 0), (begin + timedelta(hours=1), 1, 5)])
    await arrive(plant, device, 1, "{[0,1),[5,6)}")
    assert "4 of 6 frames are missing." in await viewer.words("delivery/time")
    for path in ("delivery", "delivery/time", "delivery/time?last=7d"):
        assert "kettle-7" not in await stranger.shown(path)
