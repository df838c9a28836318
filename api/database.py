"""The connection pool, read-only unless said otherwise, and the one place where database errors become problems."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Self, TypeAlias

import asyncpg
import structlog

from api import metrics
from api.problems import (
    INTERNAL,
    ApiError,
    BadParameter,
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    TooLong,
    Unauthorized,
    Unavailable,
)
from api.settings import ApiSettings
from api.trace import CURRENT, timed
from schema import migrate

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
log = structlog.get_logger("api")
FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What a statement may end with; InternalClientError is asyncpg's when a connection is lost at a bad moment."""
ROLE = "biogate_api"
SCOPE = "select set_config('biogate.organization', $1, false)"
SHOW = "select set_config('biogate.credential', $1, true)"
REFUSALS: Mapping[str, type[ApiError]] = {
    "P0002": NotFound,
    "55000": Conflict,
    "BG401": Unauthorized,
    "BG403": Forbidden,
    "BG202": Conflict,
    "BG412": PreconditionFailed,
}
MISSING_OBJECTS = ("42P01", "42703", "42883", "3F000", "42501", "22023")
"""Undefined table, column, function, schema: the migrations have not run. Or no right: what is not in `api` is found in
`public`, where the API's role has none. Or, as an invalid parameter, that role itself."""


class Server:
    """The pool. Opens without a database: connections are made when first needed, so the process can report that it is
    away. All connections have the role of the API, which has rights on the schema `api` alone."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._share = max(1, settings.api_pool_size - 1 - max(1, settings.api_pool_size // 4))
        self._shares: dict[int, asyncio.Semaphore] = {}
        self.accounts = Database(self, 0)
        """The database without an organization, to find out who somebody is."""

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._pool = await asyncpg.create_pool(
            settings.api_database_url or settings.database_url,
            min_size=0,
            max_size=settings.api_pool_size,
            reset=_nothing,
            max_cached_statement_lifetime=0,  # planning over many chunks costs more than the query
            timeout=settings.api_acquire_timeout,
            command_timeout=settings.api_statement_timeout + 5,  # for a server that no longer answers at all
            connection_class=Scoped,
            server_settings={
                "application_name": "biogate-api",
                "role": ROLE,
                "search_path": "api, public",
                "default_transaction_read_only": "on",
                "statement_timeout": str(round(settings.api_statement_timeout * 1000)),
                # A process that hangs shall not keep the audit trail's lock, which results of commands wait for.
                "idle_in_transaction_session_timeout": "10s",
                "timezone": "UTC",
                # A day at 1 Hz is sorted or hashed in memory; index order is believed cheap, as it is on flash;
                # no helpers: the intake needs those cores.
                "work_mem": "32MB",
                "random_page_cost": "1.1",
                "max_parallel_workers_per_gather": "0",
                "jit": "off",
            },
        )
        metrics.POOL_LIMIT.set(settings.api_pool_size)
        metrics.POOL_CONNECTIONS.labels("idle").set_function(self._pool.get_idle_size)
        metrics.POOL_CONNECTIONS.labels("busy").set_function(lambda: self._pool.get_size() - self._pool.get_idle_size())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    def of(self, organization_id: int, shown: str = "") -> Database:
        """Return the database as this organization sees it; `shown` is the credential in whose name it writes, as
        `Principal.shown`."""
        return Database(self, organization_id, lambda: shown)

    def accounts_of(self, shown: Callable[[], str]) -> Database:
        """Return the database without an organization; it writes in the name of the credential that `shown` gives."""
        return Database(self, 0, shown)

    @asynccontextmanager
    async def connection(self, organization_id: int) -> AsyncIterator[Connection]:
        """Lend a connection that shows what is this organization's (0: nothing but accounts)."""
        trace, begun = CURRENT.get(), time.perf_counter()
        try:
            async with (
                self._turn(organization_id),
                self._pool.acquire(timeout=self._settings.api_acquire_timeout) as connection,
            ):
                if trace is not None:
                    trace.waiting += time.perf_counter() - begun
                await connection.show(organization_id)
                yield connection
        except FAILURES as error:
            raise translate(error) from error

    def _turn(self, organization_id: int) -> AbstractAsyncContextManager[None]:
        """None has all connections: with slow queries it could lock out the others, and keep everybody from logging in.
        One listens, and a quarter is left for others."""
        if not organization_id:
            return nullcontext()
        share = self._shares.get(organization_id)
        if share is None:
            share = self._shares[organization_id] = asyncio.Semaphore(self._share)
        return share if not share.locked() else self._queued(share)

    @asynccontextmanager
    async def _queued(self, share: asyncio.Semaphore) -> AsyncIterator[None]:
        async with asyncio.timeout(self._settings.api_acquire_timeout):
            await share.acquire()
        try:
            yield
        finally:
            share.release()


