"""Exports: CPU of client and database for a million samples, and memory; beside ADBC and psql's \\copy."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import asyncpg

from tests.bench.exporter import CHANNELS, STATEMENT
from tests.bench.figures import Figure, figure
from tests.bench.meters import cpu_s
from tests.bench.session import Bench, say

FILL = """
insert into frames (time, device_id, layout_id, boot, seq, received_at, values, quality)
select t, 1, $1, 1, n, t, case when n % 3 = 0 then array_replace(v, v[1 + n % 20], null) else v end,
       case when n % 3 = 0 then array_fill(0::smallint, array[n % 20]) || 1::smallint
                             || array_fill(0::smallint, array[19 - n % 20]) end
  from generate_series(0, $2::int - 1) n,
       lateral (select '2026-01-01'::timestamptz + n * interval '1 s' as t) instants,
       lateral (select array(select round((20 + 60 * random() + 0 * n)::numeric, 3)::float8
                               from generate_series(1, 20)) as v) numbers
"""
"""At 1 Hz with three decimals; a third of the frames has a bad sample and with it a quality: 2 % of the samples."""
LAYOUT = """
with named as (insert into channels (name) select 'c' || n from generate_series(1, 20) n returning channel_id)
insert into layouts (channel_ids) select array_agg(channel_id order by channel_id) from named returning layout_id
"""


async def b30(bench: Bench) -> list[Figure]:
    frames = bench.size.stored // 2
    costs: defaultdict[str, list[float]] = defaultdict(list)
    memory: list[float] = []
    async with bench.plant.database(0) as url:
        await fill(url, frames)
        with bench.plant.room() as room:
            for _ in range(bench.size.repeats):
                for what in ("arrow", "adbc", "csv", "psql", "parquet"):
                    with contextlib.suppress(FileNotFoundError):
                        shutil.rmtree(room / what)
                    (room / what).mkdir()
                    cost, took = measured(bench, what, url, room / what, frames)
                    costs[what].append(cost)
                    if what == "arrow":
                        memory.append(took["peak_mb"])
    million = "CPU s a million samples"
    adbc, psql = (
        f"{statistics.median(costs[what]):.3f} by {who}" for what, who in (("adbc", "ADBC"), ("psql", "psql"))
    )
    parts = "client and database"
    return [
        figure("B30a", f"export to Arrow, {parts}", million, costs["arrow"], 0.10, at_least=False, note=adbc),
        figure("B30b", f"export to CSV, {parts}", million, costs["csv"], 0.12, at_least=False, note=psql),
        figure("B30c", "export: most memory", "MB", memory, 200, at_least=False),
        figure("B30d", f"export to Parquet, {parts}", million, costs["parquet"], 0.2, at_least=False),
    ]


def measured(bench: Bench, what: str, url: str, directory: Path, frames: int) -> tuple[float, dict[str, float]]:
    """CPU s for a million samples, and what the process says of itself."""
    server = bench.plant.stack.postgres.pid
    before = cpu_s(server)
    took = by_psql(url, directory) if what == "psql" else by_process(what, url, directory)
    assert took["rows"] == frames, f"{what}: {took['rows']} rows of {frames}"
    database = cpu_s(server) - before
    cost = (took["cpu_s"] + database) / (frames * CHANNELS / 1e6)
    say(f"{what}: {cost:.3f} CPU s a million samples ({took['cpu_s']:.2f} + {database:.2f} s), {took['seconds']:.1f} s")
    return cost, took


def by_process(what: str, url: str, directory: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.exporter", what, url, str(directory)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def by_psql(url: str, directory: Path) -> dict[str, float]:
    before, begun = os.times(), os.times().elapsed
    file = directory / "psql.csv"
    copy = f"\\copy ({STATEMENT}) to '{file}' csv header"
    subprocess.run(["psql", url, "-qc", copy], check=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    with file.open("rb") as content:
        rows = sum(1 for _ in content) - 1
    return {"rows": rows, "seconds": after.elapsed - begun, "cpu_s": used}


async def fill(url: str, frames: int) -> None:
    connection = await asyncpg.connect(url)
    layout = await connection.fetchval(LAYOUT)
    await connection.execute("insert into devices (name) values ('exported')")
    await connection.execute("insert into device_layouts values (1, 1, $1)", layout)
    await connection.execute(FILL, layout, frames)
    await connection.execute("vacuum (analyze) frames")
    await connection.execute("checkpoint")
    await connection.close()
    say(f"filled: {frames:,} frames of {CHANNELS} channels")
