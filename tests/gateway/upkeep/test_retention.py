"""What is old goes, what is held stays, and the account adds up all the while."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from gateway.broker.client import MqttClient
from gateway.runtime.database import Pool, create_pool
from gateway.upkeep import retention
from gateway.upkeep.retention import Retention
from tests.api.accounts import organization
from tests.conftest import Broker
from tests.gateway.cell import eventually
from tests.gateway.material import settings
from tests.locks import waits_at_a_lock
from tests.processes import GatewayProcess, wait_until
from tests.roles import forced

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
HELD = "select retention_hold(1, null, $1, $2, 'eva', 'inspection')"
ADDS_UP = """
select t.kind, t.committed, d.dropped + case t.kind when 'frame' then (select count(*) from frames)
                                             when 'event' then (select count(*) from device_events)
                                             else (select count(*) from statuses) end
  from (select kind, sum(committed) as committed from intake_totals where kind <> 'result' group by 1) t
 cross join lateral (select coalesce(sum(rows), 0) as dropped from retention_drops r where r.kind = t.kind) d"""


async def assert_adds_up(database: asyncpg.Connection) -> None:
    for kind, committed, found in await database.fetch(ADDS_UP):
        assert committed == found, kind


async def days(database: asyncpg.Connection, now: datetime, table: str = "frames") -> set[int]:
    """How many days old the rows are that are stored."""
    return {round((now - row["time"]) / DAY) for row in await database.fetch(f"select time from {table}")}


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(settings(database_url)) as pool:
        await pool.execute("insert into devices (name) values ('r1')")
        yield pool


@pytest.fixture
async def old(gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection) -> datetime:
    """Through a gateway came what is 60, 50, 40 and 1 days old, of a device of each of two organizations."""
    now = datetime.now(UTC)
    other = await organization(database, "north")
    await database.execute("insert into devices (name, organization_id) values ('r1', 1), ('r2', $1)", other)
    gateway.start(max_age_s=100 * 86400, max_skew_s=3600)
    async with MqttClient(broker.host, broker.port) as client:
        for device, count in (("r1", 3), ("r2", 2)):
            for number, age in enumerate((60, 50, 40, 1)):
                t = int((now - age * DAY).timestamp() * 1000)
                for n in range(count):
                    frame: dict[str, Any] = {"boot": 1, "seq": number * count + n, "t": t + n, "v": {"ph": 7.0 + n}}
                    await client.publish(f"bioreactors/{device}/telemetry", json.dumps(frame), qos=1)
                event = {"type": "phase", "t": t, "boot": 1, "data": {"phase": str(age)}}
                await client.publish(f"bioreactors/{device}/event", json.dumps(event), qos=1)
                status = {"status": "online", "t": t, "boot": 1}
                await client.publish(f"bioreactors/{device}/status", json.dumps(status), qos=1)
    gateway.settle(20)
    gateway.settle(8, "status")
    gateway.settle(8, "event")
    assert gateway.terminate() == 0
    await forced(database, "update statuses set received_at = time")
    return now


async def test_old_chunks_go_but_what_the_first_organization_holds_and_the_account_adds_up(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection, old: datetime
) -> None:
    streams = await database.fetch("select * from device_streams order by device_id")
    hold = await database.fetchval(HELD, old - 50 * DAY - HOUR, old - 50 * DAY + HOUR)
    dropping: dict[str, Any] = {f"retention_{what}_days": 30 for what in ("frames", "statuses", "quarantine")}

    gateway.start(**dropping, retention_interval_s=1)

    await eventually(lambda: database.fetchval("select count(*) = 4 from retention_drops"), 20)
    assert await days(database, old) == {50, 1}
    kept = "select count(*) from frames join devices using (device_id) where name = $1 and time < current_date - 9"
    assert await database.fetchval(kept, "r1") == 3
    assert await database.fetchval(kept, "r2") == 0  # another organization's
    assert await database.fetchval("select count(*) from device_events") == 8  # of which nobody said anything
    assert await days(database, old, "statuses") == {50, 1}
    await assert_adds_up(database)
    assert await database.fetch("select * from device_streams order by device_id") == streams
    told = await database.fetch(
        "select organization_id, subject, new ->> 'rows' from audit where action = 'retention drop' order by 1, n"
    )
    assert [tuple(row) for row in told if row["subject"] == "retention/frame"] == [
        *[(1, "retention/frame", "3")] * 2,
        *[(2, "retention/frame", "2")] * 3,
    ]
    held = 'biogate_retention_held_chunks{kind="frame"}'
    await asyncio.to_thread(wait_until, lambda: gateway.metrics()[held] == 1, 10)  # at the next look
    told_then = gateway.metrics()
    assert told_then['biogate_retention_dropped_rows_total{kind="frame"}'] == 12
    assert told_then['biogate_retention_dropped_chunks_total{kind="frame"}'] == 3

    async with MqttClient(broker.host, broker.port) as client:  # what was dropped does not come back
        frame = {"boot": 1, "seq": 0, "t": int((old - 60 * DAY).timestamp() * 1000), "v": {"ph": 7.0}}
        await client.publish("bioreactors/r1/telemetry", json.dumps(frame), qos=1)
    assert gateway.settle(1)["quarantined"] == 1

    await database.execute("select retention_hold_end($1, null, 'eva', 'inspected')", hold)
    await eventually(lambda: database.fetchval("select count(distinct time::date) = 1 from frames"), 20)
    assert await days(database, old) == {1}
    await eventually(lambda: database.fetchval("select count(*) = 2 from statuses"), 20)
    await assert_adds_up(database)
    for number in (1, 2):
        assert await database.fetch("select audit_faults($1)", number) == []


async def test_settled_messages_go_from_quarantine_and_open_ones_stay(pool: Pool) -> None:
    await pool.execute(
        """insert into quarantine (received_at, device, topic, reason, detail, payload, sha256, state, settled_at)
           select now() - interval '90 days', 'r1', 'x', 'malformed', '',
                  case when state <> 'discarded' then 'x'::bytea end, sha256(n::text::bytea), state,
                  now() - age::interval
             from (values (1, 'open', null), (2, 'replayed', interval '40 days'), (3, 'discarded', interval '40 days'),
                          (4, 'replayed', interval '2 days')) v (n, state, age)"""
    )

    await Retention(settings(retention_quarantine_days=30), pool, asyncio.Event()).look(datetime.now(UTC))

    assert await pool.fetchval("select array_agg(state order by state) from quarantine") == ["open", "replayed"]
    assert await pool.fetchval("select rows from retention_drops where kind = 'quarantined'") == 2


STORED = """
select array_agg(distinct name order by name)
  from {} t join devices d using (device_id) where t.received_at < now() - interval '30 days'"""


@pytest.mark.parametrize(
    ("hold", "stays"),
    [
        ("select retention_hold(3, null, null, null, 'x', 'x')", []),  # an outsider's organization, which has nothing
        ("select retention_hold(1, null, null, null, 'x', 'x')", ["m1"]),  # and what strangers have sent
        ("select retention_hold(1, 1, null, null, 'x', 'x')", ["m1"]),
        ("select retention_hold(2, null, null, null, 'x', 'x')", ["n1", "n2"]),
        ("select retention_hold(2, 2, null, null, 'x', 'x')", ["n1"]),
        ("select retention_hold(2, 2, null, now() - interval '300 days', 'x', 'x')", []),
        (
            "select retention_hold(2, null, null, null, 'x', 'x');"
            " update devices set organization_id = 1 where name = 'n1'",
            ["n1", "n2"],
        ),
        (
            "select retention_hold_end(retention_hold(2, null, null, null, 'x', 'x'), null, 'x', 'x');"
            " update devices set organization_id = 1 where name = 'n1'",
            [],
        ),
    ],
)
async def test_a_hold_keeps_what_is_its_organization_s_or_its_device_s_and_nothing_else(
    database: asyncpg.Connection, database_url: str, hold: str, stays: list[str]
) -> None:
    for number in (2, 3):
        assert await organization(database, f"org-{number}") == number
    await database.execute(
        "insert into devices (name, organization_id) values ('m1', 1), ('n1', 2), ('n2', 2);"
        "insert into frames select now() - n * interval '90 days', d, 1, 1, n, now() - n * interval '90 days', '{1}'"
        " from generate_series(1, 2) n, generate_series(1, 3) d;"
        "insert into device_events (device_id, time, type, data, digest, boot, received_at)"
        " select device_id, time, 'x', '{}', sha256(seq::text::bytea), 1, received_at from frames;"
        "insert into statuses (device_id, boot, time, online, received_at, firmware)"
        " select device_id, seq, time, true, received_at, '' from frames"
    )
    await database.execute(
        "insert into quarantine (received_at, device, topic, reason, detail, payload, sha256, state, settled_at)"
        " select now() - interval '90 days', name, 'x', 'malformed', '', 'x', sha256(name::bytea), 'replayed',"
        " now() - interval '40 days' from unnest(array['m1', 'n1', 'n2', 'stranger']) name"
    )
    await database.execute(hold)
    strangers = ["stranger"] if "(1, null" in hold else []
    kept: dict[str, Any] = {f"retention_{what}_days": 30 for what in ("frames", "events", "statuses", "quarantine")}
    chosen = settings(**kept)

    async with create_pool(settings(database_url)) as pool:
        for _ in range(2):  # a second look changes nothing
            await Retention(chosen, pool, asyncio.Event()).look(datetime.now(UTC))

            for table in ("frames", "device_events"):
                assert (await database.fetchval(STORED.format(table)) or []) == stays, table
            assert await database.fetchval("select count(*) from frames") == 2 * len(stays)
            old = "select array_agg(name order by name) from statuses join devices using (device_id) where boot = 1"
            assert (await database.fetchval(old) or []) == stays
            settled = await database.fetchval("select array_agg(device order by device) from quarantine") or []
            assert settled == stays + strangers
            drops = await database.fetch("select kind, sum(rows)::int from retention_drops group by kind")
            gone = 3 - len(stays)
            assert dict(map(tuple, drops)) == {
                "frame": 2 * gone, "event": 2 * gone, "status": gone, "quarantined": gone + 1 - len(strangers)
            }  # fmt: skip


async def test_a_device_that_is_given_away_takes_the_holds_along_that_kept_it_and_no_others(pool: Pool) -> None:
    await pool.execute("insert into organizations (name, title) values ('north', 'North')")
    await pool.execute("insert into devices (name) values ('r2')")
    device = dict(await pool.fetch("select name, device_id from devices"))
    for why, whose in (("of all", None), ("of another", device["r2"]), ("its own", device["r1"]), ("ended", None)):
        await pool.execute("select retention_hold(1, $1, null, null, 'eva', $2)", whose, why)
    await pool.execute("update retention_holds set ended_at = now() where why = 'ended'")
    await pool.execute("update devices set organization_id = 2 where name = 'r1'")
    kept = "select why from retention_holds where device_id = $1 and ended_at is null order by hold_id"
    [own, given] = [row["why"] for row in await pool.fetch(kept, device["r1"])]
    assert (own, given.endswith(": of all")) == ("its own", True)


async def test_an_organization_has_a_bounded_number_of_holds(pool: Pool) -> None:
    await pool.execute("select retention_hold(1, null, null, null, 'x', 'x') from generate_series(1, 200)")
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="200 holds"):
        await pool.execute("select retention_hold(1, null, null, null, 'x', 'x')")
    other = await pool.fetchval("insert into organizations (name, title) values ('n', 'N') returning organization_id")
    await pool.execute("select retention_hold($1, null, null, null, 'x', 'x')", other)
    await pool.execute("select retention_hold_end(7, 1, 'x', 'x')")
    await pool.execute("select retention_hold(1, null, null, null, 'x', 'x')")


async def test_a_hold_that_is_made_while_a_chunk_is_about_to_go_keeps_it(
    pool: Pool, database: asyncpg.Connection
) -> None:
    now = datetime.now(UTC)
    await pool.execute(
        "insert into frames select now() - n * interval '20 days', 1, 1, 1, n, now(), '{1}'"
        " from generate_series(2, 4) n"
    )
    making = database.transaction()
    await making.start()
    await database.execute(HELD, now - 81 * DAY, now - 79 * DAY)  # the first to go

    looking = asyncio.create_task(Retention(settings(retention_frames_days=30), pool, asyncio.Event()).look(now))
    await eventually(lambda: waits_at_a_lock(database), 10)
    await making.commit()
    await looking

    assert await pool.fetchval("select array_agg(seq) from frames") == [4]


FILLED = {
    "frames": "insert into frames values ($1, 1, 1, 1, 1, now(), '{1}')",
    "events": """insert into device_events (time, device_id, type, data, received_at, digest)
                 values ($1, 1, 'phase', '{}', now(), sha256(''))""",
}
CHUNK = "select range_start as begins, range_end as ends from timescaledb_information.chunks"
TICK, NONE = timedelta(microseconds=1), timedelta()


async def chunk(pool: Pool, kind: str) -> asyncpg.Record:
    """A chunk with one row in it: the first and the last instant of its time."""
    await pool.execute(FILLED[kind], datetime.now(UTC) - 60 * DAY)
    [found] = await pool.fetch(CHUNK)
    return found


async def is_kept(pool: Pool, kind: str, limit: datetime) -> bool:
    """Whether the chunk is there after a look at which older data than `limit` are dropped."""
    days: dict[str, Any] = {f"retention_{kind}_days": 30}
    chosen = settings(**days)
    await Retention(chosen, pool, asyncio.Event()).look(limit + 30 * DAY)
    return bool(await pool.fetchval(f"select exists ({CHUNK})"))


@pytest.mark.parametrize("kind", FILLED)
async def test_a_chunk_goes_when_all_of_its_time_is_older_than_the_limit(pool: Pool, kind: str) -> None:
    begins, ends = await chunk(pool, kind)
    for limit in (begins - TICK, begins, begins + TICK, begins + (ends - begins) / 2, ends - TICK):
        assert await is_kept(pool, kind, limit), limit
    assert not await is_kept(pool, kind, ends)


@pytest.mark.parametrize(
    ("begins", "ends", "kept"),
    [
        (-DAY, NONE, False),  # up to its first instant, without it
        (-DAY, TICK, True),
        (HOUR, 2 * HOUR, True),
        (None, None, True),
        (-DAY, None, True),
    ],
)
@pytest.mark.parametrize("kind", FILLED)
async def test_a_hold_keeps_each_chunk_that_it_touches_and_no_other(
    pool: Pool, kind: str, begins: timedelta | None, ends: timedelta | None, kept: bool
) -> None:
    first, last = await chunk(pool, kind)
    hold = [None if by is None else first + by for by in (begins, ends)]
    await pool.execute(HELD, *hold)
    assert await is_kept(pool, kind, last) is kept


async def test_a_hold_from_the_end_of_a_chunk_on_keeps_nothing_of_it_beside_another_hold(pool: Pool) -> None:
    _, last = await chunk(pool, "frames")
    await pool.execute("insert into devices (name) values ('r2')")
    await pool.execute("insert into frames select time, 2, layout_id, boot, seq, received_at, values from frames")
    for number, begins in ((1, last - TICK), (2, last)):
        await pool.execute("select retention_hold(1, $1, $2, null, 'eva', 'inspection')", number, begins)
    assert await is_kept(pool, "frames", last)
    assert await pool.fetchval("select array_agg(device_id) from frames") == [1]


@pytest.mark.parametrize(("begins", "kept"), [(-TICK, True), (NONE, False)])
async def test_a_hold_without_an_end_keeps_from_its_first_instant_on(pool: Pool, begins: timedelta, kept: bool) -> None:
    _, last = await chunk(pool, "frames")
    await pool.execute(HELD, last + begins, None)
    assert await is_kept(pool, "frames", last) is kept


async def test_nothing_goes_that_would_still_be_taken_in() -> None:
    with pytest.raises(ValueError, match="BIOGATE_RETENTION_FRAMES_DAYS"):
        settings(retention_frames_days=29)
    settings(retention_frames_days=29, max_age_s=86400)


NOTED = """
insert into late_arrivals (device_id, begins, ends, first_received, last_received, last_time, noted_at)
select $1, now(), now(), now(), now(), now(), now() - $2::interval returning late_id"""


async def test_notes_of_late_frames_go_after_an_hour_but_for_the_newest_of_each_device(pool: Pool) -> None:
    """By which a reader knows how far it has read."""
    await pool.execute("insert into devices (name) values ('r2')")
    gone, kept = timedelta(minutes=61), timedelta(minutes=59)
    notes = [await pool.fetchval(NOTED, *note) for note in ((1, gone), (2, gone), (1, kept), (1, gone), (1, gone))]
    await Retention(settings(), pool, asyncio.Event()).look(datetime.now(UTC))
    assert await pool.fetchval("select array_agg(late_id order by 1) from late_arrivals") == [
        notes[1], notes[2], notes[4]
    ]  # fmt: skip


async def test_all_that_is_old_goes_at_one_look_though_not_at_once(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 2)
    await pool.execute(
        """insert into quarantine (received_at, device, topic, reason, detail, payload, sha256, state, settled_at)
           select now() - interval '90 days', 'r1', 'x', 'malformed', '', 'x', sha256(n::text::bytea), 'replayed',
                  now() - interval '40 days' from generate_series(1, 5) n"""
    )
    await pool.execute(
        "insert into statuses (device_id, boot, time, online, received_at)"
        " select 1, n, now(), true, now() - interval '90 days' from generate_series(1, 6) n"
    )
    chosen = settings(retention_quarantine_days=30, retention_statuses_days=30)
    await Retention(chosen, pool, asyncio.Event()).look(datetime.now(UTC))
    assert await pool.fetchval("select count(*) from quarantine") == 0
    assert await pool.fetchval("select array_agg(boot) from statuses") == [6]  # the newest stays


async def test_rows_go_at_midnight_so_that_a_day_makes_one_event_of_the_trail(pool: Pool) -> None:
    day = datetime(2026, 5, 6, tzinfo=UTC)
    for boot, hours in enumerate((-1, 1, 9, 20)):  # the newest stays in any case
        await pool.execute(
            "insert into statuses (device_id, boot, time, online, received_at)"
            " select device_id, $1, $2, true, $2 from devices",
            *(boot, day + timedelta(hours=hours)),
        )
    looking = Retention(settings(retention_statuses_days=30), pool, asyncio.Event())
    for now, left in ((10, [1, 2, 3]), (23.9, [1, 2, 3]), (24, [3])):
        await looking.look(day + timedelta(days=30, hours=now))
        assert await pool.fetchval("select array_agg(boot order by boot) from statuses") == left
    assert await pool.fetchval("select count(*) from audit where action like 'retention%'") == 2