class Scoped(asyncpg.Connection):  # type: ignore[misc]  # asyncpg is not typed
    """A connection that knows whose data it shows; so most loans need not say it again."""

    _shown: int | None = None

    async def show(self, organization_id: int) -> None:
        if self._shown != organization_id:
            self._shown = None  # neither, if this is interrupted
            await self.execute(SCOPE, str(organization_id or ""))
            self._shown = organization_id

    async def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
        with timed("database"):
            return await super().execute(query, *arguments, **options)

    async def fetch(self, query: str, *arguments: Any, **options: Any) -> Any:
        with timed("database"):
            return await super().fetch(query, *arguments, **options)

    async def fetch_planned(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Planned for these arguments, for filters that may be left out (`$1 is null or …`). A statement that is kept
        may get one plan for all arguments, which takes every filter for one that leaves next to nothing: in a million
        audit events 0.4 s instead of a millisecond, in as many alarm transitions 4 s. An unnamed one is not kept."""
        with timed("database"):
            statement = await self.prepare(query, name="")
            return await statement.fetch(*arguments)  # type: ignore[no-any-return]

    async def fetchrow(self, query: str, *arguments: Any, **options: Any) -> Any:
        with timed("database"):
            return await super().fetchrow(query, *arguments, **options)

    async def fetchval(self, query: str, *arguments: Any, **options: Any) -> Any:
        with timed("database"):
            return await super().fetchval(query, *arguments, **options)


class Database:
    """The database as one organization sees it; another one's things are not there."""

    def __init__(self, server: Server, organization_id: int, shown: Callable[[], str] = str) -> None:
        self._server = server
        self._organization_id = organization_id
        self._shown = shown

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection. What fails inside is raised as an `ApiError`: see `translate`."""
        async with self._server.connection(self._organization_id) as connection:
            yield connection

    @asynccontextmanager
    async def change(self) -> AsyncIterator[Connection]:
        """A transaction that may write, in the name that the database finds for the credential. Errors as above, and
        `NotFound`, `Conflict`, `BadParameter`, and `Unauthorized` for another name."""
        async with self.connection() as connection, connection.transaction():
            await connection.execute("set transaction read write")
            if shown := self._shown():
                await connection.fetchval(SHOW, shown)
            yield connection

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self.connection() as connection:
            return await connection.fetch(statement, *arguments)  # type: ignore[no-any-return]

    async def fetch_planned(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """`Scoped.fetch_planned`"""
        async with self.connection() as connection:
            return await connection.fetch_planned(statement, *arguments)  # type: ignore[no-any-return]

    async def fetchrow(self, statement: str, *arguments: Any) -> asyncpg.Record | None:
        async with self.connection() as connection:
            return await connection.fetchrow(statement, *arguments)

    async def one(self, statement: str, *arguments: Any, absent: ApiError) -> asyncpg.Record:
        """Fetch a row that should be there. Raises `absent` if it is not."""
        row = await self.fetchrow(statement, *arguments)
        if row is None:
            raise absent
        return row

    async def execute(self, statement: str, *arguments: Any) -> None:
        """Run a statement that writes, in a transaction of its own. Errors as of `change`."""
        async with self.change() as connection:
            await connection.execute(statement, *arguments)


async def _nothing(_: object) -> None:
    """Instead of asyncpg's RESET ALL after every loan, a round trip: nothing here changes the session."""


def _refused(state: str, words: str) -> ApiError | None:
    """What somebody asked for and cannot have: the words of the functions in schema/migrations, or ours."""
    if state == "23514":
        return BadParameter("name", "1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit")
    if state == "23505":
        return Conflict("that name is taken")
    return REFUSALS[state](words) if state in REFUSALS else None


def translate(error: Exception) -> ApiError:
    """Which problem a failed statement is: by SQLSTATE and type, never by text."""
    state = getattr(error, "sqlstate", None) or ""
    refused = _refused(state, str(error.args[0]) if error.args else "")
    if refused is not None:
        return refused
    problem: ApiError
    if state in {"22021", "22P05"}:  # character_not_in_repertoire, untranslatable_character
        return BadParameter("text", "holds a character that cannot be stored, such as NUL")
    if state == "57014":  # query_canceled: statement_timeout
        kind, problem = "too-long", TooLong("ask for a shorter time, fewer channels or wider buckets")
    elif state in MISSING_OBJECTS:
        kind = "schema"
        problem = Unavailable("the schema is not current: run biogate migrate", retry_after=30)
    elif state == migrate.NO_SUCH_FILE:
        kind, problem = "schema", Unavailable(migrate.EXTENSION_BEHIND, retry_after=30)
    elif isinstance(error, TimeoutError) or state.startswith("53"):  # insufficient resources, too many connections
        kind, problem = "busy", Unavailable("the database is busy: try again", retry_after=2)
    elif isinstance(error, ValueError):  # asyncpg.DataError: an argument of ours that PostgreSQL cannot take
        kind, problem = "other", ApiError(INTERNAL)
    elif not state or state.startswith(("08", "57P", "28", "3D")):  # connection, shutdown, refused log-in, no database
        kind, problem = "unavailable", Unavailable("the database cannot be reached: try again")
    else:
        kind, problem = "other", ApiError(INTERNAL)
    metrics.DATABASE_ERRORS.labels(kind).inc()
    _log(kind, state, error)
    return problem


def _log(kind: str, state: str, error: Exception) -> None:
    """Log the cause under the request's id: the answer says nothing of it. The message goes without its detail, which
    may have a whole row in it."""
    facts = {"kind": kind, "sqlstate": state or None, "error": type(error).__name__}
    facts["message"] = str(error.args[0]) if error.args else ""
    if kind != "other":
        log.warning("database error", **facts)
        return
    frames = [*traceback.extract_stack(), *traceback.extract_tb(error.__traceback__)]
    ours = [f"{one.filename.rpartition('/api/')[2]}:{one.lineno}" for one in frames if "/api/" in one.filename]
    log.error("database error", **facts, context=getattr(error, "context", None), trace=ours)
