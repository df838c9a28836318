"""Which frames are given to the engine: committed in any order, of any times."""

from __future__ import annotations

import asyncpg
import pytest

from gateway.alarms import feed
from gateway.alarms.alarm_store import AlarmStore
from gateway.alarms.coverage import Coverage
from gateway.alarms.watch import DeviceWatch
from gateway.runtime.database import Pool
from tests.gateway.alarms.plant import HIGH, Plant, evaluated, moment, now

RAISED, RETURNED = ("condition", "unacknowledged"), ("return", "returned-unacknowledged")
LATE = ("late", "normal"), ("late-return", "normal")
SUM = {"kind": "formula", "expression": "x + y > 10"}


async def test_late_history_raises_nothing(plant: Plant, database_url: str) -> None:
    await plant.devices("r1", "r2")
    await plant.rule(stale_after=86_400)
    t = now() - 300
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 1.0}), (t + 250, {"x": 1.0})], first=100)
        # a hole that is filled later, and the buffer of an outage before anything newer
        await plant.commit("r1", [(t + n, {"x": 99.0}) for n in range(1, 50)], first=50, received=t + 260)
        await plant.commit("r2", [(t, {"x": 1.0})])
        await plant.commit("r2", [(t + n, {"x": 99.0}) for n in range(1, 50)], first=1, received=t + 290)
        await plant.commit("r1", [(t + 299, {"x": 11.0})], first=102)
        await plant.becomes("r1", RAISED)
        await plant.commit("r2", [(t + 299, {"x": 9.0})], first=50)
        await plant.commit("r2", [(t + 300, {"x": 11.0})], first=51)
        await plant.becomes("r2", *LATE, RAISED)  # the history has it, and it was not announced


async def test_a_part_of_a_frame_that_is_committed_later_is_found(plant: Plant, database_url: str) -> None:
    """The same time, another layout; without numbers."""
    await plant.devices("r1")
    await plant.rule(when=SUM)
    t = now() - 10
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 6.0})], boot=None)
        await plant.becomes("r1", ("unknown", "normal"))
        await plant.commit("r1", [(t, {"y": 6.0})], boot=None)
        await plant.becomes("r1", ("unknown", "normal"), RAISED)


async def test_a_block_of_other_channels_with_older_times_is_found(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule("y-high", {"kind": "limit", "channel": "y", "level": "high", "limit": 10.0}, stale_after=86_400)
    t, so_far = now() - 39, [("unknown", "normal"), ("known", "normal"), RAISED]
    async with evaluated(database_url):
        await plant.commit("r1", [(t + n, {"x": 1.0}) for n in range(10)], first=0)
        await plant.becomes("r1", ("unknown", "normal"), rule="y-high")
        await plant.commit("r1", [(t + n, {"y": 1.0 if n < 9 else 11.0}) for n in range(10)], first=10)
        await plant.becomes("r1", *so_far, rule="y-high")
        for second in range(1, 4):  # it is known by now that it does so: no need to look far
            begin = t + 10 * second
            await plant.commit("r1", [(begin + n, {"x": 1.0}) for n in range(10)], first=20 * second)
            await plant.commit("r1", [(begin + n, {"y": 1.0}) for n in range(10)], first=20 * second + 10)
        await plant.becomes("r1", *so_far, RETURNED, rule="y-high")


async def test_no_note_of_a_backlog_is_passed_over(plant: Plant, database_url: str) -> None:
    """As of two gateways: what was noted first was received last, behind what one reading takes of the device."""
    await plant.devices("r1")
    await plant.rule(stale_after=86_400)
    for channel in ("y", "z"):
        await plant.rule(channel, HIGH | {"channel": channel}, stale_after=86_400)
    t, pieces = now() - 100, 2 * feed.PIECE
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 11.0})])
        await plant.becomes("r1", RAISED)
    await plant.commit("r1", [(t + n, {"x": 11.0}) for n in range(1, pieces + 1)], first=1)
    await plant.commit("r1", [(t + pieces - 1.5, {"y": 11.0})], boot=None, received=t + pieces - 0.5)
    await plant.commit("r1", [(t + 1.5, {"z": 11.0})], boot=None, received=t + 2.5)
    async with evaluated(database_url):
        for channel in ("y", "z"):
            await plant.becomes("r1", ("unknown", "normal"), RAISED, rule=channel)


async def test_what_came_before_the_clock_was_set_back_is_evaluated_before(plant: Plant, database_url: str) -> None:
    """There is more of it than one reading takes, and in the rest the value is beyond its limit for a while."""
    await plant.devices("r1")
    await plant.rule(stale_after=86_400)
    t, many = now() - 100, feed.PIECE + 5
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 11.0})])
        await plant.becomes("r1", RAISED)
    values = [(t + n, {"x": 1.0 if n <= feed.PIECE else 11.0}) for n in range(1, many + 1)]
    await plant.commit("r1", values, first=1)
    back = [(t - 3600 + n, {"x": 1.0}) for n in range(3)]
    await plant.commit("r1", back, first=many + 1, received=t + many + 1)
    async with evaluated(database_url):
        await plant.becomes("r1", RAISED, RETURNED, RAISED, RETURNED)


