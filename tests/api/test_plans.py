"""The hot queries walk the primary key of frames, with plans for given and for unknown arguments alike: as the API runs
them, with its role, through views that show what is one organization's."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from api import times
from api.database import Connection, Server
from api.queries import audit, devices, journal, latest, notes, status, telemetry
from api.settings import Settings
from tests.api.accounts import organization
from tests.api.plant import Plant, at

END = at(6 * 86400)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BIG = (10**9, b"\xff" * 65)
OWN = list(range(1, 41, 2))
"""Ids of the devices of the organization that is asking."""

QUERIES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "one channel": (telemetry.SQL["one_channel"], (1, at(0), 0, END, [1], [1], False, 1000)),
    "many channels": (telemetry.SQL["many_channels"], (1, at(0), 0, END, [1, 1], [1, 2], False, 1000)),
    "buckets": (telemetry.SQL["buckets"], (1, at(0), at(3600), [1], [1], False, MINUTE, True)),
    "buckets of two layouts": (telemetry.SQL["buckets"], (1, at(0), at(3600), [1, 2], [1, 1], False, MINUTE, False)),
    "latest of one": (latest.SQL["one"], ("br-1", HOUR, END - HOUR)),
    "latest of one, silent": (latest.SQL["one"], ("br-1", HOUR, times.FIRST)),
    "latest of many": (latest.SQL["many"], (OWN, HOUR, END - HOUR)),
    "latest of many, silent": (latest.SQL["many"], (OWN, HOUR, times.FIRST)),
    "latest, older": (latest.SQL["older"], ([1, 3], [1, 1], [1, 2], [END, END], [END - HOUR] * 2, False, END - HOUR)),
    "devices": (devices.SQL["page"], ("", 100, None, None, None, None, None)),
    "devices, filtered": (devices.SQL["page"], ("", 100, ["active"], ["pilot"], "Hall 2", "br", False)),
    "device": (devices.SQL["one"], ("br-1",)),
    "extent": (devices.SQL["extent"], (1,)),
    "status": (status.SQL["status"], ("br-1", END - HOUR)),
    "status, silent": (status.SQL["status"], ("br-1", times.FIRST)),
    "completeness": (status.SQL["completeness"], (1, END - HOUR, END)),
    "annotations": (notes.SQL["page"], (1, at(0), END, END, BIG[0], 100)),
    "audit": (audit.SQL["newest_first"], (None, None, None, times.FIRST, times.LAST, BIG[0], 100)),
    "audit of a device": (audit.SQL["newest_first"], ("device/br-2", None, None, times.FIRST, times.LAST, BIG[0], 100)),
    "audit, oldest first": (audit.SQL["oldest_first"], (None, None, None, times.FIRST, times.LAST, 0, 100)),
    "events": (journal.SQL["events"], (1, at(0), at(3600), at(3600), BIG[1], None, 100)),
    "quarantine": (journal.SQL["quarantine"], (["malformed"], ["open"], at(0), at(9e6), at(9e6), BIG[0], 100, 1000)),
    "quarantine of a device": (
        journal.SQL["quarantine_of_device"],
        (["malformed"], ["open"], at(0), at(9e6), at(9e6), BIG[0], 100, 1000, "br-1"),
    ),
}


@pytest.fixture
async def filled(plant: Plant, database_url: str) -> AsyncIterator[Connection]:
    """Twenty devices of this organization and twenty of another, six days: enough that reading a whole chunk costs more
    than the index. As the first one sees it."""
    north = await organization(plant.sql, "north")
    for number in range(1, 41):
        await plant.layout(await plant.device(f"br-{number}"), "temperature", "ph")
    await plant.sql.execute("update devices set organization_id = $1 where device_id % 2 = 0", north)
    await plant.sql.execute("update devices set location = 'Hall 2/Bay ' || device_id, tags = '{pilot}'")
    await plant.sql.execute(
        "insert into frames select t, d, 1, 1, extract(epoch from t), t, array[1, 2] from generate_series("
        "$1::timestamptz, $1::timestamptz + interval '6 days', interval '1 min') t, generate_series(1, 40) d",
        at(0),
    )
    await plant.sql.execute(
        "insert into device_events select t, d, 'phase', '{}', 1, t, sha256(d::text::bytea) from generate_series("
        "$1::timestamptz, $1::timestamptz + interval '6 days', interval '10 min') t, generate_series(1, 40) d",
        at(0),
    )
    await plant.sql.execute(
        "insert into quarantine (received_at, device, topic, reason, detail, payload, sha256) select t,"
        " 'br-' || extract(minute from t), 'x', 'malformed', '', '', sha256(t::text::bytea) from generate_series("
        "$1::timestamptz, $1::timestamptz + interval '6 days', interval '1 min') t",
        at(0),
    )
    await plant.sql.execute(
        "insert into annotations (device_id, begins, text, who) select d, t, 'x', 'eva' from generate_series("
        "$1::timestamptz, $1::timestamptz + interval '6 days', interval '1 hour') t, generate_series(1, 40) d",
        at(0),
    )
    await plant.sql.execute(
        "insert into audit (organization_id, who, action, subject, why) select 1 + n % 2, 'eva', 'device change',"
        " 'device/br-' || n % 40, 'x' from generate_series(1, 4000) n"
    )
    await plant.sql.execute("analyze")
    async with Server(Settings(database_url=database_url)) as server, server.of(1).connection() as connection:
        yield connection


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_hot_queries_use_the_index_and_sort_no_frames(filled: Connection, mode: str) -> None:
    await filled.execute(f"set plan_cache_mode = {mode}")
    for name, (statement, arguments) in QUERIES.items():
        assert await filled.fetch(statement, *arguments), name
        rows = await filled.fetch(f"explain (costs off) {statement}", *arguments)
        plan = "\n".join(row[0] for row in rows)
        assert not re.search(r"Seq Scan on (_hyper|frames|device_events|quarantine|annotations|audit)", plan), (
            f"{name}\n{plan}"
        )
        assert "Index" in plan, f"{name}\n{plan}"
        if "channel" in name:
            assert "Sort  " not in plan, f"{name}\n{plan}"
            assert not re.search(r"-> +Sort$|^ *Sort$", plan, re.MULTILINE), f"{name}\n{plan}"


async def test_a_range_over_days_is_read_chunk_by_chunk_in_order(filled: Connection) -> None:
    """A page at the begin of a long range must not read, or sort, the rest of it."""
    statement = telemetry.SQL["one_channel"]
    rows = await filled.fetch(
        f"explain (analyze, costs off, timing off, summary off) {statement}",
        *(1, at(0), 0, at(6 * 86400), [1], [2], False, 100),
    )
    plan = "\n".join(row[0] for row in rows)
    assert "Sort" not in plan, plan
    assert plan.count("never executed") >= 4, plan


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_the_latest_of_devices_that_send_is_read_from_the_newest_chunk(filled: Connection, mode: str) -> None:
    """However many chunks there are: looking into each costs more than the rest of the answer."""
    await filled.execute(f"set plan_cache_mode = {mode}")
    for name in ("latest of one", "latest of many", "latest, older"):
        statement, arguments = QUERIES[name]
        rows = await filled.fetch(f"explain (costs off) {statement}", *arguments)
        plan = "\n".join(row[0] for row in rows)
        newest = await filled.fetchval("select max(show_chunks::text) from show_chunks('public.frames')")
        assert {newest.split(".")[-1]} == set(re.findall(r"on (_hyper_1_\d+_chunk)", plan)), f"{name}\n{plan}"
