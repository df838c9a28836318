"""Makes the rows of a cell that the database must have before the first message is taken."""

from __future__ import annotations

import secrets

from gateway.items import ITEM_KINDS
from gateway.runtime.database import Pool, check_schema
from gateway.settings import Settings


async def prepare(pool: Pool, settings: Settings) -> tuple[str, float]:
    """Check the schema, and make the rows of the cell if they are missing.

    Returns the cell's secret client id, and the chunk interval of `frames` in ms. Raises SchemaBehind.
    """
    await check_schema(pool)
    async with pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute(
                "insert into cells (cell, client_id) values ($1, $2) on conflict do nothing",
                settings.cell,
                f"biogate-{secrets.token_hex(16)}",
            )
            await connection.execute(
                "insert into intake_totals (cell, kind) select $1, unnest($2::text[]) on conflict do nothing",
                settings.cell,
                list(ITEM_KINDS),
            )
        client_id = await connection.fetchval("select client_id from cells where cell = $1", settings.cell)
        interval_ms = await connection.fetchval(
            """select extract(epoch from time_interval)::float8 * 1000 from timescaledb_information.dimensions
                where hypertable_schema = 'public' and hypertable_name = 'frames' and dimension_number = 1"""
        )
    return str(client_id), float(interval_ms)
