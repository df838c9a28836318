"""B14: reading over time through the API, beside SQL that says the same, asked in the same minute."""

from __future__ import annotations

import http.client
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import asyncpg
import numpy as np

from api.database import Server
from api.settings import ApiSettings
from deploy.worker.plot_hours import PlotHours
from schema import times
from tests.api.accounts import api_key, bearer
from tests.bench.figures import Figure, figure, quotient
from tests.bench.interface import BUCKETS, MANY
from tests.bench.session import Bench, say
from tests.bench.stored import DAILY, last_day, stored
from tests.bench.web import served

LONG = "long-runner"
"""A device with one channel at 1 Hz for many days."""
YEAR_S = 365 * 86_400
POINTS = 2_000
MINUTES = """
select time_bucket('1 minute', f.time), avg(f.values[$2]), min(f.values[$2]), max(f.values[$2])
  from frames f where f.device_id = $1 and f.time >= $3 and f.time < $4 and f.values[$2] is not null group by 1"""
PIXELS = """
select time_bucket($4::interval, f.time), min(f.values[1]), max(f.values[1]), first(f.values[1], f.time),
       last(f.values[1], f.time), first(f.time, f.values[1]), last(f.time, f.values[1])
  from frames f where f.device_id = $1 and f.time >= $2 and f.time < $3 and f.values[1] is not null group by 1"""
SLOT = """
select l.ordinal from layout_channels l join channels c using (channel_id) join device_layouts d using (layout_id)
 where d.device_id = $1 and c.name = 'channel_007'"""
FILL = """
insert into frames (time, device_id, layout_id, boot, seq, received_at, values)
select $3::timestamptz + n * interval '1 s', $1, $2, 0, $4::bigint + n, now(),
       array[37 + sin(n / 600.0) + random() / 50]
  from generate_series(0, 86399) n"""


class Asker:
    """One connection to the API that is kept."""

    def __init__(self, port: int, key: str) -> None:
        self._headers = bearer(key)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ms(self, **asked: Any) -> tuple[float, dict[str, Any]]:
        """Ask for telemetry; returns the time in ms and the answer."""
        begun = time.perf_counter()
        self._connection.request("GET", f"/api/v1/telemetry?{urlencode(asked)}", headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        took = (time.perf_counter() - begun) * 1000
        assert answer.status == 200, f"{answer.status} {body[:300]!r}"
        return took, json.loads(body)


async def b14(bench: Bench) -> list[Figure]:
    url = await stored(bench)
    connection = await asyncpg.connect(url, server_settings={"max_parallel_workers_per_gather": "0", "jit": "off"})
    key = await api_key(connection)
    days = max(1, bench.size.stored // 100_000)
    device, begin = await fill(connection, days)
    async with Server(ApiSettings(database_url=url)) as server:
        await PlotHours(connection, server).make(begin + timedelta(days=days + 1))
    minutes, by_sql, plots, plots_by_sql = [], [], [], []
    with served(["api"], url) as port:
        asker = Asker(port, key)
        for _ in range(bench.size.repeats):
            ours, theirs = await day(asker, connection)
            minutes.append(ours)
            by_sql.append(theirs)
            ours, theirs = await plot(asker, connection, device, begin, days)
            plots.append(ours)
            plots_by_sql.append(theirs)
            said = f"{minutes[-1]:.1f} ms (SQL {by_sql[-1]:.1f}), {days} days as a plot {plots[-1]:.2f} s"
            say(f"reading: a day in minutes {said} (SQL {plots_by_sql[-1]:.2f})")
    await connection.close()
    years = [one * YEAR_S / (days * 86_400) for one in plots]
    note = f"reckoned from {days} days"
    return [
        figure("B14a", "a channel, a day at 1 Hz in minutes, median", "ms", minutes, 45, at_least=False),
        quotient("B14b", "the same, over SQL alone", minutes, by_sql, 1.2, at_least=False),
        figure("B14c", "a year at 1 Hz as a plot of 2,000 points", "s", years, 3, at_least=False, note=note),
        quotient("B14d", "the same, over SQL alone", plots, plots_by_sql, 1.2, at_least=False),
    ]  # fmt: skip


async def fill(connection: asyncpg.Connection, days: int) -> tuple[int, datetime]:
    """Store so many days of one channel; returns the device's id and the first instant."""
    device = await connection.fetchval("insert into devices (name) values ($1) returning device_id", LONG)
    channel = await connection.fetchval("insert into channels (name) values ('broth') returning channel_id")
    layout = await connection.fetchval("insert into layouts (channel_ids) values ($1) returning layout_id", [channel])
    await connection.execute("insert into device_layouts values ($1, 1, $2)", device, layout)
    begin = last_day(datetime.now(UTC)) - timedelta(days=days - 1)
    for n in range(days):
        await connection.execute(FILL, device, layout, begin + timedelta(days=n), n * 86_400)
    await connection.execute("vacuum (analyze) frames")
    return int(device), begin


async def day(asker: Asker, connection: asyncpg.Connection) -> tuple[float, float]:
    """Medians in ms of a day in minutes, by the API and by SQL, asked in turns."""
    begin = last_day(datetime.now(UTC))
    end = begin + timedelta(days=1)
    device = await connection.fetchval("select device_id from devices where name = $1", DAILY)
    span = {"from": times.text(begin), "to": times.text(end)}
    asked = {"device": DAILY, "channel": "channel_007", "bucket": "1m", **span}
    slot = await connection.fetchval(SLOT, device)
    ours, theirs = [], []
    for n in range(MANY + 5):
        took, answer = asker.ms(**asked)
        assert len(answer["rows"]) == BUCKETS
        begun = time.perf_counter()
        assert len(await connection.fetch(MINUTES, device, slot, begin, end)) == BUCKETS
        if n >= 5:  # the first find the server cold
            ours.append(took)
            theirs.append((time.perf_counter() - begun) * 1000)
    return float(np.median(ours)), float(np.median(theirs))


async def plot(
    asker: Asker, connection: asyncpg.Connection, device: int, begin: datetime, days: int
) -> tuple[float, float]:
    """Seconds for a plot of all the days, by the API and by SQL."""
    end = begin + timedelta(days=days)
    points = max(4, POINTS * days // 365)
    asked = {"mode": "plot", "device": LONG, "max_points": points, "from": times.text(begin), "to": times.text(end)}
    took, answer = asker.ms(**asked)
    assert 0 < len(answer["series"][0]["points"]) <= points
    begun = time.perf_counter()
    rows = await connection.fetch(PIXELS, device, begin, end, (end - begin) / (points // 4))
    assert rows
    return took / 1000, time.perf_counter() - begun
