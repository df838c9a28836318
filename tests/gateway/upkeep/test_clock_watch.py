"""What the kernel says of the clock is exported, and recorded when it changes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import asyncpg
from prometheus_client import REGISTRY

from gateway.runtime.database import Pool
from gateway.runtime.server_clock import (
    STA_NANO,
    STA_UNSYNC,
    TIME_ERROR,
    ServerClock,
    Timex,
    clock_of,
    server_clock,
    time_source,
)
from gateway.upkeep.clock_watch import ClockWatch
from tests.gateway.material import settings

GOOD = ServerClock(True, "chrony", 0.000_02, 0.003)
EVENTS = "select who, action, new from audit where subject = 'clock/main' order by n"


async def test_a_clock_that_loses_or_finds_its_source_is_one_event_each(
    pool: Pool, database: asyncpg.Connection, database_url: str
) -> None:
    leading = asyncio.Event()
    watch = ClockWatch(settings(database_url), pool, leading)
    await watch.look(GOOD)
    assert await database.fetch(EVENTS) == [], "a standby tells nothing"
    leading.set()
    for clock in (
        GOOD,
        replace(GOOD, offset_s=0.1),
        replace(GOOD, synchronized=False),
        replace(GOOD, synchronized=False),
    ):
        await watch.look(clock)
    assert REGISTRY.get_sample_value("biogate_clock_synchronized", {"source": "chrony"}) == 0
    assert abs(REGISTRY.get_sample_value("biogate_database_clock_offset_seconds") or 9) < 5
    await ClockWatch(settings(database_url), pool, leading).look(GOOD)
    await watch.look(None)
    assert REGISTRY.get_sample_value("biogate_clock_synchronized", {"source": "chrony"}) is None
    rows = await database.fetch(EVENTS)
    assert [(row["who"], row["action"]) for row in rows] == [
        ("gateway", "clock synchronized"),
        ("gateway", "clock not synchronized"),
        ("gateway", "clock synchronized"),
    ]
    assert json.loads(rows[0]["new"]) == {"source": "chrony", "offset_s": 0.000_02, "error_s": 0.003}


def test_the_answer_of_the_kernel_is_read() -> None:
    timex = Timex(offset=-1500, maxerror=2000, status=STA_NANO)
    assert clock_of(0, timex, "chrony") == ServerClock(True, "chrony", -1500 * 1e-9, 2000 * 1e-6)
    assert not clock_of(TIME_ERROR, timex, "chrony").synchronized
    assert clock_of(0, Timex(offset=7, status=STA_UNSYNC), "x") == ServerClock(False, "x", 7 * 1e-6, 0)
    asked = server_clock()
    assert asked is None or asked.error_s >= 0


def test_the_time_source_is_known_by_its_file(tmp_path: Path) -> None:
    assert time_source(tmp_path) == "unknown"
    (tmp_path / "run" / "chrony").mkdir(parents=True)
    (tmp_path / "run" / "chrony" / "chronyd.pid").touch()
    assert time_source(tmp_path) == "chrony"
