"""What comes to nothing is counted, and the audit trail hears of it once a minute."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.enrollment.refusals import REMEMBERED, Refusals
from gateway.runtime.database import FAILURES, Pool
from tests.gateway.enrollment.bench import Bench


async def written(pool: Pool) -> list[dict[str, Any]]:
    rows = await pool.fetch("select new from audit where action = 'enrollment refused' order by n")
    return [json.loads(row["new"]) for row in rows]


async def test_the_first_refusal_is_written_at_once_and_later_ones_once_a_minute(pool: Pool) -> None:
    refusals = Refusals("main", pool)
    await refusals.write(0)
    assert await written(pool) == []
    for number in range(7):
        refusals.note("busy", f"S-{number}")
    refusals.note("malformed")
    refusals.note("refused", "S-9", recorded=True)
    await refusals.write(100)
    expected = [
        {"reason": "busy", "count": 7, "serials": [f"S-{number}" for number in range(5)]},
        {"reason": "malformed", "count": 1, "serials": []},
    ]
    assert await written(pool) == expected
    refusals.note("busy", "S-1")
    await refusals.write(130)
    assert await written(pool) == expected
    refusals.note("busy", "S-1")
    await refusals.write(161)
    assert (await written(pool))[2:] == [{"reason": "busy", "count": 2, "serials": ["S-1"]}]
    assert await pool.fetch("select audit_faults()") == []


async def test_what_could_not_be_written_is_written_later(pool: Pool) -> None:
    refusals = Refusals("main", pool)
    refusals.note("busy", "S-1")
    await pool.execute("alter table audit rename to elsewhere")
    with pytest.raises(FAILURES):
        await refusals.write(0)
    await pool.execute("alter table elsewhere rename to audit")
    refusals.note("busy", "S-2")
    await refusals.write(1)
    assert await written(pool) == [{"reason": "busy", "count": 2, "serials": ["S-1", "S-2"]}]


async def test_a_controller_that_proves_nothing_is_named_unless_it_does_at_another_gateway(bench: Bench) -> None:
    refusals = Refusals("main", bench.pool)
    proved = await bench.controller()
    for number in range(REMEMBERED):  # of which the oldest one is forgotten
        refusals.challenged(f"S-{number}", 100 + number / 1000)
    refusals.challenged(proved.serial, 101)
    await bench.proved(proved)
    await refusals.write(115)
    assert await written(bench.pool) == []
    await refusals.write(130)
    await refusals.write(131)
    serials = [f"S-{number}" for number in range(1, 6)]
    assert await written(bench.pool) == [{"reason": "no-proof", "count": REMEMBERED - 1, "serials": serials}]
