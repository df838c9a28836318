"""Hours of frames are sealed, and a verification names device and hour of whatever the owner of the tables changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import asyncpg
import pytest

from gateway.evidence import sealing
from gateway.evidence.sealed_frames import SealedFrames, sealed_frames
from gateway.evidence.sealing import FILLING, QUIET_MOST, SETTLED, Sealing
from schema.evidence.canonical import digest
from schema.evidence.seals import HOUR, Seal
from tests.gateway.evidence.sealed_plant import BEGIN, END, EVERY, HOURS, NOW, SealedPlant

CHANGED = BEGIN + HOUR + 3 * EVERY
"""A frame of the second hour."""
FRAME = "device_id = (select device_id from devices where name = 'br-1') and time = '2026-03-01 11:15Z'"


@pytest.fixture
async def plant(database: asyncpg.Connection, evidence_url: str) -> AsyncIterator[SealedPlant]:
    sealer = await asyncpg.connect(evidence_url)
    plant = SealedPlant(database, sealer)
    await plant.fill("br-1", "br-2")
    yield plant
    await sealer.close()


async def test_each_hour_with_frames_is_sealed_once_and_the_trail_vouches_for_it(plant: SealedPlant) -> None:
    await plant.seal(END + HOUR - timedelta(seconds=1))
    rows = await plant.sql.fetch("select s.*, d.name from seals s join devices d using (device_id) order by name, hour")
    assert [(row["name"], row["hour"]) for row in rows] == [
        (name, BEGIN + n * HOUR) for name in ("br-1", "br-2") for n in range(HOURS - 1)
    ], "the last hour may still get frames"

    await plant.seal()
    await plant.seal(NOW + HOUR)
    events = await plant.sql.fetch("select new from audit where action = 'seal' order by n")
    assert len(events) == 2, "a pass without seals says nothing"
    said = json.loads(events[1]["new"])
    texts = [Seal.read(row[0]) for row in await plant.sql.fetch("select text from seals where pass = $1", said["pass"])]
    texts.sort(key=lambda seal: seal.device)
    assert said["seals"] == 2
    assert said["digest"] == digest("".join(f"{seal.text}\n" for seal in texts))
    assert [(seal.device, seal.hour, seal.version, seal.at) for seal in texts] == [
        (name, END - HOUR, 1, NOW - SETTLED) for name in ("br-1", "br-2")
    ]
    found = await plant.verified()
    assert (found.hours, found.frames, found.unsealed, found.faults) == (2 * HOURS, 2 * HOURS * 12, 0, [])


@pytest.mark.parametrize(
    ("what", "change"),
    {
        "a value": f"update frames set values[2] = values[2] + 1e-13 where {FRAME}",
        "a value that becomes null": f"update frames set values[1] = null where {FRAME}",
        "a quality": f"update frames set quality = '{{0, 1, 0}}' where {FRAME}",
        "good, said twice": f"update frames set quality = '{{0, 0, 0}}' where {FRAME}",
        "a time": f"update frames set time = time + interval '1 microsecond' where {FRAME}",
        "a receipt": f"update frames set received_at = received_at - interval '1 microsecond' where {FRAME}",
        "a number": f"update frames set seq = seq + 1 where {FRAME}",
        "a boot": f"update frames set boot = null where {FRAME}",
        "a frame deleted": f"delete from frames where {FRAME}",
        "a frame inserted": f"""insert into frames select time + interval '1 second', device_id, layout_id, boot, seq,
            received_at, values, quality from frames where {FRAME}""",
        "a frame inserted as if it came late": f"""insert into frames select time + interval '1 s', device_id,
            layout_id, boot, seq, now(), values, quality from frames where {FRAME}""",
        "a frame inserted without a receipt": f"""insert into frames select time + interval '1 s', device_id,
            layout_id, boot, seq, 'infinity', values, quality from frames where {FRAME}""",
        "another layout": f"update frames set layout_id = 1000 where {FRAME}",
        "the text of a seal": """update seals set text = replace(text, '"frames":12', '"frames":13')
            where hour = '2026-03-01 11:00Z' and device_id = (select device_id from devices where name = 'br-1')""",
        "a seal deleted": """delete from seals where hour = '2026-03-01 11:00Z'
            and device_id = (select device_id from devices where name = 'br-1')""",
        "frames and seal deleted": """delete from seals where hour = '2026-03-01 11:00Z'
            and device_id = (select device_id from devices where name = 'br-1');
            delete from frames where time >= '2026-03-01 11:00Z' and time < '2026-03-01 12:00Z'
            and device_id = (select device_id from devices where name = 'br-1')""",
    }.items(),
    ids=lambda given: given if " " in given and len(given) < 40 else "",
)
async def test_a_change_is_found_with_its_device_and_hour(plant: SealedPlant, what: str, change: str) -> None:
    await plant.seal()
    await plant.sql.execute("set session_replication_role = replica")  # triggers do not hold back who owns the tables
    await plant.sql.execute(change)
    found = await plant.verified()
    assert {(fault.device, fault.hour) for fault in found.faults} == {("br-1", BEGIN + HOUR)}, found.faults


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("update channels set name = 'pH' where name = 'ph'", "the channel 'ph' of layout"),
        ("update channels set unit = 'K' where name = 'temperature'", "the unit of 'temperature' was '°C', is 'K'"),
        (
            """insert into channel_units (organization_id, channel_id, since, unit, plain)
               select 1, channel_id, '2026-03-01 12:30Z', 'K', false from channels where name = 'temperature'""",
            "the unit of 'temperature' was '°C', is '°C', then 'K'",
        ),
        ("update layout_channels set ordinal = 4 - ordinal", "the channel "),
        ("update seal_layouts set text = replace(text, '°C', 'K')", "what layouts mean was changed"),
    ],
)
async def test_a_change_of_what_layouts_mean_is_found(plant: SealedPlant, change: str, what: str) -> None:
    await plant.seal()
    await plant.sql.execute("set session_replication_role = replica")
    await plant.sql.execute("alter table layout_channels drop constraint layout_channels_pkey")
    await plant.sql.execute(change)
    found = await plant.verified("br-1")
    first = BEGIN + 2 * HOUR if "12:30" in change else BEGIN
    assert [fault.hour for fault in found.faults if what in fault.what][:1] == [first], found.faults
    assert {fault.device for fault in found.faults} == {"br-1"}


async def test_a_unit_that_people_have_said_is_no_fault(plant: SealedPlant) -> None:
    await plant.seal()
    await plant.sql.execute(
        "select channel_describe(1, null, 'ph', '{\"unit\": \"mV\"}', '2026-03-01 09:00Z', null, 'eva', 'told wrong')"
    )
    assert (await plant.verified()).faults == []


async def test_devices_that_change_places_are_found(plant: SealedPlant) -> None:
    await plant.store("br-2", [(BEGIN + timedelta(seconds=1), [1.0, 2.0, 3.0], None)])
    await plant.seal()
    await plant.tamper(
        """update frames set device_id = 3 - device_id + 0 where device_id in (1, 2)
              and time in ('2026-03-01 10:00:01Z')"""
    )
    found = await plant.verified()
    assert {(fault.device, fault.hour) for fault in found.faults} == {("br-1", BEGIN), ("br-2", BEGIN)}


async def test_late_frames_make_a_new_version_that_names_the_old(plant: SealedPlant) -> None:
    await plant.seal()
    late = [(BEGIN + timedelta(seconds=1), [1.0, 2.0, 3.0], None)]
    await plant.store("br-1", late, after=NOW - BEGIN, late=True)
    await plant.mark_time(NOW)
    assert (await plant.verified()).late == 1
    await plant.seal(NOW + SETTLED - timedelta(seconds=1))
    assert (await plant.verified()).late == 1, "others may still come"

    await plant.seal(NOW + SETTLED + HOUR)
    old, new = (
        row[0]
        for row in await plant.sql.fetch(
            "select text from seals where device_id = 1 and hour = $1 order by version", BEGIN
        )
    )
    assert Seal.read(new).before == digest(old)
    assert (Seal.read(old).frames, Seal.read(new).frames, Seal.read(new).version) == (12, 13, 2)
    found = await plant.verified()
    assert (found.late, found.faults) == (0, [])

    await plant.sql.execute("set session_replication_role = replica")
    await plant.tamper("delete from frames where time = '2026-03-01 10:05Z' and device_id = 1")
    whats = [fault.what for fault in (await plant.verified()).faults]
    assert len(whats) == 2
    assert all("deleted: 1 frame" in what for what in whats), "a new version does not hide what an old one has"

    forged = "update seals set text = replace(text, $1, $2) where version = 2"
    await plant.tamper(forged, Seal.read(new).before, digest("another"))
    whats = [fault.what for fault in (await plant.verified()).faults]
    assert "version 2 of the seal does not name the text of the version before" in whats


async def test_an_hour_that_gets_marks_again_and_again_is_sealed_after_a_day_and_keeps_the_newest_mark(
    plant: SealedPlant,
) -> None:
    await plant.seal()
    late = [(BEGIN + timedelta(seconds=1), [1.0, 2.0, 3.0], None)]
    await plant.store("br-1", late, after=NOW - BEGIN, late=True)
    await plant.mark_time(NOW)
    due = NOW + QUIET_MOST + SETTLED
    newest = "insert into seals_stale (device_id, hour, marked_at) values (1, $1, $2)"
    await plant.sql.execute(newest, BEGIN, due - timedelta(seconds=1))
    versions = "select array_agg(version order by version) from seals where device_id = 1 and hour = $1"
    await plant.seal(due - timedelta(seconds=1))
    assert await plant.sql.fetchval(versions, BEGIN) == [1]
    await plant.seal(due)
    assert await plant.sql.fetchval(versions, BEGIN) == [1, 2]
    marks = await plant.sql.fetch("select marked_at from seals_stale where device_id = 1")
    assert [row["marked_at"] for row in marks] == [due - timedelta(seconds=1)], "it may be of what came meanwhile"


async def test_a_change_is_not_hidden_by_a_mark(plant: SealedPlant) -> None:
    await plant.seal()
    await plant.tamper(f"update frames set values[2] = 20 where {FRAME}")
    await plant.sql.execute("insert into plot_hours_stale values (1, $1)", CHANGED.replace(minute=0))
    await plant.mark_time(NOW)
    await plant.seal(NOW + 2 * HOUR)
    [fault] = (await plant.verified()).faults
    assert (fault.device, fault.hour) == ("br-1", BEGIN + HOUR)
    assert "version 1 of the seal: changed" in fault.what


async def test_frames_that_the_database_got_long_after_their_receipt_belong_to_the_next_version(
    plant: SealedPlant,
) -> None:
    await plant.seal()
    await plant.store("br-1", [(BEGIN + timedelta(seconds=1), [1.0, 2.0, 3.0], None)], late=True)
    await plant.sql.execute(
        "insert into stored_late values (1, $1, $2, $3)", BEGIN + timedelta(seconds=1), plant.layout_id, NOW
    )
    await plant.mark_time(NOW)
    assert (await plant.verified()).faults == []
    await plant.seal(NOW + 2 * HOUR)
    found = await plant.verified()
    assert (found.late, found.faults) == (0, [])
    assert await plant.sql.fetchval("select count(*) from seals where version = 2") == 1


async def test_frames_of_an_import_are_sealed_when_it_has_ended(plant: SealedPlant) -> None:
    device = plant.devices["br-1"]
    await plant.imported(device, plant.layout_id, [BEGIN + timedelta(seconds=1)])
    await plant.tamper("update imports set finished_at = null, received_at = $1", BEGIN + 2 * HOUR)
    await plant.tamper("update imported_devices set received_at = $1", BEGIN + 2 * HOUR)
    await plant.tamper("update frames set received_at = $1 where boot is null", BEGIN + 2 * HOUR)
    await plant.sql.execute("insert into plot_hours_stale values ($1, $2)", device, BEGIN)
    await plant.mark_time(BEGIN)
    await plant.seal()
    frames = "select max((text::jsonb ->> 'frames')::int) from seals where device_id = $1 and hour = $2"
    assert await plant.sql.fetchval(frames, device, BEGIN) == 12
    found = await plant.verified()
    assert (found.late, found.faults) == (1, [])

    await plant.sql.execute("update imports set finished_at = $1", NOW)
    await plant.seal(NOW + 2 * HOUR)
    assert await plant.sql.fetchval(frames, device, BEGIN) == 13
    found = await plant.verified()
    assert (found.late, found.faults) == (0, [])


async def test_hours_of_a_device_that_is_asked_for_frames_wait_a_day(plant: SealedPlant) -> None:
    await plant.sql.execute("insert into device_streams values (1, 1, '{[0, 10), [12, 20)}', '{}', $1)", NOW)
    await plant.seal()
    count = "select count(*) from seals where device_id = 1"
    assert await plant.sql.fetchval(count) == 0
    await plant.seal(NOW + timedelta(days=1))
    assert await plant.sql.fetchval(count) == HOURS


async def test_a_hole_that_nobody_fills_holds_up_no_later_hour(plant: SealedPlant) -> None:
    long_ago = NOW - FILLING - SETTLED
    await plant.sql.execute("insert into device_streams values (1, 1, '{[0, 10), [12, 20)}', '{}', $1)", long_ago)
    await plant.seal()
    assert await plant.sql.fetchval("select count(*) from seals where device_id = 1") == HOURS


async def test_hours_whose_frames_retention_dropped_keep_their_seals(plant: SealedPlant) -> None:
    await plant.seal()
    chunk = await plant.sql.fetchrow(
        """select format('%I.%I', chunk_schema, chunk_name) as name, range_start, range_end
             from timescaledb_information.chunks where hypertable_name = 'frames'"""
    )
    await plant.sql.fetchval(
        "select retention_drop_chunk('frame', 'frames', $1::text::regclass, $2, $3, 'old')", *chunk
    )
    found = await plant.verified()
    assert (found.hours, found.dropped, found.frames, found.faults) == (2 * HOURS, 2 * HOURS, 0, [])
    await plant.sql.execute("set session_replication_role = replica")
    await plant.sql.execute("delete from audit where action = 'retention drop'")
    found = await plant.verified()
    assert len(found.faults) == 2 * HOURS, "a drop that the audit trail does not know is none"


async def test_a_drop_before_a_seal_excuses_nothing_that_was_stored_after_it(plant: SealedPlant) -> None:
    dropped = await plant.sql.fetchrow(
        """select format('%I.%I', chunk_schema, chunk_name), range_start, range_end
             from timescaledb_information.chunks where hypertable_name = 'frames'"""
    )
    await plant.sql.fetchval(
        "select retention_drop_chunk('frame', 'frames', $1::text::regclass, $2, $3, 'old')", *dropped
    )
    await plant.sql.execute("set session_replication_role = replica")
    await plant.sql.execute("update retention_drops set dropped_at = $1", BEGIN)
    await plant.sql.execute("set session_replication_role = origin")
    await plant.fill("br-3")
    await plant.seal()
    assert (await plant.verified("br-3")).faults == []
    await plant.tamper("delete from frames where time = '2026-03-01 11:15Z'")
    [fault] = (await plant.verified("br-3")).faults
    assert (fault.device, fault.hour) == ("br-3", BEGIN + HOUR)


async def test_a_pass_is_bounded_and_one_organization_or_device_does_not_hold_up_others(
    plant: SealedPlant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "AT_ONCE", 2)
    monkeypatch.setattr(sealing, "MOST", 4)
    await plant.sql.execute("insert into organizations (name, title) values ('other', 'Other')")
    await plant.sql.execute("update devices set organization_id = 2 where name = 'br-2'")
    assert await Sealing(plant.sql).seal(NOW)
    made = await plant.sql.fetch("select organization_id, count(*) from seals group by 1 order by 1")
    assert [tuple(row) for row in made] == [(1, 2), (2, 2)]

    async def unreadable(connection: asyncpg.Connection, device_id: int, *span: datetime) -> SealedFrames:
        if device_id == plant.devices["br-1"]:
            raise asyncpg.DataCorruptedError("invalid page")
        return await sealed_frames(connection, device_id, *span)

    monkeypatch.setattr(sealing, "sealed_frames", unreadable)
    await plant.seal()
    made = await plant.sql.fetch("select organization_id, count(*) from seals group by 1 order by 1")
    assert [tuple(row) for row in made] == [(1, 2), (2, HOURS)]


async def test_a_sealing_process_that_is_killed_leaves_nothing_half_done(plant: SealedPlant, evidence_url: str) -> None:
    other = await asyncpg.connect(evidence_url)
    try:
        async with plant.sql.transaction():
            await plant.sql.execute("select pg_advisory_xact_lock(1635083369, 1)")  # the audit trail is held
            sealing_ = asyncio.create_task(Sealing(other).seal(NOW))
            waiting = (
                "select count(*) from pg_stat_activity where wait_event = 'advisory' and datname = current_database()"
            )
            while not await plant.sql.fetchval(waiting):
                await asyncio.sleep(0.01)
            await plant.sql.execute("select pg_terminate_backend($1)", other.get_server_pid())
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await sealing_
    finally:
        other.terminate()
    assert await plant.sql.fetchval("select count(*) from seals") == 0
    await plant.seal()
    assert (await plant.verified()).faults == []
    assert await plant.sql.fetchval("select count(*) from seals") == 2 * HOURS


async def test_seals_are_append_only_for_their_owner_too(plant: SealedPlant) -> None:
    await plant.seal()
    for change in ("update seals set version = 2", "delete from seal_passes", "truncate seal_layouts"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await plant.sql.execute(change)


async def test_the_clock_of_a_device_is_kept_by_hour(plant: SealedPlant) -> None:
    await plant.store("br-1", [(BEGIN + timedelta(seconds=9), [1.0, 2.0, 3.0], None)], after=timedelta(seconds=-4))
    await plant.seal()
    rows = await plant.sql.fetch(
        "select hour, frames, least, most from device_clocks where device_id = 1 order by hour"
    )
    assert len(rows) == HOURS
    assert tuple(rows[0]) == (BEGIN, 13, timedelta(seconds=-4), timedelta(milliseconds=80))


async def test_an_hour_that_was_kept_and_sent_together_says_nothing_of_the_clock(plant: SealedPlant) -> None:
    await plant.tamper("update frames set received_at = $1 + (time - $1) / 100 where time < $1", BEGIN + HOUR)
    await plant.tamper(
        "update frames set received_at = $1 + interval '3 days' where time + interval '30 min' = $1", BEGIN + HOUR
    )
    await plant.seal()
    told = await plant.sql.fetch("select hour, least from device_clocks where device_id = 1 order by hour")
    assert [tuple(row) for row in told] == [(BEGIN + n * HOUR, timedelta(milliseconds=80)) for n in range(1, HOURS)]


async def test_what_came_from_a_file_says_nothing_of_the_clock_of_a_device(plant: SealedPlant) -> None:
    device = plant.devices["br-1"]
    await plant.imported(device, plant.layout_id, [BEGIN + timedelta(seconds=1)])
    before = "update {} set received_at = $1"
    for table in ("imports", "imported_devices", "frames"):
        where = " where boot is null" if table == "frames" else ""
        await plant.tamper(before.format(table) + where, BEGIN - HOUR)
    await plant.tamper("update imports set finished_at = $1", BEGIN)
    await plant.seal()
    clock = await plant.sql.fetchrow("select frames, least, most from device_clocks where device_id = 1 order by hour")
    assert tuple(clock) == (12, timedelta(milliseconds=80), timedelta(milliseconds=80))
