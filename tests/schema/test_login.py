"""The API's own login, as `python -m schema.migrate` makes it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from schema.migrate import BadSetting, make_login


def with_login(url: str, login: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.hostname}:{parts.port}"))


@pytest.fixture
async def name(database: asyncpg.Connection) -> AsyncIterator[str]:
    """Of a login that is gone afterwards: logins are the server's, not the database's."""
    name = f'api "{secrets.token_hex(6)}"'
    yield name
    await database.execute(await database.fetchval("select format('drop role if exists %I', $1::text)", name))


async def test_it_can_log_in_and_has_the_rights_of_the_api_s_role_and_no_others(
    database: asyncpg.Connection, database_url: str, name: str
) -> None:
    quoted = name.replace('"', "%22").replace(" ", "%20")
    for password in ("first'%20one", "second"):
        url = with_login(database_url, f"{quoted}:{password}")
        await make_login(database, url)
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("select session_user") == name
        assert await connection.fetch("select * from api.devices") == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("select * from public.devices")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("set role biogate_sql")
        await connection.close()


async def test_a_login_that_may_do_more_is_not_taken(database: asyncpg.Connection, database_url: str) -> None:
    owner = await database.fetchval("select session_user")
    for login in (owner, f"{owner}:secret"):
        with pytest.raises(BadSetting, match="no login of its own"):
            await make_login(database, with_login(database_url, login))
    with pytest.raises(BadSetting, match="no login of its own"):
        await make_login(database, "postgresql:///biogate")
    boss = f"boss_{secrets.token_hex(6)}"
    await database.execute(f"create role {boss} createrole")
    with pytest.raises(BadSetting, match="may do more"):
        await make_login(database, with_login(database_url, boss))
    await database.execute(f"drop role {boss}")
