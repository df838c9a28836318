"""Bring a database to the current schema: `python -m schema.migrate`. Safe to run at any time and by several at once.

The numbered files in `migrations/` run once each, in order; then the script of the database's TimescaleDB edition
(`editions/`), which is idempotent and runs every time, so that a database can move from apache to timescale.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncpg
from pogo_core.util import migrate as pogo

HERE = Path(__file__).parent
MIGRATIONS = HERE / "migrations"
EDITIONS = HERE / "editions"
LOCK = 0x62696F67  # "biog"


async def migrate(connection: asyncpg.Connection) -> str:
    """Apply what is missing, under a lock, and return the TimescaleDB edition: `apache` or `timescale`."""
    await connection.execute("select pg_advisory_lock($1)", LOCK)
    try:
        await pogo.apply(connection, MIGRATIONS, schema_name="public")
        edition = str(await connection.fetchval("select current_setting('timescaledb.license')"))
        await connection.execute((EDITIONS / f"{edition}.sql").read_text())
    finally:
        await connection.execute("select pg_advisory_unlock($1)", LOCK)
    return edition


async def pending(connection: asyncpg.Connection) -> list[str]:
    """Migrations that this version has and the database has not, by name."""
    known = sorted(path.stem for path in MIGRATIONS.glob("*.sql"))
    if await connection.fetchval("select to_regclass('public._pogo_migration')") is None:
        return known
    rows = await connection.fetch("select migration_id from public._pogo_migration")
    return [name for name in known if name not in {row["migration_id"] for row in rows}]


async def main() -> None:
    connection = await asyncpg.connect(os.environ["BIOGATE_DATABASE_URL"], timeout=10)
    try:
        edition = await migrate(connection)
    finally:
        await connection.close()
    print(f"schema is current ({edition} edition)")


if __name__ == "__main__":
    asyncio.run(main())
