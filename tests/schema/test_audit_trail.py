"""The audit trail: append-only, one chain however many write, and what is changed behind it shows."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest


async def test_the_audit_trail_is_append_only_and_shows_what_was_changed_behind_it(
    database: asyncpg.Connection,
) -> None:
    await database.execute(
        """insert into audit (n, at, who, action, subject, new, why, hash)
           select 7, '1970-01-01', 'eva', 'x', 's/' || g, jsonb_build_object('g', g), 'because', ''
             from generate_series(1, 20) g"""
    )
    assert await database.fetchval("select array_agg(n order by n) from audit") == list(range(1, 21))
    assert await database.fetchval("select min(at) > now() - interval '1 hour' from audit")
    for statement in ("update audit set who = 'x'", "delete from audit", "truncate audit"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await database.execute(statement)
    assert await database.fetch("select audit_faults()") == []
    await database.execute(
        """alter table audit disable trigger audit_refuse;
           update audit set why = 'else' where n = 5;
           delete from audit where n = 11"""
    )
    assert [row[0] for row in await database.fetch("select audit_faults()")] == [5, 12]


async def test_two_who_write_into_the_audit_trail_at_once_make_one_chain(
    database: asyncpg.Connection, database_url: str
) -> None:
    async def write(who: str) -> None:
        connection = await asyncpg.connect(database_url)
        for n in range(30):
            await connection.execute(
                "insert into audit (who, action, subject, why) select $1, 'x', $2, 'y' from generate_series(1, 3)",
                who,
                str(n),
            )
        await connection.close()

    await asyncio.gather(*(write(who) for who in "abcd"))
    assert await database.fetchval("select count(*) from audit") == 360
    assert await database.fetch("select audit_faults()") == []


async def test_a_chain_given_to_another_organization_shows(database: asyncpg.Connection) -> None:
    beta = await database.fetchval(
        "insert into organizations (name, title) values ('beta', 'Beta') returning organization_id"
    )
    await database.execute(
        "insert into audit (who, action, subject, why) select 'eva', 'x', 's', 'y' from (values (1), (2)) v"
    )
    await database.execute("alter table audit disable trigger audit_refuse")
    await database.execute("update audit set organization_id = $1", beta)
    assert [row[0] for row in await database.fetch("select audit_faults($1)", beta)] == [1]
