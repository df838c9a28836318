"""The connection pool, read-only unless said otherwise, and the one place where database errors become problems."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self, TypeAlias

import asyncpg

from api.metrics import DATABASE_ERRORS
from api.problems import INTERNAL, ApiError, BadParameter, Conflict, NotFound, TooLong, Unavailable
from api.settings import Settings

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
MISSING_OBJECTS = ("42P01", "42703", "42883", "3F000")
"""Undefined table, column, function, schema: the migrations have not run."""


class Database:
    """Opens without a database: connections are made when first needed, so the process can report that it is away."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._pool = await asyncpg.create_pool(
            settings.database_url,
            min_size=0,
            max_size=settings.api_pool_size,
            reset=_nothing,
            max_cached_statement_lifetime=0,  # planning over many chunks costs more than the query
            timeout=settings.api_acquire_timeout,
            command_timeout=settings.api_statement_timeout + 5,  # for a server that no longer answers at all
            server_settings={
                "application_name": "biogate-api",
                "default_transaction_read_only": "on",
                "statement_timeout": str(round(settings.api_statement_timeout * 1000)),
                "timezone": "UTC",
                # A day at 1 Hz is sorted or hashed in memory; index order is believed cheap, as it is on flash;
                # no helpers: the intake needs those cores.
                "work_mem": "32MB",
                "random_page_cost": "1.1",
                "max_parallel_workers_per_gather": "0",
                "jit": "off",
            },
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection. What fails inside is raised as `Unavailable`, `TooLong` or `ApiError`."""
        try:
            async with self._pool.acquire(timeout=self._settings.api_acquire_timeout) as connection:
                yield connection
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise translate(error) from error

    @asynccontextmanager
    async def change(self) -> AsyncIterator[Connection]:
        """A transaction that may write. Errors as above, and `NotFound`, `Conflict` and `BadParameter`."""
        async with self.connection() as connection, connection.transaction():
            await connection.execute("set transaction read write")
            yield connection

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self.connection() as connection:
            return await connection.fetch(statement, *arguments)  # type: ignore[no-any-return]

    async def fetchrow(self, statement: str, *arguments: Any) -> asyncpg.Record | None:
        async with self.connection() as connection:
            return await connection.fetchrow(statement, *arguments)


async def _nothing(_: object) -> None:
    """Instead of asyncpg's RESET ALL after every loan, a round trip: nothing here changes the session."""


def _refused(state: str, words: str) -> ApiError | None:
    """What an operator asked for and cannot have: the words of 0005_enrollment.sql's functions, or ours."""
    match state:
        case "P0002":
            return NotFound(words)
        case "55000":
            return Conflict(words)
        case "23505":
            return Conflict("that name is taken")
        case "23514":
            return BadParameter("name", "1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit")
    return None


def translate(error: Exception) -> ApiError:
    """Which problem a failed statement is: by SQLSTATE and type, never by text."""
    state = getattr(error, "sqlstate", None) or ""
    refused = _refused(state, str(error.args[0]) if error.args else "")
    if refused is not None:
        return refused
    problem: ApiError
    if state == "57014":  # query_canceled: statement_timeout
        kind, problem = "too-long", TooLong("ask for a shorter time, fewer channels or wider buckets")
    elif state in MISSING_OBJECTS:
        kind = "schema"
        problem = Unavailable("the schema is not current: run python -m schema.migrate", retry_after=30)
    elif isinstance(error, TimeoutError) or state.startswith("53"):  # insufficient resources, too many connections
        kind, problem = "busy", Unavailable("the database is busy: try again", retry_after=2)
    elif isinstance(error, ValueError):  # asyncpg.DataError: an argument of ours that PostgreSQL cannot take
        kind, problem = "other", ApiError(INTERNAL)
    elif not state or state.startswith(("08", "57P", "28", "3D")):  # connection, shutdown, refused log-in, no database
        kind, problem = "unavailable", Unavailable("the database cannot be reached: try again")
    else:
        kind, problem = "other", ApiError(INTERNAL)
    DATABASE_ERRORS.labels(kind).inc()
    return problem
