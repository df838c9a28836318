"""Organizations, members and keys, put into the database as it is."""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

from api.roles import Role, Scope
from api.tokens import ApiKey, hashed


async def organization(sql: asyncpg.Connection, name: str) -> int:
    return int(
        await sql.fetchval(
            "insert into organizations (name, title) values ($1, initcap($1))"
            " on conflict (name) do update set name = excluded.name returning organization_id",
            name,
        )
    )


async def api_key(
    sql: asyncpg.Connection,
    organization_name: str = "main",
    role: Role = Role.ADMIN,
    scopes: Iterable[Scope] = tuple(Scope),
) -> str:
    """A key as it is shown once."""
    key = ApiKey.new()
    await sql.execute(
        """insert into api_keys (key_id, organization_id, name, role, scopes, secret_hash, created_by)
           values ($1, $2, 'test', $3, $4, $5, 'test')""",
        *(key.key_id, await organization(sql, organization_name), str(role), [str(one) for one in scopes]),
        hashed(key.secret),
    )
    return str(key)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
