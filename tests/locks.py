"""Who waits for a lock. Tests share a PostgreSQL: each asks for its own database."""

from __future__ import annotations

import asyncpg

from gateway.runtime.database import Pool

AT_A_LOCK = """
select pid from pg_stat_activity
 where datname = current_database() and wait_event_type = 'Lock' and backend_type = 'client backend'"""


async def waits_at_a_lock(database: asyncpg.Connection | Pool) -> bool:
    """Whether a session of this database waits for a lock."""
    await database.execute("select pg_stat_clear_snapshot()")  # or a transaction sees what it saw first
    return bool(await database.fetchval(AT_A_LOCK))
