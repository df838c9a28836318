"""The community edition: column store, continuous aggregates, and the way to it from the apache edition."""

from __future__ import annotations

import asyncpg
import pytest
from pogo_core.util import migrate as pogo

from schema.migrate import EDITIONS, MIGRATIONS, migrate
from tests.gateway.evidence.sealed_plant import BEGIN, HOURS, SealedPlant
from tests.schema.records import COLUMNS, Row, after, copy, device, frame, layout

pytestmark = pytest.mark.timescale

AGGREGATES = ("telemetry_1m", "telemetry_1h")
REFRESH, COMPRESS = "policy_refresh_continuous_aggregate", "policy_compression"
DAY = 86400


@pytest.fixture(autouse=True)
async def _community(database: asyncpg.Connection) -> None:
    edition = await database.fetchval("select current_setting('timescaledb.license')")
    if edition != "timescale":
        pytest.skip(f"the server has TimescaleDB's {edition} edition")


async def by_hand(connection: asyncpg.Connection) -> None:
    """Policies run when the test says so."""
    await connection.execute("select _timescaledb_functions.stop_background_workers()")


async def job(connection: asyncpg.Connection, relation: str, policy: str = REFRESH) -> int:
    """The job of a policy of a table or aggregate."""
    number = await connection.fetchval(
        "select job_id from timescaledb_information.jobs where hypertable_name = $1 and proc_name = $2",
        relation,
        policy,
    )
    return int(number)


async def run(connection: asyncpg.Connection, *aggregates: str) -> None:
    """Refresh the aggregates by their policies, once."""
    for name in aggregates:
        await connection.execute(f"call run_job({await job(connection, name)})")


async def to_column_store(connection: asyncpg.Connection, relation: str) -> None:
    """Move what is old of a table or aggregate to the column store by its policy, once."""
    await connection.execute(f"call run_job({await job(connection, relation, COMPRESS)})")


async def rows(connection: asyncpg.Connection, name: str) -> list[tuple[object, ...]]:
    return [
        tuple(row) for row in await connection.fetch(f"select * from {name} order by bucket, device_id, channel_id")
    ]


async def plain(connection: asyncpg.Connection) -> None:
    """The apache edition's views of the same frames, as plain.telemetry_1m and plain.telemetry_1h."""
    await connection.execute("create schema plain; set search_path = plain, public")
    await connection.execute((EDITIONS / "apache.sql").read_text())
    await connection.execute("set search_path = public")


async def assert_like_plain(connection: asyncpg.Connection) -> None:
    for name in AGGREGATES:
        found = await rows(connection, name)
        assert found
        assert found == await rows(connection, f"plain.{name}")


def day(start: float, number: int) -> list[Row]:
    """A frame every five minutes for a day; one in ten has a bad temperature. Sums are exact in binary."""
    return [
        frame(start + n * 300, [n * 0.25, n * 0.5], [1, 0] if n % 10 == 0 else None, layout=number) for n in range(288)
    ]


async def ago(connection: asyncpg.Connection, seconds: float) -> float:
    """That moment, in seconds after NOON."""
    since = await connection.fetchval("select extract(epoch from now() - $1::timestamptz)::int", after(0))
    return float(since - seconds)


async def test_the_policy_moves_frames_older_than_a_week_to_the_column_store(database: asyncpg.Connection) -> None:
    await by_hand(database)
    number = await layout(database, "temperature", "ph")
    await copy(database, *day(0, number), frame(await ago(database, 5 * DAY), [1.0, 2.0], layout=number))

    await to_column_store(database, "frames")

    chunks = await database.fetch(
        """select range_start > now() - interval '7 days' as new, is_compressed
             from timescaledb_information.chunks where hypertable_name = 'frames'"""
    )
    assert {tuple(chunk) for chunk in chunks} == {(False, True), (True, False)}
    assert await database.fetchval("select count(*) from frames where device_id = 1") == 289


@pytest.fixture
async def compressed(database: asyncpg.Connection) -> asyncpg.Connection:
    """A database with a day of frames, and an event, in the column store."""
    await by_hand(database)
    await device(database, "br-1")
    await copy(database, *day(0, await layout(database, "temperature", "ph")))
    await database.execute(EVENT)
    await database.execute(
        """do $$
           declare chunk regclass;
           begin
               for chunk in select show_chunks('frames') union all select show_chunks('device_events') loop
                   call convert_to_columnstore(chunk);
               end loop;
           end $$"""
    )
    return database


