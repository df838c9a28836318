"""Which status proves that a login was used, and what ends then: as the database decides it, without a broker."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.runtime.database import Pool

LOGIN = """
insert into credentials (username, device_id, cell, generation, applied, applied_at, by_hand)
select name || '.' || $1::int, device_id, 'main', $1::int, 'present', now() - $2::interval, $3
  from devices where name = 'r1'"""
STATUS = """
insert into statuses (device_id, boot, time, online, received_at, generation)
select device_id, 1, now() - $1::interval, true, now() - $1::interval, $2 from devices where name = 'r1'"""
S = timedelta(seconds=1)


async def login(pool: Pool, generation: int, *, ago: timedelta = 60 * S, by_hand: bool = False) -> None:
    """A login of r1 that is at the broker for so long."""
    await pool.execute(LOGIN, generation, ago, by_hand)


async def activated(pool: Pool) -> list[str]:
    return [name for (name,) in await pool.fetch("select credentials_activate('main')")]


@pytest.mark.parametrize(("ago", "names"), [(66 * S, []), (64 * S, ["r1.2"]), (1 * S, ["r1.2"])])
async def test_a_status_without_a_generation_counts_from_when_the_login_was_made(
    pool: Pool, ago: timedelta, names: list[str]
) -> None:
    """An older one came under another login."""
    await login(pool, 2)
    await pool.execute(STATUS, ago, None)
    assert await activated(pool) == names


async def test_a_status_without_a_generation_tells_nothing_where_the_device_has_another_login(pool: Pool) -> None:
    await login(pool, 1)
    await pool.execute(STATUS, 1 * S, 1)
    assert await activated(pool) == ["r1.1"]
    await login(pool, 2)
    await pool.execute(STATUS, 0 * S, None)
    assert await activated(pool) == []


async def test_a_login_that_was_used_ends_the_older_ones_of_handshakes_alone(pool: Pool) -> None:
    await login(pool, 1)
    await login(pool, 2, by_hand=True)
    await login(pool, 3)
    await login(pool, 4)
    await pool.execute(STATUS, 1 * S, 3)
    assert sorted(await activated(pool)) == ["r1.2", "r1.3"]
    wanted = await pool.fetchval("select array_agg(wanted order by generation) from credentials")
    assert wanted == ["absent", "present", "present", "present"]
