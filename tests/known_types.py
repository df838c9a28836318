"""What PostgreSQL's own types are made of is asked once a process, and not by each connection: `keep`.

Before the first use of a type such as `text[]`, asyncpg asks the connection for it, by a query that takes more of the
server's processor time than all else that a new connection does; and the tests make ten thousand connections. Types
that a database has made itself are asked for as ever.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import asyncpg

OWN = 16384
"""From this number on, types are of a database; those below it are in each."""


class _Asked(NamedTuple):
    name: str = "kept"
    """Any but none, which would say that the query has taken the place of the statement that waits for the types."""


def keep() -> None:
    """From now on, in this process."""
    connection, known = asyncpg.Connection, dict[tuple[int, ...], Any]()
    ask = connection._introspect_types

    async def introspect(self: asyncpg.Connection, oids: Any, timeout: float | None) -> tuple[Any, Any]:
        key = tuple(sorted(oids))
        if key[-1] >= OWN:
            asked: tuple[Any, Any] = await ask(self, oids, timeout)
            return asked
        if key not in known:
            known[key], _ = await ask(self, oids, timeout)
            return known[key], _
        return known[key], _Asked()

    connection._introspect_types = introspect
