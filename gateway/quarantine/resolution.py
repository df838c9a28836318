"""Reads messages of the quarantine, and marks them as replayed or discarded with an audit event in one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import asyncpg
import msgspec

from gateway.quarantine.clock import TimeUnit
from gateway.quarantine.replay import ReplayResult
from gateway.runtime.database import Pool, PoolConnection

PAGE = 100
"""Most messages that are settled in one transaction."""


class QuarantineState(StrEnum):
    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class RejectFilter(NamedTuple):
    """Chooses messages; None chooses any value."""

    ids: list[int] | None
    devices: list[str] | None
    reasons: Sequence[str] | None
    since: datetime | None
    until: datetime | None


class AuditSignature(NamedTuple):
    """The person who settles messages and the reason, for the audit trail."""

    who: str
    why: str


async def newest(pool: Pool, chosen: RejectFilter, state: QuarantineState, limit: int) -> list[asyncpg.Record]:
    rows = await pool.fetch(
        """select quarantine_id, received_at, device, reason, coalesce(octet_length(payload), bytes) as bytes, detail
             from quarantine
            where state = $1 and ($2::bigint[] is null or quarantine_id = any ($2))
              and ($3::text[] is null or device = any ($3)) and ($4::text[] is null or reason = any ($4))
              and ($5::timestamptz is null or received_at >= $5) and ($6::timestamptz is null or received_at < $6)
            order by quarantine_id desc limit $7""",
        state.value,
        *chosen,
        limit,
    )
    return list(rows)


async def overflow(pool: Pool, chosen: RejectFilter) -> list[asyncpg.Record]:
    """Counts of messages that the quota refused to keep, by device, kind and reason."""
    rows = await pool.fetch(
        """select device, kind, reason, sum(count) as count, max(last_at) as last_at from quarantine_overflow
            where ($1::text[] is null or device = any ($1)) and ($2::text[] is null or reason = any ($2))
            group by device, kind, reason order by device, kind, reason""",
        chosen.devices,
        chosen.reasons,
    )
    return list(rows)


async def whole(connection: Pool | PoolConnection, number: int) -> asyncpg.Record | None:
    return await connection.fetchrow("select * from quarantine where quarantine_id = $1", number)


async def events(pool: Pool, number: int) -> list[asyncpg.Record]:
    """The audit events of a message."""
    rows = await pool.fetch(
        "select at, who, action, why, new from audit where subject = 'quarantine/' || $1::bigint order by n", number
    )
    return list(rows)


async def devices(pool: Pool, chosen: RejectFilter) -> list[str]:
    """The devices of the chosen open messages."""
    rows = await pool.fetch(
        """select distinct device from quarantine
            where state = 'open' and device is not null and ($1::bigint[] is null or quarantine_id = any ($1))
              and ($2::text[] is null or device = any ($2)) and ($3::text[] is null or reason = any ($3))
              and ($4::timestamptz is null or received_at >= $4) and ($5::timestamptz is null or received_at < $5)""",
        *chosen,
    )
    return [row["device"] for row in rows]


async def owned(pool: Pool, organization_id: int, ids: Sequence[int]) -> list[int]:
    """Those of these messages that are the organization's; of devices that nobody has registered, the first one's."""
    rows = await pool.fetch(
        """select quarantine_id from quarantine q left join devices d on d.name = q.device
            where quarantine_id = any ($1) and coalesce(d.organization_id, 1) = $2""",
        ids,
        organization_id,
    )
    return [row["quarantine_id"] for row in rows]


async def each_page(
    pool: Pool, chosen: RejectFilter, limit: int | None, settle: Callable[[PoolConnection, list[int]], Awaitable[None]]
) -> set[int]:
    """Call `settle` with each page of numbers of chosen open messages, oldest first, in a transaction that has locked
    them: two people do not settle the same. Messages that arrive meanwhile are left out. Return all numbers."""
    done: set[int] = set()
    page = [0]
    last = await pool.fetchval("select max(quarantine_id) from quarantine")
    while page and (limit is None or len(done) < limit):
        async with pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(
                """select quarantine_id from quarantine
                    where state = 'open' and quarantine_id > $1 and quarantine_id <= $2
                      and ($3::bigint[] is null or quarantine_id = any ($3))
                      and ($4::text[] is null or device = any ($4)) and ($5::text[] is null or reason = any ($5))
                      and ($6::timestamptz is null or received_at >= $6)
                      and ($7::timestamptz is null or received_at < $7)
                    order by quarantine_id limit $8 for update skip locked""",
                page[-1],
                last,
                *chosen,
                PAGE if limit is None else min(PAGE, limit - len(done)),
            )
            page = [row["quarantine_id"] for row in rows]
            if page:
                await settle(connection, page)
        done.update(page)
    return done


async def discard(connection: PoolConnection, page: list[int], signed: AuditSignature) -> None:
    """Mark the messages of a page as discarded, and throw their payloads away."""
    await connection.execute(
        """with gone as (
               update quarantine
                  set state = 'discarded', settled_at = now(), bytes = octet_length(payload), payload = null
                where quarantine_id = any ($1) returning quarantine_id, device, reason, bytes, sha256
           )
           insert into audit (organization_id, who, action, subject, old, new, why)
           select coalesce((select organization_id from devices d where d.name = gone.device), 1),
                  $2, 'quarantine.discard', 'quarantine/' || quarantine_id,
                  jsonb_build_object('state', 'open', 'device', device, 'reason', reason, 'bytes', bytes,
                                     'sha256', encode(sha256, 'hex')),
                  '{"state": "discarded"}', $3
             from gone order by quarantine_id""",
        page,
        *signed,
    )


async def mark_replayed(connection: PoolConnection, results: dict[int, ReplayResult], signed: AuditSignature) -> None:
    """Mark messages that were stored as a whole as replayed; the audit trail tells of those stored in part, too."""
    stored = {number: result for number, result in results.items() if result.stored}
    news = [
        {
            "state": QuarantineState.OPEN if result.rejected else QuarantineState.REPLAYED,
            "committed": result.committed,
            "duplicate": result.duplicate,
            "rejected": result.rejected,
            "shift_ms": result.shift_ms,
        }
        | ({} if result.unit is TimeUnit.MS else {"unit": result.unit})
        for result in stored.values()
    ]
    await connection.execute(
        """with results as (
               select * from unnest($1::bigint[], $2::jsonb[]) as r (quarantine_id, new)
           ), settled as (
               update quarantine q
                  set state = 'replayed', settled_at = now(), shift_ms = (r.new ->> 'shift_ms')::float8
                 from results r
                where q.quarantine_id = r.quarantine_id and r.new ->> 'state' = 'replayed'
           )
           insert into audit (organization_id, who, action, subject, old, new, why)
           select coalesce((select organization_id from devices d where d.name = q.device), 1),
                  $3, 'quarantine.replay', 'quarantine/' || quarantine_id,
                  jsonb_build_object('state', q.state, 'device', q.device, 'reason', q.reason,
                                     'bytes', octet_length(q.payload), 'sha256', encode(q.sha256, 'hex')),
                  r.new, $4
             from results r join quarantine q using (quarantine_id) order by quarantine_id""",
        list(stored),
        [msgspec.json.encode(new).decode() for new in news],
        *signed,
    )