EVENT = """
insert into device_events (time, device_id, type, data, received_at, digest)
values ('2024-05-17 12:00Z', 1, 'phase', '{}', now(), '\\x01')
on conflict do nothing"""


async def test_copy_of_a_frame_in_the_column_store_is_a_unique_violation(compressed: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await copy(compressed, frame(150, [1.0, 2.0], layout=1), frame(300, [0.25, 0.5], layout=1))

    assert await compressed.fetchval("select count(*) from frames") == 288

    await copy(compressed, frame(150, [1.0, 2.0], layout=1))

    assert await compressed.fetchval("select count(*) from frames") == 289


async def test_only_what_is_new_is_inserted_into_the_column_store(compressed: asyncpg.Connection) -> None:
    await compressed.execute("create temp table stage (like frames)")
    await compressed.copy_records_to_table(
        "stage",
        records=[frame(seconds, [9.0, 9.0], layout=1) for seconds in (0, 1, 300, 301, 86100)],
        columns=COLUMNS,
    )

    new = await compressed.fetch("insert into frames select * from stage on conflict do nothing returning time")

    assert sorted(row["time"] for row in new) == [after(1), after(301)]
    values = await compressed.fetch("select values from frames where time = any ($1)", [after(0), after(300)])
    assert sorted(row["values"] for row in values) == [[0.0, 0.0], [0.25, 0.5]]


async def test_a_whole_batch_of_late_frames_fits_into_the_column_store(compressed: asyncpg.Connection) -> None:
    """More than timescaledb.max_tuples_decompressed_per_dml_transaction would let through if keys were decompressed."""
    await compressed.execute("set timescaledb.max_tuples_decompressed_per_dml_transaction = 100")

    await copy(compressed, *(frame(n * 20 + 10, [1.0, 2.0], layout=1) for n in range(4000)))

    assert await compressed.fetchval("select count(*) from frames") == 4288


async def test_an_event_in_the_column_store_is_not_stored_twice(compressed: asyncpg.Connection) -> None:
    assert await compressed.execute(EVENT) == "INSERT 0 0"
    assert await compressed.fetchval("select count(*) from device_events") == 1


async def test_frames_count_in_the_aggregates_before_any_refresh(database: asyncpg.Connection) -> None:
    await by_hand(database)
    await plain(database)
    await copy(database, *day(0, await layout(database, "temperature", "ph")))

    await assert_like_plain(database)


async def test_refreshed_aggregates_say_the_same_as_the_plain_views(database: asyncpg.Connection) -> None:
    await by_hand(database)
    await plain(database)
    number = await layout(database, "temperature", "ph")
    await copy(database, *day(0, number))
    await database.execute("call refresh_continuous_aggregate('telemetry_1m', null, $1::timestamptz)", after(DAY / 2))
    await database.execute("call refresh_continuous_aggregate('telemetry_1h', null, $1::timestamptz)", after(DAY / 4))
    await assert_like_plain(database)  # a part is computed, the rest is not

    await run(database, *AGGREGATES)

    await assert_like_plain(database)
    assert await database.fetchval("select count(*) from telemetry_1m") == 576


async def test_frames_that_come_late_are_in_the_aggregates_after_the_next_run(database: asyncpg.Connection) -> None:
    await by_hand(database)
    await plain(database)
    number = await layout(database, "temperature", "ph")
    await copy(database, *day(0, number), frame(await ago(database, DAY), [1.0, 2.0], layout=number))
    await run(database, *AGGREGATES)
    await copy(database, frame(30, [100.0, None], layout=number), frame(-1000 * DAY, [1.0, 2.0], layout=number))

    await run(database, *AGGREGATES)

    await assert_like_plain(database)
    assert await database.fetchval("select max from telemetry_1h where bucket = $1 and channel_id = 1", after(0)) == 100


async def test_old_aggregates_are_in_the_column_store_and_take_what_comes_late(database: asyncpg.Connection) -> None:
    await by_hand(database)
    await plain(database)
    number = await layout(database, "temperature", "ph")
    await copy(database, *day(0, number), *day(DAY, number))
    await run(database, *AGGREGATES)
    for name in AGGREGATES:
        await to_column_store(database, name)
        [compressed] = await database.fetch(
            """select bool_and(c.is_compressed) from timescaledb_information.chunks c
                 join timescaledb_information.continuous_aggregates a
                   on c.hypertable_name = a.materialization_hypertable_name
                where a.view_name = $1""",
            name,
        )
        assert compressed[0], name
    await assert_like_plain(database)
    await copy(database, frame(30, [100.0, None], layout=number), frame(-1000 * DAY, [1.0, 2.0], layout=number))

    await run(database, *AGGREGATES)

    await assert_like_plain(database)
    assert await database.fetchval("select max from telemetry_1h where bucket = $1 and channel_id = 1", after(0)) == 100


async def test_a_past_that_is_not_all_computed_yet_is_answered_right(database: asyncpg.Connection) -> None:
    """As after a conversion: the first run computes years, in many batches."""
    await by_hand(database)
    await plain(database)
    number = await layout(database, "temperature", "ph")
    await copy(
        database, *day(0, number), *day(30 * DAY, number), frame(await ago(database, DAY), [1.0, 2.0], layout=number)
    )
    for name, buckets in zip(AGGREGATES, (1440, 24), strict=True):
        await database.execute(
            "select alter_job($1, config => config || $2::jsonb) from timescaledb_information.jobs where job_id = $1",
            await job(database, name),
            f'{{"max_batches_per_execution": 1, "buckets_per_batch": {buckets}}}',
        )

    for _ in range(3):
        await run(database, *AGGREGATES)
        await assert_like_plain(database)


async def test_frames_that_come_late_for_the_column_store_are_in_the_aggregates(compressed: asyncpg.Connection) -> None:
    await plain(compressed)
    await run(compressed, *AGGREGATES)
    await copy(compressed, frame(30, [100.0, None], layout=1))

    await run(compressed, *AGGREGATES)

    await assert_like_plain(compressed)


async def test_a_database_of_the_apache_edition_is_converted(empty: asyncpg.Connection) -> None:
    await pogo.apply(empty, MIGRATIONS, schema_name="public")
    await empty.execute((EDITIONS / "apache.sql").read_text())
    await by_hand(empty)
    await copy(empty, *day(0, await layout(empty, "temperature", "ph")))
    before = {name: await rows(empty, name) for name in AGGREGATES}

    await migrate(empty)

    assert await empty.fetchval("select count(*) from timescaledb_information.continuous_aggregates") == 2
    assert {name: await rows(empty, name) for name in AGGREGATES} == before

    await run(empty, *AGGREGATES)

    assert {name: await rows(empty, name) for name in AGGREGATES} == before


async def test_there_is_no_way_back_and_it_is_said(database: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="no way back"):
        await database.execute((EDITIONS / "apache.sql").read_text())


async def test_a_policy_that_was_tuned_stays_so(database: asyncpg.Connection) -> None:
    number = await job(database, "telemetry_1m")
    await database.execute("select alter_job($1, schedule_interval => interval '7 minutes')", number)

    await migrate(database)

    interval = "select schedule_interval from timescaledb_information.jobs where job_id = $1"
    assert (await database.fetchval(interval, number)).total_seconds() == 420


async def test_an_aggregate_of_one_channel_is_read_by_its_index(database: asyncpg.Connection) -> None:
    await by_hand(database)
    await database.execute("insert into devices (name) select 'br-' || n from generate_series(1, 50) n")
    number = await layout(database, "temperature", "ph")
    await copy(
        database,
        *(
            (after(n * 300), dev, number, 1, n, after(n * 300), [1.0, 2.0], None)
            for n in range(288)
            for dev in range(1, 51)
        ),
    )
    await run(database, *AGGREGATES)
    await database.execute("analyze")

    plan = await database.fetch(
        """explain select * from telemetry_1m
            where device_id = 7 and channel_id = 4 and bucket >= '2024-05-17 18:00Z' and bucket < '2024-05-17 20:00Z'"""
    )

    assert any("telemetry_1m_key" in row[0] for row in plan), plan


async def test_seals_hold_in_the_column_store_and_find_a_change_there(database: asyncpg.Connection) -> None:
    await by_hand(database)
    plant = SealedPlant(database)
    await plant.fill("br-1", "br-2")
    await plant.seal()
    assert await database.fetchval("select count(compress_chunk(c)) from show_chunks('frames') c") > 0
    found = await plant.verified()
    assert (found.hours, found.frames, found.faults) == (2 * HOURS, 2 * HOURS * 12, [])
    await database.execute("update frames set values[1] = 0 where device_id = 2 and time = $1", BEGIN)
    assert [(one.device, one.hour) for one in (await plant.verified()).faults] == [("br-2", BEGIN)]
