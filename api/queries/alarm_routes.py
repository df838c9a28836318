"""SQL for alarm routes. Their URLs are sealed here, and only the process that sends can open them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import asyncpg

from api.database import Connection, Database
from api.http.description import raw
from api.http.preconditions import Expected
from api.problems import BadParameter, Conflict, NotFound
from api.queries import load
from api.queries.alarm_rules import RuleOrder
from api.settings import ApiSettings
from api.shapes.alarm_routes import AlarmRoute, RouteChange, RouteTest
from schema import times
from schema.alarms.notification_routes import SCHEMES, NotificationRoute, scheme, shown
from schema.sealed import seal

SQL = load("alarm_routes")
STATES: Mapping[str, Literal["waiting", "sent"]] = {"pending": "waiting", "done": "sent"}
"""What a route says of a test message by the state of its notification; in any other state it failed."""


async def page(database: Database, after: str, limit: int) -> list[asyncpg.Record]:
    return await database.fetch(SQL["page"], after, limit)


async def detail(database: Database, name: str) -> AlarmRoute:
    return item(await database.one(SQL["one"], name, absent=unknown(name)))


def unknown(name: str) -> NotFound:
    return NotFound(f"there is no route {name}; /api/v1/alarm-routes lists those that there are")


def allowed_url(settings: ApiSettings, given: RouteChange) -> str | None:
    """Return the URL that is given, if one is. Raises BadParameter if its scheme is not allowed here."""
    if given.url is None:
        return None
    url, said = given.url.get_secret_value(), settings.notify_schemes
    allowed = SCHEMES if said is None else tuple(said.replace(" ", "").lower().split(","))
    if scheme(url) not in allowed:
        raise BadParameter("url", f"has a scheme that is not allowed here; allowed are {', '.join(allowed)}")
    return url


async def put(
    database: Database,
    place: tuple[int, str],
    wanted: NotificationRoute,
    url: str | None,
    *,
    expected: Expected,
    change: RuleOrder,
) -> tuple[AlarmRoute, bool]:
    """Store a route at `place` (organization, name); `url` None keeps the URL. Returns it and whether it is new."""
    organization_id, name = place
    async with database.change() as connection:
        known = await connection.fetchrow(SQL["one"], name)
        version = expected.version_of(known, f"route {name}")
        sealed = None if url is None else await _sealed(connection, url, f"alarm-routes/{organization_id}/{name}")
        definition = wanted.model_dump_json(include=set(NotificationRoute.model_fields))
        address = None if url is None else shown(url)
        await connection.execute(SQL["put"], name, definition, sealed, address, version, change.who, change.why)
        return item(await connection.fetchrow(SQL["one"], name)), known is None


async def remove(database: Database, name: str, version: int | None, change: RuleOrder) -> AlarmRoute:
    """Remove a route; returns the route as it was."""
    async with database.change() as connection:
        before = await connection.fetchrow(SQL["one"], name)
        if before is None:
            raise unknown(name)
        await connection.execute(SQL["remove"], name, version, change.who, change.why)
        return item(before)


async def test(database: Database, name: str, change: RuleOrder) -> AlarmRoute:
    async with database.change() as connection:
        await connection.execute(SQL["test"], name, change.who, change.why)
        return item(await connection.fetchrow(SQL["one"], name))


async def _sealed(connection: Connection, url: str, place: str) -> bytes:
    public = await connection.fetchval(SQL["vault_key"])
    if public is None:
        raise Conflict("URLs cannot be sealed: no gateway with BIOGATE_SECRETS_DIR has run on this database")
    return seal(public, url.encode(), place)


def item(row: asyncpg.Record) -> AlarmRoute:
    test = None
    if row["test_asked_at"] is not None:
        state: Literal["waiting", "sent", "failed"] = STATES.get(row["test_state"], "failed")
        sent_at = times.optional_text(row["test_sent_at"])
        test = RouteTest(asked_at=times.text(row["test_asked_at"]), state=state, sent_at=sent_at)
    return AlarmRoute.of(row, route=row["name"], warnings=_warnings(row), test=test, definition=raw(row["definition"]))


def _warnings(row: asyncpg.Record) -> list[str]:
    if not row["diverted"]:
        return []
    return ["the route that it escalates to is off: the one after that is told, or all others if none of these is on"]