async def test_a_phase_in_a_backlog_counts_from_its_time_on(plant: Plant, database_url: str) -> None:
    await plant.devices("r1")
    await plant.rule(scope={"phases": ["feed"]}, stale_after=86_400)
    t, entered = now() - 100, 2.5 * feed.PIECE
    outside = ("phase", "suppressed"), ("condition", "suppressed")
    async with evaluated(database_url):
        await plant.phase("r1", "batch", t - 1)
        await plant.commit("r1", [(t, {"x": 11.0})])
        await plant.becomes("r1", *outside)
    await plant.commit("r1", [(t + n, {"x": 11.0}) for n in range(1, 3 * feed.PIECE)], first=1)
    await plant.phase("r1", "feed", t + entered)
    async with evaluated(database_url):
        await plant.becomes("r1", *outside, ("phase", "normal"), RAISED)
    times = await plant.database.fetch("select at from alarm_transitions where n > 2 order by n")
    assert [row["at"] for row in times] == [moment(t + entered)] * 2


async def test_a_block_that_is_committed_during_a_reading_comes_whole_with_the_next(plant: Plant, pool: Pool) -> None:
    await plant.know()
    await plant.rule("y-high", {"kind": "limit", "channel": "y", "level": "high", "limit": 10.0}, stale_after=86_400)
    store, reader = AlarmStore(pool, 0), feed.FrameFeed(pool, 3600)
    device, rules = Coverage().of(await store.rules(), await store.devices()).popitem()[1]
    watch = DeviceWatch(device)
    watch.begin(device, rules, now())
    t = now() - 39
    await plant.commit(device.name, [(t + n, {"x": 1.0}) for n in range(10)], first=0)

    async def read(*block: tuple[float, dict[str, float]]) -> list[float]:
        """The times of the block's frames read; it is committed between the first query of a reading and the others."""
        async with reader.snapshot() as snapshot:
            notes = await reader.notes(snapshot, [watch], now())
            await plant.commit(device.name, block, first=10)
            found = await reader.read(snapshot, [watch], notes, now())
        for row in found.first:
            watch.first_frame(row, reader.layouts[row["layout_id"]], is_old=False)
        return [row["time"].timestamp() for rows in found.frames.values() for row in rows if row["seq"] >= 10]

    assert await read() == []  # the first is known from now on
    assert await read(*((t + n, {"y": 1.0}) for n in range(10))) == []
    assert await read() == [t + n for n in range(10)]


async def test_a_note_that_is_committed_after_later_ones_is_found(
    plant: Plant, pool: Pool, database: asyncpg.Connection, database_url: str
) -> None:
    """As of the gateway of another cell, whose transaction took longer."""
    reader, watches = feed.FrameFeed(pool, 3600), await watched(plant, pool)
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute(NOTE, 1, watches["v2"].device.device_id)
        await database.execute(NOTE, 1, watches["v1"].device.device_id)
        assert await noted(reader, watches) == ["v1"]
    assert "v2" in await noted(reader, watches)
    await other.close()


