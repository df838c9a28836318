"""The hot queries walk the primary key of frames, with plans for given and for unknown arguments alike."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from api import times
from api.queries import devices, journal, latest, telemetry
from tests.api.plant import Plant, at

END = at(6 * 86400)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BIG = (10**9, b"\xff" * 65)

QUERIES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "one channel": (telemetry.SQL["one_channel"], (1, at(0), 0, at(3600), [1], [1], False, 1000)),
    "many channels": (telemetry.SQL["many_channels"], (1, at(0), 0, at(3600), [1, 1], [1, 2], False, 1000)),
    "buckets": (telemetry.SQL["buckets"], (1, at(0), at(3600), [1], [1], False, MINUTE, True)),
    "buckets of two layouts": (telemetry.SQL["buckets"], (1, at(0), at(3600), [1, 2], [1, 1], False, MINUTE, False)),
    "latest of one": (latest.SQL["one"], ("br-1", HOUR, END - HOUR)),
    "latest of one, silent": (latest.SQL["one"], ("br-1", HOUR, times.FIRST)),
    "latest of many": (latest.SQL["many"], (list(range(1, 21)), HOUR, END - HOUR)),
    "latest of many, silent": (latest.SQL["many"], (list(range(1, 21)), HOUR, times.FIRST)),
    "latest, older": (latest.SQL["older"], ([1, 2], [1, 1], [1, 2], [END, END], [END - HOUR] * 2, False, END - HOUR)),
    "devices": (devices.SQL["page"], ("", 100)),
    "device": (devices.SQL["one"], ("br-1",)),
    "extent": (devices.SQL["extent"], (1,)),
    "events": (journal.SQL["events"], (1, at(0), at(3600), at(3600), BIG[1], None, 100)),
    "quarantine": (journal.SQL["quarantine"], (["empty"], ["open"], at(0), at(9e6), at(9e6), BIG[0], 100, 1000)),
    "quarantine of a device": (
        journal.SQL["quarantine_of_device"],
        (["empty"], ["open"], at(0), at(9e6), at(9e6), BIG[0], 100, 1000, "br-1"),
    ),
}


@pytest.fixture
async def filled(plant: Plant) -> Plant:
    """Twenty devices, six days: enough that reading a whole chunk costs more than the index."""
    for number in range(1, 21):
        await plant.layout(await plant.device(f"br-{number}"), "temperature", "ph")
    await plant.sql.execute(
        "insert into frames select t, d, 1, null, null, t, array[1, 2] from generate_series($1::timestamptz,"
        " $1::timestamptz + interval '6 days', interval '1 min') t, generate_series(1, 20) d",
        at(0),
    )
    await plant.sql.execute(
        "insert into device_events select t, d, 'phase', '{}', 1, t, sha256(d::text::bytea) from generate_series("
        "$1::timestamptz, $1::timestamptz + interval '6 days', interval '10 min') t, generate_series(1, 20) d",
        at(0),
    )
    await plant.sql.execute(
        "insert into quarantine (received_at, device, topic, reason, detail, payload, sha256) select t,"
        " 'br-' || extract(minute from t), 'x', 'malformed', '', '', sha256(t::text::bytea) from generate_series("
        "$1::timestamptz, $1::timestamptz + interval '6 days', interval '1 min') t",
        at(0),
    )
    await plant.sql.execute("analyze")
    return plant


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_hot_queries_use_the_index_and_sort_no_frames(filled: Plant, mode: str) -> None:
    for setting in (f"set plan_cache_mode = {mode}", "set random_page_cost = 1.1", "set work_mem = '32MB'"):
        await filled.sql.execute(setting)
    await filled.sql.execute("set max_parallel_workers_per_gather = 0")
    for name, (statement, arguments) in QUERIES.items():
        await filled.sql.fetch(statement, *arguments)  # it runs
        rows = await filled.sql.fetch(f"explain (costs off) {statement}", *arguments)
        plan = "\n".join(row[0] for row in rows)
        assert not re.search(r"Seq Scan on (_hyper|frames|device_events|quarantine)", plan), f"{name}\n{plan}"
        assert "Index" in plan, f"{name}\n{plan}"
        if "channel" in name:
            assert "Sort  " not in plan, f"{name}\n{plan}"
            assert not re.search(r"-> +Sort$|^ *Sort$", plan, re.MULTILINE), f"{name}\n{plan}"


async def test_a_range_over_days_is_read_chunk_by_chunk_in_order(filled: Plant) -> None:
    """A page at the begin of a long range must not read, or sort, the rest of it."""
    statement = telemetry.SQL["one_channel"]
    rows = await filled.sql.fetch(
        f"explain (analyze, costs off, timing off, summary off) {statement}",
        *(1, at(0), 0, at(6 * 86400), [1], [2], False, 100),
    )
    plan = "\n".join(row[0] for row in rows)
    assert "Sort" not in plan, plan
    assert plan.count("never executed") >= 4, plan


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_the_latest_of_devices_that_send_is_read_from_the_newest_chunk(filled: Plant, mode: str) -> None:
    """However many chunks there are: looking into each costs more than the rest of the answer."""
    await filled.sql.execute(f"set plan_cache_mode = {mode}")
    for name in ("latest of one", "latest of many", "latest, older"):
        statement, arguments = QUERIES[name]
        rows = await filled.sql.fetch(f"explain (costs off) {statement}", *arguments)
        plan = "\n".join(row[0] for row in rows)
        newest = await filled.sql.fetchval("select tableoid::regclass::text from frames where time = $1 limit 1", END)
        assert {newest.split(".")[-1]} == set(re.findall(r"on (_hyper_1_\d+_chunk)", plan)), f"{name}\n{plan}"
