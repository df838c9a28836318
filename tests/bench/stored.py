"""A database that has been in use: frames of 1,000 devices in 30 chunks, and one device with a day at 1 Hz."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg

from tests.bench.packets import Shape
from tests.bench.plant import device_names, register
from tests.bench.session import Bench, say

DEVICES = 1000
DAYS = 30
DAILY = "daily"
"""The device whose whole last day is stored at 1 Hz."""

LAYOUT = """
with named as (insert into channels (name) select unnest($1::text[]) returning channel_id),
     laid as (insert into layouts (channel_ids) select array_agg(channel_id order by channel_id) from named
              returning layout_id)
insert into device_layouts (device_id, position, layout_id)
select device_id, 1, layout_id from devices, laid returning layout_id"""

FILL = """
insert into frames (time, device_id, layout_id, boot, seq, received_at, values)
select t, device_id, $1, 0, n, t, array(select 20 + 60 * random() from generate_series(1, 20))
  from (select n, $2::timestamptz + n * $3::interval as t from generate_series(0, $4::int - 1) n) moments
 cross join (select device_id from devices where name = any($5)) d"""


def last_day(now: datetime) -> datetime:
    """The begin of the last whole day, UTC."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


async def stored(bench: Bench) -> str:
    """The URL of the database, which is made for the first who asks."""
    if bench.stored_url is None:
        bench.stored_url = await bench.resources.enter_async_context(bench.plant.database(DEVICES))
        await fill(bench.stored_url, bench.size.stored)
    return bench.stored_url


async def fill(url: str, frames: int) -> None:
    names = list(device_names(DEVICES))
    await register(url, [DAILY])
    connection = await asyncpg.connect(url)
    layout_id = await connection.fetchval(LAYOUT, Shape().names)
    yesterday = last_day(datetime.now(UTC))
    each = max(1, frames // DEVICES // DAYS)
    say(f"filling a table with {each * DEVICES * DAYS:,} frames in {DAYS} chunks")
    for ago in range(DAYS - 1, -1, -1):
        day = yesterday - timedelta(days=ago - 1)
        span = timedelta(days=1) if ago else max(datetime.now(UTC) - day - timedelta(minutes=5), timedelta(seconds=30))
        await connection.execute(FILL, layout_id, day, span / each, each, names)
    await connection.execute(FILL, layout_id, yesterday, timedelta(seconds=1), 86_400, [DAILY])
    await connection.execute("vacuum (analyze) frames")  # else autovacuum does it, in the midst of a run
    await connection.execute("checkpoint")
    size = await connection.fetchval("select hypertable_size('frames') / 1e6")
    say(f"filled: {size:,.0f} MB")
    await connection.close()