async def test_more_notes_than_are_read_at_once_are_read_one_part_after_another(
    plant: Plant, pool: Pool, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long ago they were made: the process was away."""
    monkeypatch.setattr(feed, "NOTES_AT_ONCE", 2)
    reader, watches = feed.FrameFeed(pool, 3600), await watched(plant, pool)
    for name in ("v1", "v2", "v3"):
        await database.execute(NOTE, 600, watches[name].device.device_id)
    assert [await noted(reader, watches) for _ in range(3)] == [["v1", "v2"], ["v3"], []]


NOTE = """
insert into late_arrivals (device_id, begins, ends, first_received, last_received, last_time, noted_at)
values ($2, now(), now(), now(), now(), now(), clock_timestamp() - $1 * interval '1 s')"""


async def watched(plant: Plant, pool: Pool) -> dict[str, DeviceWatch]:
    """Three devices under a rule, by their names."""
    await plant.devices("v1", "v2", "v3")
    await plant.rule()
    store = AlarmStore(pool, 0)
    covered = Coverage().of(await store.rules(), await store.devices())
    return {device.name: DeviceWatch(device) for device, _ in covered.values()}


async def noted(reader: feed.FrameFeed, watches: dict[str, DeviceWatch]) -> list[str]:
    """The devices of which there are notes that were not read yet; then they are."""
    names = {watch.device.device_id: name for name, watch in watches.items()}
    async with reader.snapshot() as snapshot:
        notes = await reader.notes(snapshot, [*watches.values()], now())
    for device_id, rows in notes.items():
        watches[names[device_id]].late_id = rows[-1]["late_id"]
    return [names[device_id] for device_id in notes]


@pytest.mark.parametrize("back", [300.0, 3600.0])
async def test_a_clock_that_is_set_back_is_followed(plant: Plant, database_url: str, back: float) -> None:
    """Among the old frames, of which there is one for every second."""
    await plant.devices("r1")
    await plant.rule(stale_after=86_400)
    t = now() - 4000
    await plant.commit("r1", [(t + n, {"x": 1.0}) for n in range(4000)])
    begin = t + 4000.5 - back
    async with evaluated(database_url):
        await plant.commit("r1", [(begin, {"x": 1.0}), (begin + 1, {"x": 11.0})], first=4000, received=now())
        await plant.becomes("r1", RAISED)
        await plant.commit("r1", [(begin + 2, {"x": 9.0})], first=4002, received=now())
        await plant.becomes("r1", RAISED, RETURNED)
    async with evaluated(database_url):  # it knows so after a restart
        await plant.commit("r1", [(begin + 3, {"x": 11.0})], first=4003, received=now())
        await plant.becomes("r1", RAISED, RETURNED, RAISED)


@pytest.mark.parametrize("boot", [1, 5, 9, None])
async def test_what_is_newer_is_evaluated_whatever_its_number(
    plant: Plant, database_url: str, boot: int | None
) -> None:
    await plant.devices("r1")
    await plant.rule(stale_after=86_400)
    t = now() - 20
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 1.0})], boot=5, first=100)
        await plant.commit("r1", [(t + 1 + n, {"x": 50.0}) for n in range(5)], boot=boot)
        await plant.becomes("r1", RAISED)
    await plant.commit("r1", [(t + 10, {"x": 1.0})], boot=boot, first=10)
    async with evaluated(database_url):
        await plant.becomes("r1", RAISED, RETURNED)


@pytest.mark.parametrize("behind", [3660.0, 5 * 3600.0])
async def test_a_device_that_begins_with_a_wrong_clock_is_evaluated(
    plant: Plant, database_url: str, behind: float
) -> None:
    """Its frames came in the last minute, one a second, and were committed one by one."""
    await plant.devices("r1", "r2")
    await plant.rule()
    await plant.rule("skew", {"kind": "skew", "limit": 100})
    begin = now() - 65
    async with evaluated(database_url):
        await plant.commit("r2", [(now(), {"x": 50.0})])
        await plant.becomes("r2", RAISED)  # it has looked, and found nothing of r1
        for n in range(65):
            await plant.commit("r1", [(begin - behind + n, {"x": 50.0})], first=n, received=begin + n)
        await plant.becomes("r1", LATE[0], RAISED)  # in the first minute it may be a backlog
        await plant.becomes("r1", LATE[0], RAISED, rule="skew")


@pytest.mark.parametrize("boots", [(None, None), (5, 1), (5, 5)])
async def test_a_clock_that_is_set_back_is_followed_also_without_numbers_that_go_on(
    plant: Plant, database_url: str, boots: tuple[int | None, int | None]
) -> None:
    await plant.devices("r1")
    await plant.rule(stale_after=86_400)
    before, after = boots
    begin, back = now() - 90, 5 * 3600.0
    frames = [(begin - back + n, {"x": 50.0}) for n in range(90)]
    async with evaluated(database_url):
        await plant.commit("r1", [(begin - 1, {"x": 1.0})], boot=before, first=1000)
        for n, frame in enumerate(frames[:80]):
            await plant.commit("r1", [frame], boot=after, first=n, received=begin + n)
        await plant.becomes("r1", RAISED)
    await plant.commit("r1", [(begin - back + 80, {"x": 1.0})], boot=after, first=80, received=begin + 80)
    async with evaluated(database_url):  # it knows so after a restart
        await plant.becomes("r1", RAISED, RETURNED)
        await plant.commit("r1", [(begin + 85, {"x": 50.0})], boot=after, first=85, received=begin + 85)
        await plant.becomes("r1", RAISED, RETURNED, RAISED)  # the clock is right again


async def test_what_is_new_is_found_by_the_key_in_the_newest_chunks_alone(
    database: asyncpg.Connection, plant: Plant
) -> None:
    await plant.devices("r1")
    t = now()
    for days in range(20):
        await plant.commit("r1", [(t - 86400 * days - n, {"x": 1.0}) for n in range(300)], boot=20 - days)
    await database.execute("analyze frames")
    await database.execute("set plan_cache_mode = force_custom_plan")
    since = await database.fetchval("select now() - interval '1 hour'")
    plan = await database.fetch(f"explain (analyze) {feed.NEWS}", [1], [since], ["{}"], since, 20)
    text = "\n".join(row[0] for row in plan)
    scans = [line for line in text.splitlines() if "_chunk" in line]
    assert 1 <= len(scans) <= 2, text
    assert "Seq Scan" not in text
