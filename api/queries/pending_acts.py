"""SQL for acts that wait for a second person, where the organization demands one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg

from api.database import Connection, Database
from api.http.description import raw
from api.problems import NotFound, Waits
from api.queries import load
from api.queries.signatures import Proof
from api.shapes.pending_acts import ActKind, PendingActAnswer
from api.shapes.policies import PendingKind

SQL = load("pending_acts")
LAST_ID = 2**63 - 1


class WantedAct(NamedTuple):
    """What somebody wants to be done, and why."""

    kind: ActKind
    subject: str
    """As the audit trail names it."""
    request: Mapping[str, Any]
    who: str
    why: str
    key: str | None = None
    """An idempotency key, by which the same act is found again, with the hash of the request."""
    digest: bytes | None = None


async def is_demanded(database: Database, kind: PendingKind) -> bool:
    """Whether a second person has to confirm acts of this kind. The database refuses to do them otherwise."""
    [row] = await database.fetch(SQL["demanded"], kind)
    return bool(row[0])


async def ask(database: Database, wanted: WantedAct) -> Waits:
    """Let an act wait for a second person; return what to raise. Raises Conflict."""
    asked = wanted._replace(request=json.dumps(wanted.request))  # type: ignore[arg-type]
    async with database.change() as connection:
        number = await connection.fetchval(SQL["ask"], *asked)
        return Waits(number, item(await connection.fetchrow(SQL["one"], number)))


async def known(connection: Connection, who: str, key: str, digest: bytes) -> Waits | None:
    """Return what to raise for a request that was made before, by its idempotency key."""
    row = await connection.fetchrow(SQL["known"], who, key, digest)
    return None if row is None else Waits(row["act_id"], item(row))


async def page(database: Database, states: Sequence[str] | None, before: int, limit: int) -> list[asyncpg.Record]:
    """Return acts with a smaller number than `before`, newest first."""
    return await database.fetch_planned(SQL["page"], before, limit, states)


async def one(database: Database, number: int) -> PendingActAnswer:
    return item(await database.one(SQL["one"], number, absent=NotFound(f"there is no act {number}")))


async def waiting(database: Database, subject: str) -> list[PendingActAnswer]:
    """Return the acts that wait to be done to a subject, as the audit trail names it."""
    return [item(row) for row in await database.fetch(SQL["waiting"], subject)]


async def confirm(connection: Connection, number: int, proof: Proof, digest: str, why: str) -> PendingActAnswer:
    """Do an act, in the transaction of its confirmation. Raises Forbidden for who asked for it, PreconditionFailed if
    it is another one than was read, or the thing was changed meanwhile, Conflict if it does not wait any more."""
    await connection.execute(SQL["confirm"], number, *proof, digest, why)
    return item(await connection.fetchrow(SQL["one"], number))


async def refuse(database: Database, number: int, who: str, why: str) -> PendingActAnswer:
    """Refuse an act, or withdraw one's own. Raises NotFound, Conflict."""
    async with database.change() as connection:
        await connection.execute(SQL["refuse"], number, who, why)
        return item(await connection.fetchrow(SQL["one"], number))


def item(row: asyncpg.Record) -> PendingActAnswer:
    return PendingActAnswer.of(row, id=row["act_id"], request=raw(row["request"]), result=raw(row["result"]))
