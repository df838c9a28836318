"""Which hours are marked: those that get a frame when they are over."""

from __future__ import annotations

from datetime import datetime

import asyncpg
import pytest

from gateway.intake.registry import Registry
from gateway.storage import old_hours
from gateway.storage.write import Writer
from tests.gateway.material import NOW_MS, frames

HOUR = old_hours.HOUR_MS
BEGIN = NOW_MS // HOUR * HOUR


async def marked(database: asyncpg.Connection) -> list[float]:
    """The begins of marked hours, in hours after that of NOW_MS; and forget them."""
    rows = await database.fetch(
        "with gone as (delete from plot_hours_stale returning hour) select * from gone order by 1"
    )
    return [(_ms(row["hour"]) - BEGIN) / HOUR for row in rows]


def _ms(moment: datetime) -> float:
    return moment.timestamp() * 1000


@pytest.mark.parametrize(
    ("minutes_after", "sent", "expected"),
    [
        (30, [0, 1, 1_799_000], []),
        (30, [-1, -HOUR], [-1]),
        (30, [-0.0001, -0.001], [-1]),  # the first is stored at the full hour
        (30, [5, -HOUR - 1, -2 * HOUR, -5 * HOUR], [-5, -2]),
        (69, [HOUR - 1, -1], [-1]),  # the hour has ended nine minutes ago
        (70, [HOUR - 1, HOUR], [0]),
    ],
)
async def test_an_hour_that_is_over_is_marked(
    writer: Writer,
    registry: Registry,
    database: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    *,
    minutes_after: float,
    sent: list[float],
    expected: list[float],
) -> None:
    monkeypatch.setattr("time.time", lambda: (BEGIN + minutes_after * 60_000) / 1000)
    made = await frames(registry, "r1", *((BEGIN + at, {"ph": 7.0}) for at in sent))
    await writer.write(made)
    assert await marked(database) == expected
    await writer.write(made)  # as duplicates
    assert await marked(database) == expected
